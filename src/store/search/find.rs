//! Which conversations a search finds: what the index suggests, newest first, compared with the texts themselves, until there are as
//! many as were asked for.

use super::{Place, pattern, suspects::suspected};
use crate::{
    model::UserId,
    store::{
        ListQuery, StoreError,
        sql::{On, Sql, Time, numbers, on, with_commas},
    },
};
use sqlx::AssertSqlSafe;
use std::collections::VecDeque;
use uuid::Uuid;

/// So many conversations are looked up one by one. Of more, the newest of all are read, and those that are not among them are passed over.
const FEW: usize = 2000;
/// How many conversations are read at first where many are passed over, and at most.
const WALK_FIRST: i64 = 256;
const WALK_MOST: i64 = 8192;
/// How many suspects are compared at once at most, and how many of their texts.
const MOST_SUSPECTS: usize = 1024;
const MOST_TEXTS: usize = 4096;

/// The first `query.limit` conversations after the cursor in which every word is found, newest first, each with the first text that has
/// any of them.
pub async fn find(
    sql: &Sql,
    owner: UserId,
    words: &[String],
    query: &ListQuery,
) -> Result<Vec<Place>, StoreError> {
    let limit = query.limit.max(1) as usize;
    let mut found = Vec::new();
    let suspected = suspected(sql, owner, words).await?;
    let numbers = in_all(&suspected);
    if numbers.is_empty() {
        return Ok(found);
    }
    let mut newest = Newest::of(owner, numbers, query);
    let mut size = limit + 4;
    while found.len() < limit {
        let numbers = newest.next(sql, size).await?;
        if numbers.is_empty() {
            break;
        }
        found.extend(compare(sql, words, &suspected, numbers).await?);
        size = (size * 2).min(MOST_SUSPECTS);
    }
    found.truncate(limit);
    Ok(found)
}

/// The conversations that every word may be in.
fn in_all(suspected: &[Vec<Place>]) -> Vec<i64> {
    let numbers = |places: &Vec<Place>| {
        let mut numbers: Vec<i64> = places.iter().map(|place| place.number()).collect();
        numbers.dedup();
        numbers
    };
    // The fewest first.
    let mut by_count: Vec<_> = suspected.iter().collect();
    by_count.sort_unstable_by_key(|places| places.len());
    let Some((fewest, others)) = by_count.split_first() else {
        return Vec::new();
    };
    let mut numbers = numbers(fewest);
    for places in others {
        numbers.retain(|number| !of(*number, places).is_empty());
    }
    numbers
}

/// The texts of one conversation.
fn of(number: i64, places: &[Place]) -> &[Place] {
    let first = places.partition_point(|place| place.number() < number);
    let rest = &places[first..];
    &rest[..rest.partition_point(|place| place.number() == number)]
}

/// Those of the conversations numbered so which are this owner's and come after the cursor, newest first.
struct Newest {
    owner: UserId,
    numbers: Vec<i64>,
    /// Where the last that was read stands.
    after: (Time, Uuid),
    walk: i64,
    is_over: bool,
    next: VecDeque<i64>,
}

impl Newest {
    fn of(owner: UserId, numbers: Vec<i64>, query: &ListQuery) -> Self {
        Self {
            owner,
            numbers,
            after: query.after.map_or((Time::LAST, Uuid::max()), |after| {
                (Time(after.updated_at), after.id.0)
            }),
            walk: WALK_FIRST,
            is_over: false,
            next: VecDeque::new(),
        }
    }

    /// Fewer than `count` only at the end.
    async fn next(&mut self, sql: &Sql, count: usize) -> Result<Vec<i64>, StoreError> {
        while self.next.len() < count && !self.is_over {
            if self.numbers.len() <= FEW {
                self.look_up(sql).await?;
            } else {
                self.walk(sql).await?;
            }
        }
        let count = count.min(self.next.len());
        Ok(self.next.drain(..count).collect())
    }

