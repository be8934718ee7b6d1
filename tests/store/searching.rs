//! Search.

use crate::{scratch::*, turns::polled};
use continuo::{model::*, store::*};

async fn found(store: &dyn Store, owner: UserId, text: &str) -> Vec<String> {
    let mut titles: Vec<String> = list(store, owner, Some(text), None, 100)
        .await
        .into_iter()
        .map(|row| row.conversation.title)
        .collect();
    titles.sort();
    titles
}

pub async fn every_word_is_found_somewhere_in_any_script_and_case(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let a = conversation(store, owner, "Ärger mit ÖFEN").await;
    exchange(
        store,
        owner,
        a,
        "Warum raucht der Kamin?",
        "Die ZUGLUFT fehlt 🙂🔥.",
    )
    .await;
    let b = conversation(store, owner, "中文").await;
    exchange(store, owner, b, "我想学习机器学习的基础知识", "Добрый ДЕНЬ").await;
    let c = conversation(store, owner, "empty").await;
    for (text, expected) in [
        ("ärger", vec!["Ärger mit ÖFEN"]),
        ("öFeN zugluft KAMIN", vec!["Ärger mit ÖFEN"]),
        ("öfen nothing", vec![]),
        ("🔥", vec!["Ärger mit ÖFEN"]),
        ("学习", vec!["中文"]),
        ("机器 добрый", vec!["中文"]),
        ("文", vec!["中文"]),
        ("luf", vec!["Ärger mit ÖFEN"]),
        ("m", vec!["empty", "Ärger mit ÖFEN"]),
        (" \u{3000}\n", vec!["empty", "Ärger mit ÖFEN", "中文"]),
    ] {
        assert_eq!(found(store, owner, text).await, expected, "{text:?}");
    }

    // What changes is found by its new words only.
    let change = ConversationChange {
        title: Some("Überraschung".into()),
        ..Default::default()
    };
    let changed = store.change_conversation(owner, c, &change, None);
    changed.await.unwrap();
    assert_eq!(found(store, owner, "ÜBER").await, ["Überraschung"]);
    assert!(found(store, owner, "empty").await.is_empty());
    // A running answer has no words yet, its question has.
    let d = conversation(store, owner, "").await;
    begin(store, owner, &prompt(d, Parent::Head, "Ünterwegs")).await;
    assert_eq!(found(store, owner, "ünterWEGS").await, ["Ünterwegs"]);
}

