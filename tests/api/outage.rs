//! What happens while the database takes nothing: answers go on, end, and are kept on disk until it is back.
//!
//! The database is SQLite here, and what keeps it from writing is another process's lock.

use super::leases::left_over;
use crate::{
    support::{
        app::{TestApp, Turn, problem, send, spawn_app_with},
        events::Reader,
        until,
    },
    v1::{Stream, asking, completion, refusal},
};
use continuo::{
    model::{GenerationId, NodeId},
    store::{self, NewTurn, StoreOptions, TurnOf},
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use std::time::Duration;

/// Nobody writes to the database for as long as this lives.
struct Locked(SqliteConnection);

async fn lock(app: &TestApp) -> Locked {
    let url = format!("sqlite://{}", app.data().join("continuo.sqlite3").display());
    let mut connection = SqliteConnection::connect(&url).await.expect("the database");
    let locked = connection.execute("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE");
    locked.await.expect("the lock");
    Locked(connection)
}

impl Locked {
    async fn unlock(self) {
        self.0.close().await.expect("closed");
    }
}

/// A wait for the database that is short, so that the tests are.
const SHORT: (&str, &str) = ("store.patience_seconds", "1");

async fn ready(app: &TestApp) -> Value {
    let response = send(app.nobody(Method::GET, "/readyz")).await;
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

/// What the store itself says, whatever is on disk or in memory.
async fn stored(app: &TestApp, turn: &Turn) -> (String, String) {
    let id: GenerationId = turn.generation.parse().expect("an id");
    let owner = app.chat.store.users().await.expect("users")[0].id;
    let stored = app.chat.store.generation(owner, id).await;
    let stored = stored.expect("the store reads").expect("it is there");
    let status = stored.message.status.of_message().to_owned();
    (status, stored.message.content)
}

#[tokio::test]
async fn an_exchange_that_cannot_be_kept_is_refused_and_may_be_asked_again() {
    let app = spawn_app_with(&[SHORT]).await;
    let body =
        json!({"store": true, "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let request = || completion(&app.owner, &body).header("idempotency-key", "k");
    let locked = lock(&app).await;
    let response = asking(request());
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("Hel").await;
    let response = response.await.expect("no panic");
    assert_eq!(response.headers()["retry-after"], "2");
    refusal(response, 503, "store_unavailable").await;
    call.closed().await;
    locked.unlock().await;
    let list = app.owner.get_json("/api/conversations").await;
    assert_eq!(list["items"], json!([]));
    let response = asking(request());
    app.upstream.next_call().await.answer(&["Hello"]).await;
    let text = Stream::of(response.await.expect("no panic")).rest().await;
    assert!(text.contains("[DONE]"), "{text}");
    app.end().await;
}

#[tokio::test]
async fn a_kept_answer_that_ends_during_an_outage_is_told_whole_and_stored_later() {
    let app = spawn_app_with(&[SHORT]).await;
    let body =
        json!({"store": true, "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let response = asking(completion(&app.owner, &body));
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("Hel").await;
    let mut stream = Stream::of(response.await.expect("no panic"));
    stream.read_until("Hel").await;
    let locked = lock(&app).await;
    call.send("lo").await;
    call.finish("stop").await;
    call.done().await;
    let id: GenerationId = stream.generation().parse().expect("an id");
    let text = stream.rest().await;
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    locked.unlock().await;
    let owner = app.chat.store.users().await.expect("users")[0].id;
    until("it is stored", async || {
        let stored = app.chat.store.generation(owner, id).await;
        let stored = stored.expect("the store reads").expect("it is there");
        stored.message.content == "Hello"
    })
    .await;
    app.end().await;
}

#[tokio::test]
async fn an_answer_that_ends_during_an_outage_is_kept_on_disk_and_stored_once_later() {
    let app = spawn_app_with(&[SHORT]).await;
    let (turn, mut call) = app.answering().await;
    call.send("Hel").await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    events.read_until(&mut reader, 3).await;
    let locked = lock(&app).await;
    call.send("lo").await;
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("Hello", "completed")
    );
    assert_eq!(reader.done.as_ref().expect("the end")["stored"], true);
    assert_eq!(stored(&app, &turn).await.0, "streaming");

    // Reads see it, and a question below it waits for the database, and says so.
    let message = app.owner.message(&turn).await;
    assert_eq!(
        (&message["status"], &message["content"]),
        (&json!("completed"), &json!("Hello"))
    );
    assert_eq!(app.owner.read_all(&turn).await, reader);
    let now = ready(&app).await;
    assert_eq!(
        (&now["status"], &now["store"]),
        (&json!("degraded"), &json!("unavailable"))
    );
    let ask = app
        .owner
        .say(&turn.conversation, &json!({"content": "more"}));
    let response = send(ask).await;
    assert!(response.headers().contains_key("retry-after"));
    problem(response, 503, "store-unavailable").await;

    locked.unlock().await;
    app.caught_up().await;
    assert_eq!(
        stored(&app, &turn).await,
        ("completed".to_owned(), "Hello".to_owned())
    );
    assert_eq!(ready(&app).await["status"], "ready");
    let more = app.owner.ask(&turn.conversation, "more").await;
    let mut call = app.upstream.next_call().await;
    assert_eq!(call.json()["messages"][1]["content"], "Hello");
    call.answer(&["Gladly"]).await;
    assert_eq!(app.owner.read_all(&more).await.text, "Gladly");
    app.end().await;
}

#[tokio::test]
async fn an_answer_that_left_memory_is_read_from_disk() {
    let app = spawn_app_with(&[SHORT, ("log.retain_bytes", "0")]).await;
    let stranger = app.stranger().await;
    let (turn, mut call) = app.answering().await;
    let locked = lock(&app).await;
    call.send("Hello").await;
    call.finish("stop").await;
    call.done().await;
    let reader = app.owner.read_all(&turn).await;
    app.nothing_in_memory().await;
    let late = app.owner.read_all(&turn).await;
    assert_eq!((&late.text, &late.done), (&reader.text, &reader.done));
    let path = format!("/api/generations/{}", turn.generation);
    let record = app.owner.get_json(&path).await;
    assert_eq!(
        (&record["status"], &record["seq"]),
        (&json!("completed"), &json!(reader.position))
    );
    assert_eq!(app.owner.stop(&turn).await, record, "it has ended");
    problem(send(stranger.get(&path)).await, 404, "not-found").await;
    locked.unlock().await;
    app.caught_up().await;
    let again = app.owner.read_all(&turn).await;
    assert_eq!((again.text, again.gaps), (reader.text, 0), "event by event");
    app.end().await;
}

#[tokio::test]
async fn a_stop_during_an_outage_ends_the_answer_and_keeps_it() {
    let app = spawn_app_with(&[SHORT]).await;
    let (turn, mut call) = app.answering().await;
    call.send("Hel").await;
    app.owner
        .events(&turn, 0)
        .await
        .read_until(&mut Reader::default(), 3)
        .await;
    let locked = lock(&app).await;
    let record = app.owner.stop(&turn).await;
    assert_eq!(record["status"], "stopped");
    call.closed().await;
    // A conversation whose end the database does not know yet cannot be deleted; it says so and is still there.
    let path = format!("/api/conversations/{}", turn.conversation);
    let delete = || app.owner.request(Method::DELETE, &path);
    problem(send(delete()).await, 503, "store-unavailable").await;
    assert_eq!(app.owner.message(&turn).await["content"], "Hel");
    locked.unlock().await;
    app.caught_up().await;
    assert_eq!(
        stored(&app, &turn).await,
        ("stopped".to_owned(), "Hel".to_owned())
    );
    assert_eq!(app.owner.stop(&turn).await, record);
    assert_eq!(send(delete()).await.status(), 204);
    app.end().await;
}

#[tokio::test]
async fn when_the_disk_is_full_too_answers_say_that_they_are_not_stored_and_none_begin() {
    let app = spawn_app_with(&[SHORT, ("recorder.spool_bytes", "1")]).await;
    let (turn, mut call) = app.answering().await;
    let locked = lock(&app).await;
    call.send("Hello").await;
    call.finish("stop").await;
    call.done().await;
    let reader = app.owner.read_all(&turn).await;
    assert_eq!(reader.outcome(), "completed");
    assert_eq!(reader.done.expect("the end")["stored"], false);
    assert_eq!(app.owner.message(&turn).await["content"], "Hello");
    let ask = app
        .owner
        .say(&turn.conversation, &json!({"content": "more"}));
    problem(send(ask).await, 503, "spool-full").await;
    problem(
        send(app.nobody(Method::GET, "/readyz")).await,
        503,
        "nothing-kept",
    )
    .await;
    locked.unlock().await;
    until("it is stored late", async || {
        stored(&app, &turn).await.0 == "completed"
    })
    .await;
    app.nothing_runs().await;
    let more = app.owner.ask(&turn.conversation, "more").await;
    app.upstream.next_call().await.answer(&["Gladly"]).await;
    assert_eq!(app.owner.read_all(&more).await.text, "Gladly");
    assert_eq!(ready(&app).await["status"], "ready");
    app.end().await;
}

#[tokio::test]
async fn an_answer_whose_file_is_lost_while_it_waits_is_stored_from_memory() {
    let app = spawn_app_with(&[SHORT]).await;
    let (turn, mut call) = app.answering().await;
    let locked = lock(&app).await;
    call.send("Hello").await;
    call.finish("stop").await;
    call.done().await;
    assert_eq!(app.owner.read_all(&turn).await.text, "Hello");
    for file in std::fs::read_dir(app.data().join("spool")).expect("a spool") {
        std::fs::write(file.expect("a file").path(), "not an entry").expect("written");
    }
    locked.unlock().await;
    app.caught_up().await;
    until("the database has it", async || {
        stored(&app, &turn).await == ("completed".to_owned(), "Hello".to_owned())
    })
    .await;
    let path = format!("/api/conversations/{}", turn.conversation);
    let deleted = send(app.owner.request(Method::DELETE, &path)).await;
    assert_eq!(deleted.status(), 204);
    app.end().await;
}

#[tokio::test]
async fn what_was_on_disk_when_the_process_ended_is_stored_at_the_next_start() {
    let mut app = spawn_app_with(&[SHORT]).await;
    let (ended, mut call) = app.answering().await;
    let (running, mut other) = app.answering().await;
    let locked = lock(&app).await;
    call.send("Hello").await;
    call.finish("stop").await;
    call.done().await;
    let whole = app.owner.read_all(&ended).await;
    other.send("Hel").await;
    let mut events = app.owner.events(&running, 0).await;
    let mut reader = Reader::default();
    events.read_until(&mut reader, 3).await;
    app.shutdown.drain.cancel();
    events.read_to_end(&mut reader).await;
    assert_eq!(reader.outcome(), "interrupted");
    assert_eq!(reader.done.as_ref().expect("the end")["stored"], true);
    app.shut_down().await;
    locked.unlock().await;

    let app = app.again().await;
    for (turn, status, text) in [
        (&ended, "completed", "Hello"),
        (&running, "interrupted", "Hel"),
    ] {
        let message = app.owner.message(turn).await;
        assert_eq!(
            (&message["status"], &message["content"]),
            (&json!(status), &json!(text))
        );
    }
    assert_eq!(app.owner.read_all(&ended).await, whole, "event by event");
    assert_eq!(app.owner.read_all(&running).await, reader);
    app.end().await;
}

#[tokio::test]
async fn an_end_that_comes_from_disk_too_late_is_set_aside() {
    let mut app = spawn_app_with(&[SHORT]).await;
    let (turn, mut call) = app.answering().await;
    let owner = app.chat.store.users().await.expect("users")[0].id;
    let node = app.chat.recorder.lease().node;
    let locked = lock(&app).await;
    call.send("Hello").await;
    call.finish("stop").await;
    call.done().await;
    assert_eq!(app.owner.read_all(&turn).await.outcome(), "completed");
    app.shut_down().await;
    locked.unlock().await;

    // Before it starts again, another node ends the answer, and somebody carries it on there.
    let url = format!("sqlite://{}", app.data().join("continuo.sqlite3").display());
    let store = store::open(&url, &StoreOptions::default()).await;
    let store = store.expect("the database");
    let id = turn.generation.parse().expect("an id");
    let recovered = store.recover(node, id, &left_over("")).await;
    assert!(recovered.expect("stored"));
    let other = store
        .take_lease(NodeId::new(), Duration::from_mins(1))
        .await;
    let carries_on = NewTurn {
        generation_id: GenerationId::new(),
        message_id: turn.message.parse().expect("an id"),
        lease: other.expect("taken"),
        model: None,
        of: TurnOf::Continue,
    };
    let begun = store.begin_turn(owner, &carries_on, None).await;
    assert!(begun.expect("stored").is_ok());
    store.close().await;

    let app = app.again().await;
    assert_eq!(app.chat.recorder.backlog().0, 0);
    let aside = app.data().join("spool/set-aside");
    assert_eq!(std::fs::read_dir(aside).expect("kept").count(), 1);
    assert_eq!(app.owner.message(&turn).await["status"], "streaming");
    app.end().await;
}
