//! Deleting with a way back: a conversation is hidden first, and its rows go later, a few at a time.

use super::{
    Deleted, StoreError,
    rows::{ConversationRow, conversation_columns},
    sql::{Sql, by_its_clock, execute, milliseconds, on},
};
use crate::model::{Conversation, ConversationId, GenerationId, UserId};
use sqlx::AssertSqlSafe;
use std::time::Duration;
use uuid::Uuid;

/// How many conversations, or messages of one, are purged in one transaction: who records meanwhile waits for it on SQLite.
const AT_ONCE: i64 = 100;

/// Hides it, unless a generation is running.
pub(super) async fn hide(
    sql: &Sql,
    owner: UserId,
    id: ConversationId,
) -> Result<Deleted, StoreError> {
    // Hides, and holds the row, so that no turn begins in between (SQLite knows no FOR UPDATE).
    const HIDE: &str = "UPDATE conversations SET deleted_at = {now}
        WHERE owner_id = $1 AND id = $2 AND deleted_at IS NULL";
    const RUNNING: &str = "SELECT id FROM generations
        WHERE conversation_id = $1 AND status = 'running' ORDER BY id";
    let hide = AssertSqlSafe(by_its_clock(&sql.write, HIDE));
    let mut tx = sql.begin().await?;
    if execute!(tx.on(), sqlx::query(hide).bind(owner.0).bind(id.0))? == 0 {
        tx.rollback().await?;
        return Ok(Deleted::NotFound);
    }
    let running =
        on!(tx.on(), c => sqlx::query_scalar::<_, Uuid>(RUNNING).bind(id.0).fetch_all(c))?;
    if !running.is_empty() {
        tx.rollback().await?;
        let running = running.into_iter().map(GenerationId).collect();
        return Ok(Deleted::Running(running));
    }
    tx.commit().await?;
    Ok(Deleted::Done)
}

/// Shows it again.
pub(super) async fn restore(
    sql: &Sql,
    owner: UserId,
    id: ConversationId,
) -> Result<Option<Conversation>, StoreError> {
    const SQL: &str = concat!(
        "UPDATE conversations SET deleted_at = NULL WHERE owner_id = $1 AND id = $2 AND NOT purged RETURNING ",
        conversation_columns!()
    );
    let row = on!(&sql.write, c => sqlx::query_as::<_, ConversationRow>(SQL)
        .bind(owner.0).bind(id.0).fetch_optional(c))?;
    Ok(row.map(Into::into))
}

/// Purges what has been hidden for so long, and what an earlier purge left half done.
pub(super) async fn purge(sql: &Sql, hidden_for: Duration) -> Result<u64, StoreError> {
    const DUE: &str = "SELECT id FROM conversations
        WHERE deleted_at IS NOT NULL AND (purged OR deleted_at <= {now} - $1 * {millisecond})
        ORDER BY deleted_at LIMIT $2";
    let due = by_its_clock(&sql.write, DUE);
    let hidden_for = milliseconds(hidden_for)?;
    let mut purged = 0;
    loop {
        let ids = on!(&sql.write, c => sqlx::query_scalar::<_, Uuid>(AssertSqlSafe(&*due))
            .bind(hidden_for).bind(AT_ONCE).fetch_all(c))?;
        if ids.is_empty() {
            return Ok(purged);
        }
        for id in ids {
            purged += u64::from(purge_one(sql, id, hidden_for).await?);
        }
    }
}

/// Its messages from the last on, because each stands below an earlier one; then itself. What belongs to them goes with them. False
/// when it was restored, or another process purged it.
async fn purge_one(sql: &Sql, id: Uuid, hidden_for: i64) -> Result<bool, StoreError> {
    // Decides between this and whoever restores it, and holds the row, as everybody does who writes in a conversation: of two that
    // purge it one waits, and nobody waits in a circle.
    const CLAIM: &str = "UPDATE conversations SET purged = true
        WHERE id = $1 AND (purged OR deleted_at <= {now} - $2 * {millisecond})";
    const MESSAGES: &str = "DELETE FROM messages WHERE conversation_id = $1 AND position > COALESCE(
        (SELECT position FROM messages WHERE conversation_id = $1 ORDER BY position DESC LIMIT 1 OFFSET $2), 0)";
    const CONVERSATION: &str = "DELETE FROM conversations WHERE id = $1";
    let claim = by_its_clock(&sql.write, CLAIM);
    loop {
        let mut tx = sql.begin().await?;
        let claimed = execute!(
            tx.on(),
            sqlx::query(AssertSqlSafe(&*claim))
                .bind(id)
                .bind(hidden_for)
        )?;
        if claimed == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        let messages = execute!(tx.on(), sqlx::query(MESSAGES).bind(id).bind(AT_ONCE))?;
        let is_empty = messages < AT_ONCE.unsigned_abs();
        if is_empty {
            execute!(tx.on(), sqlx::query(CONVERSATION).bind(id))?;
        }
        tx.commit().await?;
        if is_empty {
            return Ok(true);
        }
    }
}
