//! The vocabulary: ids, users, conversations, messages, generations and how they end. No I/O; every other module speaks it.
//!
//! The structs that a client sees serialise to exactly the JSON of the HTTP contract.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt, str::FromStr};
use time::{Date, OffsetDateTime};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, ObjectBuilder, RefOr, Schema, Type},
};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, a UUIDv7: ids made later sort later.
            #[expect(clippy::new_without_default, reason = "a default id would be a lie")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

ids! {
    /// An account.
    UserId,
    /// An API key; never the key itself.
    KeyId,
    /// One login of a browser; never the cookie's value.
    LoginId,
    ConversationId,
    MessageId,
    /// One completion being read from the upstream. Never the conversation's id.
    GenerationId,
    /// One attached SSE client.
    EmitterId,
    /// A process; kept in the data directory.
    NodeId,
}

/// Now, in UTC, cut to the millisecond: the precision that every store keeps.
pub fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_millisecond(now.millisecond()).unwrap_or(now)
}

/// A time as clients see it: RFC 3339 in UTC, always with three digits of a second, so that times sort as text.
pub mod timestamp {
    use serde::{Serializer, ser::Error};
    use time::{OffsetDateTime, UtcOffset, macros::format_description};

    pub use time::serde::rfc3339::deserialize;

    pub fn serialize<S: Serializer>(
        time: &OffsetDateTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        );
        let text = time.to_offset(UtcOffset::UTC).format(format);
        serializer.serialize_str(&text.map_err(S::Error::custom)?)
    }

    pub fn or_null<S: Serializer>(
        time: &Option<OffsetDateTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$about])* #[serde(rename = $word)] $variant),* }

        impl $name {
            /// The word for it, on the wire and in the store.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                one_of([$($word),*]).into()
            }
        }

        impl ToSchema for $name {}

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word { $($word => Ok(Self::$variant),)* _ => Err(UnknownWord(word.to_owned())) }
            }
        }
    };
}

/// A word that a closed vocabulary does not have.
#[derive(Debug, thiserror::Error)]
#[error("unknown word {0:?}")]
pub struct UnknownWord(String);

words! {
    /// Who speaks in a message.
    Role { System = "system", User = "user", Assistant = "assistant" }
}

words! {
    /// How a generation ended.
    Outcome {
        /// The upstream said that it was done.
        Completed = "completed",
        /// Somebody asked for the end.
        Stopped = "stopped",
        /// The upstream, or we, could not go on; a problem says why.
        Failed = "failed",
        /// This process ended before the answer did.
        Interrupted = "interrupted",
        /// The upstream fell silent or closed without saying that it was done.
        Truncated = "truncated",
    }
}

/// `streaming` (of a message) or `running` (of a generation) until there is an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Running,
    Ended(Outcome),
}

impl Progress {
    /// The status word of a message.
    pub fn of_message(self) -> &'static str {
        match self {
            Self::Running => "streaming",
            Self::Ended(outcome) => outcome.as_str(),
        }
    }

    /// The status word of a generation.
    pub fn of_generation(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended(outcome) => outcome.as_str(),
        }
    }
}

impl FromStr for Progress {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "streaming" | "running" => Ok(Self::Running),
            outcome => outcome.parse().map(Self::Ended),
        }
    }
}

/// An account. `operator` may see and end everybody's connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub operator: bool,
    pub disabled: bool,
    pub limits: Limits,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
}

/// What a user or a key may use, where that is not as configured; 0: as much as they like. A key without a limit of its own has its user's
/// only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// From midnight to midnight, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// That run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generations: Option<u32>,
    /// That are attached at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emitters: Option<u32>,
}

/// An API key as its owner may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Key {
    pub id: KeyId,
    pub user_id: UserId,
    pub name: String,
    /// Its first characters, by which its owner knows it again; empty of one made before they were kept.
    pub prefix: String,
    pub limits: Limits,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    #[serde(serialize_with = "timestamp::or_null")]
    #[schema(required)]
    pub expires_at: Option<OffsetDateTime>,
    /// To the minute; a login by it counts as a use of its own.
    #[serde(serialize_with = "timestamp::or_null")]
    #[schema(required)]
    pub last_used_at: Option<OffsetDateTime>,
    #[serde(serialize_with = "timestamp::or_null")]
    #[schema(required)]
    pub revoked_at: Option<OffsetDateTime>,
}