    async fn look_up(&mut self, sql: &Sql) -> Result<(), StoreError> {
        let statement = format!(
            "SELECT string_agg(CAST(c.number AS text), ',' ORDER BY c.updated_at DESC, c.id DESC)
             FROM {list} {look_up}
             WHERE c.owner_id = $2 AND c.deleted_at IS NULL AND (c.updated_at, c.id) < ($3, $4)",
            list = sql.read.list(),
            look_up = sql
                .read
                .look_up("conversations", "c", "c.number = list.value")
        );
        let list = with_commas(self.numbers.iter().copied());
        let list = on!(&sql.read, c => sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(&*statement))
            .bind(&list)
            .bind(self.owner.0)
            .bind(self.after.0)
            .bind(self.after.1)
            .fetch_one(c))?;
        self.next.extend(numbers(list.as_deref()));
        self.is_over = true;
        Ok(())
    }

    async fn walk(&mut self, sql: &Sql) -> Result<(), StoreError> {
        const LAST: &str = "SELECT updated_at, id FROM conversations
            WHERE owner_id = $1 AND (updated_at, id) < ($2, $3)
            ORDER BY updated_at DESC, id DESC LIMIT 1 OFFSET $4";
        const TO_LAST: &str =
            "SELECT string_agg(CAST(number AS text), ',' ORDER BY updated_at DESC, id DESC)
            FROM conversations WHERE owner_id = $1 AND deleted_at IS NULL
                AND (updated_at, id) < ($2, $3) AND (updated_at, id) >= ($4, $5)";
        let last = on!(&sql.read, c => sqlx::query_as::<_, (Time, Uuid)>(LAST)
            .bind(self.owner.0)
            .bind(self.after.0)
            .bind(self.after.1)
            .bind(self.walk)
            .fetch_optional(c))?;
        self.is_over = last.is_none();
        let last = last.unwrap_or((Time::FIRST, Uuid::nil()));
        let list = on!(&sql.read, c => sqlx::query_scalar::<_, Option<String>>(TO_LAST)
            .bind(self.owner.0)
            .bind(self.after.0)
            .bind(self.after.1)
            .bind(last.0)
            .bind(last.1)
            .fetch_one(c))?;
        self.walk = (self.walk * 4).min(WALK_MOST);
        self.after = last;
        let read = numbers(list.as_deref()).into_iter();
        self.next
            .extend(read.filter(|number| self.numbers.binary_search(number).is_ok()));
        Ok(())
    }
}

/// A conversation that may have all words.
struct Suspect<'a> {
    number: i64,
    /// The texts in which the word at hand may stand and that have not been compared.
    left: &'a [Place],
    has_word: bool,
    /// The first text that has any word.
    first: Option<Place>,
}

/// Those of these conversations that do have all words, each with the first text that has any. Texts are compared in their order, so that
/// the first that has a word is known without a look at those behind it.
async fn compare(
    sql: &Sql,
    words: &[String],
    suspected: &[Vec<Place>],
    numbers: Vec<i64>,
) -> Result<Vec<Place>, StoreError> {
    let mut suspects: Vec<Suspect> = numbers
        .into_iter()
        .map(|number| Suspect {
            number,
            left: &[],
            has_word: false,
            first: None,
        })
        .collect();
    let mut rarest_first: Vec<_> = words.iter().zip(suspected).collect();
    rarest_first.sort_by_key(|(_, places)| places.len());
    for (word, places) in rarest_first {
        for suspect in &mut suspects {
            suspect.left = of(suspect.number, places);
            suspect.has_word = false;
        }
        compare_with(sql, word, &mut suspects).await?;
        suspects.retain(|suspect| suspect.has_word);
    }
    Ok(suspects.iter().filter_map(|s| s.first).collect())
}

/// Finds out which of them have `word`: the first text of each at first, then more at once.
async fn compare_with(
    sql: &Sql,
    word: &str,
    suspects: &mut [Suspect<'_>],
) -> Result<(), StoreError> {
    let mut count = 1;
    loop {
        let open = suspects
            .iter_mut()
            .filter(|s| !s.has_word && !s.left.is_empty());
        let mut open: Vec<_> = open.collect();
        if open.is_empty() {
            return Ok(());
        }
        let at_once = count.min(MOST_TEXTS / open.len()).max(1);
        let mut next = Vec::new();
        for suspect in &mut open {
            let (now, later) = suspect.left.split_at(at_once.min(suspect.left.len()));
            next.extend(now);
            suspect.left = later;
        }
        let mut found = texts_with(sql, word, &next).await?;
        found.sort_unstable();
        for suspect in open {
            if let Some(place) = of(suspect.number, &found).first() {
                suspect.has_word = true;
                suspect.first = Some(suspect.first.map_or(*place, |first| first.min(*place)));
            }
        }
        count *= 4;
    }
}

/// Those of the texts in which `word` stands.
async fn texts_with(sql: &Sql, word: &str, places: &[Place]) -> Result<Vec<Place>, StoreError> {
    // On each engine what is faster there.
    let (has_word, word) = match sql.read {
        On::Postgres(_) => ("strpos(COALESCE(m.folded, c.folded), $2) > 0", word.into()),
        On::Sqlite(_) => (
            "COALESCE(m.folded, c.folded) LIKE $2 ESCAPE '\\'",
            pattern(word),
        ),
    };
    let statement = format!(
        "SELECT string_agg(CAST(list.value AS text), ',') FROM {list} {conversation} {message} WHERE {has_word}",
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
    let places = with_commas(places.iter().map(|place| place.0));
    let list = on!(&sql.read, c => sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(&*statement))
        .bind(&places)
        .bind(&word)
        .fetch_one(c))?;
    Ok(numbers(list.as_deref()).into_iter().map(Place).collect())
}
