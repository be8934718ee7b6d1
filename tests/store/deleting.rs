//! Conversations that were deleted: hidden, restored, purged, and all of that at once.

use crate::scratch::*;
use continuo::{model::*, store::*};
use futures_util::future::{join, join_all};
use std::time::Duration;

async fn delete(store: &dyn Store, owner: UserId, id: ConversationId) -> Deleted {
    store.delete_conversation(owner, id).await.unwrap()
}

async fn restored(store: &dyn Store, owner: UserId, id: ConversationId) -> Option<Conversation> {
    store.restore_conversation(owner, id).await.unwrap()
}

async fn purge(store: &dyn Store) -> u64 {
    store.purge_conversations(Duration::ZERO).await.unwrap()
}

pub async fn what_is_deleted_is_not_there_for_anybody(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "secret").await;
    let answered = exchange(store, owner, id, "secret", "secret").await;
    let cut = prompt(id, Parent::Head, "cut");
    begin(store, owner, &cut).await;
    let stopped = Ending {
        outcome: Outcome::Stopped,
        ..ending("se")
    };
    let ended = store.end_generation(cut.generation_id, &stopped, &[]).await;
    assert!(ended.unwrap());
    assert_eq!(delete(store, owner, id).await, Deleted::Done);

    assert!(store.conversation(owner, id).await.unwrap().is_none());
    let query = BranchQuery {
        limit: 9,
        ..Default::default()
    };
    let branch = store.branch(owner, id, &query).await.unwrap();
    assert!(matches!(branch, BranchFound::NotFound), "{branch:?}");
    for text in [None, Some("secret")] {
        assert!(list(store, owner, text, None, 9).await.is_empty());
    }
    for turn in [&answered, &cut] {
        let generation = store.generation(owner, turn.generation_id).await;
        assert!(generation.unwrap().is_none());
    }
    let rename = ConversationChange {
        title: Some("mine".into()),
        ..Default::default()
    };
    for change in [rename, ConversationChange::default()] {
        let changed = store.change_conversation(owner, id, &change, None).await;
        assert!(matches!(changed.unwrap(), Changed::NotFound));
    }
    let regenerate = turn(TurnOf::Regenerate {
        message_id: answered.message_id,
    });
    for new in [
        prompt(id, Parent::Head, "more"),
        prompt(id, Parent::Root, "more"),
        prompt(id, Parent::Message(answered.message_id), "more"),
        regenerate,
        continuing(&cut),
    ] {
        assert_eq!(refused(store, owner, &new).await, TurnRefused::NotFound);
    }
    assert_eq!(delete(store, owner, id).await, Deleted::NotFound);
}

pub async fn a_deleted_conversation_comes_back_as_it_was(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let stranger = user(store, "bob").await;
    let id = conversation(store, owner, "title").await;
    let first = exchange(store, owner, id, "q0", "a0").await;
    exchange(store, owner, id, "q1", "a1").await;
    let change = ConversationChange {
        pinned: Some(true),
        head_id: Some(first.message_id),
        ..Default::default()
    };
    let changed = store.change_conversation(owner, id, &change, None).await;
    assert!(matches!(changed.unwrap(), Changed::Done(_)));
    let all = async || {
        let generation = stored(store, owner, &first).await;
        let read = store.conversation(owner, id).await.unwrap();
        format!("{read:?} {generation:?}")
    };
    let (before, row) = (all().await, read(store, owner, id).await);

    assert_eq!(delete(store, owner, id).await, Deleted::Done);
    assert!(restored(store, stranger, id).await.is_none());
    assert!(store.conversation(owner, id).await.unwrap().is_none());
    for again in 0..2 {
        let back = restored(store, owner, id).await.unwrap();
        assert_eq!(format!("{back:?}"), format!("{row:?}"), "{again}");
    }
    assert_eq!(all().await, before);
    assert_eq!(list(store, owner, Some("a1"), None, 9).await.len(), 1);
    let next = prompt(id, Parent::Head, "q2");
    assert_eq!(begin(store, owner, &next).await.path.len(), 3);
    assert!(
        restored(store, owner, ConversationId::new())
            .await
            .is_none()
    );
    assert_eq!(purge(store).await, 0, "it is not deleted any more");
}

pub async fn what_was_deleted_long_enough_ago_is_purged_and_nothing_else(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let kept = conversation(store, owner, "kept").await;
    exchange(store, owner, kept, "q", "a").await;
    let fresh = conversation(store, owner, "fresh").await;
    let old = conversation(store, owner, "old").await;
    exchange(store, owner, old, "q", "a").await;
    for id in [fresh, old] {
        assert_eq!(delete(store, owner, id).await, Deleted::Done);
    }
    let minute = Duration::from_mins(1);
    assert_eq!(store.purge_conversations(minute).await.unwrap(), 0);
    db.tamper(
        "UPDATE conversations SET deleted_at = deleted_at - interval '61 seconds' WHERE title = 'old'",
        "UPDATE conversations SET deleted_at = deleted_at - 61000 WHERE title = 'old'",
    )
    .await;
    assert_eq!(store.purge_conversations(minute).await.unwrap(), 1);
    assert!(restored(store, owner, old).await.is_none());
    assert!(restored(store, owner, fresh).await.is_some());
    assert_eq!(messages(store, owner, kept).await.len(), 2);
    for (what, left) in [
        ("SELECT count(*) FROM conversations", 2),
        ("SELECT count(*) FROM messages", 2),
        ("SELECT count(*) FROM generations", 1),
    ] {
        assert_eq!(db.number(what).await, left, "{what}");
    }
}

