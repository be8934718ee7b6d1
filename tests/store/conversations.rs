//! Conversations: create, list, read, change, delete.

use crate::scratch::*;
use continuo::{model::*, store::*};
use futures_util::future::join_all;
use std::time::Duration;

/// Every field, with numbers that are easily lost.
fn hot() -> Sampling {
    Sampling {
        temperature: Some(0.1),
        top_p: Some(1.0),
        max_tokens: Some(u32::MAX),
        stop: Some(vec!["\n\n".into(), "</s> 你好".into()]),
        seed: Some(i64::MIN),
        presence_penalty: Some(-2.0),
        frequency_penalty: Some(1e-9),
    }
}

pub async fn a_conversation_reads_back_as_it_was_made(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let new = NewConversation {
        id: ConversationId::new(),
        title: "Ein Titel 你好 🙂".into(),
        model: Some("llama".into()),
        system: Some("Be brief.\n".into()),
        sampling: hot(),
        created_at: now(),
    };
    let made = match store.create_conversation(owner, &new, None).await.unwrap() {
        Effect::Done(made) => made,
        other => panic!("{other:?}"),
    };
    assert_eq!(made.id, new.id);
    assert_eq!(made.title, new.title);
    assert_eq!((&made.model, &made.system), (&new.model, &new.system));
    assert_eq!(made.sampling, new.sampling);
    assert!(!made.pinned && !made.archived);
    assert_eq!((made.version, made.head_id), (1, None));
    assert_eq!(made.created_at, made.updated_at);
    assert_eq!(format!("{made:?}"), format!("{:?}", new.created()));
    let (read, messages) = store.conversation(owner, new.id).await.unwrap().unwrap();
    assert_eq!(format!("{read:?}"), format!("{made:?}"));
    assert!(messages.is_empty());
    let unknown = store.conversation(owner, ConversationId::new()).await;
    assert!(unknown.unwrap().is_none());
}

pub async fn a_key_creates_once_and_counts_for_a_day(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let create = async |owner, key: &Once| {
        let new = NewConversation {
            id: ConversationId::new(),
            title: String::new(),
            model: None,
            system: None,
            sampling: Sampling::default(),
            created_at: now(),
        };
        let receipt = receipt(&new.id);
        let effect = store.create_conversation(owner, &new, Some((key, &receipt)));
        (effect.await.unwrap(), receipt)
    };
    let count = async || list(store, owner, None, None, 100).await.len();
    let key = once("k", 1);
    assert!(store.receipt(owner, &key).await.unwrap().is_none());
    let (done, first) = create(owner, &key).await;
    assert!(matches!(done, Effect::Done(_)));
    let (again, _) = create(owner, &key).await;
    assert!(
        matches!(&again, Effect::Before(kept) if *kept == first),
        "{again:?}"
    );
    let kept = store.receipt(owner, &key).await.unwrap();
    assert!(
        matches!(&kept, Some(Effect::Before(kept)) if *kept == first),
        "{kept:?}"
    );
    let (reused, _) = create(owner, &once("k", 2)).await;
    assert!(matches!(reused, Effect::KeyReused));
    let reused = store.receipt(owner, &once("k", 2)).await.unwrap();
    assert!(matches!(reused, Some(Effect::KeyReused)));
    assert_eq!(count().await, 1);

    // Keys are an owner's own.
    let other = user(store, "bob").await;
    assert!(matches!(create(other, &key).await.0, Effect::Done(_)));

    db.tamper(
        "UPDATE idempotency_keys SET created_at = created_at - interval '24 hours 1 second'",
        "UPDATE idempotency_keys SET created_at = created_at - 86401000",
    )
    .await;
    assert!(store.receipt(owner, &key).await.unwrap().is_none());
    let (replaced, second) = create(owner, &once("k", 2)).await;
    assert!(matches!(replaced, Effect::Done(_)));
    let (again, _) = create(owner, &once("k", 2)).await;
    assert!(matches!(again, Effect::Before(kept) if kept == second));
    assert_eq!(count().await, 2);

    let day_ago = now() - time::Duration::hours(24);
    assert_eq!(store.forget_receipts(day_ago).await.unwrap(), 1);
    assert_eq!(store.forget_receipts(day_ago).await.unwrap(), 0);
    let kept = store.receipt(owner, &once("k", 2)).await.unwrap();
    assert!(kept.is_some());
}

