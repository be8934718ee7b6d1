//! Events while they are written: batches, tails, and when they are forgotten.

use crate::{scratch::*, turns::polled};
use continuo::{event::EventSegment, model::*, store::*};
use sqlx::{Connection, Executor, PgConnection};
use time::Duration;

async fn running(store: &dyn Store, owner: UserId, conversation: ConversationId) -> NewTurn {
    let new = prompt(conversation, Parent::Root, "q");
    begin(store, owner, &new).await;
    new
}

pub async fn events_come_back_after_any_position(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let (one, two) = (
        running(store, owner, id).await,
        running(store, owner, id).await,
    );
    let parts = [
        segment(&one, 1, 3),
        segment(&one, 4, 4),
        segment(&one, 5, 14),
    ];
    let others = segment(&two, 1, 9);
    let batch = [parts[2].clone(), others.clone(), parts[0].clone()];
    store.append_events(PRESENT, &batch).await.unwrap();
    store.append_events(PRESENT, &parts[1..2]).await.unwrap();
    store.append_events(PRESENT, &[]).await.unwrap();
    for (after, expected) in [
        (0, &parts[..]),
        (2, &parts[..]),
        (3, &parts[1..]),
        (4, &parts[2..]),
        (13, &parts[2..]),
        (14, &[]),
        (u64::MAX, &[]),
    ] {
        let events = store.events(one.generation_id, after).await.unwrap();
        assert_eq!(events, expected, "after {after}");
    }
    assert_eq!(recorded(store, &two).await, [others]);
    let unknown = store.events(GenerationId::new(), 0).await;
    assert!(unknown.unwrap().is_empty());
    // They outlive the end.
    end(store, &one, "a").await;
    assert_eq!(recorded(store, &one).await, parts);
}

pub async fn a_batch_may_come_twice(db: &Scratch) {
    let store = &*db.store;
    let other = db.open_again().await;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = running(store, owner, id).await;
    let batch = [segment(&new, 1, 2), segment(&new, 3, 3)];
    store.append_events(PRESENT, &batch[..1]).await.unwrap();
    store.append_events(PRESENT, &batch).await.unwrap();
    let (left, right) = futures_util::join!(
        store.append_events(PRESENT, &batch),
        other.append_events(PRESENT, &batch)
    );
    left.unwrap();
    right.unwrap();
    assert_eq!(recorded(store, &new).await, batch);
    // One that was cut longer the second time brings the rest, and one that was cut shorter takes nothing away.
    let longer = [segment(&new, 1, 2), segment(&new, 3, 9)];
    store.append_events(PRESENT, &longer).await.unwrap();
    store.append_events(PRESENT, &batch).await.unwrap();
    assert_eq!(recorded(store, &new).await, longer);
}

pub async fn what_does_not_run_under_this_lease_is_left_out(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let node = NodeId::new();
    let old = store.take_lease(node, LONG).await.unwrap();
    let left_over = under(old, prompt(id, Parent::Root, "q"));
    begin(store, owner, &left_over).await;
    let present = store.take_lease(node, LONG).await.unwrap();
    let mine = under(present, prompt(id, Parent::Root, "q"));
    begin(store, owner, &mine).await;
    let ended = under(present, prompt(id, Parent::Root, "q"));
    begin(store, owner, &ended).await;
    end(store, &ended, "a").await;
    let others = running(store, owner, id).await;
    let nobodys = prompt(id, Parent::Root, "q");
    let turns = [&left_over, &ended, &mine, &others, &nobodys];
    let batch = turns.map(|turn| segment(turn, 1, 2));

    is_fenced(&store.append_events(old, &batch).await);
    assert_eq!(db.number(EVENTS).await, 0, "the node has another epoch");
    let not_yet = Lease {
        epoch: present.epoch + 1,
        ..present
    };
    is_fenced(&store.append_events(not_yet, &batch).await);
    assert_eq!(db.number(EVENTS).await, 0);
    store.append_events(present, &batch).await.unwrap();
    assert_eq!(db.number(EVENTS).await, 1);
    assert_eq!(recorded(store, &mine).await.len(), 1);
}

const EVENTS: &str = "SELECT COUNT(*) FROM generation_events";

