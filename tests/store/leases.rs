//! Leases: who may write what a generation says, and when another may take it over.

use crate::scratch::*;
use continuo::{model::*, store::*};
use futures_util::future::join_all;
use std::time::Duration;

/// Another node, whose lease lasts so long, and a generation that it runs.
async fn another_node(
    store: &dyn Store,
    owner: UserId,
    conversation: ConversationId,
    lasts: Duration,
) -> (Lease, NewTurn) {
    let lease = store.take_lease(NodeId::new(), lasts).await.unwrap();
    let new = under(lease, prompt(conversation, Parent::Root, "q"));
    begin(store, owner, &new).await;
    (lease, new)
}

async fn epoch(store: &dyn Store, node: NodeId) -> i64 {
    store.lease(node).await.unwrap().unwrap().epoch
}

pub async fn a_lease_is_renewed_only_in_its_own_epoch(db: &Scratch) {
    let store = &*db.store;
    let node = NodeId::new();
    assert_eq!(store.lease(node).await.unwrap(), None);
    let first = store.take_lease(node, LONG).await.unwrap();
    assert_eq!(store.lease(node).await.unwrap(), Some(first));
    assert!(store.renew_lease(first, LONG).await.unwrap());
    let second = store.take_lease(node, LONG).await.unwrap();
    assert_eq!((second.node, second.epoch), (node, first.epoch + 1));
    assert!(!store.renew_lease(first, LONG).await.unwrap());
    assert!(store.renew_lease(second, LONG).await.unwrap());
    assert_eq!(store.lease(node).await.unwrap(), Some(second));
    let unknown = Lease {
        node: NodeId::new(),
        epoch: 1,
    };
    assert!(!store.renew_lease(unknown, LONG).await.unwrap());
    assert_eq!(store.lease(unknown.node).await.unwrap(), None);
}

pub async fn nothing_begins_under_a_lease_that_was_taken_away(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let node = NodeId::new();
    let old = store.take_lease(node, LONG).await.unwrap();
    let present = store.take_lease(node, LONG).await.unwrap();
    let new = under(old, prompt(id, Parent::Head, "q"));
    let key = once("k", 1);
    let kept = receipt(&new.generation_id);
    let begun = store.begin_turn(owner, &new, Some((&key, &kept))).await;
    assert!(
        matches!(begun, Err(StoreError::Unavailable(_))),
        "{begun:?}"
    );
    assert!(messages(store, owner, id).await.is_empty());
    assert!(store.receipt(owner, &key).await.unwrap().is_none());
    begin(store, owner, &under(present, new)).await;
}

pub async fn an_expired_lease_is_taken_once_and_fences_its_node(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let (lost, first) = another_node(store, owner, id, Duration::ZERO).await;
    let second = under(lost, prompt(id, Parent::Root, "q"));
    later().await;
    begin(store, owner, &second).await;
    let (good, _) = another_node(store, owner, id, LONG).await;
    let idle = store.take_lease(NodeId::new(), Duration::ZERO).await;
    let idle = idle.unwrap();
    let mine = prompt(id, Parent::Root, "q");
    begin(store, owner, &mine).await;
    later().await;

    let expected = [first.generation_id, second.generation_id];
    for _ in 0..3 {
        assert_eq!(store.seize_expired(PRESENT).await.unwrap(), expected);
        assert_eq!(epoch(store, lost.node).await, lost.epoch + 1);
    }
    assert_eq!(epoch(store, good.node).await, good.epoch);
    assert_eq!(epoch(store, idle.node).await, idle.epoch);
    assert_eq!(epoch(store, NODE).await, 1);

    assert!(!store.renew_lease(lost, LONG).await.unwrap());
    let said = [segment(&first, 1, 1)];
    is_fenced(&store.append_events(lost, &said).await);
    assert!(recorded(store, &first).await.is_empty());
    let begun = store
        .begin_turn(owner, &under(lost, prompt(id, Parent::Root, "q")), None)
        .await;
    assert!(
        matches!(begun, Err(StoreError::Unavailable(_))),
        "{begun:?}"
    );
}

pub async fn a_lease_renewed_in_time_is_not_taken(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let (lease, _) = another_node(store, owner, id, Duration::ZERO).await;
    later().await;
    assert!(store.renew_lease(lease, LONG).await.unwrap());
    assert!(store.seize_expired(PRESENT).await.unwrap().is_empty());
    assert_eq!(epoch(store, lease.node).await, lease.epoch);
}

