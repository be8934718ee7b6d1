//! The database goes away, stalls, refuses and comes back: answers go on, and each is stored exactly once.

use crate::{
    Scene, command,
    support::{
        PATIENCE,
        app::{Account, Turn, problem, send},
        events::{Events, Reader},
        fake_upstream::Call,
        postgres_server::{Halt, PostgresServer},
        process::Running,
        proxy::{Cut, Mode, Proxy},
        until,
    },
};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::time::Instant;
use tokio::time::timeout;

/// An answer with a reader who has read what was said so far.
struct Answer {
    turn: Turn,
    call: Call,
    events: Events,
    reader: Reader,
}

impl Answer {
    async fn begin(scene: &Scene, text: &str) -> Self {
        let (turn, call) = scene.answering().await;
        let events = scene.owner().events(&turn, 0).await;
        let mut answer = Self {
            turn,
            call,
            events,
            reader: Reader::default(),
        };
        answer.say(text).await;
        answer
    }

    /// Says more, and the reader reads it.
    async fn say(&mut self, text: &str) {
        let length = self.reader.text.len() + text.len();
        assert!(self.call.send(text).await);
        self.events.read_until(&mut self.reader, length).await;
    }

    /// Ends by itself; the terminal event says that it is kept.
    async fn end(&mut self) {
        self.call.finish("stop").await;
        self.call.done().await;
        self.ended("completed").await;
    }

    async fn ended(&mut self, outcome: &str) {
        self.events.read_to_end(&mut self.reader).await;
        assert_eq!(self.reader.outcome(), outcome);
        let done = self.reader.done.as_ref().expect("the end");
        assert_eq!(done["stored"], true, "{done}");
    }

    async fn is_stored(&self, owner: &Account, outcome: &str) {
        let message = owner.message(&self.turn).await;
        assert_eq!(message["status"], outcome);
        assert_eq!(message["content"], self.reader.text.as_str());
    }
}

/// Waits until nothing waits on disk for the database.
async fn caught_up(account: &Account) {
    until("nothing waits for the database", async || {
        let ready = send(account.get("/readyz")).await;
        ready.status() == 200
            && ready
                .json::<Value>()
                .await
                .is_ok_and(|ready| ready["status"] == "ready")
    })
    .await;
}