/// A login as its owner may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Login {
    pub id: LoginId,
    pub user_id: UserId,
    /// The API key that logged in, if it was one.
    #[schema(required)]
    pub key_id: Option<KeyId>,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    /// To the minute.
    #[serde(with = "timestamp")]
    pub last_seen_at: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub expires_at: OffsetDateTime,
    /// Of the browser that logged in, and where it was.
    #[schema(required)]
    pub user_agent: Option<String>,
    #[schema(required)]
    pub address: Option<String>,
}

/// By what somebody proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Credential {
    Login(LoginId),
    Key(KeyId),
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Login(id) => write!(f, "login:{id}"),
            Self::Key(id) => write!(f, "key:{id}"),
        }
    }
}

/// A conversation without its messages.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Conversation {
    pub id: ConversationId,
    pub title: String,
    #[schema(required)]
    pub model: Option<String>,
    /// The system prompt.
    #[schema(required)]
    pub system: Option<String>,
    /// Of its answers, where a question does not say.
    pub sampling: Sampling,
    pub pinned: bool,
    pub archived: bool,
    /// Counts changes of the fields above only; the `ETag`.
    pub version: i64,
    /// The message that the next prompt continues.
    #[schema(required)]
    pub head_id: Option<MessageId>,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub updated_at: OffsetDateTime,
}

/// One turn of a conversation. Messages form a tree by `parent_id`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Message {
    pub id: MessageId,
    #[schema(required)]
    pub parent_id: Option<MessageId>,
    pub role: Role,
    pub content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub tool_calls: Option<Vec<Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(serialize_with = "message_status")]
    #[schema(schema_with = message_words)]
    pub status: Progress,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The latest generation that wrote this message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<GenerationId>,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
}

/// A generation as a client may read it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct GenerationRecord {
    pub id: GenerationId,
    /// Absent, as the message is, of an answer that no conversation keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    #[serde(serialize_with = "generation_status")]
    #[schema(schema_with = generation_words)]
    pub status: Progress,
    /// The position of its latest event.
    pub seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
}

/// How far behind the last stored position the end of an answer stands whose task died with its process. Positions that a reader saw
/// but the store lost fall into the hole between: they get `gap` and `snapshot` instead of silently wrong text.
pub const LOST_POSITIONS: u64 = 1_000_000;

/// Everything known when a generation ends: what the store keeps and what `done` tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    pub outcome: Outcome,
    /// The whole message, what a continued answer was before included.
    pub content: String,
    pub reasoning: Option<String>,
    pub tool_calls: Option<Vec<Map<String, Value>>>,
    pub model: Option<String>,
    pub finish_reason: Option<String>,
    pub usage: Option<Usage>,
    pub timings: Timings,
    pub problem: Option<Problem>,
    /// The position of the terminal event.
    pub last_seq: u64,
    /// Nothing was added to the answer that was to be carried on: its message stays as it was before, status included.
    #[serde(default)]
    pub leaves_message: bool,
}

/// Tokens, as the upstream counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// True when the upstream gave no figures and these are our guess.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

impl Usage {
    /// A guess: about four bytes are a token.
    pub fn estimated(prompt_bytes: u64, completion_bytes: u64) -> Self {
        Self {
            prompt_tokens: prompt_bytes.div_ceil(4),
            completion_tokens: completion_bytes.div_ceil(4),
            estimated: true,
        }
    }
}

/// What one generation cost its user, and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spending {
    pub generation: GenerationId,
    pub user: UserId,
    pub key: Option<KeyId>,
    /// In UTC.
    pub day: Date,
    pub usage: Usage,
}

