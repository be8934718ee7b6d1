//! Turns: a prompt and its answer begin together and an answer ends once, each in one transaction.

use super::{
    Effect, NewTurn, Once, Parent, PathMessage, Receipt, StoreError, StoredGeneration, Turn,
    TurnOf, TurnRefused, Turns,
    rows::{ConversationRow, GenerationRow, conversation_columns, message_columns},
    search,
    sql::{Sql, Time, Tx, execute, failed, json, on},
};
use crate::{
    model::{
        Ending, GenerationId, MessageId, NodeId, Outcome, Problem, Progress, Role, UserId, now,
    },
    text::without_nul,
};
use async_trait::async_trait;
use sqlx::{FromRow, types::Json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// How long a receipt counts.
const RECEIPT_LIFETIME: Duration = Duration::hours(24);
/// How long a title taken from a prompt may be.
const TITLE_CHARS: usize = 80;

#[async_trait]
impl Turns for Sql {
    async fn begin_turn(
        &self,
        owner: UserId,
        new: &NewTurn,
        once: Option<(&Once, &Receipt)>,
    ) -> Result<Result<Effect<Turn>, TurnRefused>, StoreError> {
        let mut tx = self.begin().await?;
        if let Some(before) = claim(&mut tx, owner, once).await? {
            tx.rollback().await?;
            return Ok(Ok(before));
        }
        match store_turn(&mut tx, owner, new).await? {
            Ok(turn) => {
                tx.commit().await?;
                Ok(Ok(Effect::Done(turn)))
            }
            Err(refused) => {
                tx.rollback().await?;
                Ok(Err(refused))
            }
        }
    }

    async fn receipt(&self, owner: UserId, once: &Once) -> Result<Option<Effect<()>>, StoreError> {
        let kept = on!(&self.read, c => sqlx::query_as::<_, ReceiptRow>(RECEIPT)
            .bind(owner.0).bind(&once.key).bind(Time(now() - RECEIPT_LIFETIME)).fetch_optional(c))?;
        Ok(kept.map(|kept| kept.effect(once)))
    }

    async fn end_generation(&self, id: GenerationId, ending: &Ending) -> Result<bool, StoreError> {
        const GENERATION: &str = "UPDATE generations SET status = $2, last_seq = $3,
                model = COALESCE($4, model), finish_reason = $5, usage = $6, timings = $7, problem = $8
            WHERE id = $1 AND status = 'running' RETURNING conversation_id";
        const MESSAGE: &str = "UPDATE messages SET status = $2, content = $3, folded = $4, reasoning = $5, tool_calls = $6,
                model = COALESCE($7, model), finish_reason = $8, usage = $9, timings = $10, problem = $11
            WHERE id = (SELECT message_id FROM generations WHERE id = $1)";
        let status = ending.outcome.as_str();
        let last_seq = i64::try_from(ending.last_seq).map_err(failed)?;
        let content = without_nul(ending.content.clone());
        let model = ending.model.clone().map(without_nul);
        let finish_reason = ending.finish_reason.clone().map(without_nul);
        let usage = ending.usage.as_ref().map(json).transpose()?;
        let timings = json(&ending.timings)?;
        let problem = ending.problem.as_ref().map(json).transpose()?;
        let tool_calls = ending.tool_calls.as_ref().map(json).transpose()?;

        let mut tx = self.begin().await?;
        let conversation = on!(tx.on(), c => sqlx::query_scalar::<_, Uuid>(GENERATION)
            .bind(id.0)
            .bind(status)
            .bind(last_seq)
            .bind(&model)
            .bind(&finish_reason)
            .bind(&usage)
            .bind(&timings)
            .bind(&problem)
            .fetch_optional(c))?;
        let Some(conversation) = conversation else {
            tx.rollback().await?;
            return Ok(false);
        };
        execute!(
            tx.on(),
            sqlx::query(MESSAGE)
                .bind(id.0)
                .bind(status)
                .bind(&content)
                .bind(search::folded(&content))
                .bind(ending.reasoning.clone().map(without_nul))
                .bind(&tool_calls)
                .bind(&model)
                .bind(&finish_reason)
                .bind(&usage)
                .bind(&timings)
                .bind(&problem)
        )?;
        touch(&mut tx, conversation).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn generation(
        &self,
        owner: UserId,
        id: GenerationId,
    ) -> Result<Option<StoredGeneration>, StoreError> {
        const SQL: &str = concat!(
            "SELECT g.id AS g_id, g.conversation_id, g.message_id, g.status AS g_status, g.last_seq, g.model AS g_model,
                g.finish_reason AS g_finish_reason, g.usage AS g_usage, g.timings AS g_timings, g.problem AS g_problem,
                g.created_at AS g_created_at, ",
            message_columns!(),
            " FROM generations g JOIN messages m ON m.id = g.message_id WHERE g.owner_id = $1 AND g.id = $2"
        );
        on!(&self.read, c => sqlx::query_as::<_, GenerationRow>(SQL)
            .bind(owner.0).bind(id.0).fetch_optional(c))?
        .map(TryInto::try_into)
        .transpose()
    }

    async fn interrupt_left_over(
        &self,
        node: NodeId,
        problem: &Problem,
    ) -> Result<Vec<GenerationId>, StoreError> {
        const GENERATIONS: &str =
            "UPDATE generations SET status = $2, last_seq = last_seq + 1, problem = $3
            WHERE node_id = $1 AND status = 'running' RETURNING id, message_id, conversation_id";
        const MESSAGE: &str = "UPDATE messages SET status = $2, problem = $3 WHERE id = $1";
        let status = Outcome::Interrupted.as_str();
        let problem = json(problem)?;
        let mut tx = self.begin().await?;
        let ended = on!(tx.on(), c => sqlx::query_as::<_, (Uuid, Uuid, Uuid)>(GENERATIONS)
            .bind(node.0).bind(status).bind(&problem).fetch_all(c))?;
        for (_, message, conversation) in &ended {
            execute!(
                tx.on(),
                sqlx::query(MESSAGE)
                    .bind(message)
                    .bind(status)
                    .bind(&problem)
            )?;
            touch(&mut tx, *conversation).await?;
        }
        tx.commit().await?;
        Ok(ended.into_iter().map(|(id, ..)| GenerationId(id)).collect())
    }

    async fn forget_receipts(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM idempotency_keys WHERE created_at < $1";
        execute!(&self.write, sqlx::query(SQL).bind(Time(before)))
    }

    async fn check(&self) -> Result<(), StoreError> {
        // A table, because SQLite would answer a bare SELECT 1 without its file.
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM users)";
        on!(&self.read, c => sqlx::query_scalar::<_, bool>(SQL).fetch_one(c)).map(|_| ())
    }
}

const RECEIPT: &str = "SELECT fingerprint, receipt FROM idempotency_keys
    WHERE owner_id = $1 AND key = $2 AND created_at >= $3";

#[derive(FromRow)]
struct ReceiptRow {
    fingerprint: Vec<u8>,
    receipt: Json<Receipt>,
}

impl ReceiptRow {
    fn effect<T>(self, once: &Once) -> Effect<T> {
        if self.fingerprint == once.fingerprint {
            Effect::Before(self.receipt.0)
        } else {
            Effect::KeyReused
        }
    }
}

/// Keeps the receipt for an effect that is about to happen in `tx`, unless the key was used before. A concurrent twin waits here
/// until this transaction ends: the key is the first thing that every effect writes.
pub(super) async fn claim<T>(
    tx: &mut Tx,
    owner: UserId,
    once: Option<(&Once, &Receipt)>,
) -> Result<Option<Effect<T>>, StoreError> {
    const CLAIM: &str = "INSERT INTO idempotency_keys (owner_id, key, fingerprint, receipt, created_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (owner_id, key) DO UPDATE SET
            fingerprint = excluded.fingerprint, receipt = excluded.receipt, created_at = excluded.created_at
        WHERE idempotency_keys.created_at < $6";
    let Some((once, receipt)) = once else {
        return Ok(None);
    };
    let receipt = json(receipt)?;
    let at = now();
    let valid_from = Time(at - RECEIPT_LIFETIME);
    let claimed = execute!(
        tx.on(),
        sqlx::query(CLAIM)
            .bind(owner.0)
            .bind(&once.key)
            .bind(&once.fingerprint[..])
            .bind(&receipt)
            .bind(Time(at))
            .bind(valid_from)
    )?;
    if claimed > 0 {
        return Ok(None);
    }
    // The conflict locked the row, so it is still there.
    let kept = on!(tx.on(), c => sqlx::query_as::<_, ReceiptRow>(RECEIPT)
        .bind(owner.0).bind(&once.key).bind(valid_from).fetch_one(c))?;
    Ok(Some(kept.effect(once)))
}

/// What a new turn needs to know of the message it stands below, or whose question it answers again.
#[derive(FromRow)]
struct AnswerRow {
    role: String,
    status: String,
    parent_id: Option<Uuid>,
    generation_id: Option<Uuid>,
}

async fn store_turn(
    tx: &mut Tx,
    owner: UserId,
    new: &NewTurn,
) -> Result<Result<Turn, TurnRefused>, StoreError> {
    let at = Time(now());
    let Some(conversation) = lock_conversation(tx, owner, &new.of, at).await? else {
        return Ok(Err(TurnRefused::NotFound));
    };
    let answer = match &new.of {
        TurnOf::Regenerate { message_id } => Some(message_id.0),
        TurnOf::Prompt { parent, .. } => match parent {
            Parent::Head => conversation.head_id,
            Parent::Message(id) => Some(id.0),
            Parent::Root => None,
        },
    };
    let answer_of = match answer {
        None => None,
        Some(id) => match finished_answer(tx, &conversation, id).await? {
            Ok(parent_id) => parent_id,
            Err(refused) => return Ok(Err(refused)),
        },
    };

    let mut title = conversation.title.clone();
    let question = match &new.of {
        // An answer below nothing has no question.
        TurnOf::Regenerate { .. } => match answer_of {
            Some(id) => id,
            None => return Ok(Err(TurnRefused::NotAnAnswer)),
        },
        TurnOf::Prompt {
            user_message_id,
            content,
            ..
        } => {
            if title.is_empty() {
                title = first_line(content);
            }
            insert_message(
                tx,
                &conversation,
                NewMessage {
                    id: user_message_id.0,
                    parent: answer,
                    role: Role::User,
                    content,
                    model: None,
                    status: Progress::Ended(Outcome::Completed),
                    generation: None,
                    at,
                },
            )
            .await?;
            user_message_id.0
        }
    };
    let model = new.model.clone().or_else(|| conversation.model.clone());
    insert_message(
        tx,
        &conversation,
        NewMessage {
            id: new.message_id.0,
            parent: Some(question),
            role: Role::Assistant,
            content: "",
            model: model.as_deref(),
            status: Progress::Running,
            generation: Some(new.generation_id.0),
            at,
        },
    )
    .await?;
    insert_generation(tx, owner, &conversation, new, model.as_deref(), at).await?;
    set_head(tx, &conversation, new.message_id, &title).await?;
    Ok(Ok(Turn {
        conversation_id: conversation.id(),
        parent_id: MessageId(question),
        path: path(tx, question).await?,
        model,
        system: conversation.system,
    }))
}

/// The conversation, held until the transaction ends: turns of one conversation begin one after the other. By an UPDATE, because
/// SQLite knows no FOR UPDATE.
async fn lock_conversation(
    tx: &mut Tx,
    owner: UserId,
    of: &TurnOf,
    at: Time,
) -> Result<Option<ConversationRow>, StoreError> {
    const BY_ID: &str = concat!(
        "UPDATE conversations SET updated_at = $3 WHERE owner_id = $1 AND id = $2 RETURNING ",
        conversation_columns!()
    );
    const BY_MESSAGE: &str = concat!(
        "UPDATE conversations SET updated_at = $3
         WHERE owner_id = $1 AND id = (SELECT conversation_id FROM messages WHERE id = $2) RETURNING ",
        conversation_columns!()
    );
    let (sql, id) = match of {
        TurnOf::Prompt {
            conversation_id, ..
        } => (BY_ID, conversation_id.0),
        TurnOf::Regenerate { message_id } => (BY_MESSAGE, message_id.0),
    };
    on!(tx.on(), c => sqlx::query_as::<_, ConversationRow>(sql)
        .bind(owner.0).bind(id).bind(at).fetch_optional(c))
}

/// What stands above a message that must be a finished answer of this conversation.
async fn finished_answer(
    tx: &mut Tx,
    conversation: &ConversationRow,
    id: Uuid,
) -> Result<Result<Option<Uuid>, TurnRefused>, StoreError> {
    const SQL: &str = "SELECT role, status, parent_id, generation_id FROM messages
        WHERE id = $1 AND conversation_id = $2";
    let row = on!(tx.on(), c => sqlx::query_as::<_, AnswerRow>(SQL)
        .bind(id).bind(conversation.id().0).fetch_optional(c))?;
    let Some(row) = row else {
        return Ok(Err(TurnRefused::UnknownParent));
    };
    let role: Role = row.role.parse().map_err(failed)?;
    if role != Role::Assistant {
        return Ok(Err(TurnRefused::NotAnAnswer));
    }
    let status: Progress = row.status.parse().map_err(failed)?;
    match (status, row.generation_id) {
        (Progress::Running, Some(id)) => Ok(Err(TurnRefused::Streaming(GenerationId(id)))),
        _ => Ok(Ok(row.parent_id)),
    }
}

struct NewMessage<'a> {
    id: Uuid,
    parent: Option<Uuid>,
    role: Role,
    content: &'a str,
    model: Option<&'a str>,
    status: Progress,
    generation: Option<Uuid>,
    at: Time,
}

