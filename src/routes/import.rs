//! A conversation from a file that an export made: checked whole, each fault with its place, before anything is stored.

use super::{
    RouteOptions,
    body::{Json, NAME_CHARACTERS, Settings, check_length, made, sampling},
    conversations::{Shown, etag, named},
    export::{FORMAT, FORMAT_VERSION, format_word},
};
use crate::{
    auth::CurrentUser,
    chat::Chat,
    model::{
        ConversationId, Message, MessageId, Outcome, Progress, Role, Sampling, Timings, Usage,
        message_words, now,
    },
    problem::ApiError,
    store::{Effect, NewConversation, Receipt, WholeConversation},
    text::{Wtf8, one_line, without_lone_halves, without_nul},
};
use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::{self, Data},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, value::RawValue};
use std::collections::{HashMap, HashSet};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;

/// Every field as it came, so that what is wrong with one is told with its place.
#[derive(Deserialize, ToSchema)]
pub(super) struct Import {
    #[schema(schema_with = format_word, required)]
    format: Option<Box<RawValue>>,
    #[schema(value_type = u32, minimum = 1, maximum = 1)]
    format_version: Option<Box<RawValue>>,
    #[schema(value_type = Option<String>, max_length = 500)]
    title: Option<Box<RawValue>>,
    #[schema(value_type = Option<String>, max_length = 500)]
    model: Option<Box<RawValue>>,
    #[schema(value_type = Option<String>, max_length = 100_000)]
    system: Option<Box<RawValue>>,
    #[schema(value_type = Option<Sampling>)]
    sampling: Option<Box<RawValue>>,
    /// Of the messages; else the last one.
    #[schema(value_type = Option<String>)]
    head_id: Option<Box<RawValue>>,
    /// Since 1970, as all times.
    #[schema(value_type = String, format = DateTime)]
    created_at: Option<Box<RawValue>>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Option<Box<RawValue>>,
    #[schema(value_type = Vec<ImportedMessage>)]
    messages: Option<Box<RawValue>>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct ImportedMessage {
    /// Unlike those of the others.
    #[schema(value_type = String)]
    id: Option<Box<RawValue>>,
    /// Of an earlier one.
    #[schema(value_type = Option<String>)]
    parent_id: Option<Box<RawValue>>,
    #[schema(value_type = Role)]
    role: Option<Box<RawValue>>,
    #[schema(value_type = String)]
    content: Option<Box<RawValue>>,
    #[schema(value_type = Option<String>)]
    reasoning: Option<Box<RawValue>>,
    #[schema(value_type = Option<Vec<Object>>)]
    tool_calls: Option<Box<RawValue>>,
    #[schema(value_type = Option<String>, max_length = 500)]
    model: Option<Box<RawValue>>,
    /// Of an answer any, else `completed`.
    #[schema(schema_with = message_words, required)]
    status: Option<Box<RawValue>>,
    #[schema(value_type = Option<String>)]
    finish_reason: Option<Box<RawValue>>,
    #[schema(value_type = Option<Usage>)]
    usage: Option<Box<RawValue>>,
    #[schema(value_type = Option<Timings>)]
    timings: Option<Box<RawValue>>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Option<Box<RawValue>>,
}

pub(super) async fn import(
    current: CurrentUser,
    chat: Data<Chat>,
    options: Data<RouteOptions>,
    body: Json<Import>,
) -> Result<HttpResponse, ApiError> {
    let once = body.once();
    let import = body.value;
    // Large files take milliseconds, in which nobody's events should wait.
    let checked = web::block(move || import.check(&options)).await;
    let whole = checked.map_err(|_| {
        ApiError::new(
            500,
            "internal",
            "The server failed",
            "the file was not checked",
        )
    })??;
    let receipt = receipt(&whole);
    let etag = etag(whole.created().version);
    let once = once.map(|once| (once, receipt.clone()));
    let stored = chat.import_conversation(current.user.id, whole, once);
    let Receipt { location, body } = match stored.await? {
        Effect::Done(_) => receipt,
        Effect::Before(before) => before,
        Effect::KeyReused => return Err(ApiError::key_reused()),
    };
    Ok(made(StatusCode::CREATED, &location)
        .insert_header((header::ETAG, etag))
        .json(body))
}

fn receipt(whole: &WholeConversation) -> Receipt {
    let shown = Shown {
        conversation: whole.created(),
        generation: None,
    };
    Receipt {
        location: format!("/api/conversations/{}", whole.new.id),
        body: serde_json::to_value(shown).expect("a conversation is JSON"),
    }
}

impl Import {
    fn check(self, options: &RouteOptions) -> Result<WholeConversation, ApiError> {
        self.check_format()?;
        let title = text("title", self.title)?;
        let model = text("model", self.model)?;
        let system = text("system", self.system)?;
        let sampling = sampling_of(self.sampling)?;
        Settings {
            title: title.as_deref(),
            model: model.as_deref(),
            system: system.as_deref(),
            sampling: Some(&sampling),
        }
        .check()?;
        let new = NewConversation {
            id: ConversationId::new(),
            title: one_line(&title.unwrap_or_default()),
            model: named(model),
            system: named(system),
            sampling,
            created_at: time("created_at", self.created_at)?,
        };
        let updated_at = time("updated_at", self.updated_at)?;
        let messages: Vec<Box<RawValue>> = needed("messages", self.messages)?;
        check_count(messages.len(), options)?;
        let mut known = Known::default();
        let messages = messages.into_iter().enumerate().map(|(n, message)| {
            let place = format!("messages[{n}]");
            let message: Option<ImportedMessage> = object(&place, Some(message))?;
            let message = message.ok_or_else(|| missing(&place))?;
            message.check(&format!("{place}."), &mut known, options)
        });
        let mut messages: Vec<Message> = messages.collect::<Result<_, _>>()?;
        let mut head_id = match text("head_id", self.head_id)? {
            // Without one nothing of it would be seen.
            None => messages.last().map(|message| message.id),
            Some(head) => Some(known.get(&head).ok_or_else(|| {
                ApiError::invalid(format!(
                    "head_id: {} is no message of the file",
                    short(&head)
                ))
            })?),
        };
        answer_the_unanswered(&mut messages, &mut head_id);
        check_count(messages.len(), options)?;
        Ok(WholeConversation {
            new,
            updated_at,
            head_id,
            messages,
        })
    }

