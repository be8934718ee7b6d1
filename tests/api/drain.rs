//! The end of the process: answers first, their readers next, HTTP last; and nothing is lost.

use crate::support::{
    app::{TestApp, Turn, problem, send, spawn_app, spawn_app_with},
    events::{Events, Reader},
    fake_upstream::Call,
    until,
};
use reqwest::Method;
use serde_json::{Value, json};

/// Asks for the end and waits until new answers are refused.
async fn begin_to_drain(app: &TestApp) {
    app.shutdown.drain.cancel();
    let registry = &app.chat.registry;
    until("the drain begins", async || registry.is_draining()).await;
}

/// An answer with one piece of text, and a reader who has read it.
async fn streaming(app: &TestApp) -> (Turn, Call, Events, Reader) {
    let (turn, mut call) = app.answering().await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    call.send("Hel").await;
    events.read_until(&mut reader, 3).await;
    (turn, call, events, reader)
}

#[tokio::test]
async fn a_running_answer_may_finish_and_is_read_to_its_end() {
    let app = spawn_app_with(&[("drain.grace_seconds", "60")]).await;
    let (turn, mut call, mut events, mut reader) = streaming(&app).await;
    begin_to_drain(&app).await;
    // Whoever lost the connection just now still gets it all.
    let mut late = app.owner.events(&turn, 0).await;
    call.send("lo").await;
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("Hello", "completed")
    );
    let mut whole = Reader::default();
    late.read_to_end(&mut whole).await;
    assert_eq!(whole, reader);
    let app = ended(app).await.again().await;
    let message = app.owner.message(&turn).await;
    assert_eq!(
        (&message["status"], &message["content"]),
        (&json!("completed"), &json!("Hello"))
    );
    app.end().await;
}

/// Waits for the end of the process.
async fn ended(mut app: TestApp) -> TestApp {
    app.shut_down().await;
    app
}

#[tokio::test]
async fn while_draining_new_answers_are_refused_and_everything_else_works() {
    let mut app = spawn_app_with(&[("drain.grace_seconds", "60")]).await;
    let elsewhere = app.owner.conversation().await;
    let (turn, call, mut events, mut reader) = streaming(&app).await;
    begin_to_drain(&app).await;
    for accept in ["application/json", "text/event-stream"] {
        let ask = app.owner.say(&elsewhere, &json!({"content": "hello"}));
        let response = send(ask.header("accept", accept)).await;
        assert_eq!(response.headers()["retry-after"], "5");
        let refusal = problem(response, 503, "draining").await;
        assert_eq!(refusal["retry_after"], 5);
    }
    let ready = send(app.nobody(Method::GET, "/readyz")).await;
    problem(ready, 503, "draining").await;
    assert_eq!(send(app.nobody(Method::GET, "/livez")).await.status(), 200);
    assert_eq!(app.owner.read(&elsewhere).await["messages"], json!([]));
    assert_eq!(app.owner.message(&turn).await["content"], "Hel");
    let path = format!("/api/conversations/{elsewhere}");
    let rename = app.owner.request(Method::PATCH, &path);
    assert_eq!(
        send(rename.json(&json!({"title": "x"}))).await.status(),
        200
    );
    assert_eq!(app.owner.stop(&turn).await["status"], "stopped");
    call.closed().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(reader.outcome(), "stopped");
    drop(call);
    app.shut_down().await;
}

async fn is_interrupted_and_can_go_on(app: TestApp, turn: &Turn, done: &Value) {
    assert_eq!(done["outcome"], "interrupted");
    assert_eq!(done["stored"], true);
    assert_eq!(done["problem"]["type"], "/problems/interrupted");
    let app = ended(app).await.again().await;
    let owner = &app.owner;
    let message = owner.message(turn).await;
    assert_eq!(
        (&message["status"], &message["content"]),
        (&json!("interrupted"), &json!("Hel"))
    );
    assert_eq!(message["problem"], done["problem"]);
    assert_eq!(
        owner.read(&turn.conversation).await["generation"],
        Value::Null
    );
    // Who was not there at the end reads it now.
    let late = owner.read_all(turn).await;
    assert_eq!(
        (late.text.as_str(), late.done.as_ref()),
        ("Hel", Some(done))
    );
    let next = owner.ask(&turn.conversation, "go on").await;
    let mut call = app.upstream.next_call().await;
    let said = &call.json()["messages"][1]["content"];
    assert_eq!(said, "Hel", "what was said is remembered");
    call.answer(&["lo"]).await;
    assert_eq!(owner.read_all(&next).await.outcome(), "completed");
    app.end().await;
}

#[tokio::test]
async fn after_the_grace_an_answer_is_interrupted_stored_and_told() {
    let app = spawn_app_with(&[("drain.grace_seconds", "1")]).await;
    let (turn, call, mut events, mut reader) = streaming(&app).await;
    app.shutdown.drain.cancel();
    events.read_to_end(&mut reader).await;
    call.closed().await;
    assert_eq!(reader.text, "Hel");
    let done = reader.done.take().expect("told before the stream ended");
    is_interrupted_and_can_go_on(app, &turn, &done).await;
}

#[tokio::test]
async fn a_second_signal_hurries() {
    let app = spawn_app_with(&[("drain.grace_seconds", "3600")]).await;
    let (turn, call, mut events, mut reader) = streaming(&app).await;
    begin_to_drain(&app).await;
    assert!(reader.done.is_none());
    app.shutdown.hurry.cancel();
    events.read_to_end(&mut reader).await;
    call.closed().await;
    let done = reader.done.take().expect("told before the stream ended");
    is_interrupted_and_can_go_on(app, &turn, &done).await;
}

#[tokio::test]
async fn an_answer_that_has_not_begun_is_interrupted_too() {
    let mut app = spawn_app().await;
    let (turn, call) = app.asked().await;
    let mut events = app.owner.events(&turn, 0).await;
    app.shutdown.drain.cancel();
    let mut reader = Reader::default();
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("", "interrupted")
    );
    call.closed().await;
    app.shut_down().await;
}

#[tokio::test]
async fn readers_who_come_when_all_are_asked_to_go_are_told_to_come_back() {
    let mut app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let turn = app.answered(&conversation, "hello", &["Hello"]).await;
    app.chat.registry.shut_out_emitters();
    let mut refused = Events::new(send(app.owner.get(&turn.events())).await);
    assert!(refused.next_frame().await.expect("a frame").retry.is_some());
    let data = refused.expect("unavailable").await.data.expect("a problem");
    assert_eq!(
        (&data["type"], &data["status"]),
        (&json!("/problems/draining"), &json!(503))
    );
    assert!(refused.next_frame().await.is_none());
    app.shut_down().await;
}

#[tokio::test]
async fn idle_readers_do_not_hold_the_end_up() {
    let mut app = spawn_app_with(&[("drain.grace_seconds", "60")]).await;
    let conversation = app.owner.conversation().await;
    let turn = app.answered(&conversation, "hello", &["Hello"]).await;
    // Kept-alive connections, and one that never sends its request.
    let silent = crate::support::raw::Raw::connect(&app.origin).await;
    let mut reader = Reader::default();
    app.owner
        .events(&turn, 0)
        .await
        .read_to_end(&mut reader)
        .await;
    let begun = std::time::Instant::now();
    app.shut_down().await;
    let grace = std::time::Duration::from_mins(1);
    assert!(begun.elapsed() < grace / 2, "{:?}", begun.elapsed());
    drop(silent);
}