pub async fn wildcards_are_characters(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    for title in [
        "100% sure",
        "1000 sure",
        "a_b",
        "axb",
        r"c:\dir",
        "c:dir",
        "it's \"q\"",
    ] {
        conversation(store, owner, title).await;
    }
    for (text, expected) in [
        ("100%", "100% sure"),
        ("a_b", "a_b"),
        (r":\d", r"c:\dir"),
        (r"\", r"c:\dir"),
        ("%", "100% sure"),
        ("_", "a_b"),
        ("'", "it's \"q\""),
        ("\"Q\"", "it's \"q\""),
    ] {
        assert_eq!(found(store, owner, text).await, [expected], "{text:?}");
    }
}

pub async fn a_search_is_paged_and_shows_where_it_hit(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    for n in 0..7 {
        let id = conversation(store, owner, &format!("needle {n}")).await;
        exchange(store, owner, id, "nothing here", "hay").await;
        conversation(store, owner, "other").await;
    }
    let mut seen: Vec<Listed> = Vec::new();
    loop {
        let after = seen.last().map(|row| ListCursor::from(&row.conversation));
        let page = list(store, owner, Some("NEEDLE"), after, 3).await;
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    let order: Vec<_> = seen
        .iter()
        .map(|row| (row.conversation.updated_at, row.conversation.id))
        .collect();
    assert_eq!(order.len(), 7);
    assert!(order.is_sorted_by(|a, b| a > b));
    assert_eq!(seen[0].snippet.as_deref(), Some("needle 6"));

    let id = conversation(store, owner, "deep").await;
    let answer = format!(
        "{}\n\nthe Rarität 🙂\tis {}",
        "你好 ".repeat(300),
        "far away ".repeat(300)
    );
    exchange(store, owner, id, "question", &answer).await;
    let hit = list(store, owner, Some("rarität 你好"), None, 9).await;
    assert_eq!(hit.len(), 1);
    // The first hit is at the very beginning.
    let snippet = hit[0].snippet.as_deref().unwrap();
    assert!(
        snippet.starts_with("你好 你好") && snippet.ends_with('…'),
        "{snippet}"
    );
    let hit = list(store, owner, Some("RARITÄT"), None, 9).await;
    let snippet = hit[0].snippet.as_deref().unwrap();
    assert!(
        snippet.starts_with('…') && snippet.ends_with('…'),
        "{snippet}"
    );
    assert!(
        snippet.contains("你好 the Rarität 🙂 is far away"),
        "{snippet}"
    );
    assert!((120..=162).contains(&snippet.chars().count()), "{snippet}");
}

pub async fn absurd_queries_are_answered(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(
        store,
        owner,
        "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15",
    )
    .await;
    exchange(store, owner, id, &"x".repeat(1000), "a").await;
    // Of thousands of words sixteen count, of an endless one the beginning.
    let words: Vec<String> = (0..5000).map(|n| format!("w{n}")).collect();
    assert_eq!(found(store, owner, &words.join(" ")).await.len(), 1);
    assert_eq!(found(store, owner, &"x".repeat(1_000_000)).await.len(), 1);
    assert_eq!(found(store, owner, &"%_\\".repeat(100_000)).await.len(), 0);
    assert_eq!(found(store, owner, "w0\0w1").await.len(), 1);
    assert_eq!(found(store, owner, "\0").await.len(), 1);
}

/// What is found without any index: by a look at every text.
struct Plain {
    /// Newest first, each with its title and messages.
    all: Vec<(ConversationId, String, Vec<String>)>,
}

impl Plain {
    async fn read(store: &dyn Store, owner: UserId) -> Self {
        let mut all = Vec::new();
        for row in pages(store, owner, None, 500, usize::MAX).await {
            let conversation = row.conversation;
            let mut texts = Vec::new();
            if conversation.head_id.is_some() {
                let messages = messages(store, owner, conversation.id).await;
                texts.extend(messages.into_iter().map(|message| message.content));
            }
            all.push((conversation.id, conversation.title, texts));
        }
        Self { all }
    }

    fn find(&self, query: &str) -> Vec<ConversationId> {
        let fold = |text: &str| -> String { text.chars().flat_map(char::to_lowercase).collect() };
        let has = |text: &str, word: &str| fold(text).contains(&fold(word));
        let has_all = |title: &str, messages: &[String]| {
            query
                .split_whitespace()
                .all(|word| has(title, word) || messages.iter().any(|message| has(message, word)))
        };
        let found = self.all.iter().filter(|(_, t, m)| has_all(t, m));
        found.map(|(id, ..)| *id).collect()
    }
}

/// The rows of so many pages, or of all.
async fn pages(
    store: &dyn Store,
    owner: UserId,
    text: Option<&str>,
    limit: u32,
    most: usize,
) -> Vec<Listed> {
    let mut rows: Vec<Listed> = Vec::new();
    for _ in 0..most {
        let after = rows.last().map(|row| ListCursor::from(&row.conversation));
        let page = list(store, owner, text, after, limit).await;
        let is_last = page.len() < limit as usize;
        rows.extend(page);
        if is_last {
            break;
        }
    }
    rows
}

/// Words and signs of many scripts, put together at random, so that parts of them meet in many ways.
struct Scribe(u64);

impl Scribe {
    const PIECES: [&str; 40] = [
        "the",
        "THE",
        "and",
        "station",
        "statue",
        "nation",
        "ß",
        "Straße",
        "é",
        "İ",
        "ǅ",
        "ё",
        "Ёж",
        "привет",
        "Σας",
        "你好",
        "世界",
        "我",
        "的",
        "学习",
        "機械学習",
        "カタカナ",
        "ひらがな",
        "한국어",
        "한",
        "สวัสดี",
        "مرحبا",
        "שלום",
        "🙂",
        "👩‍👩‍👧",
        "_",
        "foo_bar",
        "C++",
        "%",
        "\\",
        "'",
        "，",
        "**",
        "0x1F",
        "aaaa",
    ];

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn text(&mut self, pieces: usize) -> String {
        let mut text = String::new();
        for _ in 0..pieces {
            text.push_str(Self::PIECES[self.below(Self::PIECES.len())]);
            text.push_str(["", "", " ", "\n"][self.below(4)]);
        }
        text
    }

    /// One to three words: pieces, parts of what may stand in a text, and what does not.
    fn query(&mut self) -> String {
        let words = 1 + self.below(3);
        let mut query = String::new();
        for _ in 0..words {
            let pieces = 1 + self.below(3);
            let text: String = self.text(pieces).split_whitespace().collect();
            let characters: Vec<char> = text.chars().collect();
            let from = self.below(characters.len());
            let to = from + 1 + self.below(characters.len() - from);
            query.extend(&characters[from..to]);
            query.push(' ');
        }
        query
    }
}

/// Enough new titles for the index to want them, and some messages, one of them long.
async fn many_texts(store: &dyn Store, owner: UserId, scribe: &mut Scribe) {
    for n in 0..130 {
        let pieces = scribe.below(12);
        let id = conversation(store, owner, &scribe.text(pieces)).await;
        if n % 13 == 0 {
            let pieces = if n == 0 { 2000 } else { 40 };
            let (question, answer) = (scribe.text(5), scribe.text(pieces));
            exchange(store, owner, id, &question, &answer).await;
        }
    }
}

async fn is_exact(store: &dyn Store, owner: UserId, scribe: &mut Scribe, queries: usize) {
    let plain = Plain::read(store, owner).await;
    for _ in 0..queries {
        let query = scribe.query();
        let (limit, most) = [(1, 2), (9, 3), (300, usize::MAX)][scribe.below(3)];
        let rows = pages(store, owner, Some(&query), limit, most).await;
        let found: Vec<_> = rows.iter().map(|row| row.conversation.id).collect();
        let mut expected = plain.find(&query);
        expected.truncate(most.saturating_mul(limit as usize));
        assert_eq!(found, expected, "{query:?}, {limit} a page");
    }
}

async fn index_all(store: &dyn Store) {
    while store.index_texts().await.unwrap() {}
}

const LIVE: &str = "SELECT COUNT(*) FROM search_segments WHERE state = 'live'";
const NOT_LIVE: &str = "SELECT COUNT(*) FROM search_segments WHERE state <> 'live'";
const WAITING: &str = "SELECT COUNT(*) FROM search_waiting";

pub async fn what_is_found_does_not_depend_on_what_is_indexed(db: &Scratch) {
    let store = &*db.store;
    let (owner, other) = (user(store, "ann").await, user(store, "bob").await);
    let mut scribe = Scribe(0x9e37_79b9_7f4a_7c15);
    assert!(!store.index_texts().await.unwrap());
    many_texts(store, owner, &mut scribe).await;
    many_texts(store, other, &mut scribe).await;
    assert_eq!(db.number(LIVE).await, 0);
    is_exact(store, owner, &mut scribe, 40).await;
    // Some are indexed, some wait.
    index_all(store).await;
    assert_eq!(db.number(LIVE).await, 2);
    assert_eq!(db.number(WAITING).await, 0);
    many_texts(store, owner, &mut scribe).await;
    is_exact(store, owner, &mut scribe, 120).await;
    index_all(store).await;
    is_exact(store, owner, &mut scribe, 40).await;
    is_exact(store, other, &mut scribe, 40).await;
}

pub async fn segments_are_merged_and_say_the_same(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let mut scribe = Scribe(0x2545_f491_4f6c_dd1d);
    let mut most = 0;
    for _ in 0..9 {
        many_texts(store, owner, &mut scribe).await;
        index_all(store).await;
        most = most.max(db.number(LIVE).await);
    }
    assert_eq!((most, db.number(LIVE).await), (7, 2));
    assert_eq!(db.number(NOT_LIVE).await, 0);
    is_exact(store, owner, &mut scribe, 100).await;
}

/// More than are looked up one by one.
pub async fn thousands_of_hits_come_in_order(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    db.tamper(
        "INSERT INTO conversations (id, owner_id, title, folded, created_at, updated_at)
            SELECT gen_random_uuid(), u.id, 'common ' || n, 'common ' || n, now(), to_timestamp(n * 7 % 1000)
            FROM users u, generate_series(1, 3000) n",
        "WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < 3000)
         INSERT INTO conversations (id, owner_id, title, folded, created_at, updated_at)
            SELECT randomblob(16), u.id, 'common ' || n, 'common ' || n, 0, n * 7 % 1000 * 1000 FROM users u, series",
    )
    .await;
    index_all(store).await;
    let all: Vec<_> = pages(store, owner, None, 1000, usize::MAX).await;
    assert_eq!(all.len(), 3000);
    for (query, limit) in [
        ("COMM", 400),
        ("o", 3001),
        ("99", 10),
        ("common 2999", 1),
        ("7 8", 50),
        ("commons", 9),
    ] {
        let has = |row: &&Listed| {
            let title = &row.conversation.title;
            query
                .to_lowercase()
                .split(' ')
                .all(|word| title.contains(word))
        };
        let expected: Vec<_> = all
            .iter()
            .filter(has)
            .map(|row| row.conversation.id)
            .collect();
        let found = pages(store, owner, Some(query), limit, usize::MAX).await;
        let found: Vec<_> = found.iter().map(|row| row.conversation.id).collect();
        assert_eq!(found, expected, "{query:?}, {limit} a page");
    }
}

pub async fn what_changes_after_it_was_indexed_is_found_as_it_is(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let mut scribe = Scribe(0x853c_49e6_748f_ea9b);
    let (a, b, c) = (
        conversation(store, owner, "oldtitle").await,
        conversation(store, owner, "growing").await,
        conversation(store, owner, "vanishing").await,
    );
    let cut = prompt(b, Parent::Head, "question");
    begin(store, owner, &cut).await;
    let interrupted = Ending {
        outcome: Outcome::Stopped,
        ..ending("beginning")
    };
    let ended = store
        .end_generation(cut.generation_id, &interrupted, &[])
        .await;
    assert!(ended.unwrap());
    exchange(store, owner, c, "question", "vanishingly").await;
    many_texts(store, owner, &mut scribe).await;
    index_all(store).await;
    assert_eq!(db.number(WAITING).await, 0);

    let change = ConversationChange {
        title: Some("NewTitle".into()),
        ..Default::default()
    };
    let changed = store.change_conversation(owner, a, &change, None).await;
    assert!(matches!(changed, Ok(Changed::Done(_))));
    let more = continuing(&cut);
    begin(store, owner, &more).await;
    assert_eq!(found(store, owner, "beginning").await, ["growing"]);
    end(store, &more, "beginning and its end").await;
    let deleted = store.delete_conversation(owner, c).await.unwrap();
    assert_eq!(deleted, Deleted::Done);

    for indexed in [false, true] {
        if indexed {
            many_texts(store, owner, &mut scribe).await;
            index_all(store).await;
            assert_eq!(db.number(WAITING).await, 0);
        }
        assert_eq!(found(store, owner, "newtitle").await, ["NewTitle"]);
        assert!(found(store, owner, "oldtitle").await.is_empty());
        assert_eq!(found(store, owner, "beginning its").await, ["growing"]);
        assert!(found(store, owner, "vanishing").await.is_empty());
        is_exact(store, owner, &mut scribe, 20).await;
    }
    store.restore_conversation(owner, c).await.unwrap().unwrap();
    assert_eq!(found(store, owner, "vanishingly").await, ["vanishing"]);
    store.delete_conversation(owner, c).await.unwrap();
    store
        .purge_conversations(std::time::Duration::ZERO)
        .await
        .unwrap();
    // Its number may be given again.
    let bob = user(store, "bob").await;
    conversation(store, bob, "vanishing").await;
    assert!(found(store, owner, "vanishing").await.is_empty());
    is_exact(store, owner, &mut scribe, 20).await;
}

pub async fn an_index_that_was_broken_off_loses_nothing(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let mut scribe = Scribe(0xda3e_39cb_94b9_5bdb);
    // The last makes enough for a merge, which is broken off again and again.
    for round in 0..8 {
        many_texts(store, owner, &mut scribe).await;
        let mut polls = 1;
        while !polled(store.index_texts(), polls).await {
            polls *= 2;
            if round > 5 {
                is_exact(store, owner, &mut scribe, 3).await;
            }
        }
        let again = db.open_again().await;
        is_exact(&*again, owner, &mut scribe, 3).await;
        again.close().await;
    }
    // As if its process were long gone.
    db.tamper(
        "UPDATE search_segments SET touched_at = touched_at - interval '1 hour'",
        "UPDATE search_segments SET touched_at = touched_at - 3600000",
    )
    .await;
    index_all(store).await;
    many_texts(store, owner, &mut scribe).await;
    index_all(store).await;
    assert_eq!(db.number(NOT_LIVE).await, 0);
    assert!(db.number(LIVE).await < 8);
    is_exact(store, owner, &mut scribe, 40).await;
}

pub async fn several_processes_index_at_once(db: &Scratch) {
    let owner = user(&*db.store, "ann").await;
    let mut scribe = Scribe(0x4528_21e6_38d0_1377);
    let stores = [
        db.open_again().await,
        db.open_again().await,
        db.open_again().await,
    ];
    for _ in 0..8 {
        many_texts(&*db.store, owner, &mut scribe).await;
        futures_util::future::join_all(stores.iter().map(|store| index_all(&**store))).await;
    }
    assert_eq!(db.number(WAITING).await, 0);
    assert!(db.number(LIVE).await < 8);
    is_exact(&*stores[1], owner, &mut scribe, 40).await;
    // Each text is in one segment.
    let documents =
        "SELECT CAST(SUM(documents) AS bigint) FROM search_segments WHERE state = 'live'";
    let texts = "SELECT (SELECT COUNT(*) FROM conversations WHERE folded <> '')
        + (SELECT COUNT(*) FROM messages WHERE folded <> '' AND length(folded) <= 2048)
        + (SELECT COALESCE(SUM((length(folded) + 1848) / 2048), 0) FROM messages WHERE length(folded) > 2048)";
    let (documents, texts) = (db.number(documents).await, db.number(texts).await);
    assert!(documents.abs_diff(texts) < 10, "{documents} of {texts}");
    for store in stores {
        store.close().await;
    }
}

pub async fn what_was_there_before_there_was_an_index_is_indexed(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let mut scribe = Scribe(0xbe54_66cf_34e9_0c6c);
    many_texts(store, owner, &mut scribe).await;
    let before = db.number(WAITING).await;
    // As the version before left it.
    db.tamper(
        "DROP TABLE search_waiting, search_pages, search_documents, search_segments;
         DROP FUNCTION search_title_waits, search_message_waits CASCADE;
         ALTER TABLE conversations DROP COLUMN number;
         DELETE FROM _sqlx_migrations WHERE version = 3",
        "DROP TABLE search_waiting; DROP TABLE search_pages; DROP TABLE search_documents; DROP TABLE search_segments;
         DROP TRIGGER search_new_conversation; DROP TRIGGER search_other_title; DROP TRIGGER search_new_message;
         DROP TRIGGER search_other_message; DROP INDEX conversations_by_number;
         ALTER TABLE conversations DROP COLUMN number;
         DELETE FROM _sqlx_migrations WHERE version = 3",
    )
    .await;
    store.close().await;
    let store = &*db.open_again().await;
    assert_eq!(db.number(WAITING).await, before);
    is_exact(store, owner, &mut scribe, 20).await;
    index_all(store).await;
    assert_eq!((db.number(WAITING).await, db.number(LIVE).await), (0, 1));
    is_exact(store, owner, &mut scribe, 20).await;
    store.close().await;
}