pub async fn a_purge_left_half_done_is_finished_and_nothing_comes_back(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "c").await;
    // Several transactions' worth.
    for n in 0..120 {
        exchange(store, owner, id, &format!("q{n}"), "a").await;
    }
    assert_eq!(delete(store, owner, id).await, Deleted::Done);
    // As a process leaves it that is killed after the first transaction.
    db.tamper(
        "UPDATE conversations SET purged = true",
        "UPDATE conversations SET purged = 1",
    )
    .await;
    assert!(restored(store, owner, id).await.is_none());
    let long_ago = store.purge_conversations(LONG).await;
    assert_eq!(long_ago.unwrap(), 1, "once begun it waits for nothing");
    let left = "SELECT (SELECT count(*) FROM conversations) + (SELECT count(*) FROM messages)";
    assert_eq!(db.number(left).await, 0);
}

pub async fn of_twenty_who_delete_one_does(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "c").await;
    let deleted = join_all((0..20).map(|_| delete(store, owner, id))).await;
    let done = deleted.iter().filter(|deleted| **deleted == Deleted::Done);
    assert_eq!(done.count(), 1, "{deleted:?}");
}

pub async fn a_conversation_is_restored_whole_or_purged_whole(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    for round in 0..20 {
        let id = conversation(store, owner, "c").await;
        exchange(store, owner, id, "q", "a").await;
        assert_eq!(delete(store, owner, id).await, Deleted::Done);
        let (back, purged) = if round % 2 == 0 {
            join(restored(store, owner, id), purge(store)).await
        } else {
            // Restored between its look and its first transaction, where there is one connection to write with.
            let (purged, back) = join(purge(store), restored(store, owner, id)).await;
            (back, purged)
        };
        assert_eq!(back.is_some(), purged == 0, "{back:?} {purged}");
        let read = store.conversation(owner, id).await.unwrap();
        assert_eq!(read.is_some(), back.is_some());
        if let Some((_, messages)) = read {
            assert_eq!(messages.len(), 2);
            assert_eq!(delete(store, owner, id).await, Deleted::Done);
            purge(store).await;
        }
    }
}

pub async fn several_nodes_purge_each_conversation_once(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    for _ in 0..12 {
        let id = conversation(store, owner, "c").await;
        exchange(store, owner, id, "q", "a").await;
        assert_eq!(delete(store, owner, id).await, Deleted::Done);
    }
    let (one, two) = (db.open_again().await, db.open_again().await);
    let purged = join_all([store, &*one, &*two].map(purge)).await;
    assert_eq!(purged.iter().sum::<u64>(), 12, "{purged:?}");
    one.close().await;
    two.close().await;
}

pub async fn a_prompt_or_a_deletion_comes_first(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    for _ in 0..20 {
        let id = conversation(store, owner, "c").await;
        let new = prompt(id, Parent::Head, "q");
        let (begun, deleted) = join(
            store.begin_turn(owner, &new, None),
            delete(store, owner, id),
        )
        .await;
        match begun.unwrap() {
            Ok(_) => assert_eq!(deleted, Deleted::Running(vec![new.generation_id])),
            Err(refused) => {
                assert_eq!((refused, deleted), (TurnRefused::NotFound, Deleted::Done));
            }
        }
    }
}

pub async fn an_end_that_comes_late_neither_fails_nor_brings_anything_back(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "c").await;
    let new = prompt(id, Parent::Head, "q");
    begin(store, owner, &new).await;
    let recovered = store.recover(NODE, new.generation_id, &lost("so f")).await;
    assert!(recovered.unwrap());
    assert_eq!(delete(store, owner, id).await, Deleted::Done);
    // From the disk of the node that ran it, say.
    let (truth, tail) = (ending("so far"), [segment(&new, 1, 2)]);
    let its_own = store.end_generation(new.generation_id, &truth, &tail);
    assert!(its_own.await.unwrap());
    assert!(store.conversation(owner, id).await.unwrap().is_none());
    assert!(restored(store, owner, id).await.is_some());
    assert_eq!(messages(store, owner, id).await[1].content, "so far");

    assert_eq!(delete(store, owner, id).await, Deleted::Done);
    assert_eq!(purge(store).await, 1);
    let again = store.end_generation(new.generation_id, &truth, &tail);
    assert!(!again.await.unwrap());
    let has_end = store.has_end(new.generation_id, &truth).await;
    assert!(has_end.unwrap(), "nobody waits for it any more");
}
