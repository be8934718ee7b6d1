//! How long lists and searches take, asked of the store as the routes ask it, and how large the index is.
//!
//! Figures compare within one run: other programs on the machine make most of the slowest ones.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a measuring tool"
)]

use crate::{
    filled::Database,
    texts::{APART_A, APART_B, Writer},
};
use continuo::{
    model::UserId,
    store::{ListCursor, ListQuery, Store, StoreOptions, open},
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How often each kind of query is asked.
const ROUNDS: usize = 200;
/// As the routes ask for a page: one more says whether there is another.
const LIMIT: u32 = 51;

/// Fills a fresh database at `url` (or a temporary SQLite file), measures, and says what it found. One that was filled before is measured
/// again.
pub async fn search(url: Option<String>, messages: usize, each: usize) {
    let directory = tempfile::tempdir().unwrap();
    let url =
        url.unwrap_or_else(|| format!("sqlite:{}", directory.path().join("chat.db").display()));
    let store = open(&url, &StoreOptions::default()).await.unwrap();
    let mut database = Database::connect(&url).await;
    let mut writer = Writer::new();
    let present = store.user_by_name("owner").await.unwrap();
    let owner = match &present {
        Some(owner) => owner.id,
        None => fill(&*store, &mut database, &mut writer, messages, each).await,
    };
    let queries = queries(&mut Writer::new());
    if present.is_none() {
        println!("\nnothing indexed yet, all texts wait:");
        for name in ["a rare word", "a common word", "an absent word"] {
            measure(&*store, owner, name, &queries[name], 3, LIMIT).await;
        }
    }
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    loop {
        let step = Instant::now();
        if !store.index_texts().await.unwrap() {
            break;
        }
        longest = longest.max(step.elapsed());
    }
    println!(
        "\nindexed in {:.1} s, longest step {:.1} s",
        begun.elapsed().as_secs_f64(),
        longest.as_secs_f64()
    );
    database.sizes().await;
    println!();
    let mut names: Vec<_> = queries.keys().copied().collect();
    names.sort_unstable();
    let mut all = Vec::new();
    for name in names {
        all.extend(measure(&*store, owner, name, &queries[name], ROUNDS, LIMIT).await);
    }
    report("all of these", 0, &mut all);
    store.close().await;
}

/// Texts of one user, and a tenth of that of another.
async fn fill(
    store: &dyn Store,
    database: &mut Database,
    writer: &mut Writer,
    messages: usize,
    each: usize,
) -> UserId {
    let owner = store.add_user("owner", false).await.unwrap().unwrap().id;
    let other = store.add_user("other", false).await.unwrap().unwrap().id;
    let begun = Instant::now();
    let mut characters = 0;
    for conversation in 0..messages / each {
        characters += database.add(writer, owner, conversation, each).await;
        if conversation % 10 == 0 {
            database.add(writer, other, conversation, each).await;
        }
    }
    database.flush().await;
    println!(
        "{messages} messages in {} conversations, {} MB of text in characters (and a tenth of that of another user), written in {:.0} s",
        messages / each,
        characters / 1_000_000,
        begun.elapsed().as_secs_f64()
    );
    owner
}

async fn measure(
    store: &dyn Store,
    owner: UserId,
    name: &str,
    texts: &[String],
    rounds: usize,
    limit: u32,
) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut rows = 0;
    for text in texts.iter().cycle().take(rounds.max(texts.len())) {
        let mut query = ListQuery {
            text: Some(text.clone()).filter(|text| !text.is_empty()),
            after: None,
            limit,
        };
        let begun = Instant::now();
        let mut found = store.list_conversations(owner, &query).await.unwrap();
        if name.ends_with("third page") {
            for _ in 0..2 {
                query.after = found.last().map(|row| ListCursor::from(&row.conversation));
                let begun = Instant::now();
                found = store.list_conversations(owner, &query).await.unwrap();
                times.push(begun.elapsed());
            }
        } else {
            times.push(begun.elapsed());
        }
        rows = rows.max(found.len());
    }
    report(name, rows, &mut times);
    times
}

fn report(name: &str, rows: usize, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| {
        times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1000.0
    };
    println!(
        "{name:<44} {rows:>3} rows   p50 {:>7.2} ms   p99 {:>7.2} ms   most {:>7.2} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn queries(writer: &mut Writer) -> HashMap<&'static str, Vec<String>> {
    let mut words = |from: usize, to: usize, count: usize| -> Vec<String> {
        (0..count)
            .map(|_| writer.words[from + writer.random.below(to - from)].clone())
            .collect()
    };
    let sixteen = words(0, 200, 16).join(" ");
    let sixteen_rare = words(10_000, 30_000, 16).join(" ");
    let inner = words(300, 5000, 20)
        .iter()
        .map(|word| word.chars().skip(1).take(4).collect())
        .collect();
    let queries = vec![
        ("no word: a list", vec![String::new()]),
        ("no word: a list, third page", vec![String::new()]),
        ("a word that is there five times", vec!["zyzzogeton".into()]),
        ("a rare word", words(10_000, 30_000, 50)),
        ("a word of middling frequency", words(500, 5000, 50)),
        ("a common word", words(0, 50, 20)),
        ("a common word, third page", words(0, 50, 20)),
        ("a part of a word", inner),
        (
            "an absent word",
            vec!["qzxvkwj".into(), "foxtrotting".into(), "jjjj".into()],
        ),
        (
            "an absent word of common parts",
            ["thering", "ationing", "ingthe", "erentions", "anderes"]
                .map(Into::into)
                .into(),
        ),
        (
            "an absent word of the most common letters",
            ["etaoin", "theande", "inthand", "athere"]
                .map(|w| format!("{w}x{w}"))
                .into(),
        ),
        (
            "two Chinese characters, common",
            vec![
                "词语".into(),
                writer.chinese[3].clone(),
                writer.chinese[7].clone(),
            ],
        ),
        (
            "two Chinese characters, rare",
            writer.chinese[8000..8020].to_vec(),
        ),
        (
            "two Chinese characters, common but apart",
            vec![format!("{APART_A}{APART_B}")],
        ),
        (
            "one Chinese character, the most common",
            vec![writer.characters[0].to_string()],
        ),
        (
            "one Chinese character, rare",
            vec![writer.characters[2900].to_string()],
        ),
        (
            "two common words, never together",
            vec!["leftword rightword".into()],
        ),
        (
            "two common words, in nine conversations",
            vec!["leftword zyzzoboth".into()],
        ),
        (
            "two middling words",
            vec![
                words(300, 2000, 2).join(" "),
                words(300, 2000, 2).join(" "),
                words(300, 2000, 2).join(" "),
            ],
        ),
        ("one letter", ["e", "t", "x", "q"].map(Into::into).into()),
        ("one letter, absent", vec!["ø".into()]),
        ("an emoji", vec!["🦀".into(), "🙂".into()]),
        ("sixteen common words", vec![sixteen]),
        ("sixteen rare words", vec![sixteen_rare]),
        (
            "signs: foo_bar C++ 你好，世界",
            vec![
                "foo_bar".into(),
                "C++".into(),
                "你好，世界".into(),
                "*".into(),
                "%".into(),
            ],
        ),
        (
            "in titles only",
            vec!["titleonly".into(), "titleonly7".into()],
        ),
        ("in the oldest conversation only", vec!["oldestword".into()]),
        ("an endless word", vec!["the".repeat(100)]),
    ];
    queries.into_iter().collect()
}