/// Each question has one answer, each answer one generation, and none of them runs.
async fn each_is_there_once(database: &mut PgConnection, answers: i64) {
    let counts: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM messages WHERE role = 'assistant'), (SELECT count(*) FROM generations),
                (SELECT count(*) FROM generations WHERE status = 'running')",
    )
    .fetch_one(database)
    .await
    .expect("counted");
    assert_eq!(counts, (answers, answers, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: its programs, see tests/run"]
async fn answers_go_on_while_postgres_is_stopped_and_each_is_stored_once_when_it_is_back() {
    let mut postgres = PostgresServer::start().await;
    let scene = Scene::start(&[("store.url", &postgres.url())]).await;
    let owner = scene.owner();
    for halt in [Halt::Fast, Halt::Immediate] {
        let mut ends = Answer::begin(&scene, "one ").await;
        let mut is_stopped = Answer::begin(&scene, "two ").await;
        let mut goes_on = Answer::begin(&scene, "three ").await;
        postgres.stop(halt).await;
        for answer in [&mut ends, &mut is_stopped, &mut goes_on] {
            answer.say("in the dark ").await;
        }
        ends.end().await;
        assert_eq!(owner.stop(&is_stopped.turn).await["status"], "stopped");
        is_stopped.ended("stopped").await;

        // What cannot work says so; what runs can be read, and what ended too.
        let elsewhere = send(owner.post("/api/conversations")).await;
        assert!(elsewhere.headers().contains_key("retry-after"));
        problem(elsewhere, 503, "store-unavailable").await;
        let ready = send(owner.get("/readyz")).await;
        let ready: Value = ready.json().await.expect("JSON");
        assert_eq!(
            (&ready["status"], &ready["store"]),
            (&json!("degraded"), &json!("unavailable"))
        );
        assert_eq!(owner.read_all(&ends.turn).await, ends.reader);
        let mut second = Reader::default();
        let length = goes_on.reader.text.len();
        owner
            .events(&goes_on.turn, 0)
            .await
            .read_until(&mut second, length)
            .await;
        assert_eq!(second.text, goes_on.reader.text);

        postgres.start_again().await;
        caught_up(owner).await;
        goes_on.say("in the light").await;
        goes_on.end().await;
        ends.is_stored(owner, "completed").await;
        is_stopped.is_stored(owner, "stopped").await;
        goes_on.is_stored(owner, "completed").await;
    }
    each_is_there_once(&mut postgres.connect().await, 6).await;
    scene.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: its programs, see tests/run"]
async fn a_kill_during_the_outage_loses_no_answer_that_had_ended_and_doubles_none() {
    let mut postgres = PostgresServer::start().await;
    let scene = Scene::start(&[("store.url", &postgres.url())]).await;
    let mut before = Answer::begin(&scene, "before ").await;
    before.end().await;
    let mut ends = Answer::begin(&scene, "one ").await;
    let mut is_stopped = Answer::begin(&scene, "two ").await;
    let mut runs = Answer::begin(&scene, "three ").await;
    postgres.stop(Halt::Immediate).await;
    for answer in [&mut ends, &mut is_stopped, &mut runs] {
        answer.say("in the dark ").await;
    }
    ends.end().await;
    scene.owner().stop(&is_stopped.turn).await;
    is_stopped.ended("stopped").await;
    // Whatever waits: the end that was stored last is behind what was said before.
    let Scene {
        server,
        upstream,
        data,
    } = scene;
    server.process.signal("KILL").await;
    assert_eq!(server.process.ended().await.code, None);
    postgres.start_again().await;
    for _ in 0..2 {
        let url = postgres.url();
        let mut command = command(data.path(), &upstream, &[("store.url", &url)]);
        let server = Running::of(data.path(), &mut command).await;
        let owner = &server.owner;
        before.is_stored(owner, "completed").await;
        ends.is_stored(owner, "completed").await;
        is_stopped.is_stored(owner, "stopped").await;
        let message = owner.message(&runs.turn).await;
        assert_eq!(message["status"], "interrupted");
        let stored = message["content"].as_str().expect("text");
        assert!("three in the dark ".starts_with(stored), "{stored}");
        // A reader comes back with its position.
        let mut reader = runs.reader.clone();
        let mut events = owner.events(&runs.turn, reader.position).await;
        events.read_to_end(&mut reader).await;
        assert_eq!(
            (reader.text.as_str(), reader.outcome()),
            (stored, "interrupted")
        );
        each_is_there_once(&mut postgres.connect().await, 4).await;
        // And once more, with nothing left to do.
        server.process.signal("KILL").await;
        assert_eq!(server.process.ended().await.code, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: its programs, see tests/run"]
async fn a_database_that_stands_still_holds_nothing_up() {
    let postgres = PostgresServer::start().await;
    let line = Proxy::to(postgres.address()).await;
    let url = PostgresServer::url_at(line.address());
    let scene = Scene::start(&[("store.url", &url), ("store.acquire_seconds", "1")]).await;
    let owner = scene.owner();
    let mut ends = Answer::begin(&scene, "one ").await;
    let mut is_stopped = Answer::begin(&scene, "two ").await;
    line.set(Mode::Stall);
    ends.say("in the dark ").await;
    is_stopped.say("in the dark ").await;
    ends.end().await;
    assert_eq!(owner.stop(&is_stopped.turn).await["status"], "stopped");
    is_stopped.ended("stopped").await;
    let elsewhere = send(owner.post("/api/conversations")).await;
    problem(elsewhere, 503, "store-unavailable").await;
    line.set(Mode::Pass);
    caught_up(owner).await;
    ends.is_stored(owner, "completed").await;
    is_stopped.is_stored(owner, "stopped").await;
    each_is_there_once(&mut postgres.connect().await, 2).await;
    scene.is_well().await;
}

/// Until some statement waits for a lock.
async fn waits_for_a_lock(database: &mut PgConnection) {
    let mut waiting = 0_i64;
    while waiting == 0 {
        waiting = sqlx::query_scalar("SELECT count(*) FROM pg_locks WHERE NOT granted")
            .fetch_one(&mut *database)
            .await
            .expect("counted");
    }
}

/// Makes the database refuse rows of a table in which a column is like this.
async fn refuse(database: &mut PgConnection, table: &str, column: &str, like: &str) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF NEW.{column} LIKE '{like}' THEN RAISE EXCEPTION 'refused by the test'; END IF; RETURN NEW; END $$;
         CREATE OR REPLACE TRIGGER refused BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_{table}();"
    );
    database
        .execute(sqlx::AssertSqlSafe(sql))
        .await
        .expect("a trigger");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: its programs, see tests/run"]
async fn a_row_that_the_database_refuses_is_set_aside_and_costs_no_other_answer_a_word() {
    let postgres = PostgresServer::start().await;
    let mut database = postgres.connect().await;
    let scene = Scene::start(&[("store.url", &postgres.url())]).await;
    let owner = scene.owner();
    refuse(&mut database, "generation_events", "frames", "%poison%").await;
    refuse(&mut database, "messages", "content", "%poison%").await;
    let mut poisoned = Answer::begin(&scene, "a bit of poison ").await;
    let mut other = Answer::begin(&scene, "one ").await;
    poisoned.say("and more ").await;
    other.say("two").await;
    other.end().await;
    poisoned.call.finish("stop").await;
    poisoned.call.done().await;
    poisoned.events.read_to_end(&mut poisoned.reader).await;
    let done = poisoned.reader.done.clone().expect("the end");
    assert_eq!(
        poisoned.reader.text, "a bit of poison and more ",
        "its readers have it all"
    );
    caught_up(owner).await;
    other.is_stored(owner, "completed").await;
    let message = owner.message(&poisoned.turn).await;
    assert_eq!(message["status"], "failed", "{done} {message}");
    assert_eq!(message["problem"]["type"], "/problems/not-stored");
    each_is_there_once(&mut database, 2).await;
    scene.is_well().await;
    let said = scene.server.terminate().await.stderr;
    assert!(said.contains("set aside"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: its programs, see tests/run"]
async fn a_connection_lost_in_the_middle_of_a_write_neither_loses_nor_doubles_an_answer() {
    let postgres = PostgresServer::start().await;
    let line = Proxy::to(postgres.address()).await;
    let url = PostgresServer::url_at(line.address());
    let scene = Scene::start(&[("store.url", &url)]).await;
    let (mut holder, mut watcher) = (postgres.connect().await, postgres.connect().await);
    let mut answers = Vec::new();
    for how in [Cut::Reset, Cut::Finish, Cut::Reset, Cut::Finish] {
        let mut answer = Answer::begin(&scene, "one ").await;
        answer.say("two").await;
        // The write of the end is under way when it waits for this.
        let mut held = holder.begin().await.expect("a transaction");
        let lock = "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE";
        held.execute(lock).await.expect("locked");
        answer.call.finish("stop").await;
        answer.call.done().await;
        let waits = timeout(PATIENCE, waits_for_a_lock(&mut watcher)).await;
        waits.expect("the end is written");
        line.cut(how).await;
        held.rollback().await.expect("unlocked");
        answer.ended("completed").await;
        answers.push(answer);
    }
    caught_up(scene.owner()).await;
    for answer in &answers {
        answer.is_stored(scene.owner(), "completed").await;
    }
    each_is_there_once(&mut postgres.connect().await, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints a figure: tests/run --soak"]
async fn soak_how_long_five_hundred_waiting_answers_take_to_reach_the_database() {
    const ANSWERS: usize = 500;
    let mut postgres = PostgresServer::start().await;
    let options = [
        ("store.url", postgres.url()),
        ("limits.generations_per_user", "1000".to_owned()),
    ];
    let options = options
        .each_ref()
        .map(|(key, value)| (*key, value.as_str()));
    let scene = Scene::start(&options).await;
    let owner = scene.owner();
    let mut answers = Vec::new();
    for _ in 0..ANSWERS {
        answers.push(scene.answering().await);
    }
    postgres.stop(Halt::Fast).await;
    let text = "word ".repeat(400);
    for (_, call) in &mut answers {
        call.send(&text).await;
        call.finish("stop").await;
        call.done().await;
    }
    until("all have ended", async || {
        owner.get_json("/api/operator/generations").await["total"] == 0
    })
    .await;
    postgres.start_again().await;
    let back = Instant::now();
    let mut database = postgres.connect().await;
    loop {
        let stored: i64 =
            sqlx::query_scalar("SELECT count(*) FROM generations WHERE status = 'completed'")
                .fetch_one(&mut database)
                .await
                .expect("counted");
        if stored == 500 {
            break;
        }
        assert!(back.elapsed().as_secs() < 60, "{stored} stored");
    }
    println!(
        "{ANSWERS} waiting answers are stored {} ms after Postgres is back",
        back.elapsed().as_millis()
    );
    caught_up(owner).await;
    println!(
        "nothing waits on disk {} ms after Postgres is back",
        back.elapsed().as_millis()
    );
    each_is_there_once(&mut database, 500).await;
}
