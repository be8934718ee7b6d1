//! What is left over when a process is gone: how it is found, ended, and what counts when its own end comes after all.

use crate::scratch::*;
use continuo::{event::Transcript, model::*, store::*};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection, migrate::Migrator,
};

pub async fn what_was_recorded_is_left_over(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = prompt(id, Parent::Head, "q");
    begin(store, owner, &new).await;
    let batch = [segment(&new, 1, 3), segment(&new, 4, 9)];
    store.append_events(PRESENT, &batch).await.unwrap();
    let left = store.left_over(new.generation_id).await.unwrap().unwrap();
    assert_eq!(left.id, new.generation_id);
    assert_eq!(left.before, Transcript::default());
    assert_eq!(left.events, batch);
    let stopped = Ending {
        outcome: Outcome::Stopped,
        reasoning: Some("because".into()),
        ..ending("1 2 ")
    };
    let ended = store.end_generation(new.generation_id, &stopped, &[]).await;
    assert!(ended.unwrap());
    assert!(store.left_over(new.generation_id).await.unwrap().is_none());
    let unknown = store.left_over(GenerationId::new()).await.unwrap();
    assert!(unknown.is_none());

    let more = continuing(&new);
    begin(store, owner, &more).await;
    let left = store.left_over(more.generation_id).await.unwrap().unwrap();
    let before = Transcript {
        text: "1 2 ".into(),
        reasoning: "because".into(),
        tool_calls: Vec::new(),
    };
    assert_eq!((left.before, left.events), (before, Vec::new()));
}

pub async fn only_what_nobody_runs_is_recovered(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let node = NodeId::new();
    let lease = store.take_lease(node, LONG).await.unwrap();
    let left = under(lease, prompt(id, Parent::Root, "q"));
    begin(store, owner, &left).await;
    let recover = async |node, new: &NewTurn| {
        let recovered = store
            .recover(node, new.generation_id, &lost("Wörter"))
            .await;
        recovered.unwrap()
    };
    assert!(!recover(NODE, &left).await, "its node runs it");
    assert!(!recover(NODE, &prompt(id, Parent::Root, "q")).await);
    let done = under(lease, prompt(id, Parent::Root, "q"));
    begin(store, owner, &done).await;
    end(store, &done, "whole").await;
    assert!(!recover(node, &done).await, "it ended");
    let mine = under(lease, prompt(id, Parent::Root, "q"));
    begin(store, owner, &mine).await;
    assert!(recover(node, &mine).await, "it says so itself");

    let before = read(store, owner, id).await;
    later().await;
    store.take_lease(node, LONG).await.unwrap();
    assert!(recover(NODE, &left).await, "its process is gone");
    assert!(!recover(NODE, &left).await, "once");
    let StoredGeneration { record, message } = stored(store, owner, &left).await;
    let told = lost("Wörter");
    assert_eq!(record.status, Progress::Ended(Outcome::Interrupted));
    assert_eq!(record.seq, told.last_seq);
    assert_eq!(record.problem, told.problem);
    assert_eq!(message.status, Progress::Ended(Outcome::Interrupted));
    assert_eq!(
        (message.content, message.problem),
        (told.content, told.problem)
    );
    assert!(read(store, owner, id).await.updated_at > before.updated_at);
    let hits = list(store, owner, Some("WÖRTER"), None, 9).await;
    assert_eq!(hits.len(), 1);
    assert_eq!(stored(store, owner, &done).await.message.content, "whole");
    // A recovered answer is finished: one may go on below it.
    let below = prompt(id, Parent::Message(left.message_id), "q");
    begin(store, owner, &below).await;
}