pub async fn of_twenty_changes_of_one_version_one_is_made(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "before").await;
    let changes = (0..20).map(|n| async move {
        let change = ConversationChange {
            title: Some(format!("title {n}")),
            ..Default::default()
        };
        store
            .change_conversation(owner, id, &change, Some(1))
            .await
            .unwrap()
    });
    let mut made = Vec::new();
    for changed in join_all(changes).await {
        match changed {
            Changed::Done(conversation) => made.push(conversation),
            Changed::VersionIs(version) => assert_eq!(version, 2),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made.len(), 1);
    let read = read(store, owner, id).await;
    assert_eq!(read.title, made[0].title);
    assert_eq!((read.version, made[0].version), (2, 2));
}

pub async fn a_change_sets_and_clears_only_what_it_names(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "title").await;
    let change = async |change: ConversationChange, version| {
        store
            .change_conversation(owner, id, &change, version)
            .await
            .unwrap()
    };
    let done = async |asked: ConversationChange| match change(asked, None).await {
        Changed::Done(conversation) => conversation,
        other => panic!("{other:?}"),
    };
    let before = read(store, owner, id).await;
    later().await;
    let nothing = done(ConversationChange::default()).await;
    assert_eq!(format!("{nothing:?}"), format!("{before:?}"));
    let stale = change(ConversationChange::default(), Some(7)).await;
    assert!(matches!(stale, Changed::VersionIs(1)), "{stale:?}");

    let set = done(ConversationChange {
        pinned: Some(true),
        archived: Some(true),
        model: Some(Some("m".into())),
        system: Some(Some("s".into())),
        sampling: Some(hot()),
        ..Default::default()
    })
    .await;
    assert_eq!(set.sampling, hot());
    assert!(set.pinned && set.archived);
    assert_eq!(set.title, "title");
    assert_eq!(
        (set.model.as_deref(), set.system.as_deref()),
        (Some("m"), Some("s"))
    );
    assert_eq!(set.version, 2);
    assert!(set.updated_at > before.updated_at);
    let cleared = done(ConversationChange {
        title: Some(String::new()),
        pinned: Some(false),
        model: Some(None),
        ..Default::default()
    })
    .await;
    assert!(!cleared.pinned && cleared.archived);
    assert_eq!((cleared.title.as_str(), cleared.model), ("", None));
    assert_eq!(cleared.system.as_deref(), Some("s"));
    assert_eq!(cleared.version, 3);
    assert_eq!(cleared.sampling, hot());
    let mild = Sampling {
        temperature: Some(0.5),
        ..Sampling::default()
    };
    let replaced = done(ConversationChange {
        sampling: Some(mild.clone()),
        ..Default::default()
    })
    .await;
    assert_eq!((replaced.sampling, replaced.version), (mild, 4));

    // A turn is no change of these fields.
    exchange(store, owner, id, "hello", "hi").await;
    assert_eq!(read(store, owner, id).await.version, 4);
}

pub async fn pages_neither_repeat_nor_lose_a_conversation_that_rests(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let mut made = Vec::new();
    for n in 0..23 {
        made.push(conversation(store, owner, &format!("c{n}")).await);
    }
    let archived = ConversationChange {
        archived: Some(true),
        ..Default::default()
    };
    let changed = store.change_conversation(owner, made[3], &archived, None);
    changed.await.unwrap();
    // More pinned ones than a page holds, the oldest among them.
    let pinned = ConversationChange {
        pinned: Some(true),
        ..Default::default()
    };
    for id in made.iter().step_by(3) {
        let changed = store.change_conversation(owner, *id, &pinned, None);
        changed.await.unwrap();
    }
    later().await;
    let cursor = |row: &Listed| ListCursor::from(&row.conversation);
    let mut seen: Vec<Listed> = Vec::new();
    loop {
        let after = seen.last().map(cursor);
        let page = list(store, owner, None, after, 5).await;
        assert!(page.len() <= 5);
        if page.is_empty() {
            break;
        }
        seen.extend(page);
        // What was listed and what was not both move to the front, and something new comes.
        let moved = seen.len() / 5;
        exchange(store, owner, seen[0].conversation.id, "q", "a").await;
        exchange(store, owner, made[moved], "q", "a").await;
        conversation(store, owner, "new").await;
    }
    let order: Vec<_> = seen
        .iter()
        .map(|row| {
            (
                row.conversation.pinned,
                row.conversation.updated_at,
                row.conversation.id,
            )
        })
        .collect();
    assert!(order.is_sorted_by(|a, b| a > b), "{order:?}");
    assert_eq!(order.iter().filter(|(pinned, ..)| *pinned).count(), 8);
    // Those that moved before their page came are at the front now; every other was seen, once.
    let front = list(store, owner, None, None, 1000).await;
    for id in &made {
        let times = seen.iter().filter(|row| row.conversation.id == *id).count();
        let moved = made[1..=seen.len() / 5].contains(id);
        assert!(times == 1 || (times == 0 && moved), "{id} {times}");
        assert!(front.iter().any(|row| row.conversation.id == *id));
    }
    assert!(seen.len() >= 18, "{}", seen.len());
    assert!(seen.iter().any(|row| row.conversation.archived));
    assert!(seen.iter().all(|row| row.snippet.is_none()));
    assert_eq!(list(store, owner, None, None, 0).await.len(), 1);
}

