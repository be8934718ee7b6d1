//! From waiting texts to segments: an owner's texts that wait become a segment once there are enough of them, and segments of about
//! the same size are merged once there are enough of those. So a search looks into few segments, and a text is packed a few times.
//!
//! Several processes may do this at once: what one has taken, the other's transaction finds gone, and undoes itself.

use super::{
    Place,
    grams::documents,
    merge::merge_due,
    pages::{Packer, pack, pack_documents},
};
use crate::{
    model::UserId,
    store::{
        SearchIndex, StoreError,
        sql::{Sql, Tx, by_its_clock, execute, failed, on, with_commas},
    },
};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, FromRow};
use std::collections::BTreeMap;
use uuid::Uuid;

/// With so many texts, or characters in them, an owner's texts are worth a segment. Fewer are compared by each search.
const ENOUGH_TEXTS: i64 = 128;
const ENOUGH_CHARACTERS: i64 = 1 << 18;
/// A segment is made of no more than these at once: it is in memory, and one transaction.
const MOST_TEXTS: i64 = 1024;
const MOST_CHARACTERS: i64 = 1 << 21;
/// So many pages of a segment that is not needed any more are deleted in one transaction.
const PAGES_SWEPT: i64 = 500;
/// So many rows are inserted by one statement.
const ROWS: usize = 100;

#[async_trait]
impl SearchIndex for Sql {
    async fn index_texts(&self) -> Result<bool, StoreError> {
        if sweep(self).await? {
            return Ok(true);
        }
        let Some(owner) = next_owner(self).await? else {
            return Ok(false);
        };
        index(self, owner).await?;
        merge_due(self, owner).await?;
        Ok(true)
    }
}

/// Deletes a piece of a segment that was merged into another, or whose merge was broken off.
async fn sweep(sql: &Sql) -> Result<bool, StoreError> {
    const FIND: &str = "UPDATE search_segments SET state = 'dropped' WHERE id =
            (SELECT MIN(id) FROM search_segments WHERE state = 'dropped'
                OR state = 'building' AND touched_at < {now} - 60000 * {millisecond})
        RETURNING id";
    const PAGES: &str = "DELETE FROM search_pages WHERE segment_id = $1 AND page IN
        (SELECT page FROM search_pages WHERE segment_id = $1 ORDER BY page LIMIT $2)";
    const SEGMENT: &str = "DELETE FROM search_segments WHERE id = $1";
    let find = by_its_clock(&sql.write, FIND);
    let found = on!(&sql.write, c => sqlx::query_scalar::<_, i64>(AssertSqlSafe(&*find)).fetch_optional(c))?;
    let Some(id) = found else { return Ok(false) };
    let swept = execute!(&sql.write, sqlx::query(PAGES).bind(id).bind(PAGES_SWEPT))?;
    if swept == 0 {
        execute!(&sql.write, sqlx::query(SEGMENT).bind(id))?;
    }
    Ok(true)
}

/// Somebody whose texts are worth a segment.
async fn next_owner(sql: &Sql) -> Result<Option<UserId>, StoreError> {
    const SQL: &str = "SELECT owner_id FROM search_waiting GROUP BY owner_id
        HAVING COUNT(*) >= $1 OR SUM(characters) >= $2 LIMIT 1";
    let owner = on!(&sql.read, c => sqlx::query_scalar::<_, Uuid>(SQL)
        .bind(ENOUGH_TEXTS).bind(ENOUGH_CHARACTERS).fetch_optional(c))?;
    Ok(owner.map(UserId))
}

#[derive(FromRow)]
struct WaitingRow {
    id: i64,
    number: i64,
    position: i64,
    characters: i64,
}

/// Makes a segment of the texts that have waited longest.
async fn index(sql: &Sql, owner: UserId) -> Result<(), StoreError> {
    const WAITING: &str = "SELECT id, number, position, characters FROM search_waiting
        WHERE owner_id = $1 ORDER BY id LIMIT $2";
    let mut waiting = on!(&sql.read, c => sqlx::query_as::<_, WaitingRow>(WAITING)
        .bind(owner.0).bind(MOST_TEXTS).fetch_all(c))?;
    let (mut count, mut characters) = (0, 0);
    for row in &waiting {
        characters += row.characters;
        if count > 0 && characters > MOST_CHARACTERS {
            break;
        }
        count += 1;
    }
    waiting.truncate(count);

    // Read after the rows that announce them: a text that changes from now on waits in a row of its own.
    let texts = texts(sql, owner, &waiting).await?;
    let (places, packed) = packed(texts).await?;

    let mut tx = sql.begin().await?;
    let taken = take(&mut tx, sql, &waiting).await?;
    if taken < waiting.len() as u64 {
        return tx.rollback().await;
    }
    if !places.is_empty() {
        insert_segment(&mut tx, sql, owner, &places, packed).await?;
    }
    tx.commit().await
}

