//! Conversations: made, read, changed and deleted, also while something is being written in them.

use crate::support::{
    app::{Account, Turn, problem, send, spawn_app},
    events::Reader,
};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub(super) async fn create(account: &Account, body: Value) -> Value {
    let response = send(account.post("/api/conversations").json(&body)).await;
    assert_eq!(response.status(), 201);
    let location = response.headers()["location"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let made: Value = response.json().await.expect("JSON");
    assert_eq!(location, path(&made));
    made
}

pub(super) fn path(conversation: &Value) -> String {
    format!("/api/conversations/{}", id(conversation))
}

pub(super) fn id(row: &Value) -> &str {
    row["id"].as_str().expect("an id")
}

pub(super) async fn change(
    account: &Account,
    path: &str,
    if_match: Option<&str>,
    body: Value,
) -> Response {
    let mut request = account.request(Method::PATCH, path).json(&body);
    if let Some(tag) = if_match {
        request = request.header("if-match", tag);
    }
    send(request).await
}

fn tag(response: &Response) -> String {
    response.headers()["etag"]
        .to_str()
        .expect("ASCII")
        .to_owned()
}

#[tokio::test]
async fn a_conversation_is_made_read_changed_and_deleted() {
    let app = spawn_app().await;
    let body = json!({"title": " A \n title ", "model": "m", "system": "Be brief."});
    let made = create(&app.owner, body).await;
    assert_eq!(made["title"], "A title");
    assert_eq!(
        (&made["model"], &made["system"]),
        (&json!("m"), &json!("Be brief."))
    );
    assert_eq!(
        (&made["pinned"], &made["archived"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(
        (&made["messages"], &made["generation"]),
        (&json!([]), &Value::Null)
    );
    let path = path(&made);
    assert_eq!(app.owner.get_json(&path).await, made);

    let body = json!({"title": "B", "pinned": true, "archived": true, "model": null, "system": ""});
    let changed = change(&app.owner, &path, None, body).await;
    assert_eq!(changed.status(), 200);
    let tag = tag(&changed);
    let changed: Value = changed.json().await.expect("JSON");
    for (name, value) in [
        ("title", json!("B")),
        ("pinned", json!(true)),
        ("archived", json!(true)),
        ("model", Value::Null),
        ("system", Value::Null),
    ] {
        assert_eq!(changed[name], value, "{name}");
    }
    assert_eq!(
        changed["version"],
        made["version"].as_i64().expect("a number") + 1
    );
    assert_eq!(tag, format!("\"{}\"", changed["version"]));
    let nothing = change(&app.owner, &path, None, json!({})).await;
    assert_eq!(nothing.json::<Value>().await.expect("JSON"), changed);

    let delete = || app.owner.request(Method::DELETE, &path);
    assert_eq!(send(delete()).await.status(), 204);
    problem(send(delete()).await, 404, "not-found").await;
    problem(send(app.owner.get(&path)).await, 404, "not-found").await;
    problem(
        change(&app.owner, &path, None, json!({"title": "C"})).await,
        404,
        "not-found",
    )
    .await;
    let list = app.owner.get_json("/api/conversations").await;
    assert_eq!(list, json!({"items": []}));
    app.end().await;
}

#[tokio::test]
async fn the_first_prompt_gives_the_title_unless_there_is_one() {
    let app = spawn_app().await;
    let untitled = app.owner.conversation().await;
    app.answered(&untitled, "  How do I bake bread?\nAnd rolls?", &["So"])
        .await;
    app.answered(&untitled, "Thanks", &["Welcome"]).await;
    assert_eq!(
        app.owner.read(&untitled).await["title"],
        "How do I bake bread?"
    );
    let titled = create(&app.owner, json!({"title": "Bread"})).await;
    app.answered(id(&titled), "How do I bake bread?", &["So"])
        .await;
    assert_eq!(app.owner.read(id(&titled)).await["title"], "Bread");
    app.end().await;
}

#[tokio::test]
async fn of_two_changes_of_the_same_version_one_is_made_and_none_is_lost() {
    let app = spawn_app().await;
    let made = create(&app.owner, json!({"title": "A"})).await;
    let path = path(&made);
    let first = send(app.owner.get(&path)).await;
    let stale = tag(&first);
    let rename = |title: &str| change(&app.owner, &path, Some(&stale), json!({"title": title}));
    let (one, two) = tokio::join!(rename("one"), rename("two"));
    let (won, title, lost) = if one.status() == 200 {
        (one, "one", two)
    } else {
        (two, "two", one)
    };
    let fresh = tag(&won);
    assert_ne!(fresh, stale);
    let refusal = problem(lost, 412, "version-mismatch").await;
    let version = fresh.trim_matches('"');
    assert!(
        refusal["detail"].as_str().expect("words").contains(version),
        "{refusal}"
    );
    assert_eq!(app.owner.get_json(&path).await["title"], title);

    let again = change(&app.owner, &path, Some(&fresh), json!({"title": "again"})).await;
    assert_eq!(again.status(), 200);
    let any = change(&app.owner, &path, Some("*"), json!({"title": "any"})).await;
    assert_eq!(any.status(), 200);
    for garbage in ["garbage", "\"x\"", "\"1\", \"2\"", ""] {
        let refused = change(&app.owner, &path, Some(garbage), json!({"title": "no"})).await;
        problem(refused, 400, "malformed-request").await;
    }
    assert_eq!(app.owner.get_json(&path).await["title"], "any");
    app.end().await;
}

#[tokio::test]
async fn the_version_counts_changes_of_the_fields_and_not_messages() {
    let app = spawn_app().await;
    let made = create(&app.owner, json!({"title": "A"})).await;
    let path = path(&made);
    app.answered(id(&made), "hello", &["Hello"]).await;
    let read = send(app.owner.get(&path)).await;
    let tag = tag(&read);
    let read: Value = read.json().await.expect("JSON");
    assert_eq!(read["version"], made["version"]);
    let at = |row: &Value| {
        let at = row["updated_at"].as_str().expect("a time");
        OffsetDateTime::parse(at, &Rfc3339).expect("RFC 3339")
    };
    assert!(at(&read) >= at(&made));
    let changed = change(&app.owner, &path, Some(&tag), json!({"pinned": true})).await;
    assert_eq!(
        changed.status(),
        200,
        "an answer in between is no lost update"
    );
    app.end().await;
}

#[tokio::test]
async fn deleting_ends_what_is_being_written_and_readers_are_told() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send("Hel").await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    events.read_until(&mut reader, 3).await;
    let path = format!("/api/conversations/{}", turn.conversation);
    let deleted = send(app.owner.request(Method::DELETE, &path)).await;
    assert_eq!(deleted.status(), 204);
    call.closed().await;
    events.read_to_end(&mut reader).await;
    assert_eq!((reader.text.as_str(), reader.outcome()), ("Hel", "stopped"));
    problem(send(app.owner.get(&path)).await, 404, "not-found").await;
    assert!(app.chat.registry.running().is_empty());
    app.end().await;
}

#[tokio::test]
async fn of_two_answers_that_stream_at_once_a_read_shows_both_and_follows_the_head() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let first = app.answered(&conversation, "one", &["One"]).await;
    let mut turns = Vec::new();
    for content in ["left", "right"] {
        let body = json!({"content": content, "parent_id": first.message});
        let response = send(app.owner.say(&conversation, &body)).await;
        let turn = Turn::started(&conversation, response).await;
        let mut call = app.upstream.next_call().await;
        call.head_sse().await;
        call.send(content).await;
        let mut events = app.owner.events(&turn, 0).await;
        events
            .read_until(&mut Reader::default(), content.len())
            .await;
        turns.push((turn, call));
    }
    let read = app.owner.read(&conversation).await;
    for ((turn, _), text) in turns.iter().zip(["left", "right"]) {
        let message = app.owner.message(turn).await;
        assert_eq!(
            (&message["status"], &message["content"]),
            (&json!("streaming"), &json!(text))
        );
    }
    let (head, mut call) = turns.pop().expect("two");
    assert_eq!(read["head_id"], head.message.as_str());
    assert_eq!(read["generation"], json!({"id": head.generation, "seq": 2}));
    call.finish("stop").await;
    call.done().await;
    app.owner.read_all(&head).await;
    let (other, mut call) = turns.pop().expect("one");
    let read = app.owner.read(&conversation).await;
    assert_eq!(
        read["generation"],
        json!({"id": other.generation, "seq": 2})
    );
    call.finish("stop").await;
    call.done().await;
    app.owner.read_all(&other).await;
    assert_eq!(
        app.owner.read(&conversation).await["generation"],
        Value::Null
    );
    app.end().await;
}

#[tokio::test]
async fn another_answer_is_a_sibling_and_becomes_the_head() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let first = app.answered(&conversation, "hello", &["Hello"]).await;
    let path = format!("/api/messages/{}/regenerate", first.message);
    let response = send(app.owner.post(&path).json(&json!({"model": "other"}))).await;
    let second = Turn::started(&conversation, response).await;
    let mut call = app.upstream.next_call().await;
    assert_eq!(call.json()["model"], "other");
    assert_eq!(
        call.json()["messages"],
        json!([{"role": "user", "content": "hello"}])
    );
    call.answer(&["Hi"]).await;
    assert_eq!(app.owner.read_all(&second).await.text, "Hi");
    let read = app.owner.read(&conversation).await;
    assert_eq!(read["head_id"], second.message.as_str());
    let messages = read["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 3, "no second question");
    let parents: Vec<_> = messages[1..]
        .iter()
        .map(|message| &message["parent_id"])
        .collect();
    assert_eq!(parents, [&messages[0]["id"], &messages[0]["id"]]);
    assert_eq!(messages[1]["content"], "Hello", "the first answer stays");
    app.end().await;
}
