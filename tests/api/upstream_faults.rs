//! What users see when the model server fails: the truth, in its own words, and every word that came before.

use crate::support::{
    app::{TestApp, Turn, send, spawn_app, spawn_app_with},
    events::Reader,
    fake_upstream::Call,
};
use serde_json::{Value, json};

/// Reads the answer to its end, which must be this outcome with this problem, streamed and stored alike.
async fn ends(app: &TestApp, turn: &Turn, outcome: &str, problem: &str, text: &str) -> Value {
    let reader = app.owner.read_all(turn).await;
    assert_eq!((reader.outcome(), reader.text.as_str()), (outcome, text));
    let done = reader.done.expect("the end");
    assert_eq!(done["stored"], true);
    assert_eq!(done["problem"]["type"], format!("/problems/{problem}"));
    assert_eq!(done["finish_reason"], Value::Null);
    let message = app.owner.message(turn).await;
    assert_eq!(
        (message["status"].as_str(), message["content"].as_str()),
        (Some(outcome), Some(text))
    );
    assert_eq!(message["problem"], done["problem"]);
    let record = app
        .owner
        .get_json(&format!("/api/generations/{}", turn.generation))
        .await;
    assert_eq!(
        (&record["status"], &record["seq"]),
        (&json!(outcome), &json!(reader.position))
    );
    done["problem"].clone()
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().expect("words")
}

#[tokio::test]
async fn an_upstream_that_is_not_there_fails_the_answer_in_words() {
    let app = spawn_app().await;
    app.upstream.stop_listening().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let problem = ends(&app, &turn, "failed", "upstream-unreachable", "").await;
    assert_eq!(problem["status"], 502);
    assert!(!detail(&problem).is_empty());
    assert!(problem["instance"].is_string(), "{problem}");
    // The question is not lost: another answer to it may be asked for.
    let read = app.owner.read(&turn.conversation).await;
    assert_eq!(read["messages"][0]["content"], "hello");
    app.end().await;
}

#[tokio::test]
async fn a_rate_limit_is_told_with_its_words_and_the_time_to_wait() {
    let app = spawn_app().await;
    let (turn, mut call) = app.asked().await;
    call.reply_429("7").await;
    let problem = ends(&app, &turn, "failed", "upstream-rate-limited", "").await;
    assert_eq!(problem["status"], 429);
    assert_eq!(problem["retry_after"], 7);
    assert_eq!(detail(&problem), "Rate limit reached");
    app.end().await;
}

#[tokio::test]
async fn a_page_of_html_is_told_as_a_status_not_as_markup() {
    let app = spawn_app().await;
    let (turn, mut call) = app.asked().await;
    let html = "<html><body><h1>500</h1>nginx</body></html>";
    call.reply(500, &[("content-type", "text/html")], html)
        .await;
    let problem = ends(&app, &turn, "failed", "upstream-refused", "").await;
    assert_eq!(problem["status"], 500);
    assert_eq!(
        detail(&problem),
        "the upstream answered 500 Internal Server Error"
    );
    app.end().await;
}

#[tokio::test]
async fn an_answer_that_is_cut_is_truncated_and_keeps_its_text() {
    let app = spawn_app().await;
    for how in ["cut", "reset", "end"] {
        println!("{how}");
        let (turn, mut call) = app.answering().await;
        let mut events = app.owner.events(&turn, 0).await;
        call.send("Hello, 漢").await;
        events
            .read_until(&mut Reader::default(), "Hello, 漢".len())
            .await;
        match how {
            "cut" => call.cut().await,
            "reset" => call.reset(),
            // A clean end of the body says nothing about the end of the answer.
            _ => call.end().await,
        }
        ends(&app, &turn, "truncated", "upstream-truncated", "Hello, 漢").await;
    }
    app.end().await;
}

#[tokio::test]
async fn an_error_in_mid_stream_fails_the_answer_and_keeps_its_text() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send("Hel").await;
    call.send_json(&json!({"error": {"message": "CUDA out of memory", "code": 503}}))
        .await;
    let problem = ends(&app, &turn, "failed", "upstream-error", "Hel").await;
    assert_eq!(detail(&problem), "CUDA out of memory");
    call.closed().await;
    app.end().await;
}

/// Sends until the server has enough; how many bytes it took.
async fn flood(call: &mut Call, piece: &str) -> usize {
    let mut taken = 0;
    while taken < 300_000_000 {
        if !call.write(piece.as_bytes()).await {
            return taken;
        }
        taken += piece.len();
    }
    panic!("the server took 300 MB");
}

