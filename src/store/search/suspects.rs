//! Which texts words may stand in: what the index says, and what is not indexed yet.

use super::{
    Place,
    grams::{Gram, of_words},
    pages::{Bits, DOCUMENTS_A_PAGE, documents_in, documents_with},
};
use crate::{
    model::UserId,
    store::{
        StoreError,
        sql::{Sql, numbers, on, with_commas},
    },
};
use sqlx::{AssertSqlSafe, FromRow};
use std::collections::HashMap;

/// How often a search begins again because the index was merged under it.
const ATTEMPTS: usize = 10;

/// For each word, in order, the texts in which it may stand; it stands in no other.
pub async fn suspected(
    sql: &Sql,
    owner: UserId,
    words: &[String],
) -> Result<Vec<Vec<Place>>, StoreError> {
    const WAITING: &str =
        "SELECT string_agg(CAST(number AS text) || ',' || CAST(position AS text), ',')
        FROM search_waiting WHERE owner_id = $1";
    for _ in 0..ATTEMPTS {
        // In this order: what is indexed in between is seen twice, not missed.
        let waiting = on!(&sql.read, c => sqlx::query_scalar::<_, Option<String>>(WAITING)
            .bind(owner.0).fetch_one(c))?;
        let Some(mut suspected) = indexed(sql, owner, words).await? else {
            continue;
        };
        let waiting: Vec<Place> = numbers(waiting.as_deref())
            .chunks_exact(2)
            .map(|pair| Place::new(pair[0], pair[1]))
            .collect();
        for places in &mut suspected {
            places.extend(&waiting);
            // Stable, because it is the faster one where most is in order.
            places.sort();
            places.dedup();
        }
        return Ok(suspected);
    }
    Err(StoreError::Unavailable(
        "the search index changes all the time".into(),
    ))
}

#[derive(FromRow)]
struct PageRow {
    segment: i64,
    gram: i64,
    documents: i64,
    page: Option<Vec<u8>>,
}

/// The same of what is indexed. `None` when a segment was merged into another in between.
async fn indexed(
    sql: &Sql,
    owner: UserId,
    words: &[String],
) -> Result<Option<Vec<Vec<Place>>>, StoreError> {
    let grams = of_words(words);
    let statement = format!(
        "SELECT s.id AS segment, list.value AS gram, s.documents, (SELECT p.bytes FROM search_pages p
            WHERE p.segment_id = s.id AND p.page = (list.value * s.pages) >> 32) AS page
         FROM search_segments s CROSS JOIN {list} WHERE s.owner_id = $2 AND s.state = 'live'",
        list = sql.read.list()
    );
    let mut all: Vec<Gram> = grams.concat();
    all.sort_unstable();
    all.dedup();
    let all = with_commas(all.into_iter().map(i64::from));
    let rows = on!(&sql.read, c => sqlx::query_as::<_, PageRow>(AssertSqlSafe(&*statement))
        .bind(&all).bind(owner.0).fetch_all(c))?;

    let mut segments: HashMap<i64, HashMap<Gram, Bits>> = HashMap::new();
    for row in rows {
        let found = segments.entry(row.segment).or_default();
        let gram = Gram::try_from(row.gram).unwrap_or_default();
        let documents = usize::try_from(row.documents).unwrap_or_default();
        let page = row.page.unwrap_or_default();
        found.extend(documents_with(gram, &page, documents).map(|bits| (gram, bits)));
    }
    // For each segment the documents that have all grams of each word, if any have.
    let in_all = |found: &HashMap<Gram, Bits>| -> Vec<Option<Bits>> {
        let of_word = |grams: &Vec<Gram>| {
            let mut bits = found.get(grams.first()?)?.clone();
            for gram in grams {
                bits.retain(found.get(gram)?);
            }
            (!bits.is_empty()).then_some(bits)
        };
        grams.iter().map(of_word).collect()
    };
    let segments: HashMap<i64, Vec<Option<Bits>>> = segments
        .iter()
        .map(|(segment, found)| (*segment, in_all(found)))
        .collect();
    places(sql, words.len(), &segments).await
}

/// Reads which texts the documents are.
async fn places(
    sql: &Sql,
    words: usize,
    segments: &HashMap<i64, Vec<Option<Bits>>>,
) -> Result<Option<Vec<Vec<Place>>>, StoreError> {
    let mut wanted: Vec<i64> = Vec::new();
    for (segment, of_words) in segments {
        let mut pages: Vec<usize> = Vec::new();
        for bits in of_words.iter().flatten() {
            for document in bits.iter() {
                let page = document / DOCUMENTS_A_PAGE;
                if pages.last() != Some(&page) {
                    pages.push(page);
                }
            }
        }
        pages.sort_unstable();
        pages.dedup();
        // Both in one number, as the statement takes them apart.
        wanted.extend(pages.iter().map(|page| segment << 20 | *page as i64));
    }
    let mut suspected = vec![Vec::new(); words];
    if wanted.is_empty() {
        return Ok(Some(suspected));
    }
    let statement = format!(
        "SELECT d.segment_id, d.page, d.bytes FROM {list} {look_up}",
        list = sql.read.list(),
        look_up = sql.read.look_up(
            "search_documents",
            "d",
            "d.segment_id = list.value >> 20 AND d.page = list.value & 1048575"
        )
    );
    let count = wanted.len();
    let wanted = with_commas(wanted);
    let rows = on!(&sql.read, c => sqlx::query_as::<_, (i64, i64, Vec<u8>)>(AssertSqlSafe(&*statement))
        .bind(&wanted).fetch_all(c))?;
    if rows.len() < count {
        return Ok(None);
    }
    for (segment, page, bytes) in rows {
        let places = documents_in(&bytes);
        let first = usize::try_from(page).unwrap_or_default() * DOCUMENTS_A_PAGE;
        let of_words = segments.get(&segment).map_or(&[][..], Vec::as_slice);
        for (suspected, bits) in suspected.iter_mut().zip(of_words) {
            let Some(bits) = bits else { continue };
            suspected.extend(
                bits.within(first, DOCUMENTS_A_PAGE)
                    .filter_map(|document| places.get(document - first)),
            );
        }
    }
    Ok(Some(suspected))
}