pub async fn a_conversation_is_deleted_with_its_messages_unless_it_runs(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "c").await;
    let kept = conversation(store, owner, "kept").await;
    let other = exchange(store, owner, kept, "q", "a").await;
    exchange(store, owner, id, "q", "a").await;
    let one = prompt(id, Parent::Head, "two");
    begin(store, owner, &one).await;
    let two = prompt(id, Parent::Root, "three");
    begin(store, owner, &two).await;
    let running = store.delete_conversation(owner, id).await.unwrap();
    let mut expected = vec![one.generation_id, two.generation_id];
    expected.sort();
    assert_eq!(running, Deleted::Running(expected));
    assert_eq!(messages(store, owner, id).await.len(), 6);

    end(store, &one, "a").await;
    end(store, &two, "a").await;
    let delete = async || store.delete_conversation(owner, id).await.unwrap();
    assert_eq!(delete().await, Deleted::Done);
    assert_eq!(delete().await, Deleted::NotFound);
    assert!(store.conversation(owner, id).await.unwrap().is_none());
    let gone = store.generation(owner, one.generation_id).await;
    assert!(gone.unwrap().is_none());
    assert_eq!(store.purge_conversations(Duration::ZERO).await.unwrap(), 1);
    let late = store
        .end_generation(one.generation_id, &ending("late"), &[])
        .await;
    assert!(!late.unwrap());
    let has_end = store.has_end(one.generation_id, &ending("late")).await;
    assert!(has_end.unwrap(), "nobody waits for it");
    let there = store.generation(owner, other.generation_id).await;
    assert!(there.unwrap().is_some());
    assert_eq!(list(store, owner, None, None, 9).await.len(), 1);
}

/// SQLite ends foreign key actions that recurse more than 1,000 deep.
pub async fn a_very_long_conversation_can_be_answered_and_deleted(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "c").await;
    for n in 0..520 {
        exchange(store, owner, id, &format!("q{n}"), "a").await;
    }
    let last = prompt(id, Parent::Head, "last");
    let turn = begin(store, owner, &last).await;
    assert_eq!(turn.path.len(), 1041);
    assert_eq!(turn.path[0].content, "q0");
    end(store, &last, "a").await;
    let deleted = store.delete_conversation(owner, id).await.unwrap();
    assert_eq!(deleted, Deleted::Done);
    assert_eq!(store.purge_conversations(Duration::ZERO).await.unwrap(), 1);
    let left = "SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM generations)";
    assert_eq!(db.number(left).await, 0);
}

pub async fn another_users_conversation_is_not_there(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let stranger = user(store, "bob").await;
    let id = conversation(store, owner, "secret").await;
    exchange(store, owner, id, "secret", "secret").await;
    let read = store.conversation(stranger, id).await.unwrap();
    assert!(read.is_none());
    for text in [None, Some("secret")] {
        assert!(list(store, stranger, text, None, 9).await.is_empty());
        assert_eq!(list(store, owner, text, None, 9).await.len(), 1);
    }
    let change = ConversationChange {
        title: Some("mine".into()),
        ..Default::default()
    };
    for change in [change, ConversationChange::default()] {
        let changed = store.change_conversation(stranger, id, &change, None).await;
        assert!(matches!(changed.unwrap(), Changed::NotFound));
    }
    let deleted = store.delete_conversation(stranger, id).await.unwrap();
    assert_eq!(deleted, Deleted::NotFound);
    assert_eq!(messages(store, owner, id).await.len(), 2);
}