/// Otherwise what is recovered would be less than what readers find.
pub async fn nothing_arrives_once_the_lease_was_taken(db: &Scratch) {
    let store = &*db.store;
    let other = db.open_again().await;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let node = NodeId::new();
    for _ in 0..20 {
        let lease = store.take_lease(node, LONG).await.unwrap();
        let new = under(lease, prompt(id, Parent::Root, "q"));
        begin(store, owner, &new).await;
        let batch: Vec<_> = (1..=400).map(|seq| segment(&new, seq, seq)).collect();
        let (appended, there) = futures_util::join!(store.append_events(lease, &batch), async {
            other.take_lease(node, LONG).await.unwrap();
            recorded(&*other, &new).await.len()
        });
        assert_eq!(recorded(store, &new).await.len(), there);
        // The writer is told: what was left out is not safe.
        assert_eq!(appended.is_ok(), there > 0, "{appended:?}");
        let unavailable = matches!(appended, Ok(()) | Err(StoreError::Unavailable(_)));
        assert!(unavailable, "{appended:?}");
    }
}

pub async fn thousands_of_segments_are_one_batch(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = running(store, owner, id).await;
    let batch: Vec<_> = (1..=9001).map(|seq| segment(&new, seq, seq)).collect();
    store.append_events(PRESENT, &batch).await.unwrap();
    assert!(recorded(store, &new).await == batch);
}

pub async fn every_byte_of_an_event_comes_back(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = running(store, owner, id).await;
    // Every escape of JSON, what Postgres has words for, and text in many scripts: a megabyte of it.
    let escapes = r#"\" \\ \/ \b \f \n \r \t \u0000 \u001f \ud83d\ude42 $1 ' '' % {} \N ,"#;
    let text = format!("{escapes} é e\u{301} 漢 🙂 \u{7f}\u{85}\u{2028}\u{10ffff}");
    let line = format!("delta {{\"text\":\"{}\"}}\n", text.repeat(13_000));
    assert!(line.len() > 1 << 20);
    let whole = EventSegment {
        generation_id: new.generation_id,
        first_seq: 1,
        last_seq: 2,
        frames: format!("started {{}}\n{line}"),
    };
    let tail = EventSegment {
        first_seq: 3,
        last_seq: 4,
        ..whole.clone()
    };
    let batch = [whole.clone()];
    store.append_events(PRESENT, &batch).await.unwrap();
    let ended = store
        .end_generation(new.generation_id, &ending("a"), std::slice::from_ref(&tail))
        .await;
    assert!(ended.unwrap());
    assert!(recorded(store, &new).await == [whole, tail]);
}

pub async fn a_refused_segment_keeps_its_batch_out_and_no_more(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = running(store, owner, id).await;
    let poison = EventSegment {
        first_seq: 9,
        last_seq: 8,
        ..segment(&new, 1, 1)
    };
    let batch = [segment(&new, 1, 1), poison, segment(&new, 2, 2)];
    let refused = store.append_events(PRESENT, &batch).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    assert!(recorded(store, &new).await.is_empty());
    for one in &batch {
        let alone = store
            .append_events(PRESENT, std::slice::from_ref(one))
            .await;
        assert_eq!(alone.is_ok(), one.first_seq != 9);
    }
    assert_eq!(recorded(store, &new).await.len(), 2);
}

pub async fn a_conversation_deleted_meanwhile_fails_no_batch(db: &Scratch) {
    let store = &*db.store;
    let other = db.open_again().await;
    let owner = user(store, "ann").await;
    let stays = conversation(store, owner, "t").await;
    let new = running(store, owner, stays).await;
    for round in 1..=20 {
        let id = conversation(store, owner, "t").await;
        let gone = running(store, owner, id).await;
        let batch = [segment(&gone, 1, 1), segment(&new, round, round)];
        let (appended, deleted) =
            futures_util::join!(store.append_events(PRESENT, &batch), async {
                end(&*other, &gone, "a").await;
                let deleted = other.delete_conversation(owner, id).await.unwrap();
                let purged = other
                    .purge_conversations(std::time::Duration::ZERO)
                    .await
                    .unwrap();
                (deleted, purged)
            });
        appended.unwrap();
        assert_eq!(deleted, (Deleted::Done, 1));
        assert!(recorded(store, &gone).await.is_empty());
        // Again, now that it is gone.
        store.append_events(PRESENT, &batch).await.unwrap();
        assert_eq!(recorded(store, &new).await.len() as u64, round);
    }
    assert_eq!(db.number(EVENTS).await, 20);
}

