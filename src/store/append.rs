//! How recorded events are added: the segments of all running generations of a node in one statement.

use super::{
    Lease, StoreError,
    sql::{On, Sql, Tx, execute, failed, in_time, on},
};
use crate::{event::EventSegment, model::GenerationId};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// Segments in one statement on SQLite.
const SQLITE_ROWS: usize = 64;

/// Adds those segments whose generations run under `lease`, as long as that is the node's present one.
pub(super) async fn append(
    sql: &Sql,
    lease: Lease,
    segments: &[EventSegment],
) -> Result<(), StoreError> {
    // Whoever takes the lease waits for a batch under way, and a batch that comes later sees the new epoch: what is recovered then
    // is all there is. Locking the generations lets a conversation vanish meanwhile without failing the batch for others. OFFSET 0
    // has each looked up by its id: where few rows are expected, all that run would be read for every segment.
    const POSTGRES: &str = "WITH batch (id, first_seq, last_seq, frames) AS
            (SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::text[])),
        lease (node_id, epoch) AS (SELECT id, epoch FROM nodes WHERE id = $5 AND epoch = $6 FOR SHARE)
        INSERT INTO generation_events (generation_id, first_seq, last_seq, frames)
        SELECT g.id, batch.first_seq, batch.last_seq, batch.frames
        FROM lease CROSS JOIN batch CROSS JOIN LATERAL
            (SELECT id, status, node_id, epoch FROM generations WHERE id = batch.id OFFSET 0 FOR KEY SHARE) g
        WHERE g.status = 'running' AND g.node_id = lease.node_id AND g.epoch = lease.epoch
        ON CONFLICT (generation_id, first_seq) DO UPDATE SET last_seq = excluded.last_seq, frames = excluded.frames
            WHERE excluded.last_seq > generation_events.last_seq";
    if segments.is_empty() {
        return Ok(());
    }
    let positions = positions(segments)?;
    match &sql.write {
        On::Postgres(pool) => {
            let (first, last): (Vec<_>, Vec<_>) = positions.into_iter().unzip();
            let ids: Vec<_> = segments.iter().map(|s| s.generation_id.0).collect();
            let frames: Vec<_> = segments.iter().map(|s| &*s.frames).collect();
            let query = sqlx::query(POSTGRES)
                .bind(ids)
                .bind(first)
                .bind(last)
                .bind(frames)
                .bind(lease.node.0)
                .bind(lease.epoch);
            let added = in_time(query.execute(pool)).await?.rows_affected();
            if added > 0 {
                return Ok(());
            }
            let mut tx = sql.begin().await?;
            let is_held = is_held(&mut tx, lease).await;
            tx.rollback().await?;
            held(is_held?)
        }
        On::Sqlite(_) => {
            let mut tx = sql.begin().await?;
            let mut added = 0;
            let chunks = segments.chunks(SQLITE_ROWS);
            for (segments, positions) in chunks.zip(positions.chunks(SQLITE_ROWS)) {
                added += append_to_sqlite(&mut tx, lease, segments, positions).await?;
            }
            if added == 0 {
                held(is_held(&mut tx, lease).await?)?;
            }
            tx.commit().await
        }
    }
}

/// False when another epoch has begun: what is said under this one is left out, and would be lost.
async fn is_held(tx: &mut Tx, lease: Lease) -> Result<bool, StoreError> {
    const SQL: &str = "SELECT NOT EXISTS (SELECT 1 FROM nodes WHERE id = $1 AND epoch <> $2)";
    on!(tx.on(), c => sqlx::query_scalar::<_, bool>(SQL)
        .bind(lease.node.0).bind(lease.epoch).fetch_one(c))
}

fn held(is_held: bool) -> Result<(), StoreError> {
    if is_held {
        return Ok(());
    }
    Err(StoreError::Unavailable(
        "the lease of this node was taken away".into(),
    ))
}

async fn append_to_sqlite(
    tx: &mut Tx,
    lease: Lease,
    segments: &[EventSegment],
    positions: &[(i64, i64)],
) -> Result<u64, StoreError> {
    let On::Sqlite(connection) = tx.on() else {
        return Ok(0);
    };
    // Few lengths, so that the statements stay prepared: the rows beyond the segments have no id, and add nothing.
    let rows = segments.len().next_power_of_two();
    // Parameters without names, each used once, in order: SQLite looks for a name among all those before it. CROSS JOIN keeps it from
    // walking through all generations.
    let sql = format!(
        "WITH batch (id, first_seq, last_seq, frames) AS (VALUES {rows})
         INSERT INTO generation_events (generation_id, first_seq, last_seq, frames)
         SELECT g.id, batch.first_seq, batch.last_seq, batch.frames FROM batch CROSS JOIN generations g
         WHERE g.id = batch.id AND g.status = 'running' AND g.node_id = ? AND g.epoch = ?
            AND EXISTS (SELECT 1 FROM nodes n WHERE n.id = g.node_id AND n.epoch = g.epoch)
         ON CONFLICT (generation_id, first_seq) DO UPDATE SET last_seq = excluded.last_seq, frames = excluded.frames
            WHERE excluded.last_seq > generation_events.last_seq",
        rows = vec!["(?, ?, ?, ?)"; rows].join(", "),
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (segment, (first, last)) in segments.iter().zip(positions) {
        query = query
            .bind(segment.generation_id.0)
            .bind(first)
            .bind(last)
            .bind(&*segment.frames);
    }
    for _ in segments.len()..rows {
        query = query.bind(None::<Uuid>).bind(0).bind(0).bind("");
    }
    let query = query.bind(lease.node.0).bind(lease.epoch);
    Ok(query.execute(connection).await?.rows_affected())
}

/// The last events of a generation that ends. They are what was said: what a batch, stored in time or not, said from there on gives
/// way, however it was cut.
pub(super) async fn append_tail(
    tx: &mut Tx,
    id: GenerationId,
    tail: &[EventSegment],
) -> Result<(), StoreError> {
    const BEFORE: &str =
        "DELETE FROM generation_events WHERE generation_id = $1 AND first_seq >= $2";
    const SQL: &str = "INSERT INTO generation_events (generation_id, first_seq, last_seq, frames)
        VALUES ($1, $2, $3, $4) ON CONFLICT (generation_id, first_seq) DO NOTHING";
    let positions = positions(tail)?;
    let Some(begin) = positions.iter().map(|(first, _)| *first).min() else {
        return Ok(());
    };
    execute!(tx.on(), sqlx::query(BEFORE).bind(id.0).bind(begin))?;
    for (segment, (first, last)) in tail.iter().zip(&positions) {
        execute!(
            tx.on(),
            sqlx::query(SQL)
                .bind(id.0)
                .bind(first)
                .bind(last)
                .bind(&*segment.frames)
        )?;
    }
    Ok(())
}

fn positions(segments: &[EventSegment]) -> Result<Vec<(i64, i64)>, StoreError> {
    segments
        .iter()
        .map(|s| Ok((i64::try_from(s.first_seq)?, i64::try_from(s.last_seq)?)))
        .collect::<Result<_, std::num::TryFromIntError>>()
        .map_err(failed)
}
