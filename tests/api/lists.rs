//! Lists of conversations, page by page, and searches in them.

use super::conversations::{change, create, id, path};
use crate::support::app::{Account, TestApp, spawn_app};
use serde_json::{Value, json};
use std::collections::HashMap;

/// All rows of a list, page by page; `between` runs after each page.
async fn pages(account: &Account, path: &str, between: impl AsyncFn(usize)) -> Vec<Value> {
    let (mut rows, mut next, mut page) = (Vec::new(), None, 0);
    loop {
        let cursor = next.map_or(String::new(), |next: String| format!("&cursor={next}"));
        let list = account.get_json(&format!("{path}{cursor}")).await;
        rows.extend(list["items"].as_array().expect("rows").iter().cloned());
        let Some(cursor) = list["next"].as_str() else {
            return rows;
        };
        next = Some(cursor.to_owned());
        page += 1;
        between(page).await;
    }
}

#[tokio::test]
async fn pages_over_conversations_that_change_neither_repeat_nor_lose_those_that_rest() {
    let app = spawn_app().await;
    let mut all = Vec::new();
    for n in 0..120 {
        all.push(create(&app.owner, json!({"title": format!("number {n}")})).await);
    }
    let still = pages(&app.owner, "/api/conversations?limit=50", async |_| {}).await;
    let newest_first: Vec<_> = all.iter().rev().map(id).collect();
    let got: Vec<_> = still.iter().map(id).collect();
    assert_eq!(got, newest_first);

    for (limit, more) in [(119, true), (120, false), (200, false)] {
        let page = app
            .owner
            .get_json(&format!("/api/conversations?limit={limit}"))
            .await;
        assert_eq!(page["next"].is_string(), more, "limit {limit}");
    }

    // One is renamed and one made after each page: both come to the front, where the reader was already.
    let rows = pages(
        &app.owner,
        "/api/conversations?limit=7",
        async |page: usize| {
            let body = json!({"title": format!("renamed {page}")});
            assert_eq!(
                change(&app.owner, &path(&all[page]), None, body)
                    .await
                    .status(),
                200
            );
            create(&app.owner, json!({})).await;
        },
    )
    .await;
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for row in &rows {
        *seen.entry(id(row)).or_default() += 1;
    }
    let renamed = rows.len().div_ceil(7);
    for resting in all.iter().skip(renamed + 1) {
        assert_eq!(seen.get(id(resting)), Some(&1), "{resting}");
    }
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    app.end().await;
}

#[tokio::test]
async fn pinned_conversations_are_listed_first() {
    let app = spawn_app().await;
    let mut all = Vec::new();
    for n in 0..9 {
        all.push(create(&app.owner, json!({"title": format!("number {n}")})).await);
    }
    for pinned in [0, 4, 5] {
        let body = json!({"pinned": true});
        let changed = change(&app.owner, &path(&all[pinned]), None, body).await;
        assert_eq!(changed.status(), 200);
    }
    let rows = pages(&app.owner, "/api/conversations?limit=2", async |_| {}).await;
    let got: Vec<_> = rows.iter().map(|row| row["title"].clone()).collect();
    let expected = [5, 4, 0, 8, 7, 6, 3, 2, 1].map(|n| format!("number {n}"));
    assert_eq!(got, expected);
    // In what a search finds the newest comes first.
    let rows = pages(
        &app.owner,
        "/api/conversations?q=number&limit=2",
        async |_| {},
    )
    .await;
    assert_eq!(rows.len(), 9);
    let changed: Vec<_> = rows.iter().map(|row| row["updated_at"].as_str()).collect();
    assert!(changed.is_sorted_by(|a, b| a >= b), "{changed:?}");
    app.end().await;
}

async fn found(app: &TestApp, words: &str) -> Vec<(String, String)> {
    let list = app
        .owner
        .get_json(&format!("/api/conversations?q={words}"))
        .await;
    let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
    let rows = list["items"].as_array().expect("rows").iter();
    rows.map(|row| (text(row, "title"), text(row, "snippet")))
        .collect()
}

#[tokio::test]
async fn a_search_finds_words_of_any_script_in_titles_questions_and_answers() {
    let app = spawn_app().await;
    let long = format!(
        "{} die Äpfel sind reif {}",
        "vorher ".repeat(50),
        "nachher ".repeat(50)
    );
    for (title, question, answer) in [
        ("中文", "请问怎么做红烧肉？", "先把五花肉切成块。"),
        (
            "Bread",
            "How much SALT?",
            "Two percent of the flour's weight.",
        ),
        ("Obst", "Wann?", &long),
    ] {
        let made = create(&app.owner, json!({"title": title})).await;
        app.answered(id(&made), question, &[answer]).await;
    }
    let hit = |title: &str, snippet: &str| vec![(title.to_owned(), snippet.to_owned())];
    assert_eq!(found(&app, "烧肉").await, hit("中文", "请问怎么做红烧肉？"));
    assert_eq!(found(&app, "五花").await, hit("中文", "先把五花肉切成块。"));
    assert_eq!(found(&app, "salt").await, hit("Bread", "How much SALT?"));
    assert_eq!(
        found(&app, "percent%20flour").await.len(),
        1,
        "both words, anywhere"
    );
    assert_eq!(found(&app, "salt%20flour%20bread").await.len(), 1);
    assert_eq!(found(&app, "salt%20äpfel").await, []);
    assert_eq!(found(&app, "100%25").await, [], "wildcards are characters");
    let apples = found(&app, "ÄPFEL").await;
    assert_eq!(apples.len(), 1);
    let snippet = &apples[0].1;
    assert!(
        snippet.starts_with('…') && snippet.ends_with('…'),
        "{snippet}"
    );
    assert!(
        snippet.contains("die Äpfel sind reif") && snippet.chars().count() < 200,
        "{snippet}"
    );
    let rows = pages(&app.owner, "/api/conversations?q=e&limit=1", async |_| {}).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    app.end().await;
}