pub async fn its_own_end_counts_after_it_was_recovered(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = prompt(id, Parent::Head, "q");
    begin(store, owner, &new).await;
    let batch = [segment(&new, 1, 2)];
    store.append_events(PRESENT, &batch).await.unwrap();
    let id = new.generation_id;
    assert!(store.recover(NODE, id, &lost("1 2 ")).await.unwrap());
    // Somebody asked below it: that changes nothing of its text.
    let below = prompt(
        stored(store, owner, &new)
            .await
            .record
            .conversation_id
            .expect("kept"),
        Parent::Message(new.message_id),
        "q",
    );
    begin(store, owner, &below).await;
    let tail = [segment(&new, 3, 3)];
    let whole = ending("1 2 3 Ende");
    assert!(store.end_generation(id, &whole, &tail).await.unwrap());
    let StoredGeneration { record, message } = stored(store, owner, &new).await;
    assert_eq!(record.status, Progress::Ended(Outcome::Completed));
    assert_eq!((record.seq, record.problem), (whole.last_seq, None));
    assert_eq!(message.status, Progress::Ended(Outcome::Completed));
    assert_eq!((&*message.content, message.problem), ("1 2 3 Ende", None));
    assert_eq!(list(store, owner, Some("ENDE"), None, 9).await.len(), 1);
    let events = [batch[0].clone(), tail[0].clone()];
    assert_eq!(recorded(store, &new).await, events);
    // Once.
    assert!(!store.end_generation(id, &lost("x"), &[]).await.unwrap());
    assert!(!store.recover(NODE, id, &lost("x")).await.unwrap());
}

pub async fn its_own_end_comes_too_late_once_the_answer_was_carried_on(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = prompt(id, Parent::Head, "q");
    begin(store, owner, &new).await;
    let recovered = store.recover(NODE, new.generation_id, &lost("1 2 ")).await;
    assert!(recovered.unwrap());
    let more = continuing(&new);
    begin(store, owner, &more).await;
    let tail = [segment(&new, 3, 3)];
    let late = ending("late");
    let ended = store.end_generation(new.generation_id, &late, &tail).await;
    assert!(!ended.unwrap(), "while it is carried on");
    end(store, &more, "1 2 3").await;
    let ended = store.end_generation(new.generation_id, &late, &tail).await;
    assert!(!ended.unwrap(), "after it was");
    assert!(recorded(store, &new).await.is_empty());
    let message = stored(store, owner, &more).await.message;
    assert_eq!(message.content, "1 2 3");
    let record = stored(store, owner, &new).await.record;
    assert_eq!(record.status, Progress::Ended(Outcome::Interrupted));
}

pub async fn more_text_counts_though_its_recovery_found_none(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = prompt(id, Parent::Head, "q");
    begin(store, owner, &new).await;
    let recovered = store.recover(NODE, new.generation_id, &lost("1 2 ")).await;
    assert!(recovered.unwrap());
    let more = continuing(&new);
    begin(store, owner, &more).await;
    let nothing = Ending {
        leaves_message: true,
        ..lost("1 2 ")
    };
    let recovered = store.recover(NODE, more.generation_id, &nothing).await;
    assert!(recovered.unwrap());
    let message = stored(store, owner, &more).await.message;
    assert_eq!(message.generation_id, Some(new.generation_id));
    end(store, &more, "1 2 3").await;
    let message = stored(store, owner, &more).await.message;
    assert_eq!(message.generation_id, Some(more.generation_id));
    assert_eq!(message.content, "1 2 3");
    assert_eq!(message.status, Progress::Ended(Outcome::Completed));
}

pub async fn forgotten_events_do_not_come_back_with_a_late_end(db: &Scratch) {
    let store = &*db.store;
    let owner = user(store, "ann").await;
    let id = conversation(store, owner, "t").await;
    let new = prompt(id, Parent::Head, "q");
    begin(store, owner, &new).await;
    let recovered = store.recover(NODE, new.generation_id, &lost("")).await;
    assert!(recovered.unwrap());
    let far = now() + time::Duration::hours(24);
    assert_eq!(store.forget_events(far).await.unwrap(), 1);
    let tail = [segment(&new, 1, 3)];
    let ended = store
        .end_generation(new.generation_id, &ending("a"), &tail)
        .await;
    assert!(ended.unwrap());
    assert!(recorded(store, &new).await.is_empty());
}

