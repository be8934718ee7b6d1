//! Ids, queries and headers that are not what a path takes, and paths and methods that there are not.

use crate::support::{
    app::{Account, TestApp, Turn, problem, send, spawn_app},
    raw::Raw,
};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

/// Every request about something that belongs to somebody.
fn requests_about(account: &Account, turn: &Turn) -> Vec<(&'static str, RequestBuilder)> {
    let conversation = format!("/api/conversations/{}", turn.conversation);
    let generation = format!("/api/generations/{}", turn.generation);
    let events = || account.get(&turn.events());
    let regenerate = format!("/api/messages/{}/regenerate", turn.message);
    let carry_on = format!("/api/messages/{}/continue", turn.message);
    let change = account.request(Method::PATCH, &conversation);
    vec![
        ("read", account.get(&conversation)),
        ("branch", account.get(&format!("{conversation}?limit=9"))),
        ("change", change.json(&json!({"title": "mine now"}))),
        ("delete", account.request(Method::DELETE, &conversation)),
        ("export", account.get(&format!("{conversation}/export"))),
        (
            "export to read",
            account.get(&format!("{conversation}/export?format=markdown")),
        ),
        ("restore", account.post(&format!("{conversation}/restore"))),
        (
            "ask",
            account.say(&turn.conversation, &json!({"content": "hello"})),
        ),
        (
            "ask for a stream",
            account
                .say(&turn.conversation, &json!({"content": "hello"}))
                .header("accept", "text/event-stream"),
        ),
        ("regenerate", account.post(&regenerate)),
        ("continue", account.post(&carry_on)),
        ("generation", account.get(&generation)),
        ("stream", events().header("accept", "text/event-stream")),
        ("poll", events().header("accept", "application/json")),
        ("stop", account.post(&format!("{generation}/stop"))),
    ]
}

fn turn(id: &str) -> Turn {
    Turn {
        generation: id.to_owned(),
        message: id.to_owned(),
        conversation: id.to_owned(),
    }
}

