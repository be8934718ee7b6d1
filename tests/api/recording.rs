//! What is in the database while an answer is written, and what readers get from there when no memory has it any more.

use crate::support::{
    app::{TestApp, Turn, problem, send, spawn_app, spawn_app_with},
    events::{Events, Reader},
    until,
};
use continuo::{
    event::EventSegment,
    model::{GenerationId, MessageId, NodeId, UserId, now},
    store::{Effect, Lease, NewTurn, Parent, TurnOf},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// The events that the store has of a running answer.
async fn recorded(app: &TestApp, turn: &Turn) -> String {
    let id = turn.generation.parse().expect("an id");
    let segments = app.chat.store.events(id, 0).await.expect("the store reads");
    segments.into_iter().map(|segment| segment.frames).collect()
}

#[tokio::test]
async fn what_an_answer_says_is_in_the_database_while_it_is_said() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    let mut said = String::new();
    for piece in ["先把", "五花肉\n", "\"😀\""] {
        call.send(piece).await;
        said = format!("{said}delta {}\n", json!({ "text": piece }));
        until("it is recorded", async || {
            recorded(&app, &turn).await.ends_with(&said)
        })
        .await;
    }
    assert_eq!(app.owner.message(&turn).await["status"], "streaming");
    call.finish("stop").await;
    call.done().await;
    app.owner.read_all(&turn).await;
    app.end().await;
}

/// The positions and data of all events after `after`.
async fn frames(app: &TestApp, turn: &Turn, after: u64) -> Vec<(Option<u64>, Option<Value>)> {
    let response = send(
        app.owner
            .get(&turn.events())
            .header("last-event-id", after.to_string()),
    )
    .await;
    if response.status() == 204 {
        return Vec::new();
    }
    let mut events = Events::new(response);
    let mut frames = Vec::new();
    while let Some(frame) = events.next().await {
        frames.push((frame.id, frame.data));
    }
    frames
}

#[tokio::test]
async fn a_reader_resumes_from_any_position_after_the_log_left_memory() {
    let app = spawn_app_with(&[("log.retain_bytes", "0")]).await;
    let (turn, mut call) = app.answering().await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    for n in 0..20 {
        call.send(&format!("{n} ")).await;
        events.read_until(&mut reader, n + 1).await;
    }
    call.finish("stop").await;
    call.usage(3, 20).await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    drop(events);
    app.nothing_in_memory().await;
    app.caught_up().await;
    let all = frames(&app, &turn, 0).await;
    assert_eq!(all.len() as u64, reader.position);
    for after in 0..=reader.position {
        let rest = usize::try_from(after).expect("small");
        assert_eq!(frames(&app, &turn, after).await, all[rest..], "{after}");
    }
    let mut again = Reader::default();
    app.owner
        .events(&turn, 0)
        .await
        .read_to_end(&mut again)
        .await;
    assert_eq!(again, reader);

    // Once the events are forgotten, the text comes in one piece.
    let forgotten = app.chat.store.forget_events(now() + Duration::from_secs(1));
    assert_eq!(forgotten.await.expect("the store writes"), 1);
    let late = app.owner.read_all(&turn).await;
    assert_eq!(
        (late.text, late.gaps, late.done),
        (reader.text, 1, reader.done)
    );
    app.end().await;
}

/// A turn that the store calls running under this lease, and no task runs.
async fn begun(app: &TestApp, lease: Lease) -> (Turn, UserId) {
    let conversation = app.owner.conversation().await;
    let owner = app.chat.store.users().await.expect("users")[0].id;
    let new = NewTurn {
        generation_id: GenerationId::new(),
        message_id: MessageId::new(),
        lease,
        model: None,
        of: TurnOf::Prompt {
            conversation_id: conversation.parse().expect("an id"),
            user_message_id: MessageId::new(),
            parent: Parent::Head,
            content: "hello".into(),
        },
    };
    let begun = app.chat.store.begin_turn(owner, &new, None).await;
    assert!(matches!(begun, Ok(Ok(Effect::Done(_)))), "{begun:?}");
    let turn = Turn {
        generation: new.generation_id.to_string(),
        message: new.message_id.to_string(),
        conversation,
    };
    (turn, owner)
}