/// The folded texts by their places.
async fn texts(
    sql: &Sql,
    owner: UserId,
    waiting: &[WaitingRow],
) -> Result<BTreeMap<i64, String>, StoreError> {
    let statement = format!(
        "SELECT CAST(list.value AS bigint) AS place, COALESCE(m.folded, c.folded) AS folded
         FROM {list} {conversation} {message} WHERE c.owner_id = $2",
        list = sql.read.list(),
        conversation = sql
            .read
            .look_up("conversations", "c", "c.number = list.value >> 24"),
        message = sql.read.look_up_if_there(
            "messages",
            "m",
            "m.conversation_id = c.id AND m.position = list.value & 16777215"
        ),
    );
    let mut places: Vec<i64> = waiting
        .iter()
        .map(|row| Place::new(row.number, row.position).packed())
        .collect();
    places.sort_unstable();
    places.dedup();
    let rows = on!(&sql.read, c => sqlx::query_as::<_, (i64, String)>(AssertSqlSafe(&*statement))
        .bind(with_commas(places.iter().copied())).bind(owner.0).fetch_all(c))?;
    Ok(rows.into_iter().collect())
}

/// What the documents of these texts are, and their grams. A long text takes a second, in which nobody's answer should wait to be recorded:
/// that is done on this thread, too.
async fn packed(texts: BTreeMap<i64, String>) -> Result<(Vec<Place>, Packer), StoreError> {
    let pack = move || {
        let (mut places, mut pairs) = (Vec::new(), Vec::new());
        for (place, text) in texts {
            for grams in documents(&text) {
                let document = u32::try_from(places.len()).unwrap_or(u32::MAX);
                places.push(Place(place));
                pairs.extend(grams.into_iter().map(|gram| (gram, document)));
            }
        }
        pairs.sort_unstable();
        (places, pack(&pairs))
    };
    tokio::task::spawn_blocking(pack).await.map_err(failed)
}

async fn take(tx: &mut Tx, sql: &Sql, waiting: &[WaitingRow]) -> Result<u64, StoreError> {
    let statement = format!(
        "DELETE FROM search_waiting WHERE id IN (SELECT value FROM {})",
        sql.write.list()
    );
    let ids = with_commas(waiting.iter().map(|row| row.id));
    execute!(tx.on(), sqlx::query(AssertSqlSafe(&*statement)).bind(&ids))
}

async fn insert_segment(
    tx: &mut Tx,
    sql: &Sql,
    owner: UserId,
    places: &[Place],
    packed: Packer,
) -> Result<(), StoreError> {
    const SEGMENT: &str =
        "INSERT INTO search_segments (owner_id, state, documents, pages, bytes, touched_at)
        VALUES ($1, 'live', $2, $3, $4, {now}) RETURNING id";
    let segment = by_its_clock(&sql.write, SEGMENT);
    let id = on!(tx.on(), c => sqlx::query_scalar::<_, i64>(AssertSqlSafe(&*segment))
        .bind(owner.0)
        .bind(places.len() as i64)
        .bind(packed.pages())
        .bind(packed.bytes as i64)
        .fetch_one(c))?;
    insert_pages(tx, "search_pages", id, &packed.full).await?;
    insert_pages(tx, "search_documents", id, &pack_documents(places)).await
}

/// Into one of the two tables of pages.
pub async fn insert_pages(
    tx: &mut Tx,
    table: &str,
    segment: i64,
    pages: &[(i64, Vec<u8>)],
) -> Result<(), StoreError> {
    for pages in pages.chunks(ROWS) {
        let rows: Vec<String> = (0..pages.len())
            .map(|n| format!("($1, ${}, ${})", 2 * n + 2, 2 * n + 3))
            .collect();
        let statement = format!(
            "INSERT INTO {table} (segment_id, page, bytes) VALUES {}",
            rows.join(", ")
        );
        execute!(tx.on(), {
            let mut query = sqlx::query(AssertSqlSafe(&*statement))
                .persistent(pages.len() == ROWS)
                .bind(segment);
            for (page, bytes) in pages {
                query = query.bind(page).bind(&**bytes);
            }
            query
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{pin::pin, sync::mpsc};
    use tokio::runtime::Builder;

    #[test]
    fn a_long_text_is_packed_where_it_keeps_nobody_waiting() {
        // Of the threads for long work there is one, and it has something to do.
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .expect("a runtime");
        let (go_on, busy) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || busy.recv());
        runtime.block_on(async {
            let texts = BTreeMap::from([(1, "a long text ".repeat(10_000)), (2, "b".to_owned())]);
            let mut packed = pin!(packed(texts));
            for _ in 0..100 {
                tokio::select! {
                    biased;
                    _ = &mut packed => panic!("packed on this thread"),
                    () = tokio::task::yield_now() => {}
                }
            }
            drop(go_on);
            let (places, packed) = packed.await.expect("packed");
            assert_eq!((places.len(), packed.bytes > 0), (60, true));
        });
    }
}
