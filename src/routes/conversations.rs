//! Conversations: list and search, create, change, delete, restore.

use super::{
    ConversationPath, Page,
    body::{self, Json, Settings, check_length, made, nullable_text, optional_text},
    page_limit,
};
use crate::{
    auth::CurrentUser,
    chat::{Chat, ConversationRead, ListedRead, RunningAt},
    model::{Conversation, ConversationId, MessageId, Sampling, UserId, now},
    problem::ApiError,
    store::{Changed, ConversationChange, Effect, ListCursor, ListQuery, NewConversation, Receipt},
    text::{one_line, without_nul},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{Data, Query},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

/// The longest search, in characters.
const SEARCH_CHARACTERS: usize = 1000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    #[param(max_length = 1000)]
    q: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    #[param(minimum = 1)]
    limit: Option<u32>,
}

pub(super) async fn list(
    current: CurrentUser,
    chat: Data<Chat>,
    Query(parameters): Query<ListParameters>,
) -> Result<HttpResponse, ApiError> {
    let limit = page_limit(parameters.limit)?;
    check_length("q", parameters.q.as_deref(), SEARCH_CHARACTERS)?;
    let query = ListQuery {
        text: parameters
            .q
            .map(without_nul)
            .filter(|text| !text.trim().is_empty()),
        after: parameters.cursor.as_deref().map(parse_cursor).transpose()?,
        // One more than asked tells whether there is a next page.
        limit: limit + 1,
    };
    let mut items = chat.conversations(current.user.id, &query).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(cursor);
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Page { items, next }))
}

/// `<milliseconds>-<id>` of the last row of a page, behind a `p` when it is pinned.
fn cursor(last: &ListedRead) -> String {
    let ListCursor {
        pinned,
        updated_at,
        id,
    } = ListCursor::from(&last.listed.conversation);
    let pinned = if pinned { "p" } else { "" };
    let millis = updated_at.unix_timestamp_nanos() / 1_000_000;
    format!("{pinned}{millis}-{id}")
}

fn parse_cursor(cursor: &str) -> Result<ListCursor, ApiError> {
    let parse = || {
        let unpinned = cursor.strip_prefix('p');
        let (millis, id) = unpinned.unwrap_or(cursor).split_once('-')?;
        let nanos = millis.parse::<i64>().ok()?;
        let updated_at =
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos) * 1_000_000).ok()?;
        Some(ListCursor {
            pinned: unpinned.is_some(),
            updated_at,
            id: id.parse().ok()?,
        })
    };
    parse().ok_or_else(|| ApiError::malformed("cursor: not one that this list gave"))
}

#[derive(Deserialize, ToSchema)]
pub(super) struct Create {
    #[serde(default, deserialize_with = "optional_text")]
    #[schema(max_length = 500)]
    title: Option<String>,
    #[serde(default, deserialize_with = "optional_text")]
    #[schema(max_length = 500)]
    model: Option<String>,
    #[serde(default, deserialize_with = "optional_text")]
    #[schema(max_length = 100_000)]
    system: Option<String>,
    #[serde(default, deserialize_with = "body::sampling")]
    sampling: Option<Sampling>,
}

pub(super) async fn create(
    current: CurrentUser,
    chat: Data<Chat>,
    body: Json<Create>,
) -> Result<HttpResponse, ApiError> {
    let once = body.once();
    let Create {
        title,
        model,
        system,
        sampling,
    } = body.value;
    Settings {
        title: title.as_deref(),
        model: model.as_deref(),
        system: system.as_deref(),
        sampling: sampling.as_ref(),
    }
    .check()?;
    let new = NewConversation {
        id: ConversationId::new(),
        title: one_line(&title.unwrap_or_default()),
        model: named(model),
        system: named(system),
        sampling: sampling.unwrap_or_default(),
        created_at: now(),
    };
    let etag = etag(new.created().version);
    let receipt = receipt(&new);
    let once = once.map(|once| (once, receipt.clone()));
    let made_now = chat.create_conversation(current.user.id, new, once);
    let Receipt { location, body } = match made_now.await? {
        Effect::Done(_) => receipt,
        Effect::Before(before) => before,
        Effect::KeyReused => return Err(ApiError::key_reused()),
    };
    Ok(made(StatusCode::CREATED, &location)
        .insert_header((header::ETAG, etag))
        .json(body))
}

