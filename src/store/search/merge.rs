//! Several segments become one, page by page: neither memory nor a transaction ever holds all of it.

use super::{
    Place,
    grams::Gram,
    index::insert_pages,
    pages::{Entry, Packer, documents_in, pack_documents},
};
use crate::{
    model::UserId,
    store::{
        StoreError,
        sql::{Sql, by_its_clock, execute, numbers, on, with_commas},
    },
};
use sqlx::{AssertSqlSafe, FromRow};
use std::collections::VecDeque;

/// So many segments of one size, about, become one.
const ENOUGH: usize = 8;
/// The size of the smallest. Each next size is [`ENOUGH`] times the one before.
const SMALLEST: i64 = 128;
/// From so many documents on those whose conversations are gone are left out.
const MANY: usize = 4096;
/// So many pages are read at once, and so many bytes written in one transaction.
const PAGES_READ: i64 = 64;
const BYTES_WRITTEN: usize = 1 << 18;

#[derive(Clone, FromRow)]
struct Segment {
    id: i64,
    documents: i64,
    bytes: i64,
}

/// Merges this owner's segments until there are few of each size. What another process merged meanwhile, or is about to, is left to it.
pub async fn merge_due(sql: &Sql, owner: UserId) -> Result<(), StoreError> {
    const LIVE: &str = "SELECT id, documents, bytes FROM search_segments
        WHERE owner_id = $1 AND state = 'live' ORDER BY id";
    loop {
        let live = on!(&sql.write, c => sqlx::query_as::<_, Segment>(LIVE)
            .bind(owner.0).fetch_all(c))?;
        let Some(due) = due(&live) else { return Ok(()) };
        if !merge(sql, owner, &due).await? {
            return Ok(());
        }
    }
}

/// Those of the smallest size of which there are enough.
fn due(live: &[Segment]) -> Option<Vec<Segment>> {
    let size = |segment: &Segment| (segment.documents / SMALLEST).max(1).ilog(ENOUGH as i64);
    let largest = live.iter().map(size).max()?;
    (0..=largest)
        .map(|wanted| live.iter().filter(move |s| size(s) == wanted).cloned())
        .map(Iterator::collect)
        .find(|of_size: &Vec<Segment>| of_size.len() >= ENOUGH)
}

/// False when another process was there first.
async fn merge(sql: &Sql, owner: UserId, segments: &[Segment]) -> Result<bool, StoreError> {
    let Some(id) = announce(sql, owner).await? else {
        return Ok(false);
    };
    let Some((places, mut inputs)) = inputs(sql, owner, segments).await? else {
        return Ok(false);
    };
    let bytes: i64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut packer = Packer::new(usize::try_from(bytes).unwrap_or_default());
    let mut written = 0;
    loop {
        for input in &mut inputs {
            input.fill(sql).await?;
        }
        let Some(gram) = inputs.iter().filter_map(Input::next_gram).min() else {
            break;
        };
        let mut documents = Vec::new();
        for input in &mut inputs {
            documents.extend(input.take(gram));
        }
        packer.push(gram, &documents);
        if packer.bytes - written >= BYTES_WRITTEN {
            written = packer.bytes;
            if !write(sql, id, "search_pages", std::mem::take(&mut packer.full)).await? {
                return Ok(false);
            }
        }
    }
    packer.close();
    let kept = write(sql, id, "search_pages", std::mem::take(&mut packer.full)).await?
        && write(sql, id, "search_documents", pack_documents(&places)).await?;
    Ok(kept && replace(sql, id, segments, places.len() as i64, &packer).await?)
}

/// A segment that is building, unless this owner has one.
async fn announce(sql: &Sql, owner: UserId) -> Result<Option<i64>, StoreError> {
    const SQL: &str =
        "INSERT INTO search_segments (owner_id, state, documents, pages, bytes, touched_at)
        SELECT $1, 'building', 0, 1, 0, {now} WHERE NOT EXISTS
            (SELECT 1 FROM search_segments WHERE owner_id = $1 AND state = 'building')
        RETURNING id";
    let statement = by_its_clock(&sql.write, SQL);
    on!(&sql.write, c => sqlx::query_scalar::<_, i64>(AssertSqlSafe(&*statement))
        .bind(owner.0).fetch_optional(c))
}