async fn insert_message(
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

async fn insert_generation(
    tx: &mut Tx,
    owner: UserId,
    conversation: &ConversationRow,
    new: &NewTurn,
    model: Option<&str>,
    at: Time,
) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO generations (id, owner_id, conversation_id, message_id, node_id, status, model, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    execute!(
        tx.on(),
        sqlx::query(SQL)
            .bind(new.generation_id.0)
            .bind(owner.0)
            .bind(conversation.id().0)
            .bind(new.message_id.0)
            .bind(new.node.0)
            .bind(Progress::Running.of_generation())
            .bind(model)
            .bind(at)
    )
    .map(|_| ())
}

async fn set_head(
    tx: &mut Tx,
    conversation: &ConversationRow,
    head: MessageId,
    title: &str,
) -> Result<(), StoreError> {
    const SQL: &str =
        "UPDATE conversations SET head_id = $2, title = $3, folded = $4 WHERE id = $1";
    execute!(
        tx.on(),
        sqlx::query(SQL)
            .bind(conversation.id().0)
            .bind(head.0)
            .bind(title)
            .bind(search::folded(title))
    )
    .map(|_| ())
}

async fn touch(tx: &mut Tx, conversation: Uuid) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE conversations SET updated_at = $2 WHERE id = $1";
    let at = Time(now());
    execute!(tx.on(), sqlx::query(SQL).bind(conversation).bind(at)).map(|_| ())
}

