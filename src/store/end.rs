//! How a generation ends: its row, its message and its last events, in one transaction.

use super::{
    StoreError,
    append::append_tail,
    search,
    sql::{Sql, Time, Tx, execute, failed, json, on},
};
use crate::{
    event::EventSegment,
    model::{Ending, GenerationId, NodeId, now},
    text::without_nul,
};
use sqlx::FromRow;
use uuid::Uuid;

/// Whose word the end is.
pub(super) enum Ends<'a> {
    /// Of who ran it, with the events that were not recorded before.
    Itself { tail: &'a [EventSegment] },
    /// Of a node that found it left over.
    Recovered { by: NodeId },
}

/// Stores the end. False when this is not the time or the node to say it: nothing was written.
pub(super) async fn store_end(
    sql: &Sql,
    id: GenerationId,
    ending: &Ending,
    ends: Ends<'_>,
) -> Result<bool, StoreError> {
    let by = match &ends {
        Ends::Itself { .. } => None,
        Ends::Recovered { by } => Some(*by),
    };
    let mut tx = sql.begin().await?;
    hold_conversation(&mut tx, id).await?;
    let Some(ended) = end_generation(&mut tx, id, ending, by).await? else {
        tx.rollback().await?;
        return Ok(false);
    };
    if !(ending.leaves_message && give_back_message(&mut tx, &ended).await?) {
        write_message(&mut tx, id, &ended, ending).await?;
    }
    match ends {
        // Events that came after the others were forgotten would stay for ever.
        Ends::Itself { tail } if ended.events_kept => append_tail(&mut tx, id, tail).await?,
        _ => {}
    }
    tx.commit().await?;
    Ok(true)
}

/// Touches the conversation first, as every turn does: so no answer is carried on while its end is being written, and nobody waits
/// for each other in a circle.
async fn hold_conversation(tx: &mut Tx, id: GenerationId) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE conversations SET updated_at = $2
        WHERE id = (SELECT conversation_id FROM generations WHERE id = $1)";
    let at = Time(now());
    execute!(tx.on(), sqlx::query(SQL).bind(id.0).bind(at)).map(|_| ())
}

#[derive(FromRow)]
struct Ended {
    message_id: Uuid,
    continues: Option<Uuid>,
    events_kept: bool,
}

async fn end_generation(
    tx: &mut Tx,
    id: GenerationId,
    ending: &Ending,
    by: Option<NodeId>,
) -> Result<Option<Ended>, StoreError> {
    // A recovered one may say itself how it ended as long as its message holds its text, or what was there before it.
    const SQL: &str = "UPDATE generations SET status = $2, last_seq = $3, model = COALESCE($4, model), finish_reason = $5,
            usage = $6, timings = $7, problem = $8, ended_at = $9, recovered = $10
        WHERE id = $1 AND CASE
            WHEN $10 THEN status = 'running' AND
                (node_id = $11 OR epoch < (SELECT n.epoch FROM nodes n WHERE n.id = generations.node_id))
            ELSE status = 'running' OR (recovered AND
                (SELECT m.generation_id FROM messages m WHERE m.id = generations.message_id)
                    IN (generations.id, generations.continues))
            END
        RETURNING message_id, continues, events_kept";
    let last_seq = i64::try_from(ending.last_seq).map_err(failed)?;
    let usage = ending.usage.as_ref().map(json).transpose()?;
    let timings = json(&ending.timings)?;
    let problem = ending.problem.as_ref().map(json).transpose()?;
    on!(tx.on(), c => sqlx::query_as::<_, Ended>(SQL)
        .bind(id.0)
        .bind(ending.outcome.as_str())
        .bind(last_seq)
        .bind(ending.model.clone().map(without_nul))
        .bind(ending.finish_reason.clone().map(without_nul))
        .bind(&usage)
        .bind(&timings)
        .bind(&problem)
        .bind(Time(now()))
        .bind(by.is_some())
        .bind(by.map(|node| node.0))
        .fetch_optional(c))
}

async fn write_message(
    tx: &mut Tx,
    id: GenerationId,
    ended: &Ended,
    ending: &Ending,
) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE messages SET status = $2, content = $3, folded = $4, reasoning = $5, tool_calls = $6,
            model = COALESCE($7, model), finish_reason = $8, usage = $9, timings = $10, problem = $11,
            generation_id = $12
        WHERE id = $1";
    let content = without_nul(ending.content.clone());
    let tool_calls = ending.tool_calls.as_ref().map(json).transpose()?;
    let usage = ending.usage.as_ref().map(json).transpose()?;
    let timings = json(&ending.timings)?;
    let problem = ending.problem.as_ref().map(json).transpose()?;
    execute!(
        tx.on(),
        sqlx::query(SQL)
            .bind(ended.message_id)
            .bind(ending.outcome.as_str())
            .bind(&content)
            .bind(search::folded(&content))
            .bind(ending.reasoning.clone().map(without_nul))
            .bind(&tool_calls)
            .bind(ending.model.clone().map(without_nul))
            .bind(ending.finish_reason.clone().map(without_nul))
            .bind(&usage)
            .bind(&timings)
            .bind(&problem)
            .bind(id.0)
    )
    .map(|_| ())
}

/// The message ended as the generation before said, whose text it still holds. False when there was none.
async fn give_back_message(tx: &mut Tx, ended: &Ended) -> Result<bool, StoreError> {
    const SQL: &str =
        "UPDATE messages SET status = g.status, finish_reason = g.finish_reason, usage = g.usage,
            timings = g.timings, problem = g.problem, generation_id = g.id
        FROM generations g WHERE messages.id = $1 AND g.id = $2";
    let given = execute!(
        tx.on(),
        sqlx::query(SQL)
            .bind(ended.message_id)
            .bind(ended.continues)
    )?;
    Ok(given > 0)
}
