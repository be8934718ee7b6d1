//! A node that stood still, or was cut off, while another took it for dead.

use crate::support::{
    app::spawn_app,
    until,
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

