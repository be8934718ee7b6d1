//! A node that stood still, or was cut off, while another took it for dead.

use crate::support::{
    app::{TestApp, spawn_app},
    events::Reader,
    until,
};
use continuo::{
    model::{Ending, GenerationId, NodeId, Outcome, Timings},
    store::{NewTurn, TurnOf},
};
use std::time::Duration;

#[tokio::test]
async fn what_is_said_while_the_lease_is_lost_is_recorded_when_it_is_back() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    let store = &app.chat.store;
    let lease = app.chat.recorder.lease();
    let taken = store.take_lease(lease.node, Duration::ZERO).await;
    assert_eq!(taken.expect("taken").epoch, lease.epoch + 1);
    call.send("meanwhile ").await;
    until("it waits on disk", async || {
        app.chat.recorder.backlog().0 > 0
    })
    .await;
    until("this node has its lease again", async || {
        app.chat.recorder.lease() != lease
    })
    .await;
    call.send("back").await;
    let id = turn.generation.parse().expect("an id");
    until("the database has it all", async || {
        let segments = store.events(id, 0).await.expect("the store reads");
        segments
            .iter()
            .any(|segment| segment.frames.contains("back"))
    })
    .await;
    let mut next = 1;
    for segment in store.events(id, 0).await.expect("the store reads") {
        assert_eq!(segment.first_seq, next, "no hole");
        next = segment.last_seq + 1;
    }
    call.finish("stop").await;
    call.done().await;
    app.owner.read_all(&turn).await;
    app.end().await;
}

/// As another node ends an answer of which it found so much.
pub fn left_over(content: &str) -> Ending {
    Ending {
        outcome: Outcome::Interrupted,
        content: content.to_owned(),
        reasoning: None,
        tool_calls: None,
        model: None,
        finish_reason: None,
        usage: None,
        timings: Timings {
            first_token_ms: None,
            total_ms: 0,
            ..Timings::default()
        },
        problem: None,
        last_seq: 1_000_002,
        leaves_message: false,
    }
}

#[tokio::test]
async fn an_answer_that_another_node_ended_ends_here_too_with_all_its_text() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send("Hello").await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    events.read_until(&mut reader, 5).await;
    let store = &app.chat.store;
    let own = app.chat.recorder.lease().node;
    let taken = store.take_lease(own, Duration::ZERO).await;
    taken.expect("taken");
    let id = turn.generation.parse().expect("an id");
    let recovered = store.recover(NodeId::new(), id, &left_over("Hel")).await;
    assert!(recovered.expect("stored"));
    events.read_to_end(&mut reader).await;
    call.closed().await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("Hello", "interrupted")
    );
    assert_eq!(reader.done.as_ref().expect("the end")["stored"], true);
    assert_eq!(app.owner.message(&turn).await["content"], "Hello");
    app.end().await;
}

#[tokio::test]
async fn an_answer_that_another_node_ended_and_somebody_carried_on_does_not_claim_to_be_stored() {
    let app = spawn_app().await;
    // The node looks at its leases every five seconds. When that falls between what is done to it here, it rightly ends the answer first.
    for _ in 0..5 {
        if !is_stored_though_carried_on(&app).await {
            return app.end().await;
        }
    }
    panic!("the node always looked first");
}

/// What happens to a process that stood still: its lease goes, its answer is ended, and carried on elsewhere. What does its end say?
async fn is_stored_though_carried_on(app: &TestApp) -> bool {
    let (turn, mut call) = app.answering().await;
    call.send("Hello").await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    events.read_until(&mut reader, 5).await;
    let store = &app.chat.store;
    let held = app.chat.recorder.lease();
    let (own, other) = tokio::join!(
        store.take_lease(held.node, Duration::ZERO),
        store.take_lease(NodeId::new(), Duration::from_mins(1)),
    );
    let (_, other) = (own.expect("taken"), other.expect("taken"));
    let id: GenerationId = turn.generation.parse().expect("an id");
    let ending = left_over("Hel");
    let recovered = store.recover(other.node, id, &ending).await;
    let carries_on = NewTurn {
        generation_id: GenerationId::new(),
        message_id: turn.message.parse().expect("an id"),
        lease: other,
        model: None,
        of: TurnOf::Continue,
    };
    let is_recovered = recovered.expect("stored");
    if is_recovered {
        let owner = store.users().await.expect("users")[0].id;
        let begun = store.begin_turn(owner, &carries_on, None).await;
        assert!(begun.expect("stored").is_ok());
    }

    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(reader.text, "Hello");
    if is_recovered {
        let ended = store.end_generation(carries_on.generation_id, &ending, &[]);
        assert!(ended.await.expect("stored"));
    }
    until("this node has its lease again", async || {
        app.chat.recorder.lease() != held
    })
    .await;
    let is_stored = reader.done.expect("the end")["stored"] == true;
    if !is_stored {
        let aside = std::fs::read_dir(app.data().join("spool/set-aside")).expect("kept");
        let mut kept = aside.map(|file| std::fs::read_to_string(file.expect("kept").path()));
        assert!(kept.any(|end| end.expect("kept").contains(&turn.generation)));
    }
    is_stored
}
