//! The second half of promise 2: a stop ends the generation it names, whenever it comes, and closes the upstream's socket.

use crate::support::{
    app::{problem, send, spawn_app},
    events::Reader,
};

#[tokio::test]
async fn a_stop_keeps_the_partial_answer_and_closes_the_upstream() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    call.send("partial").await;
    events.read_until(&mut reader, 7).await;
    let stopped = app.owner.stop(&turn).await;
    call.closed().await;
    assert_eq!(stopped["status"], "stopped");
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("partial", "stopped")
    );
    let message = app.owner.message(&turn).await;
    assert_eq!(
        (message["content"].as_str(), message["status"].as_str()),
        (Some("partial"), Some("stopped"))
    );
    assert_eq!(
        app.owner.stop(&turn).await,
        stopped,
        "a second stop says the same"
    );
    app.end().await;
}

#[tokio::test]
async fn a_stop_before_the_upstream_has_answered_closes_its_socket() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let call = app.upstream.next_call().await;
    let stopped = app.owner.stop(&turn).await;
    call.closed().await;
    assert_eq!(stopped["status"], "stopped");
    let mut reader = Reader::default();
    app.owner
        .events(&turn, 0)
        .await
        .read_to_end(&mut reader)
        .await;
    assert_eq!((reader.text.as_str(), reader.outcome()), ("", "stopped"));
    app.end().await;
}

#[tokio::test]
async fn a_stop_after_the_end_changes_nothing_and_cannot_hit_the_next_answer() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let first = app.owner.ask(&conversation, "one").await;
    app.upstream.next_call().await.answer(&["One"]).await;
    app.owner
        .events(&first, 0)
        .await
        .read_to_end(&mut Reader::default())
        .await;
    let second = app.owner.ask(&conversation, "two").await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    assert_eq!(app.owner.stop(&first).await["status"], "completed");
    call.send("Two").await;
    call.finish("stop").await;
    call.done().await;
    let mut reader = Reader::default();
    app.owner
        .events(&second, 0)
        .await
        .read_to_end(&mut reader)
        .await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("Two", "completed")
    );
    app.end().await;
}

#[tokio::test]
async fn ten_stops_at_once_get_the_same_answer() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("partial").await;
    let stops = (0..10).map(|_| {
        let (account, turn) = (app.owner.clone(), turn.clone());
        tokio::spawn(async move { account.stop(&turn).await })
    });
    let mut answers = Vec::new();
    for stop in stops.collect::<Vec<_>>() {
        answers.push(stop.await.expect("no panic"));
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    app.end().await;
}

#[tokio::test]
async fn an_operator_stops_anybodys_generation_and_sees_it_run() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let turn = stranger.ask(&stranger.conversation().await, "hello").await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let running = app.owner.get_json("/api/operator/generations").await;
    assert_eq!(running["items"][0]["id"], turn.generation.as_str());
    let path = format!("/api/operator/generations/{}/stop", turn.generation);
    problem(send(stranger.post(&path)).await, 403, "operators-only").await;
    let response = send(app.owner.post(&path)).await;
    assert_eq!(response.status(), 200);
    call.closed().await;
    app.nothing_runs().await;
    problem(send(app.owner.post(&path)).await, 404, "not-found").await;
    assert_eq!(stranger.message(&turn).await["status"], "stopped");
    app.end().await;
}

#[tokio::test]
async fn a_stop_of_a_turn_that_is_refused_waits_for_nothing() {
    let app = spawn_app().await;
    let nowhere = format!("/api/conversations/{}/messages", uuid::Uuid::now_v7());
    // Many, so that one is seen between its place in the registry and its refusal.
    let asking = (0..20).map(|_| {
        let request = app
            .owner
            .post(&nowhere)
            .json(&serde_json::json!({"content": "x"}));
        tokio::spawn(send(request))
    });
    let asking: Vec<_> = asking.collect();
    for _ in 0..50 {
        for generation in app.chat.registry.running() {
            app.chat.stop_any(generation.id).await;
        }
        tokio::task::yield_now().await;
    }
    for answer in asking {
        let status = answer.await.expect("no panic").status();
        assert!(status == 404 || status == 429, "{status}");
    }
    app.end().await;
}

#[tokio::test]
async fn a_deleted_conversation_is_not_read_from_memory_either() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    app.upstream.next_call().await.answer(&["secret"]).await;
    app.owner
        .events(&turn, 0)
        .await
        .read_to_end(&mut Reader::default())
        .await;
    let path = format!("/api/conversations/{}", turn.conversation);
    let deleted = send(app.owner.request(reqwest::Method::DELETE, &path)).await;
    assert_eq!(deleted.status(), 204);
    problem(send(app.owner.get(&turn.events())).await, 404, "not-found").await;
    app.end().await;
}
