//! Rows as they are read, and what they are in the program's words.

use super::{
    StoreError,
    sql::{Time, failed},
};
use crate::model::{
    Conversation, ConversationId, GenerationId, GenerationRecord, Key, KeyId, Limits, Login,
    LoginId, Message, MessageId, Problem, Sampling, Timings, Usage, User, UserId,
};
use serde_json::{Map, Value};
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

#[derive(FromRow)]
pub(super) struct UserRow {
    id: Uuid,
    name: String,
    operator: bool,
    disabled: bool,
    limits: Json<Limits>,
    created_at: Time,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: UserId(row.id),
            name: row.name,
            operator: row.operator,
            disabled: row.disabled,
            limits: row.limits.0,
            created_at: row.created_at.0,
        }
    }
}

#[derive(FromRow)]
pub(super) struct KeyRow {
    id: Uuid,
    user_id: Uuid,
    name: String,
    prefix: String,
    limits: Json<Limits>,
    created_at: Time,
    expires_at: Option<Time>,
    last_used_at: Option<Time>,
    revoked_at: Option<Time>,
}

impl From<KeyRow> for Key {
    fn from(row: KeyRow) -> Self {
        Self {
            id: KeyId(row.id),
            user_id: UserId(row.user_id),
            name: row.name,
            prefix: row.prefix,
            limits: row.limits.0,
            created_at: row.created_at.0,
            expires_at: row.expires_at.map(|time| time.0),
            last_used_at: row.last_used_at.map(|time| time.0),
            revoked_at: row.revoked_at.map(|time| time.0),
        }
    }
}

#[derive(FromRow)]
pub(super) struct LoginRow {
    id: Uuid,
    user_id: Uuid,
    key_id: Option<Uuid>,
    created_at: Time,
    last_seen_at: Time,
    expires_at: Time,
    user_agent: Option<String>,
    address: Option<String>,
}

impl From<LoginRow> for Login {
    fn from(row: LoginRow) -> Self {
        Self {
            id: LoginId(row.id),
            user_id: UserId(row.user_id),
            key_id: row.key_id.map(KeyId),
            created_at: row.created_at.0,
            last_seen_at: row.last_seen_at.0,
            expires_at: row.expires_at.0,
            user_agent: row.user_agent,
            address: row.address,
        }
    }
}

/// The columns of a [`UserRow`], of the table itself or of one joined as `u`.
macro_rules! user_columns {
    () => {
        "id, name, operator, disabled, limits, created_at"
    };
    (u) => {
        "u.id, u.name, u.operator, u.disabled, u.limits, u.created_at"
    };
}
/// The columns of a [`KeyRow`].
macro_rules! key_columns {
    () => {
        "id, user_id, name, prefix, limits, created_at, expires_at, last_used_at, revoked_at"
    };
}
/// The columns of a [`LoginRow`].
macro_rules! login_columns {
    () => {
        "id, user_id, key_id, created_at, last_seen_at, expires_at, user_agent, address"
    };
}
/// The columns of a [`ConversationRow`].
macro_rules! conversation_columns {
    () => {
        "id, title, title_by, model, system, sampling, pinned, archived, version, head_id, created_at, updated_at"
    };
}
/// The columns of a [`MessageRow`], of a table called `m`.
macro_rules! message_columns {
    () => {
        "m.id, m.parent_id, m.role, m.content, m.reasoning, m.tool_calls, m.model, m.status, m.finish_reason, m.usage, \
         m.timings, m.problem, m.generation_id, m.created_at"
    };
}
pub(super) use {conversation_columns, key_columns, login_columns, message_columns, user_columns};

#[derive(FromRow)]
pub(super) struct ConversationRow {
    id: Uuid,
    pub title: String,
    pub title_by: String,
    pub model: Option<String>,
    pub system: Option<String>,
    pub sampling: Json<Sampling>,
    pinned: bool,
    archived: bool,
    version: i64,
    pub head_id: Option<Uuid>,
    created_at: Time,
    updated_at: Time,
}

/// That a title is the beginning of the first question.
pub(super) const LINE: &str = "line";

/// A conversation of this owner.
pub(super) const READ: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations WHERE owner_id = $1 AND id = $2 AND deleted_at IS NULL"
);

impl ConversationRow {
    pub fn id(&self) -> ConversationId {
        ConversationId(self.id)
    }
}

impl From<ConversationRow> for Conversation {
    fn from(row: ConversationRow) -> Self {
        Self {
            id: ConversationId(row.id),
            title: row.title,
            model: row.model,
            system: row.system,
            sampling: row.sampling.0,
            pinned: row.pinned,
            archived: row.archived,
            version: row.version,
            head_id: row.head_id.map(MessageId),
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}

/// A conversation of a list, with the text in which a search found something.
#[derive(FromRow)]
pub(super) struct ListedRow {
    #[sqlx(flatten)]
    pub conversation: ConversationRow,
    pub hit: Option<String>,
}

#[derive(FromRow)]
pub(super) struct MessageRow {
    id: Uuid,
    parent_id: Option<Uuid>,
    role: String,
    content: String,
    reasoning: Option<String>,
    tool_calls: Option<Json<Vec<Map<String, Value>>>>,
    model: Option<String>,
    status: String,
    finish_reason: Option<String>,
    usage: Option<Json<Usage>>,
    timings: Option<Json<Timings>>,
    problem: Option<Json<Problem>>,
    generation_id: Option<Uuid>,
    created_at: Time,
}

impl TryFrom<MessageRow> for Message {
    type Error = StoreError;

    fn try_from(row: MessageRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: MessageId(row.id),
            parent_id: row.parent_id.map(MessageId),
            role: row.role.parse().map_err(failed)?,
            content: row.content,
            reasoning: row.reasoning,
            tool_calls: row.tool_calls.map(|json| json.0),
            model: row.model,
            status: row.status.parse().map_err(failed)?,
            finish_reason: row.finish_reason,
            usage: row.usage.map(|json| json.0),
            timings: row.timings.map(|json| json.0),
            problem: row.problem.map(|json| json.0),
            generation_id: row.generation_id.map(GenerationId),
            created_at: row.created_at.0,
        })
    }
}

/// A generation and its message, read in one statement so that they agree; what both have is called `g_` in the generation.
#[derive(FromRow)]
pub(super) struct GenerationRow {
    g_id: Uuid,
    conversation_id: Uuid,
    message_id: Uuid,
    g_status: String,
    last_seq: i64,
    g_model: Option<String>,
    g_finish_reason: Option<String>,
    g_usage: Option<Json<Usage>>,
    g_timings: Option<Json<Timings>>,
    g_problem: Option<Json<Problem>>,
    g_created_at: Time,
    #[sqlx(flatten)]
    message: MessageRow,
}

impl TryFrom<GenerationRow> for super::StoredGeneration {
    type Error = StoreError;

    fn try_from(row: GenerationRow) -> Result<Self, StoreError> {
        let record = GenerationRecord {
            id: GenerationId(row.g_id),
            conversation_id: Some(ConversationId(row.conversation_id)),
            message_id: Some(MessageId(row.message_id)),
            status: row.g_status.parse().map_err(failed)?,
            seq: u64::try_from(row.last_seq).map_err(failed)?,
            model: row.g_model,
            finish_reason: row.g_finish_reason,
            usage: row.g_usage.map(|json| json.0),
            timings: row.g_timings.map(|json| json.0),
            problem: row.g_problem.map(|json| json.0),
            created_at: row.g_created_at.0,
        };
        Ok(Self {
            record,
            message: row.message.try_into()?,
        })
    }
}