/// From the root to `leaf`, without the answers that never got a word.
async fn path(tx: &mut Tx, leaf: Uuid) -> Result<Vec<PathMessage>, StoreError> {
    const SQL: &str = "WITH RECURSIVE path (id, parent_id, depth) AS (
            SELECT id, parent_id, 0 FROM messages WHERE id = $1
            UNION ALL
            SELECT m.id, m.parent_id, path.depth + 1 FROM path JOIN messages m ON m.id = path.parent_id
        )
        SELECT m.role, m.content FROM path JOIN messages m ON m.id = path.id
        WHERE m.role <> 'assistant' OR m.content <> '' ORDER BY path.depth DESC";
    let rows =
        on!(tx.on(), c => sqlx::query_as::<_, (String, String)>(SQL).bind(leaf).fetch_all(c))?;
    rows.into_iter()
        .map(|(role, content)| {
            let role = role.parse().map_err(failed)?;
            Ok(PathMessage { role, content })
        })
        .collect()
}

/// A title for a conversation that has none: the first line with text in it.
fn first_line(prompt: &str) -> String {
    let line = prompt.trim().lines().next().unwrap_or_default().trim_end();
    if line.chars().count() <= TITLE_CHARS {
        return line.to_owned();
    }
    let mut title: String = line.chars().take(TITLE_CHARS - 1).collect();
    title.truncate(title.trim_end().len());
    title.push('…');
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_first_line_cut_between_characters() {
        assert_eq!(first_line(" \n Hello 🙂 \r\nworld"), "Hello 🙂");
        assert_eq!(first_line(" \n"), "");
        let exact = "é".repeat(80);
        assert_eq!(first_line(&exact), exact);
        assert_eq!(first_line(&"é".repeat(81)), format!("{}…", "é".repeat(79)));
    }
}