#[derive(Deserialize, ToSchema)]
pub(super) struct Change {
    #[serde(default, deserialize_with = "optional_text")]
    #[schema(max_length = 500)]
    title: Option<String>,
    #[serde(default)]
    pinned: Option<bool>,
    #[serde(default)]
    archived: Option<bool>,
    #[serde(default, deserialize_with = "nullable_text")]
    #[schema(max_length = 500)]
    model: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable_text")]
    #[schema(max_length = 100_000)]
    system: Option<Option<String>>,
    #[serde(default, deserialize_with = "body::sampling")]
    sampling: Option<Sampling>,
    #[serde(default, deserialize_with = "nullable_text")]
    #[schema(value_type = MessageId, required = false)]
    head_id: Option<Option<String>>,
}

/// A conversation without its messages, and the generation that a reader would follow.
#[derive(Serialize, ToSchema)]
pub(super) struct Shown {
    #[serde(flatten)]
    pub conversation: Conversation,
    #[schema(required)]
    pub generation: Option<RunningAt>,
}

pub(super) async fn change(
    current: CurrentUser,
    chat: Data<Chat>,
    id: ConversationPath,
    request: HttpRequest,
    body: Json<Change>,
) -> Result<HttpResponse, ApiError> {
    let Change {
        title,
        pinned,
        archived,
        model,
        system,
        sampling,
        head_id,
    } = body.value;
    Settings {
        title: title.as_deref(),
        model: model.as_ref().and_then(Option::as_deref),
        system: system.as_ref().and_then(Option::as_deref),
        sampling: sampling.as_ref(),
    }
    .check()?;
    let head_id = head_id.map(Option::unwrap_or_default);
    let head = head_id.as_deref().map(str::parse);
    let change = ConversationChange {
        title: title.map(|title| one_line(&title)),
        pinned,
        archived,
        model: model.map(named),
        system: system.map(named),
        sampling,
        head_id: head
            .transpose()
            .map_err(|_| unknown_head(head_id.as_deref()))?,
    };
    let if_version = if_match(&request)?;
    match chat
        .change_conversation(current.user.id, *id, change, if_version)
        .await?
    {
        Changed::Done(conversation) => Ok(shown(&chat, current.user.id, *conversation)),
        Changed::NotFound => Err(ApiError::not_found("conversation")),
        Changed::UnknownHead => Err(unknown_head(head_id.as_deref())),
        Changed::VersionIs(version) => Err(ApiError::new(
            412,
            "version-mismatch",
            "Somebody changed it before",
            format!(
                "the conversation is at version {version}; read it again and repeat the change"
            ),
        )),
    }
}

pub(super) async fn delete(
    current: CurrentUser,
    chat: Data<Chat>,
    id: ConversationPath,
) -> Result<HttpResponse, ApiError> {
    if chat.delete_conversation(current.user.id, *id).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(ApiError::not_found("conversation"))
    }
}

fn unknown_head(head: Option<&str>) -> ApiError {
    let head = head.unwrap_or_default();
    ApiError::invalid(format!(
        "head_id: there is no message {head:?} in this conversation"
    ))
}

/// Takes a deletion back; of one that is not deleted, only how it stands.
pub(super) async fn restore(
    current: CurrentUser,
    chat: Data<Chat>,
    id: ConversationPath,
) -> Result<HttpResponse, ApiError> {
    let user = current.user.id;
    let restored = chat.restore_conversation(user, *id).await?;
    let conversation = restored.ok_or_else(|| ApiError::not_found("conversation"))?;
    Ok(shown(&chat, user, conversation))
}

fn shown(chat: &Chat, user: UserId, conversation: Conversation) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::ETAG, etag(conversation.version)))
        .json(Shown {
            generation: chat.running_in(user, &conversation),
            conversation,
        })
}

/// The version that `If-Match` names; `*` and no header take any.
fn if_match(request: &HttpRequest) -> Result<Option<i64>, ApiError> {
    let Some(value) = request.headers().get(header::IF_MATCH) else {
        return Ok(None);
    };
    let tag = value.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(None);
    }
    let version = tag.trim_start_matches("W/").trim_matches('"').parse();
    version
        .map(Some)
        .map_err(|_| ApiError::malformed("If-Match: not an ETag that this server gave"))
}

pub(super) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// The whole answer, so that a repeated creation is answered the same whatever has become of the conversation.
fn receipt(new: &NewConversation) -> Receipt {
    let read: ConversationRead = ConversationRead {
        conversation: new.created(),
        messages: Vec::new(),
        generation: None,
        ends: None,
        open: Vec::new(),
    };
    Receipt {
        location: format!("/api/conversations/{}", new.id),
        body: serde_json::to_value(read).expect("a conversation is JSON"),
    }
}

/// An empty name is none.
pub(super) fn named(name: Option<String>) -> Option<String> {
    name.filter(|name| !name.trim().is_empty())
}