/// One chunk of the body with this event.
fn event(text: &str) -> String {
    let data = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// What the sockets of both sides hold on their way.
const ON_THE_WAY: usize = 12_000_000;

#[tokio::test]
async fn an_answer_of_300_megabytes_is_ended_at_the_limit_and_keeps_what_fits() {
    let app = spawn_app_with(&[("limits.answer_bytes", "1000000")]).await;
    let (turn, mut call) = app.answering().await;
    let taken = flood(&mut call, &event(&"x".repeat(10_000))).await;
    call.closed().await;
    assert!(taken < 1_000_000 + ON_THE_WAY, "{taken}");
    let reader = app.owner.read_all(&turn).await;
    assert!(
        (900_000..=1_000_000).contains(&reader.text.len()),
        "{}",
        reader.text.len()
    );
    ends(&app, &turn, "failed", "answer-too-large", &reader.text).await;
    app.end().await;
}

#[tokio::test]
async fn one_event_of_300_megabytes_is_not_collected() {
    let app = spawn_app_with(&[("limits.event_bytes", "100000")]).await;
    let (turn, mut call) = app.answering().await;
    call.send("Hello").await;
    let begin = r#"data: {"choices": [{"index": 0, "delta": {"content": ""#;
    call.send_raw(begin).await;
    let piece = "x".repeat(10_000);
    let taken = flood(&mut call, &format!("{:x}\r\n{piece}\r\n", piece.len())).await;
    call.closed().await;
    assert!(taken < 100_000 + ON_THE_WAY, "{taken}");
    ends(&app, &turn, "failed", "answer-too-large", "Hello").await;
    app.end().await;
}

#[tokio::test]
async fn an_endless_answer_of_single_letters_is_ended_at_the_limit_of_the_log() {
    let app = spawn_app_with(&[("log.bytes", "200000")]).await;
    let (turn, mut call) = app.answering().await;
    flood(&mut call, &event("x")).await;
    call.closed().await;
    let reader = app.owner.read_all(&turn).await;
    assert!(!reader.text.is_empty());
    let problem = ends(&app, &turn, "failed", "answer-too-large", &reader.text).await;
    assert!(detail(&problem).contains("200000"), "{problem}");
    app.end().await;
}

#[tokio::test]
async fn an_upstream_that_falls_silent_truncates_the_answer() {
    let app = spawn_app_with(&[("upstream.silence_seconds", "1")]).await;
    let (turn, mut call) = app.answering().await;
    call.send("Hel").await;
    let problem = ends(&app, &turn, "truncated", "upstream-silent", "Hel").await;
    assert_eq!(problem["status"], 504);
    call.closed().await;
    app.end().await;
}

#[tokio::test]
async fn an_upstream_that_never_begins_fails_the_answer() {
    let app = spawn_app_with(&[("upstream.first_byte_seconds", "1")]).await;
    let (turn, call) = app.asked().await;
    let problem = ends(&app, &turn, "failed", "upstream-late", "").await;
    assert_eq!(problem["status"], 504);
    call.closed().await;
    app.end().await;
}

#[tokio::test]
async fn an_answer_that_never_ends_is_ended_at_its_deadline() {
    let app = spawn_app_with(&[("upstream.total_seconds", "1")]).await;
    let (turn, mut call) = app.answering().await;
    // More at once than anybody reads: there is always a next chunk.
    flood(&mut call, &event("x").repeat(1000)).await;
    let reader = app.owner.read_all(&turn).await;
    assert!(!reader.text.is_empty());
    ends(&app, &turn, "failed", "answer-too-long", &reader.text).await;
    app.end().await;
}

#[tokio::test]
async fn a_flood_holds_up_neither_a_stop_nor_anybody_else() {
    let app = spawn_app_with(&[("server.workers", "1")]).await;
    let (turn, mut call) = app.answering().await;
    let mut events = app.owner.events(&turn, 0).await;
    events.expect("started").await;
    let flood = tokio::spawn(async move {
        flood(&mut call, &event("x").repeat(1000)).await;
    });
    events.expect("delta").await;
    for _ in 0..10 {
        assert_eq!(send(app.owner.get("/livez")).await.status(), 200);
    }
    // Not `failed`: it was heard before the answer was too large.
    assert_eq!(app.owner.stop(&turn).await["status"], "stopped");
    flood.await.expect("the upstream's socket is closed");
    drop(events);
    app.end().await;
}

#[tokio::test]
async fn after_a_failure_the_conversation_goes_on_without_the_empty_answer() {
    let app = spawn_app().await;
    let (turn, mut call) = app.asked().await;
    call.reply_429("1").await;
    ends(&app, &turn, "failed", "upstream-rate-limited", "").await;
    let next = app.owner.ask(&turn.conversation, "again").await;
    let mut call = app.upstream.next_call().await;
    let asked: Vec<_> = call.json()["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| message["content"].clone())
        .collect();
    assert_eq!(asked, ["hello", "again"]);
    call.answer(&["Hello"]).await;
    assert_eq!(app.owner.read_all(&next).await.outcome(), "completed");
    app.end().await;
}