#[tokio::test]
async fn an_answer_that_nobody_writes_is_interrupted_at_the_first_look() {
    let app = spawn_app().await;
    for look in ["conversation", "generation", "events", "stop"] {
        let (turn, _) = begun(&app, app.chat.recorder.lease()).await;
        let path = format!("/api/generations/{}", turn.generation);
        match look {
            "conversation" => {
                let read = app.owner.read(&turn.conversation).await;
                assert_eq!(read["generation"], Value::Null);
            }
            "generation" => {
                assert_eq!(app.owner.get_json(&path).await["status"], "interrupted");
            }
            "events" => assert_eq!(app.owner.read_all(&turn).await.outcome(), "interrupted"),
            _ => assert_eq!(app.owner.stop(&turn).await["status"], "interrupted"),
        }
        assert_eq!(app.owner.message(&turn).await["status"], "interrupted");
        let next = app.owner.ask(&turn.conversation, "go on").await;
        app.upstream.next_call().await.answer(&["Gladly"]).await;
        assert_eq!(app.owner.read_all(&next).await.text, "Gladly");
    }
    app.end().await;
}

#[tokio::test]
async fn a_position_that_was_lost_with_its_process_starts_over_and_the_others_go_on() {
    let app = spawn_app().await;
    let lease = app.chat.recorder.lease();
    let (turn, _) = begun(&app, lease).await;
    let segment = |first_seq, frames: &str| EventSegment {
        generation_id: turn.generation.parse().expect("an id"),
        first_seq,
        last_seq: first_seq + frames.lines().count() as u64 - 1,
        frames: frames.to_owned(),
    };
    let said = [
        segment(1, "started {}\ndelta {\"text\":\"Hel\"}\n"),
        segment(3, "delta {\"text\":\"lo\"}\n"),
    ];
    let appended = app.chat.store.append_events(lease, &said).await;
    appended.expect("the store writes");
    for (position, events) in [
        (0, vec!["started", "delta", "delta", "block", "done"]),
        (1, vec!["delta", "delta", "block", "done"]),
        (2, vec!["delta", "block", "done"]),
        (3, vec!["block", "done"]),
        (4, vec!["gap", "snapshot", "done"]),
        (500_000, vec!["gap", "snapshot", "done"]),
        (1_000_002, vec!["done"]),
    ] {
        let mut reader = app.owner.events(&turn, position).await;
        let mut seen = Vec::new();
        while let Some(frame) = reader.next().await {
            let event = frame.event.expect("a name");
            let data = frame.data.expect("data");
            if event == "gap" {
                assert_eq!(data, json!({"reason": "lost", "seq": 1_000_002}));
            }
            if event == "snapshot" {
                assert_eq!(
                    (frame.id, &data["text"]),
                    (Some(1_000_002), &json!("Hello"))
                );
            }
            seen.push(event);
        }
        assert_eq!(seen, events, "after {position}");
    }
    assert_eq!(app.owner.message(&turn).await["content"], "Hello");
    app.end().await;
}

#[tokio::test]
async fn an_answer_of_another_node_is_left_to_that_node() {
    let app = spawn_app().await;
    let node = NodeId::new();
    let lease = app.chat.store.take_lease(node, Duration::from_mins(1));
    let (turn, _) = begun(&app, lease.await.expect("a lease")).await;
    let message = app.owner.message(&turn).await;
    assert_eq!(message["status"], "streaming", "it is");
    let path = format!("/api/generations/{}", turn.generation);
    assert_eq!(app.owner.get_json(&path).await["status"], "running");
    let mut events = app.owner.events(&turn, 0).await;
    let refusal = events.expect("unavailable").await.data.expect("a problem");
    assert_eq!(refusal["type"], "/problems/runs-elsewhere");
    let stop = app.owner.post(&format!("{path}/stop"));
    problem(send(stop).await, 503, "runs-elsewhere").await;
    let path = format!("/api/conversations/{}", turn.conversation);
    let delete = app.owner.request(Method::DELETE, &path);
    problem(send(delete).await, 503, "runs-elsewhere").await;
    assert_eq!(app.owner.message(&turn).await["status"], "streaming");
    app.end().await;
}

#[tokio::test]
async fn an_operator_can_drain_the_server() {
    let mut app = spawn_app_with(&[("drain.grace_seconds", "60")]).await;
    let stranger = app.stranger().await;
    let refused = send(stranger.post("/api/operator/drain")).await;
    problem(refused, 403, "operators-only").await;
    let (turn, mut call) = app.answering().await;
    for _ in 0..2 {
        let response = send(app.owner.post("/api/operator/drain")).await;
        assert_eq!(response.status(), 202);
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body, json!({"status": "draining", "running": 1}));
    }
    let ready = send(app.nobody(Method::GET, "/readyz")).await;
    problem(ready, 503, "draining").await;
    let mut events = app.owner.events(&turn, 0).await;
    call.send("Hello").await;
    call.finish("stop").await;
    call.done().await;
    let mut reader = Reader::default();
    events.read_to_end(&mut reader).await;
    assert_eq!(reader.outcome(), "completed");
    app.served().await;
}