pub async fn of_many_sweepers_at_once_one_recovers(db: &Scratch) {
    let store = &*db.store;
    let other = db.open_again().await;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let (lease, new) = another_node(store, owner, id, Duration::ZERO).await;
    later().await;
    let sweeps = (0..12).map(|n| {
        let store = if n % 2 == 0 { store } else { &*other };
        let new = &new;
        async move {
            let sweeper = store.take_lease(NodeId::new(), LONG).await.unwrap();
            let left = store.seize_expired(sweeper).await.unwrap();
            assert!(left.is_empty() || left == [new.generation_id]);
            let recovered = store
                .recover(sweeper.node, new.generation_id, &lost("text"))
                .await;
            recovered.unwrap()
        }
    });
    let recovered = join_all(sweeps).await;
    assert_eq!(recovered.iter().filter(|one| **one).count(), 1);
    assert_eq!(epoch(store, lease.node).await, lease.epoch + 1);
}

pub async fn a_node_that_comes_back_in_time_goes_on(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let (lease, new) = another_node(store, owner, id, Duration::ZERO).await;
    let forgotten = under(lease, prompt(id, Parent::Root, "q"));
    begin(store, owner, &forgotten).await;
    later().await;
    assert_eq!(store.seize_expired(PRESENT).await.unwrap().len(), 2);
    let back = store.take_lease(lease.node, LONG).await.unwrap();
    // Not with the lease that was taken, and not what others run.
    let kept = store.keep_running(lease, &[new.generation_id]).await;
    assert!(kept.unwrap().is_empty());
    let mine = prompt(id, Parent::Root, "q");
    begin(store, owner, &mine).await;
    let said = [segment(&new, 1, 2), segment(&mine, 1, 2)];
    store.append_events(back, &said).await.unwrap();
    assert!(recorded(store, &new).await.is_empty());
    let kept = [new.generation_id, mine.generation_id, GenerationId::new()];
    let running = store.keep_running(back, &kept).await;
    assert_eq!(running.unwrap(), [new.generation_id]);
    assert!(store.keep_running(lease, &kept).await.unwrap().is_empty());
    store.append_events(back, &said).await.unwrap();
    assert_eq!(recorded(store, &new).await, said[..1]);
    assert!(recorded(store, &mine).await.is_empty());
    assert!(store.seize_expired(PRESENT).await.unwrap().is_empty());

    let recovered = store.recover(NODE, new.generation_id, &lost("x")).await;
    assert!(!recovered.unwrap(), "its own node runs it");
    let recovered = store
        .recover(NODE, forgotten.generation_id, &lost("x"))
        .await;
    assert!(recovered.unwrap(), "nobody does");
    let ended = ending("all of it");
    assert!(!store.has_end(new.generation_id, &ended).await.unwrap());
    end(store, &new, "all of it").await;
    assert!(store.has_end(new.generation_id, &ended).await.unwrap());
    let recovered = store.has_end(forgotten.generation_id, &ended).await;
    assert!(!recovered.unwrap(), "another end");
    let deleted = store.has_end(GenerationId::new(), &ended).await;
    assert!(deleted.unwrap(), "nothing is left to be said");
    // What has ended is not run again.
    let kept = [forgotten.generation_id, new.generation_id];
    assert!(store.keep_running(back, &kept).await.unwrap().is_empty());
    assert!(store.running_here(lease.node).await.unwrap().is_empty());
}

pub async fn what_runs_here_and_elsewhere_is_known(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let mut mine = Vec::new();
    for _ in 0..3 {
        let new = prompt(id, Parent::Root, "q");
        begin(store, owner, &new).await;
        mine.push(new.generation_id);
        later().await;
    }
    let (lease, new) = another_node(store, owner, id, LONG).await;
    let theirs = new.generation_id;
    assert_eq!(store.running_here(NODE).await.unwrap(), mine);
    assert_eq!(store.running_here(lease.node).await.unwrap(), [theirs]);
    assert!(store.runs_elsewhere(NODE, theirs).await.unwrap());
    assert!(!store.runs_elsewhere(lease.node, theirs).await.unwrap());
    let unknown = GenerationId::new();
    assert!(!store.runs_elsewhere(NODE, unknown).await.unwrap());

    store.renew_lease(lease, Duration::ZERO).await.unwrap();
    later().await;
    assert!(!store.runs_elsewhere(NODE, theirs).await.unwrap());
    let back = store.take_lease(lease.node, LONG).await.unwrap();
    assert!(!store.runs_elsewhere(NODE, theirs).await.unwrap());
    store.keep_running(back, &[theirs]).await.unwrap();
    assert!(store.runs_elsewhere(NODE, theirs).await.unwrap());
    end(store, &new, "a").await;
    assert!(!store.runs_elsewhere(NODE, theirs).await.unwrap());
    assert!(store.running_here(lease.node).await.unwrap().is_empty());
}
