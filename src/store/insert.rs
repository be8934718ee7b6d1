//! The rows that a turn adds.

use super::{
    NewConversation, NewTurn, StoreError,
    rows::{ConversationRow, conversation_columns},
    search,
    sql::{Time, Tx, execute, json, on},
};
use crate::model::{Progress, Role, UserId};
use uuid::Uuid;

/// Without messages.
pub(super) async fn conversation(
    tx: &mut Tx,
    owner: UserId,
    new: &NewConversation,
) -> Result<ConversationRow, StoreError> {
    const SQL: &str = concat!(
        "INSERT INTO conversations (id, owner_id, title, folded, model, system, sampling, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) RETURNING ",
        conversation_columns!()
    );
    let sampling = json(&new.sampling)?;
    on!(tx.on(), c => sqlx::query_as::<_, ConversationRow>(SQL)
        .bind(new.id.0)
        .bind(owner.0)
        .bind(&new.title)
        .bind(search::folded(&new.title))
        .bind(new.model.as_deref())
        .bind(new.system.as_deref())
        .bind(&sampling)
        .bind(Time(new.created_at))
        .fetch_one(c))
}

pub(super) struct NewMessage<'a> {
    pub id: Uuid,
    pub parent: Option<Uuid>,
    pub role: Role,
    pub content: &'a str,
    pub model: Option<&'a str>,
    pub status: Progress,
    pub generation: Option<Uuid>,
    pub at: Time,
}

/// The last of its conversation.
pub(super) async fn message(
    tx: &mut Tx,
    conversation: &ConversationRow,
    new: NewMessage<'_>,
) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO messages
            (id, conversation_id, position, parent_id, role, content, folded, model, status, generation_id, created_at)
        VALUES ($1, $2, (SELECT COALESCE(MAX(position), 0) + 1 FROM messages WHERE conversation_id = $2),
            $3, $4, $5, $6, $7, $8, $9, $10)";
    execute!(
        tx.on(),
        sqlx::query(SQL)
            .bind(new.id)
            .bind(conversation.id().0)
            .bind(new.parent)
            .bind(new.role.as_str())
            .bind(new.content)
            .bind(search::folded(new.content))
            .bind(new.model)
            .bind(new.status.of_message())
            .bind(new.generation)
            .bind(new.at)
    )
    .map(|_| ())
}

/// What the message of a generation has before it.
#[derive(Default)]
pub(super) struct Before {
    /// In characters (Unicode code points).
    pub base: i64,
    /// The latest that wrote it.
    pub generation: Option<Uuid>,
}

/// Under the node's present lease only: nobody would renew another, so that the generation would be left over from its beginning.
pub(super) async fn generation(
    tx: &mut Tx,
    owner: UserId,
    conversation: &ConversationRow,
    new: &NewTurn,
    model: Option<&str>,
    before: Before,
    at: Time,
) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO generations
            (id, owner_id, conversation_id, message_id, node_id, epoch, status, base, continues, model, events_kept, created_at)
        SELECT $1, $2, $3, $4, n.id, n.epoch, $5, $6, $7, $8, true, $9 FROM nodes n WHERE n.id = $10 AND n.epoch = $11";
    let inserted = execute!(
        tx.on(),
        sqlx::query(SQL)
            .bind(new.generation_id.0)
            .bind(owner.0)
            .bind(conversation.id().0)
            .bind(new.message_id.0)
            .bind(Progress::Running.of_generation())
            .bind(before.base)
            .bind(before.generation)
            .bind(model)
            .bind(at)
            .bind(new.lease.node.0)
            .bind(new.lease.epoch)
    )?;
    if inserted == 0 {
        return Err(StoreError::Unavailable(
            "the lease of this node was taken away".into(),
        ));
    }
    Ok(())
}
