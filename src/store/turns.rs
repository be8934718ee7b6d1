//! Turns: a prompt and its answer begin together and an answer ends once, each in one transaction.

use super::{
    Effect, NewTurn, Once, Receipt, StoreError, StoredGeneration, Turn, TurnRefused, Turns, begin,
    end::{Ends, store_end},
    receipts::{self, claim},
    rows::{GenerationRow, message_columns},
    sql::{On, Sql, Time, execute, in_time, on},
};
use crate::{
    event::EventSegment,
    model::{Ending, GenerationId, UserId},
};
use async_trait::async_trait;
use time::OffsetDateTime;

#[async_trait]
impl Turns for Sql {
    async fn begin_turn(
        &self,
        owner: UserId,
        new: &NewTurn,
        once: Option<(&Once, &Receipt)>,
    ) -> Result<Result<Effect<Turn>, TurnRefused>, StoreError> {
        let rows = begin::rows(new)?;
        let mut tx = self.begin().await?;
        if let Some(before) = claim(&mut tx, owner, once).await? {
            tx.rollback().await?;
            return Ok(Ok(before));
        }
        match begin::store_turn(&mut tx, owner, new, &rows).await? {
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
        tail: &[EventSegment],
    ) -> Result<bool, StoreError> {
        store_end(self, id, ending, Ends::Itself { tail }).await
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
            " FROM generations g JOIN messages m ON m.id = g.message_id
                JOIN conversations c ON c.id = g.conversation_id AND c.deleted_at IS NULL
            WHERE g.owner_id = $1 AND g.id = $2"
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
        match &self.write {
            // The one that writes is another connection. This takes and leaves the write lock; nothing reaches the disk.
            On::Sqlite(_) => self.begin().await?.rollback().await,
            On::Postgres(pool) => {
                // A replica, or one that somebody set so.
                const SQL: &str = "SELECT current_setting('transaction_read_only')::boolean";
                let is_read_only = sqlx::query_scalar::<_, bool>(SQL).fetch_one(pool);
                if in_time(is_read_only).await? {
                    return Err(StoreError::Unavailable("the database is read-only".into()));
                }
                Ok(())
            }
        }
    }
}
