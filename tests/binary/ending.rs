//! How the process ends, in order and not, and what is there when it starts again.

use crate::support::{
    app::{Turn, send},
    events::{Events, Reader},
    fake_upstream::{Call, FakeUpstream},
    process::Running,
    until,
};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// A server with an upstream of ours, and an answer that has begun.
async fn answering(data: &Path, upstream: &FakeUpstream) -> (Running, Turn, Call, Events, Reader) {
    let server = Running::start(data, &["--upstream-url", &upstream.base_url()]).await;
    let owner = &server.owner;
    let turn = owner.ask(&owner.conversation().await, "hello").await;
    let mut call = upstream.next_call().await;
    call.head_sse().await;
    call.send("Hel").await;
    let mut events = owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    events.read_until(&mut reader, 3).await;
    (server, turn, call, events, reader)
}

/// Waits until the server tells load balancers that it goes.
async fn begun_to_drain(server: &Running) {
    let ready = async || send(server.owner.get("/readyz")).await.status() == 503;
    until("the drain begins", ready).await;
}

async fn prepared() -> (TempDir, FakeUpstream) {
    let data = tempfile::tempdir().expect("a directory");
    (data, FakeUpstream::start().await)
}

#[tokio::test]
async fn a_signal_lets_the_running_answer_finish_and_the_process_ends_well() {
    for signal in ["TERM", "INT"] {
        let (data, upstream) = prepared().await;
        let (server, turn, mut call, mut events, mut reader) =
            answering(data.path(), &upstream).await;
        server.process.signal(signal).await;
        begun_to_drain(&server).await;
        call.send("lo").await;
        call.finish("stop").await;
        call.done().await;
        events.read_to_end(&mut reader).await;
        assert_eq!(
            (reader.text.as_str(), reader.outcome()),
            ("Hello", "completed")
        );
        let ended = server.process.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let again = Running::start(data.path(), &[]).await;
        assert_eq!(again.owner.message(&turn).await["content"], "Hello");
        assert_eq!(again.terminate().await.code, Some(0));
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_wait_and_loses_nothing() {
    let (data, upstream) = prepared().await;
    let (server, turn, call, mut events, mut reader) = answering(data.path(), &upstream).await;
    server.process.signal("TERM").await;
    begun_to_drain(&server).await;
    server.process.signal("TERM").await;
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("Hel", "interrupted")
    );
    call.closed().await;
    assert_eq!(server.process.ended().await.code, Some(0));
    let again = Running::start(data.path(), &[]).await;
    let message = again.owner.message(&turn).await;
    assert_eq!(
        (&message["status"], &message["content"]),
        (&json!("interrupted"), &json!("Hel"))
    );
    assert_eq!(again.terminate().await.code, Some(0));
}

#[tokio::test]
async fn after_a_kill_in_mid_answer_nothing_spins_and_the_conversation_goes_on() {
    let (data, upstream) = prepared().await;
    let (server, turn, call, mut events, mut reader) = answering(data.path(), &upstream).await;
    server.process.signal("KILL").await;
    assert_eq!(server.process.ended().await.code, None);
    call.closed().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(reader.done, None, "cut, not ended");

    let again = Running::start(data.path(), &["--upstream-url", &upstream.base_url()]).await;
    let owner = &again.owner;
    let read = owner.read(&turn.conversation).await;
    assert_eq!(read["generation"], Value::Null);
    let message = owner.message(&turn).await;
    assert_eq!(message["status"], "interrupted");
    assert_eq!(message["problem"]["type"], "/problems/interrupted");
    let record = owner
        .get_json(&format!("/api/generations/{}", turn.generation))
        .await;
    assert_eq!(record["status"], "interrupted");
    // Whoever was reading comes back where it was, or starts over: it gets what is left, and is told the end.
    for mut late in [Reader::default(), reader] {
        let mut resumed = owner.events(&turn, late.position).await;
        resumed.read_to_end(&mut late).await;
        assert_eq!(late.outcome(), "interrupted");
        assert_eq!(late.text, message["content"].as_str().expect("text"));
    }

    let next = owner.ask(&turn.conversation, "go on").await;
    upstream.next_call().await.answer(&["Gladly"]).await;
    assert_eq!(owner.read_all(&next).await.text, "Gladly");
    assert_eq!(again.terminate().await.code, Some(0));
}