/// The segments as they are read, and the texts that their documents are, as far as they are still there. `None` when a segment is not.
async fn inputs(
    sql: &Sql,
    owner: UserId,
    segments: &[Segment],
) -> Result<Option<(Vec<Place>, Vec<Input>)>, StoreError> {
    const DOCUMENTS: &str =
        "SELECT bytes FROM search_documents WHERE segment_id = $1 ORDER BY page";
    const NUMBERS: &str =
        "SELECT string_agg(CAST(number AS text), ',') FROM conversations WHERE owner_id = $1";
    let (mut all, mut ends) = (Vec::new(), Vec::new());
    for segment in segments {
        let pages = on!(&sql.write, c => sqlx::query_scalar::<_, Vec<u8>>(DOCUMENTS)
            .bind(segment.id).fetch_all(c))?;
        let documents: Vec<Place> = pages.iter().flat_map(|page| documents_in(page)).collect();
        if documents.len() as i64 != segment.documents {
            return Ok(None);
        }
        all.extend(documents);
        ends.push(all.len());
    }
    let mut present = None;
    if all.len() >= MANY {
        let list = on!(&sql.write, c => sqlx::query_scalar::<_, Option<String>>(NUMBERS)
            .bind(owner.0).fetch_one(c))?;
        let mut numbers = numbers(list.as_deref());
        numbers.sort_unstable();
        present = Some(numbers);
    }
    let is_present = |place: &Place| {
        let found = present
            .as_ref()
            .map(|numbers| numbers.binary_search(&place.number()));
        found.is_none_or(|found| found.is_ok())
    };
    let mut places = Vec::with_capacity(all.len());
    let mut renumbered = Vec::with_capacity(all.len());
    for place in all {
        let stays = is_present(&place);
        renumbered.push(stays.then_some(u32::try_from(places.len()).unwrap_or(u32::MAX)));
        if stays {
            places.push(place);
        }
    }
    let mut first = 0;
    let inputs = segments
        .iter()
        .zip(ends)
        .map(|(segment, end)| Input {
            segment: segment.id,
            renumbered: renumbered[std::mem::replace(&mut first, end)..end].to_vec(),
            after: -1,
            is_over: false,
            entries: VecDeque::new(),
        })
        .collect();
    Ok(Some((places, inputs)))
}

/// A segment as it is read, gram by gram.
struct Input {
    segment: i64,
    /// What its documents are in the segment that is made.
    renumbered: Vec<Option<u32>>,
    /// The last page that was read.
    after: i64,
    is_over: bool,
    /// With the documents as they will be.
    entries: VecDeque<(Gram, Vec<u32>)>,
}

impl Input {
    /// Reads on when nothing is left of what was read.
    async fn fill(&mut self, sql: &Sql) -> Result<(), StoreError> {
        const SQL: &str = "SELECT page, bytes FROM search_pages WHERE segment_id = $1 AND page > $2
            ORDER BY page LIMIT $3";
        while self.entries.is_empty() && !self.is_over {
            let pages = on!(&sql.read, c => sqlx::query_as::<_, (i64, Vec<u8>)>(SQL)
                .bind(self.segment).bind(self.after).bind(PAGES_READ).fetch_all(c))?;
            self.is_over = pages.is_empty();
            for (page, bytes) in pages {
                self.after = page;
                let mut rest = &*bytes;
                while let Some(entry) = Entry::read(&mut rest) {
                    let mut documents = Vec::new();
                    entry.each(|document| {
                        documents.extend(self.renumbered.get(document as usize).copied().flatten());
                    });
                    self.entries.push_back((entry.gram, documents));
                }
                // Answers are read on this thread, too.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn next_gram(&self) -> Option<Gram> {
        self.entries.front().map(|entry| entry.0)
    }

    /// The documents that have `gram`, when it is the next.
    fn take(&mut self, gram: Gram) -> Vec<u32> {
        if self.next_gram() == Some(gram) {
            self.entries.pop_front().map(|entry| entry.1)
        } else {
            None
        }
        .unwrap_or_default()
    }
}

/// False when somebody took the segment for one whose process is gone.
async fn write(
    sql: &Sql,
    id: i64,
    table: &str,
    pages: Vec<(i64, Vec<u8>)>,
) -> Result<bool, StoreError> {
    const TOUCH: &str =
        "UPDATE search_segments SET touched_at = {now} WHERE id = $1 AND state = 'building'";
    let touch = by_its_clock(&sql.write, TOUCH);
    let mut tx = sql.begin().await?;
    let touched = execute!(tx.on(), sqlx::query(AssertSqlSafe(&*touch)).bind(id))?;
    if touched == 0 {
        tx.rollback().await?;
        return Ok(false);
    }
    insert_pages(&mut tx, table, id, &pages).await?;
    tx.commit().await?;
    Ok(true)
}

/// From here on the new segment is searched in place of the others. False when one of them was merged by somebody else.
async fn replace(
    sql: &Sql,
    id: i64,
    segments: &[Segment],
    documents: i64,
    packer: &Packer,
) -> Result<bool, StoreError> {
    const LIVE: &str =
        "UPDATE search_segments SET state = 'live', documents = $2, pages = $3, bytes = $4
        WHERE id = $1 AND state = 'building'";
    let drop = format!(
        "UPDATE search_segments SET state = 'dropped' WHERE state = 'live' AND id IN (SELECT value FROM {})",
        sql.write.list()
    );
    let ids = with_commas(segments.iter().map(|segment| segment.id));
    let mut tx = sql.begin().await?;
    let dropped = execute!(tx.on(), sqlx::query(AssertSqlSafe(&*drop)).bind(&ids))?;
    let live = execute!(
        tx.on(),
        sqlx::query(LIVE)
            .bind(id)
            .bind(documents)
            .bind(packer.pages())
            .bind(packer.bytes as i64)
    )?;
    if dropped < segments.len() as u64 || live == 0 {
        tx.rollback().await?;
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}