impl Spending {
    /// The ids of its user and of its key.
    pub fn spenders(&self) -> impl Iterator<Item = Uuid> {
        let key = self.key.map(|key| key.0);
        [Some(self.user.0), key].into_iter().flatten()
    }

    pub fn tokens(&self) -> u64 {
        let Usage {
            prompt_tokens,
            completion_tokens,
            ..
        } = self.usage;
        prompt_tokens.saturating_add(completion_tokens)
    }
}

/// How long it took, in milliseconds since the generation started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timings {
    /// Until the first text, thinking text or tool call; absent when none came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// From the first thinking text to the first text or tool call behind it, or to the end; absent without thinking text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_ms: Option<u64>,
    pub total_ms: u64,
}

/// A fragment of a tool call: `index` says of which; `name` and `arguments` strings of one call are concatenated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToolCallFragment {
    pub index: usize,
    /// What the upstream sent besides the index: `id`, `type`, `function`, and fields that nobody knows.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub fields: Map<String, Value>,
}

/// How the answer is sampled; what is absent is the upstream's choice. Names and ranges as in OpenAI's reference.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sampling {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 16)]
    pub stop: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
}

impl Sampling {
    /// What is asked for, field by field, else what `fallback` says.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        Self {
            temperature: self.temperature.or(fallback.temperature),
            top_p: self.top_p.or(fallback.top_p),
            max_tokens: self.max_tokens.or(fallback.max_tokens),
            stop: self.stop.or(fallback.stop),
            seed: self.seed.or(fallback.seed),
            presence_penalty: self.presence_penalty.or(fallback.presence_penalty),
            frequency_penalty: self.frequency_penalty.or(fallback.frequency_penalty),
        }
    }
}

/// An RFC 9457 problem: the body of every error, and part of a `done` that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `/problems/<name>`; stable.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Cow<'static, str>,
    #[schema(value_type = String)]
    pub title: Cow<'static, str>,
    /// The HTTP status that says the same; in a `done`, the upstream's where it gave one.
    pub status: u16,
    /// What happened and what to do.
    pub detail: String,
    /// The id of the request it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Seconds after which it is worth trying again; also the `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The generation that stands in the way (409).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<GenerationId>,
}

impl Problem {
    /// `name` is the last part of the type, in kebab case.
    pub fn new(status: u16, name: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{name}").into(),
            title: title.into(),
            status,
            detail: detail.into(),
            instance: None,
            retry_after: None,
            generation_id: None,
        }
    }
}

/// The words that a status may be.
fn words_of(word: fn(Progress) -> &'static str) -> Object {
    use Outcome::{Completed, Failed, Interrupted, Stopped, Truncated};
    let ended = [Completed, Stopped, Failed, Interrupted, Truncated].map(Progress::Ended);
    let words = [Progress::Running].into_iter().chain(ended).map(word);
    one_of(words)
}

fn one_of(words: impl IntoIterator<Item = &'static str>) -> Object {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    schema.enum_values(Some(words)).build()
}

/// How a message may stand.
pub fn message_words() -> Object {
    words_of(Progress::of_message)
}

fn generation_words() -> Object {
    words_of(Progress::of_generation)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn message_status<S: serde::Serializer>(
    progress: &Progress,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(progress.of_message())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn generation_status<S: serde::Serializer>(
    progress: &Progress,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(progress.of_generation())
}

#[cfg(test)]
mod tests {
    use super::timestamp;
    use time::macros::datetime;

    #[test]
    fn times_sort_as_text() {
        let text = |time| {
            let mut text = Vec::new();
            timestamp::serialize(&time, &mut serde_json::Serializer::new(&mut text)).expect("JSON");
            String::from_utf8(text).expect("UTF-8")
        };
        assert_eq!(
            text(datetime!(2026-01-02 03:04:05 UTC)),
            "\"2026-01-02T03:04:05.000Z\""
        );
        assert_eq!(
            text(datetime!(2026-01-02 04:04:05.12 +1)),
            "\"2026-01-02T03:04:05.120Z\""
        );
    }
}