/// A generation that an older version of this program left running.
pub async fn what_ran_before_the_migration_is_recovered(db: &Scratch) {
    const ROWS: &str = "
        INSERT INTO users (id, name, operator, created_at) VALUES ({1}, 'ann', true, {at});
        INSERT INTO conversations (id, owner_id, title, folded, created_at, updated_at)
            VALUES ({2}, {1}, 't', 't', {at}, {at});
        INSERT INTO messages (id, conversation_id, position, role, status, created_at, folded, content)
            VALUES ({3}, {2}, 1, 'user', 'completed', {at}, 'q', 'q');
        INSERT INTO messages (id, conversation_id, position, parent_id, role, status, generation_id, created_at, folded, content)
            VALUES ({4}, {2}, 2, {3}, 'assistant', 'streaming', {5}, {at}, '', '');
        INSERT INTO generations (id, owner_id, conversation_id, message_id, node_id, status, created_at)
            VALUES ({5}, {1}, {2}, {4}, {6}, 'running', {at});
        INSERT INTO messages (id, conversation_id, position, role, status, generation_id, created_at, folded, content)
            VALUES ({7}, {2}, 3, 'assistant', 'completed', {8}, {at}, 'a', 'a');
        INSERT INTO generations (id, owner_id, conversation_id, message_id, node_id, status, created_at)
            VALUES ({8}, {1}, {2}, {7}, {6}, 'completed', {at});";
    let directory = tempfile::tempdir().unwrap();
    let engine = if db.is_postgres() {
        "postgres"
    } else {
        "sqlite"
    };
    let first = "0001_accounts_and_conversations.sql";
    let known = format!("{}/migrations/{engine}/{first}", env!("CARGO_MANIFEST_DIR"));
    let steps = directory.path().join("steps");
    std::fs::create_dir(&steps).unwrap();
    std::fs::copy(known, steps.join(first)).unwrap();
    let migrator = Migrator::new(steps.as_path()).await.unwrap();
    let uuid = |n: u128| uuid::Uuid::from_u128(n);
    let rows = |at: &str, id: fn(uuid::Uuid) -> String| {
        let ids = (1..=8).fold(ROWS.to_owned(), |sql, n| {
            sql.replace(&format!("{{{n}}}"), &id(uuid(n)))
        });
        AssertSqlSafe(ids.replace("{at}", at))
    };
    let url = if db.is_postgres() {
        db.tamper("DROP SCHEMA public CASCADE; CREATE SCHEMA public", "")
            .await;
        let mut server = PgConnection::connect(&db.url).await.unwrap();
        migrator.run_direct(None, &mut server, false).await.unwrap();
        let rows = rows("now()", |id| format!("'{id}'"));
        sqlx::raw_sql(rows).execute(&mut server).await.unwrap();
        db.url.clone()
    } else {
        let url = format!(
            "sqlite:{}?mode=rwc",
            directory.path().join("old.db").display()
        );
        let mut file = SqliteConnection::connect(&url).await.unwrap();
        migrator.run_direct(None, &mut file, false).await.unwrap();
        let rows = rows("1000", |id| format!("x'{}'", id.simple()));
        file.execute(sqlx::raw_sql(rows)).await.unwrap();
        url
    };

    let store = open(&url, &StoreOptions::default()).await.unwrap();
    let (owner, left, done) = (
        UserId(uuid(1)),
        GenerationId(uuid(5)),
        GenerationId(uuid(8)),
    );
    let node = NodeId(uuid(6));
    assert!(!store.runs_elsewhere(NODE, left).await.unwrap());
    assert_eq!(store.running_here(node).await.unwrap(), [left]);
    let sweeper = store.take_lease(NODE, LONG).await.unwrap();
    assert_eq!(store.seize_expired(sweeper).await.unwrap(), [left]);
    // Its node comes back with this version, and it is the first to recover.
    let lease = store.take_lease(node, LONG).await.unwrap();
    assert!(lease.epoch > 0);
    assert!(store.seize_expired(sweeper).await.unwrap().is_empty());
    let found = store.left_over(left).await.unwrap().unwrap();
    assert!(found.events.is_empty());
    assert!(store.recover(node, left, &lost("")).await.unwrap());
    let stored = store.generation(owner, left).await.unwrap().unwrap();
    let interrupted = Progress::Ended(Outcome::Interrupted);
    assert_eq!(stored.record.status, interrupted);
    assert_eq!(stored.message.status, interrupted);
    let stored = store.generation(owner, done).await.unwrap().unwrap();
    assert_eq!(stored.record.status, Progress::Ended(Outcome::Completed));
    let far = now() + time::Duration::hours(24);
    assert_eq!(store.forget_events(far).await.unwrap(), 0);
    store.close().await;
}
