//! Events while they are written, and the leases of the nodes that write them.

use super::{
    Lease, LeftOver, Recordings, StoreError, append,
    end::{Ends, store_end},
    sql::{Sql, Time, by_its_clock, execute, failed, milliseconds, on},
};
use crate::{
    event::{EventSegment, Transcript},
    model::{Ending, GenerationId, NodeId},
};
use async_trait::async_trait;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, FromRow, types::Json};
use std::time::Duration;
use time::OffsetDateTime;
use uuid::Uuid;

/// Of how many generations events are forgotten in one transaction: who records meanwhile waits for it on SQLite.
const FORGET_AT_ONCE: i64 = 100;

#[async_trait]
impl Recordings for Sql {
    async fn lease(&self, node: NodeId) -> Result<Option<Lease>, StoreError> {
        const SQL: &str = "SELECT epoch FROM nodes WHERE id = $1";
        let epoch = on!(&self.read, c => sqlx::query_scalar::<_, i64>(SQL)
            .bind(node.0).fetch_optional(c))?;
        Ok(epoch.map(|epoch| Lease { node, epoch }))
    }

    async fn take_lease(&self, node: NodeId, lasts: Duration) -> Result<Lease, StoreError> {
        const SQL: &str = "INSERT INTO nodes (id, epoch, lease_until) VALUES ($1, 1, {now} + $2 * {millisecond})
            ON CONFLICT (id) DO UPDATE SET epoch = nodes.epoch + 1, lease_until = excluded.lease_until
            RETURNING epoch";
        let sql = AssertSqlSafe(by_its_clock(&self.write, SQL));
        let lasts = milliseconds(lasts)?;
        let epoch = on!(&self.write, c => sqlx::query_scalar::<_, i64>(sql)
            .bind(node.0).bind(lasts).fetch_one(c))?;
        Ok(Lease { node, epoch })
    }

