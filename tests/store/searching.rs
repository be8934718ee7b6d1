//! Search.

use crate::scratch::*;
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
        let after = seen.last().map(|row| ListCursor {
            updated_at: row.conversation.updated_at,
            id: row.conversation.id,
        });
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
