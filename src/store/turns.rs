//! Turns: a prompt and its answer begin together and an answer ends once, each in one transaction.

use super::{
    Effect, NewTurn, Once, Receipt, StoreError, StoredGeneration, Turn, TurnRefused, Turns,
    begin::store_turn,
    receipts::{self, claim},
    rows::{GenerationRow, message_columns},
    search,
    sql::{On, Sql, Time, Tx, execute, failed, json, on},
};
use crate::{
    event::EventSegment,
    model::{Ending, GenerationId, UserId, now},
    text::without_nul,
};
use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

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
        receipts::kept(self, owner, once).await
    }

    async fn end_generation(
        &self,
        id: GenerationId,
        ending: &Ending,
        _tail: &[EventSegment],
    ) -> Result<bool, StoreError> {
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

    async fn forget_receipts(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM idempotency_keys WHERE created_at < $1";
        execute!(&self.write, sqlx::query(SQL).bind(Time(before)))
    }

    async fn check(&self) -> Result<(), StoreError> {
        // A table, because SQLite would answer a bare SELECT 1 without its file.
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM users)";
        on!(&self.read, c => sqlx::query_scalar::<_, bool>(SQL).fetch_one(c))?;
        if let On::Sqlite(_) = self.write {
            // The one that writes is another connection. This takes and leaves the write lock; nothing reaches the disk.
            self.begin().await?.rollback().await?;
        }
        Ok(())
    }
}

async fn touch(tx: &mut Tx, conversation: Uuid) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE conversations SET updated_at = $2 WHERE id = $1";
    let at = Time(now());
    execute!(tx.on(), sqlx::query(SQL).bind(conversation).bind(at)).map(|_| ())
}