    async fn renew_lease(&self, lease: Lease, lasts: Duration) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE nodes SET lease_until = {now} + $3 * {millisecond}
            WHERE id = $1 AND epoch = $2";
        let sql = AssertSqlSafe(by_its_clock(&self.write, SQL));
        let lasts = milliseconds(lasts)?;
        let renewed = execute!(
            &self.write,
            sqlx::query(sql)
                .bind(lease.node.0)
                .bind(lease.epoch)
                .bind(lasts)
        )?;
        Ok(renewed > 0)
    }

    async fn keep_running(
        &self,
        lease: Lease,
        ids: &[GenerationId],
    ) -> Result<Vec<GenerationId>, StoreError> {
        const SQL: &str = "UPDATE generations SET epoch = $3
            WHERE id = $1 AND node_id = $2 AND status = 'running'
                AND EXISTS (SELECT 1 FROM nodes WHERE nodes.id = $2 AND nodes.epoch = $3)";
        let mut kept = Vec::new();
        let mut tx = self.begin().await?;
        for id in ids {
            let running = execute!(
                tx.on(),
                sqlx::query(SQL)
                    .bind(id.0)
                    .bind(lease.node.0)
                    .bind(lease.epoch)
            )?;
            if running > 0 {
                kept.push(*id);
            }
        }
        tx.commit().await?;
        Ok(kept)
    }

    async fn append_events(
        &self,
        lease: Lease,
        segments: &[EventSegment],
    ) -> Result<(), StoreError> {
        append::append(self, lease, segments).await
    }

    async fn events(&self, id: GenerationId, after: u64) -> Result<Vec<EventSegment>, StoreError> {
        const SQL: &str = "SELECT first_seq, last_seq, frames FROM generation_events
            WHERE generation_id = $1 AND last_seq > $2 ORDER BY first_seq";
        // No event stands behind the last position that fits.
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = on!(&self.read, c => sqlx::query_as::<_, (i64, i64, String)>(SQL)
            .bind(id.0).bind(after).fetch_all(c))?;
        rows.into_iter()
            .map(|(first_seq, last_seq, frames)| {
                Ok(EventSegment {
                    generation_id: id,
                    first_seq: u64::try_from(first_seq).map_err(failed)?,
                    last_seq: u64::try_from(last_seq).map_err(failed)?,
                    frames,
                })
            })
            .collect()
    }

    async fn running_here(&self, node: NodeId) -> Result<Vec<GenerationId>, StoreError> {
        const SQL: &str = "SELECT id FROM generations WHERE node_id = $1 AND status = 'running'
            ORDER BY created_at, id";
        let ids = on!(&self.read, c => sqlx::query_scalar::<_, Uuid>(SQL)
            .bind(node.0).fetch_all(c))?;
        Ok(ids.into_iter().map(GenerationId).collect())
    }

    async fn seize_expired(&self, lease: Lease) -> Result<Vec<GenerationId>, StoreError> {
        // A lease under which nothing runs any more need not be taken, or taken again.
        const SEIZE: &str = "UPDATE nodes SET epoch = epoch + 1
            WHERE id <> $1 AND lease_until < {now} AND EXISTS
                (SELECT 1 FROM generations g
                 WHERE g.node_id = nodes.id AND g.status = 'running' AND g.epoch >= nodes.epoch)";
        const EXPIRED: &str = "SELECT g.id FROM generations g JOIN nodes n ON n.id = g.node_id
            WHERE n.id <> $1 AND n.lease_until < {now} AND g.status = 'running' AND g.epoch < n.epoch
            ORDER BY g.created_at, g.id";
        let seize = AssertSqlSafe(by_its_clock(&self.write, SEIZE));
        let expired = AssertSqlSafe(by_its_clock(&self.write, EXPIRED));
        let mut tx = self.begin().await?;
        execute!(tx.on(), sqlx::query(seize).bind(lease.node.0))?;
        let ids = on!(tx.on(), c => sqlx::query_scalar::<_, Uuid>(expired)
            .bind(lease.node.0).fetch_all(c))?;
        tx.commit().await?;
        Ok(ids.into_iter().map(GenerationId).collect())
    }

    async fn runs_elsewhere(&self, node: NodeId, id: GenerationId) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT EXISTS
            (SELECT 1 FROM generations g JOIN nodes n ON n.id = g.node_id AND n.epoch = g.epoch
             WHERE g.id = $1 AND g.node_id <> $2 AND g.status = 'running' AND n.lease_until >= {now})";
        let sql = AssertSqlSafe(by_its_clock(&self.read, SQL));
        on!(&self.read, c => sqlx::query_scalar::<_, bool>(sql)
            .bind(id.0).bind(node.0).fetch_one(c))
    }

    async fn left_over(&self, id: GenerationId) -> Result<Option<LeftOver>, StoreError> {
        const SQL: &str = "SELECT m.content, m.reasoning, m.tool_calls
            FROM generations g JOIN messages m ON m.id = g.message_id
            WHERE g.id = $1 AND g.status = 'running'";
        let row = on!(&self.read, c => sqlx::query_as::<_, LeftOverRow>(SQL)
            .bind(id.0).fetch_optional(c))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(LeftOver {
            id,
            before: Transcript {
                text: row.content,
                reasoning: row.reasoning.unwrap_or_default(),
                tool_calls: row.tool_calls.map(|json| json.0).unwrap_or_default(),
            },
            events: self.events(id, 0).await?,
        }))
    }

    async fn recover(
        &self,
        node: NodeId,
        id: GenerationId,
        ending: &Ending,
    ) -> Result<bool, StoreError> {
        store_end(self, id, ending, Ends::Recovered { by: node }).await
    }

    async fn has_end(&self, id: GenerationId, ending: &Ending) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT status, last_seq FROM generations WHERE id = $1";
        let row = on!(&self.read, c => sqlx::query_as::<_, (String, i64)>(SQL)
            .bind(id.0).fetch_optional(c))?;
        Ok(row.is_none_or(|(status, last_seq)| {
            status == ending.outcome.as_str() && u64::try_from(last_seq) == Ok(ending.last_seq)
        }))
    }

    async fn forget_events(&self, ended_before: OffsetDateTime) -> Result<u64, StoreError> {
        // The outer condition is for one that another process forgets at the same time.
        const GENERATIONS: &str = "UPDATE generations SET events_kept = false WHERE events_kept AND id IN
            (SELECT id FROM generations WHERE events_kept AND ended_at < $1 ORDER BY ended_at LIMIT $2)
            RETURNING id";
        const EVENTS: &str = "DELETE FROM generation_events WHERE generation_id = $1";
        let mut forgotten = 0;
        loop {
            let mut tx = self.begin().await?;
            let ids = on!(tx.on(), c => sqlx::query_scalar::<_, Uuid>(GENERATIONS)
                .bind(Time(ended_before)).bind(FORGET_AT_ONCE).fetch_all(c))?;
            for id in &ids {
                execute!(tx.on(), sqlx::query(EVENTS).bind(id))?;
            }
            tx.commit().await?;
            if ids.is_empty() {
                return Ok(forgotten);
            }
            forgotten += ids.len() as u64;
        }
    }
}

#[derive(FromRow)]
struct LeftOverRow {
    content: String,
    reasoning: Option<String>,
    tool_calls: Option<Json<Vec<Map<String, Value>>>>,
}