    fn check_format(&self) -> Result<(), ApiError> {
        let format = text("format", self.format.clone())?;
        if format.as_deref() != Some(FORMAT) {
            return Err(ApiError::invalid(format!(
                "format: only files with {FORMAT:?} here, as an export makes them, can be imported"
            )));
        }
        let version: Value = needed("format_version", self.format_version.clone())?;
        if version != FORMAT_VERSION {
            return Err(ApiError::invalid(format!(
                "format_version: this server reads version {FORMAT_VERSION}; a newer one may read the file"
            )));
        }
        Ok(())
    }
}

fn check_count(messages: usize, options: &RouteOptions) -> Result<(), ApiError> {
    let at_most = options.import_messages;
    if messages <= at_most {
        return Ok(());
    }
    Err(ApiError::new(
        413,
        "too-many-messages",
        "The conversation is too long",
        format!(
            "messages: {messages} of them, with those that answer what nobody answered; a conversation that is imported may have \
             {at_most} (limits.import_messages)"
        ),
    ))
}

/// Below a question that nobody answered, an answer that was interrupted before its first word: it can be asked for again, and a prompt
/// finds its place below it.
fn answer_the_unanswered(messages: &mut Vec<Message>, head_id: &mut Option<MessageId>) {
    let answered: HashSet<_> = messages
        .iter()
        .filter_map(|below| below.parent_id)
        .collect();
    let questions = messages.iter().filter(|message| message.role == Role::User);
    let unanswered = questions.filter(|question| !answered.contains(&question.id));
    let answers: Vec<_> = unanswered.map(unwritten_answer).collect();
    for answer in &answers {
        if answer.parent_id == *head_id {
            *head_id = Some(answer.id);
        }
    }
    messages.extend(answers);
}

fn unwritten_answer(question: &Message) -> Message {
    Message {
        id: MessageId::new(),
        parent_id: Some(question.id),
        role: Role::Assistant,
        content: String::new(),
        reasoning: None,
        tool_calls: None,
        model: None,
        status: Progress::Ended(Outcome::Interrupted),
        finish_reason: None,
        usage: None,
        timings: None,
        problem: None,
        generation_id: None,
        created_at: question.created_at,
    }
}

/// The messages so far: what they are called in the file, and their new ids.
#[derive(Default)]
struct Known(HashMap<String, MessageId>);

impl Known {
    fn get(&self, id: &str) -> Option<MessageId> {
        self.0.get(id).copied()
    }
}

impl ImportedMessage {
    fn check(
        self,
        at: &str,
        known: &mut Known,
        options: &RouteOptions,
    ) -> Result<Message, ApiError> {
        let place = |field: &str| format!("{at}{field}");
        let parent = text(&place("parent_id"), self.parent_id)?;
        let parent = parent.map(|parent| {
            known.get(&parent).ok_or_else(|| {
                ApiError::invalid(format!(
                    "{at}parent_id: {} is no earlier message of the file",
                    short(&parent)
                ))
            })
        });
        let role = word::<Role>(&place("role"), self.role)?;
        let status = match needed_text(&place("status"), self.status)?.as_str() {
            // Nobody writes it here.
            "streaming" => Progress::Ended(Outcome::Interrupted),
            status => Progress::Ended(parsed(&place("status"), status)?),
        };
        if role != Role::Assistant && status != Progress::Ended(Outcome::Completed) {
            return Err(ApiError::invalid(format!(
                "{at}status: only an answer can be anything but \"completed\""
            )));
        }
        let content = needed_text(&place("content"), self.content)?;
        if role != Role::Assistant && content.len() > options.message_bytes {
            return Err(ApiError::new(
                413,
                "message-too-large",
                "The message is too long",
                format!(
                    "{at}content: {} bytes of text, a message may have {} (limits.message_bytes)",
                    content.len(),
                    options.message_bytes
                ),
            ));
        }
        let tool_calls: Option<Vec<Map<String, Value>>> =
            optional(&place("tool_calls"), self.tool_calls)?;
        let model = text(&place("model"), self.model)?;
        check_length(&place("model"), model.as_deref(), NAME_CHARACTERS)?;
        let message = Message {
            id: MessageId::new(),
            parent_id: parent.transpose()?,
            role,
            content,
            reasoning: text(&place("reasoning"), self.reasoning)?,
            tool_calls,
            model,
            status,
            finish_reason: text(&place("finish_reason"), self.finish_reason)?,
            usage: object(&place("usage"), self.usage)?,
            timings: object(&place("timings"), self.timings)?,
            problem: None,
            generation_id: None,
            created_at: time(&place("created_at"), self.created_at)?,
        };
        let id = needed_text(&place("id"), self.id)?;
        if known.0.insert(id.clone(), message.id).is_some() {
            return Err(ApiError::invalid(format!(
                "{at}id: {} is the id of an earlier message",
                short(&id)
            )));
        }
        Ok(message)
    }
}

/// A field that may be absent or null. Lone surrogate halves are mended in it, as everywhere.
fn optional<T: DeserializeOwned>(
    place: &str,
    raw: Option<Box<RawValue>>,
) -> Result<Option<T>, ApiError> {
    let Some(raw) = raw else { return Ok(None) };
    let value = serde_json::from_str(raw.get())
        .or_else(|_| serde_json::from_str(&without_lone_halves(raw.get())));
    value.map_err(|error| {
        let words = error.to_string();
        // Where in the field, that is, not where in the file.
        let words = words.split(" at line ").next().unwrap_or_default();
        ApiError::invalid(format!("{place}: {words}"))
    })
}

/// The same of an object, which a struct would be read from a list, too.
fn object<T: DeserializeOwned>(
    place: &str,
    raw: Option<Box<RawValue>>,
) -> Result<Option<T>, ApiError> {
    match &raw {
        Some(raw) if !raw.get().starts_with('{') => Err(ApiError::invalid(format!(
            "{place}: not an object in braces"
        ))),
        _ => optional(place, raw),
    }
}

fn needed<T: DeserializeOwned>(place: &str, raw: Option<Box<RawValue>>) -> Result<T, ApiError> {
    optional(place, raw)?.ok_or_else(|| missing(place))
}

fn missing(place: &str) -> ApiError {
    ApiError::invalid(format!("{place}: it is missing"))
}

fn text(place: &str, raw: Option<Box<RawValue>>) -> Result<Option<String>, ApiError> {
    Ok(optional(place, raw)?.map(Wtf8::into_text))
}

fn needed_text(place: &str, raw: Option<Box<RawValue>>) -> Result<String, ApiError> {
    needed(place, raw).map(Wtf8::into_text)
}

fn word<T: std::str::FromStr>(place: &str, raw: Option<Box<RawValue>>) -> Result<T, ApiError> {
    parsed(place, &needed_text(place, raw)?)
}

fn parsed<T: std::str::FromStr>(place: &str, word: &str) -> Result<T, ApiError> {
    let unknown = |_| ApiError::invalid(format!("{place}: there is no {}", short(word)));
    word.parse().map_err(unknown)
}

fn sampling_of(raw: Option<Box<RawValue>>) -> Result<Sampling, ApiError> {
    #[derive(Deserialize)]
    struct Wrapped(#[serde(deserialize_with = "sampling")] Option<Sampling>);
    let wrapped: Option<Wrapped> = optional("sampling", raw)?;
    Ok(wrapped.and_then(|wrapped| wrapped.0).unwrap_or_default())
}

/// To the millisecond, and not in the future: the clock of the server that wrote the file may be ahead, and what is newest comes first in
/// lists.
fn time(place: &str, raw: Option<Box<RawValue>>) -> Result<OffsetDateTime, ApiError> {
    let time = OffsetDateTime::parse(&needed_text(place, raw)?, &Rfc3339).ok();
    let time = time.filter(|time| *time >= OffsetDateTime::UNIX_EPOCH);
    let time = time.ok_or_else(|| {
        ApiError::invalid(format!(
            "{place}: not a time like 2026-01-31T12:00:00Z since 1970"
        ))
    })?;
    let time = time.to_offset(time::UtcOffset::UTC).min(now());
    Ok(time.replace_millisecond(time.millisecond()).unwrap_or(time))
}

/// As it may stand in an error: somebody else's file may have anything there.
fn short(word: &str) -> String {
    let word = without_nul(word.to_owned());
    let mut shown: String = word.chars().take(40).collect();
    if shown.len() < word.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