pub async fn a_dropped_batch_is_there_whole_or_not_at_all(db: &Scratch) {
    let one_connection = StoreOptions {
        connections: 1,
        ..StoreOptions::default()
    };
    let narrow = open(&db.url, &one_connection).await.unwrap();
    let owner = user(&*db.store, "ann").await;
    let id = conversation(&*db.store, owner, "t").await;
    let mut whole = 0;
    for polls in 1.. {
        let new = running(&*db.store, owner, id).await;
        // More than one statement on SQLite.
        let batch: Vec<_> = (1..=1500).map(|seq| segment(&new, seq, seq)).collect();
        whole += u32::from(polled(narrow.append_events(PRESENT, &batch), polls).await);
        // Behind it on the only connection.
        let next = [segment(&new, 2000, 2000)];
        narrow.append_events(PRESENT, &next).await.unwrap();
        let there = recorded(&*db.store, &new).await.len();
        assert!(there == 1 || there == 1501, "{there} after {polls} polls");
        if whole == 3 {
            break;
        }
    }
}

pub async fn the_end_and_its_tail_are_one(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = running(store, owner, id).await;
    let batch = [segment(&new, 1, 4)];
    store.append_events(PRESENT, &batch).await.unwrap();
    let poison = EventSegment {
        first_seq: 9,
        last_seq: 8,
        ..segment(&new, 1, 1)
    };
    let tail = [segment(&new, 5, 6), poison];
    let refused = store
        .end_generation(new.generation_id, &ending("a"), &tail)
        .await;
    assert!(refused.is_err());
    let before = stored(store, owner, &new).await;
    assert_eq!(before.record.status, Progress::Running);
    assert_eq!(before.message.status, Progress::Running);
    assert_eq!(recorded(store, &new).await, batch);

    let ended = store
        .end_generation(new.generation_id, &ending("a"), &tail[..1])
        .await;
    assert!(ended.unwrap());
    let whole = [batch[0].clone(), tail[0].clone()];
    assert_eq!(recorded(store, &new).await, whole);
    // It has ended: neither its end nor its tail is taken again.
    let more = [segment(&new, 5, 9)];
    let again = store
        .end_generation(new.generation_id, &ending("b"), &more)
        .await;
    assert!(!again.unwrap());
    assert_eq!(recorded(store, &new).await, whole);
}

/// The recorder cannot always know whether its last batch arrived.
pub async fn the_tail_is_whole_even_where_a_batch_arrived_unnoticed(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = running(store, owner, id).await;
    let unnoticed = [
        segment(&new, 1, 4),
        segment(&new, 5, 6),
        segment(&new, 7, 7),
    ];
    store.append_events(PRESENT, &unnoticed).await.unwrap();
    let tail = [segment(&new, 5, 9)];
    let ended = store
        .end_generation(new.generation_id, &ending("a"), &tail)
        .await;
    assert!(ended.unwrap());
    let whole = [unnoticed[0].clone(), tail[0].clone()];
    assert_eq!(recorded(store, &new).await, whole);
}

pub async fn a_dropped_end_leaves_all_or_nothing(db: &Scratch) {
    let one_connection = StoreOptions {
        connections: 1,
        ..StoreOptions::default()
    };
    let narrow = open(&db.url, &one_connection).await.unwrap();
    let owner = user(&*db.store, "ann").await;
    let id = conversation(&*db.store, owner, "t").await;
    let mut whole = 0;
    for polls in 1.. {
        let new = running(&*db.store, owner, id).await;
        let (told, tail) = (ending("a"), [segment(&new, 1, 3)]);
        let call = narrow.end_generation(new.generation_id, &told, &tail);
        whole += u32::from(polled(call, polls).await);
        // Behind it on the only connection.
        narrow.renew_lease(PRESENT, LONG).await.unwrap();
        let StoredGeneration { record, message } = stored(&*db.store, owner, &new).await;
        assert_eq!(record.status, message.status);
        let events = recorded(&*db.store, &new).await.len();
        let is_running = record.status == Progress::Running;
        assert_eq!(events, usize::from(!is_running), "after {polls} polls");
        let again = narrow.end_generation(new.generation_id, &told, &tail).await;
        assert_eq!(again.unwrap(), is_running);
        if whole == 3 {
            break;
        }
    }
}