async fn not_found(account: &Account, turn: &Turn) {
    for (what, request) in requests_about(account, turn) {
        println!("{what}");
        problem(send(request).await, 404, "not-found").await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_whatever_its_id_looks_like() {
    let app = spawn_app().await;
    for id in [
        "0190a0c4-7c3d-7cc0-8000-000000000000",
        "00000000-0000-0000-0000-000000000000",
        "1",
        "x",
        "%00",
        "%zz",
        "%ff%fe",
        "..%2f..%2fetc%2fpasswd",
        "' OR 1=1 --",
        "漢字",
    ] {
        println!("{id}");
        not_found(&app.owner, &turn(id)).await;
    }
    // Another kind of thing's id is no id of this kind.
    let conversation = app.owner.conversation().await;
    let asked = app.answered(&conversation, "hello", &["Hello"]).await;
    let swapped = Turn {
        generation: asked.message.clone(),
        message: asked.generation.clone(),
        conversation: asked.message.clone(),
    };
    not_found(&app.owner, &swapped).await;
    let unknown = turn("0190a0c4-7c3d-7cc0-8000-000000000000").generation;
    for path in [
        format!("/api/operator/generations/{unknown}/stop"),
        "/api/operator/generations/x/stop".to_owned(),
    ] {
        problem(send(app.owner.post(&path)).await, 404, "not-found").await;
    }
    for id in [unknown.as_str(), "x"] {
        let path = format!("/api/operator/emitters/{id}");
        let request = app.owner.request(Method::DELETE, &path);
        problem(send(request).await, 404, "not-found").await;
    }
    app.end().await;
}

#[tokio::test]
async fn what_belongs_to_another_user_is_not_there_and_stays_as_it_is() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let (turn, mut call) = app.answering().await;
    call.send("Hello").await;
    let mut events = app.owner.events(&turn, 0).await;
    events.expect("started").await;
    events.expect("delta").await;
    let before = app.owner.read(&turn.conversation).await;
    // Even an operator is a user like any other here.
    not_found(&stranger, &turn).await;
    assert_eq!(app.owner.read(&turn.conversation).await, before);
    call.finish("stop").await;
    call.done().await;
    events.expect("block").await;
    events.expect("done").await;
    let before = app.owner.read(&turn.conversation).await;
    not_found(&stranger, &turn).await;
    assert_eq!(app.owner.read(&turn.conversation).await, before);
    let list = stranger.get_json("/api/conversations?q=hello").await;
    assert_eq!(list, json!({"items": []}));
    let theirs = stranger.ask(&stranger.conversation().await, "hello").await;
    app.upstream.next_call().await.answer(&["Hi"]).await;
    stranger.read_all(&theirs).await;
    not_found(&app.owner, &theirs).await;
    app.end().await;
}

#[tokio::test]
async fn query_parameters_that_mean_nothing_are_refused() {
    let app = spawn_app().await;
    let turn = app
        .answered(&app.owner.conversation().await, "hello", &["Hello"])
        .await;
    let events = turn.events();
    let long = format!("/api/conversations?q={}", "x".repeat(1001));
    let no_such_time =
        "/api/conversations?cursor=9223372036854775807-0190a0c4-7c3d-7cc0-8000-000000000000";
    let after = format!("{events}?after=-1");
    let wait = format!("{events}?wait=soon");
    for (status, kind, path) in [
        (422, "invalid-value", "/api/conversations?limit=0"),
        (400, "malformed-request", "/api/conversations?limit=abc"),
        (400, "malformed-request", "/api/conversations?limit=-1"),
        (
            400,
            "malformed-request",
            "/api/conversations?limit=99999999999",
        ),
        (
            400,
            "malformed-request",
            "/api/conversations?limit=1&limit=2",
        ),
        (
            400,
            "malformed-request",
            "/api/conversations?cursor=garbage",
        ),
        (400, "malformed-request", "/api/conversations?cursor=1-2"),
        (400, "malformed-request", "/api/conversations?cursor="),
        (400, "malformed-request", no_such_time),
        (422, "invalid-value", &long),
        (400, "malformed-request", &after),
        (400, "malformed-request", &wait),
        (
            400,
            "malformed-request",
            "/api/operator/emitters?sort=colour",
        ),
        (400, "malformed-request", "/api/operator/emitters?limit=abc"),
        (422, "invalid-value", "/api/operator/emitters?limit=0"),
        (400, "malformed-request", "/api/operator/emitters?cursor=x"),
        (400, "malformed-request", "/api/operator/emitters?user=x"),
    ] {
        println!("{path:.80}");
        let request = app.owner.get(path).header("accept", "application/json");
        problem(send(request).await, status, kind).await;
    }
    let request = app.owner.get(&after).header("last-event-id", "1");
    problem(send(request).await, 400, "malformed-request").await;
    let request = app.owner.get(&events).header("accept", "text/html");
    problem(send(request).await, 406, "not-acceptable").await;
    for page in ["?limit=1000000", "?q=", "?q=%20", "?q=%00", "?unknown=1"] {
        app.owner
            .get_json(&format!("/api/conversations{page}"))
            .await;
    }
    app.end().await;
}

#[tokio::test]
async fn a_session_name_that_is_none_is_refused_before_anything_starts() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let turn = app.answered(&conversation, "hello", &["Hello"]).await;
    let before = app.owner.read(&conversation).await;
    let long = "x".repeat(129);
    for name in ["", "a b", "tab\tbed", &long] {
        println!("{name:?}");
        let asked = app.owner.get(&turn.events()).header("x-session-id", name);
        problem(send(asked).await, 400, "malformed-request").await;
        let query = name.replace(' ', "%20").replace('\t', "%09");
        let query = format!("{}?session={query}", turn.events());
        problem(send(app.owner.get(&query)).await, 400, "malformed-request").await;
        let named = app.owner.get(&query).header("x-session-id", "tab");
        problem(send(named).await, 400, "malformed-request").await;
        let polled = app.owner.get(&query).header("accept", "application/json");
        problem(send(polled).await, 400, "malformed-request").await;
        let asked = app
            .owner
            .say(&conversation, &json!({"content": "more"}))
            .header("accept", "text/event-stream")
            .header("x-session-id", name);
        problem(send(asked).await, 400, "malformed-request").await;
    }
    let bytes = reqwest::header::HeaderValue::from_bytes(b"caf\xe9").expect("allowed");
    let asked = app.owner.get(&turn.events()).header("x-session-id", bytes);
    problem(send(asked).await, 400, "malformed-request").await;
    assert_eq!(app.owner.read(&conversation).await, before);
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

async fn raw(app: &TestApp) -> (Raw, String) {
    let bearer = format!("authorization: Bearer {}", app.owner.key);
    (Raw::connect(&app.origin).await, bearer)
}

#[tokio::test]
async fn huge_heads_are_refused_and_large_ones_served() {
    let app = spawn_app().await;
    let (mut large, bearer) = raw(&app).await;
    let header = format!("x-large: {}", "x".repeat(60_000));
    large.head("GET", "/api/session", &[&bearer, &header]).await;
    assert_eq!(large.answer().await.status, 200);
    let huge = format!("x-huge: {}", "x".repeat(200_000));
    let many: Vec<_> = (0..200).map(|n| format!("x-{n}: 1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    for lines in [&[huge.as_str()][..], &many] {
        let (mut raw, _) = raw(&app).await;
        raw.head("GET", "/livez", lines).await;
        assert_eq!(raw.answer_head().await.status, 431);
    }
    let (mut raw, _) = raw(&app).await;
    raw.head("GET", &format!("/{}", "x".repeat(60_000)), &[])
        .await;
    raw.answer().await.problem(404, "not-found");
    app.end().await;
}

#[tokio::test]
async fn paths_and_methods_that_there_are_not_are_problems() {
    let app = spawn_app().await;
    for path in [
        "/nothing",
        "/api",
        "/api/",
        "/api/nothing",
        "/%zz",
        "/%ff",
        "//",
        "/v2/models",
    ] {
        for method in [
            Method::GET,
            Method::POST,
            Method::from_bytes(b"BREW").expect("a token"),
        ] {
            let request = app.nobody(method, path);
            problem(send(request).await, 404, "not-found").await;
        }
    }
    for (method, path, allow) in [
        (Method::PUT, "/api/session", &["POST", "GET", "DELETE"][..]),
        (Method::PATCH, "/api/conversations", &["GET", "POST"]),
        (Method::POST, "/livez", &["GET"]),
        (Method::DELETE, "/", &["GET"]),
        (Method::OPTIONS, "/api/conversations", &["GET", "POST"]),
        (
            Method::GET,
            "/api/conversations/0190a0c4-7c3d-7cc0-8000-000000000000/messages",
            &["POST"],
        ),
    ] {
        println!("{method} {path}");
        let response = send(app.owner.request(method, path)).await;
        let allowed = response.headers()["allow"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        problem(response, 405, "method-not-allowed").await;
        for method in allow {
            assert!(allowed.contains(method), "{allowed}");
        }
    }
    app.end().await;
}

#[tokio::test]
async fn head_answers_as_get_without_the_body_and_never_attaches() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    let (mut raw, bearer) = raw(&app).await;
    let page = send(app.owner.get("/")).await.text().await.expect("a page");
    raw.head("HEAD", "/", &[]).await;
    let answer = raw.answer_head().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-length"], page.len().to_string());
    let conversation = format!("/api/conversations/{}", turn.conversation);
    for path in [
        "/livez",
        "/readyz",
        "/api/session",
        "/api/conversations",
        &conversation,
    ] {
        raw.head("HEAD", path, &[&bearer]).await;
        assert_eq!(raw.answer_head().await.status, 200, "{path}");
    }
    raw.head("HEAD", &turn.events(), &[&bearer]).await;
    assert_eq!(raw.answer_head().await.status, 405);
    raw.head("HEAD", "/nothing", &[]).await;
    assert_eq!(raw.answer_head().await.status, 404);
    raw.head("GET", "/livez", &[]).await;
    assert_eq!(
        raw.answer().await.body,
        b"ok\n",
        "nothing is left over from a HEAD"
    );
    let emitters = app.owner.get_json("/api/operator/emitters").await;
    assert_eq!(emitters["opened"], 0);
    call.finish("stop").await;
    call.done().await;
    app.owner.read_all(&turn).await;
    app.end().await;
}
