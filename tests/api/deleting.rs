//! Deleted conversations: hidden at once, back while there is time, gone for good after it.

use super::conversations::{create, id, path};
use crate::support::{
    app::{Account, TestApp, problem, send, spawn_app, spawn_app_with},
    until,
};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use std::time::Duration;

async fn delete(account: &Account, conversation: &str) -> Response {
    let path = format!("/api/conversations/{conversation}");
    send(account.request(Method::DELETE, &path)).await
}

async fn restore(account: &Account, conversation: &str) -> Response {
    send(account.post(&format!("/api/conversations/{conversation}/restore"))).await
}

async fn database(app: &TestApp) -> SqliteConnection {
    let path = app.data().join("continuo.sqlite3");
    let url = format!("sqlite://{}", path.display());
    SqliteConnection::connect(&url).await.expect("the database")
}

async fn nothing_is_left(app: &TestApp) {
    let rows = async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM conversations")
            .fetch_one(&mut database(app).await)
            .await
    };
    until("it is gone for good", async || {
        matches!(rows().await, Ok(0))
    })
    .await;
}

#[tokio::test]
async fn a_deleted_conversation_is_nowhere_until_it_is_restored_and_then_as_it_was() {
    let app = spawn_app().await;
    let made = create(
        &app.owner,
        json!({"title": "Bread", "sampling": {"seed": 1}}),
    )
    .await;
    let first = app.answered(id(&made), "salt?", &["Two percent"]).await;
    let turn = app.answered(id(&made), "yeast?", &["One"]).await;
    let other = app.owner.conversation().await;
    let before = app.owner.read(id(&made)).await;
    let told = app.owner.read_all(&turn).await;

    assert_eq!(delete(&app.owner, id(&made)).await.status(), 204);
    // What ended a moment ago is in memory still, and not there all the same.
    let generation = format!("/api/generations/{}", turn.generation);
    let message = |turn: &str, what: &str| format!("/api/messages/{turn}/{what}");
    for request in [
        app.owner.get(&path(&made)),
        app.owner.get(&format!("{}?limit=9", path(&made))),
        app.owner.get(&format!("{}/export", path(&made))),
        app.owner.get(&generation),
        app.owner
            .get(&turn.events())
            .header("accept", "application/json"),
        app.owner
            .get(&turn.events())
            .header("accept", "text/event-stream"),
        app.owner.post(&format!("{generation}/stop")),
        app.owner.post(&message(&turn.message, "regenerate")),
        app.owner.post(&message(&turn.message, "continue")),
        app.owner.say(id(&made), &json!({"content": "more"})),
        app.owner.say(
            id(&made),
            &json!({"content": "x", "parent_id": first.message}),
        ),
        app.owner
            .request(Method::PATCH, &path(&made))
            .json(&json!({"title": "x"})),
        app.owner.request(Method::DELETE, &path(&made)),
    ] {
        println!("{request:?}");
        problem(send(request).await, 404, "not-found").await;
    }
    for query in ["", "?q=bread", "?q=percent"] {
        let list = app
            .owner
            .get_json(&format!("/api/conversations{query}"))
            .await;
        let rows = list["items"].as_array().expect("rows");
        assert!(rows.iter().all(|row| id(row) == other), "{query}: {list}");
    }
    let stranger = app.stranger().await;
    problem(restore(&stranger, id(&made)).await, 404, "not-found").await;

    for _ in 0..2 {
        let restored = restore(&app.owner, id(&made)).await;
        assert_eq!(restored.status(), 200);
        let etag = format!("\"{}\"", before["version"]);
        assert_eq!(restored.headers()["etag"], etag.as_str());
        let restored: Value = restored.json().await.expect("JSON");
        for (name, value) in restored.as_object().expect("an object") {
            assert_eq!(value, &before[name], "{name}");
        }
        assert_eq!(restored["head_id"], turn.message.as_str());
    }
    assert_eq!(app.owner.read(id(&made)).await, before);
    let again = app.owner.read_all(&turn).await;
    assert_eq!((again.text, again.done), (told.text, told.done));
    app.answered(id(&made), "more", &["More"]).await;
    app.end().await;
}

#[tokio::test]
async fn what_was_deleted_while_it_was_written_comes_back_stopped() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send("Hel").await;
    let mut events = app.owner.events(&turn, 0).await;
    events.expect("started").await;
    events.expect("delta").await;
    assert_eq!(delete(&app.owner, &turn.conversation).await.status(), 204);
    events.expect("block").await;
    events.expect("done").await;
    assert_eq!(restore(&app.owner, &turn.conversation).await.status(), 200);
    let message = app.owner.message(&turn).await;
    assert_eq!(
        (&message["content"], &message["status"]),
        (&json!("Hel"), &json!("stopped"))
    );
    app.end().await;
}

#[tokio::test]
async fn after_the_purge_nothing_comes_back_and_receipts_stay() {
    let app = spawn_app().await;
    let create = || {
        let request = app.owner.post("/api/conversations");
        send(request.header("idempotency-key", "once"))
    };
    let made: Value = create().await.json().await.expect("JSON");
    assert_eq!(delete(&app.owner, id(&made)).await.status(), 204);
    let purged = app.chat.store.purge_conversations(Duration::ZERO).await;
    assert_eq!(purged.expect("purged"), 1);
    problem(restore(&app.owner, id(&made)).await, 404, "not-found").await;
    let again = create().await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.json::<Value>().await.expect("JSON"), made);
    app.end().await;
}

#[tokio::test]
async fn the_time_to_take_it_back_is_configured() {
    let app = spawn_app_with(&[("conversations.undo_seconds", "1")]).await;
    let conversation = app.owner.conversation().await;
    app.answered(&conversation, "hello", &["Hello"]).await;
    assert_eq!(delete(&app.owner, &conversation).await.status(), 204);
    nothing_is_left(&app).await;
    problem(restore(&app.owner, &conversation).await, 404, "not-found").await;
    app.end().await;
}

#[tokio::test]
async fn what_was_deleted_before_a_restart_is_purged_after_it() {
    let mut app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    assert_eq!(delete(&app.owner, &conversation).await.status(), 204);
    app.shut_down().await;
    // As if the server had been down for a while.
    let earlier = "UPDATE conversations SET deleted_at = deleted_at - 61000";
    let done = sqlx::query(earlier)
        .execute(&mut database(&app).await)
        .await;
    assert_eq!(done.expect("an update").rows_affected(), 1);
    let app = app.again().await;
    nothing_is_left(&app).await;
    problem(restore(&app.owner, &conversation).await, 404, "not-found").await;
    app.end().await;
}