pub async fn events_are_forgotten_once_their_time_is_over(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let (early, late, still) = (
        running(store, owner, id).await,
        running(store, owner, id).await,
        running(store, owner, id).await,
    );
    let batch = [&early, &late, &still].map(|turn| segment(turn, 1, 2));
    store.append_events(PRESENT, &batch).await.unwrap();
    let before = now();
    later().await;
    end(store, &early, "a").await;
    later().await;
    let between = now();
    later().await;
    end(store, &late, "a").await;
    let day_ago = now() - Duration::hours(24);
    assert_eq!(store.forget_events(day_ago).await.unwrap(), 0);
    assert_eq!(store.forget_events(before).await.unwrap(), 0);
    assert_eq!(db.number(EVENTS).await, 3);
    assert_eq!(store.forget_events(between).await.unwrap(), 1);
    assert!(recorded(store, &early).await.is_empty());
    assert_eq!(recorded(store, &late).await, batch[1..2]);
    let far = now() + Duration::hours(24);
    assert_eq!(store.forget_events(far).await.unwrap(), 1);
    assert_eq!(recorded(store, &still).await, batch[2..]);
    assert_eq!(stored(store, owner, &early).await.message.content, "a");
}

pub async fn events_of_hundreds_of_generations_are_forgotten(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    exchange(store, owner, id, "q", "a").await;
    db.tamper(
        "INSERT INTO generations (id, owner_id, conversation_id, message_id, node_id, status, created_at, ended_at, events_kept)
            SELECT gen_random_uuid(), owner_id, conversation_id, message_id, node_id, status, created_at, ended_at, true
            FROM generations, generate_series(1, 249);
         INSERT INTO generation_events SELECT id, 1, 1, 'x' FROM generations",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 249)
         INSERT INTO generations (id, owner_id, conversation_id, message_id, node_id, status, created_at, ended_at, events_kept)
            SELECT randomblob(16), owner_id, conversation_id, message_id, node_id, status, created_at, ended_at, true
            FROM generations, n;
         INSERT INTO generation_events SELECT id, 1, 1, 'x' FROM generations",
    )
    .await;
    assert_eq!(db.number(EVENTS).await, 250);
    let far = now() + Duration::hours(24);
    let forgotten = store.forget_events(far).await.unwrap();
    assert_eq!((forgotten, db.number(EVENTS).await), (250, 0));
}

/// Runs `change` in a transaction, and ends it only when the batch waits for it.
async fn appended_while(
    db: &Scratch,
    lease: Lease,
    batch: &[EventSegment],
    change: &'static str,
) -> Result<(), StoreError> {
    const WAITS: &str = "SELECT COUNT(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut server = PgConnection::connect(&db.url).await.unwrap();
    server.execute("BEGIN").await.unwrap();
    server.execute(change).await.unwrap();
    let (appended, ()) = futures_util::join!(db.store.append_events(lease, batch), async {
        let waits = async { while db.number(WAITS).await == 0 {} };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(10), waits).await;
        in_time.expect("it waits");
        server.execute("COMMIT").await.unwrap();
    });
    appended
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn a_batch_waits_for_a_lease_being_taken_and_adds_nothing() {
    on_postgres(async |db| {
        let owner = user(&*db.store, "ann").await;
        let id = conversation(&*db.store, owner, "t").await;
        let new = running(&*db.store, owner, id).await;
        let batch = [segment(&new, 1, 1)];
        let taking = "UPDATE nodes SET epoch = epoch + 1";
        let appended = appended_while(db, PRESENT, &batch, taking).await;
        assert!(
            matches!(appended, Err(StoreError::Unavailable(_))),
            "{appended:?}"
        );
        assert!(recorded(&*db.store, &new).await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn a_batch_waits_for_a_conversation_being_deleted_and_leaves_it_out() {
    on_postgres(async |db| {
        let owner = user(&*db.store, "ann").await;
        let id = conversation(&*db.store, owner, "goes").await;
        let gone = running(&*db.store, owner, id).await;
        let id = conversation(&*db.store, owner, "stays").await;
        let new = running(&*db.store, owner, id).await;
        let batch = [segment(&gone, 1, 1), segment(&new, 1, 1)];
        let deleting = "DELETE FROM conversations WHERE title = 'goes'";
        let appended = appended_while(db, PRESENT, &batch, deleting).await;
        appended.unwrap();
        assert_eq!(recorded(&*db.store, &new).await, batch[1..]);
    })
    .await;
}
