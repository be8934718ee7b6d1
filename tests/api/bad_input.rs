//! Bodies that are not what a path takes: each is refused in words, none harms the connection or leaves something behind.

use crate::support::{
    app::{Account, TestApp, Turn, problem, send, spawn_app, spawn_app_with},
    raw::Raw,
};
use futures_util::stream;
use reqwest::{Body, Method};
use serde_json::json;

const JSON: &str = "application/json";
/// Over the limit of a body, and more than any socket buffers.
const TEN_MEGABYTES: usize = 10 * 1024 * 1024;

/// The path to ask at, in a new conversation of the owner.
async fn messages(app: &TestApp) -> String {
    let conversation = app.owner.conversation().await;
    format!("/api/conversations/{conversation}/messages")
}

async fn refused(request: reqwest::RequestBuilder, status: u16, kind: &str, shown: &str) {
    println!("{shown}");
    problem(send(request).await, status, kind).await;
}

/// Posts this body as it is.
async fn post_refused(
    account: &Account,
    path: &str,
    body: impl Into<Body>,
    status: u16,
    kind: &str,
) {
    let request = account.post(path).header("content-type", JSON).body(body);
    refused(request, status, kind, path).await;
}

#[tokio::test]
async fn a_message_without_text_or_of_another_shape_is_refused_and_nothing_is_stored() {
    let app = spawn_app().await;
    let path = messages(&app).await;
    let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
    let deep = format!(r#"{{"deep": {open}{close}, "content": {open}{close}}}"#);
    let long = json!({"content": "x", "model": "x".repeat(501)}).to_string();
    for (status, kind, body) in [
        (422, "invalid-value", ""),
        (422, "invalid-value", "{}"),
        (422, "invalid-value", r#"{"content": ""}"#),
        (422, "invalid-value", r#"{"content": " \n\t\u3000"}"#),
        (422, "invalid-value", r#"{"content": null}"#),
        (422, "invalid-value", r#"{"content": 5}"#),
        (422, "invalid-value", r#"{"content": ["x"]}"#),
        (422, "invalid-value", &deep),
        (422, "invalid-value", &long),
        (422, "invalid-value", r#"["x"]"#),
        (422, "invalid-value", r#""x""#),
        (422, "invalid-value", "null"),
        (422, "invalid-value", r#"{"content": "x", "content": "y"}"#),
        (
            422,
            "invalid-value",
            r#"{"content": "x", "temperature": "hot"}"#,
        ),
        (
            422,
            "invalid-value",
            r#"{"content": "x", "max_tokens": -1}"#,
        ),
        (422, "invalid-value", r#"{"content": "x", "model": 5}"#),
        (422, "invalid-value", r#"{"content": "x", "parent_id": 5}"#),
        (400, "malformed-request", "content=x"),
        (400, "malformed-request", r#"{"content": "x""#),
        (400, "malformed-request", r#"{"content": "x"} more"#),
        (400, "malformed-request", " "),
    ] {
        println!("{body:.60}");
        post_refused(&app.owner, &path, body.to_owned(), status, kind).await;
    }
    let bytes = b"{\"content\": \"\xff\xfe\"}".to_vec();
    post_refused(&app.owner, &path, bytes, 400, "malformed-request").await;
    let conversation = app.owner.get_json(path.trim_end_matches("/messages")).await;
    assert_eq!(conversation["messages"], json!([]));
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

#[tokio::test]
async fn conversations_and_logins_of_another_shape_are_refused() {
    let app = spawn_app().await;
    let conversation = format!("/api/conversations/{}", app.owner.conversation().await);
    let long = "x".repeat(501);
    for body in [
        json!([]),
        json!(["title", "model", "system"]),
        json!("title"),
        json!({"title": 5}),
        json!({"title": long}),
        json!({"system": {}}),
        json!({"model": long}),
        json!({"system": "x".repeat(100_001)}),
        json!({"sampling": {"stop": [long]}}),
        json!({"sampling": {"stop": vec!["x"; 17]}}),
    ] {
        let create = app.owner.post("/api/conversations").json(&body);
        refused(create, 422, "invalid-value", &body.to_string()).await;
        let change = app.owner.request(Method::PATCH, &conversation).json(&body);
        refused(change, 422, "invalid-value", &body.to_string()).await;
    }
    for body in [json!({"pinned": "yes"}), json!({"archived": 1})] {
        let change = app.owner.request(Method::PATCH, &conversation).json(&body);
        refused(change, 422, "invalid-value", &body.to_string()).await;
    }
    for body in [
        json!({}),
        json!({"token": 5}),
        json!(["x"]),
        json!({"token": null}),
    ] {
        let log_in = app.nobody(Method::POST, "/api/session").json(&body);
        refused(log_in, 422, "invalid-value", &body.to_string()).await;
    }
    let list = app.owner.get_json("/api/conversations").await;
    assert_eq!(list["items"].as_array().expect("rows").len(), 1, "{list}");
    app.end().await;
}

#[tokio::test]
async fn a_body_that_does_not_say_that_it_is_json_is_refused() {
    let app = spawn_app().await;
    let path = messages(&app).await;
    let body = json!({"content": "x"}).to_string();
    for media_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=b"),
        Some("application/jsonp"),
        Some("nonsense"),
    ] {
        let mut request = app.owner.post(&path).body(body.clone());
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        refused(
            request,
            415,
            "unsupported-media-type",
            media_type.unwrap_or("none"),
        )
        .await;
    }
    for media_type in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.x+json",
    ] {
        let request = app
            .owner
            .post("/api/conversations")
            .header("content-type", media_type);
        assert_eq!(send(request.body("{}")).await.status(), 201, "{media_type}");
    }
    app.end().await;
}

#[tokio::test]
async fn text_that_no_store_takes_is_mended_and_stored() {
    let app = spawn_app().await;
    for (content, stored) in [
        (r"a\u0000b", "a\u{fffd}b"),
        (r"a\ud800b", "a\u{fffd}b"),
        (r"\udc00", "\u{fffd}"),
        (r"a\ud83d\ude00b", "a😀b"),
        (r"\ud83d", "\u{fffd}"),
    ] {
        let conversation = app.owner.conversation().await;
        let path = format!("/api/conversations/{conversation}/messages");
        let request = app.owner.post(&path).header("content-type", JSON);
        let body = format!(r#"{{"content": "{content}"}}"#);
        let turn = Turn::started(&conversation, send(request.body(body)).await).await;
        let mut call = app.upstream.next_call().await;
        assert_eq!(call.json()["messages"][0]["content"], stored, "{content}");
        call.answer(&["ok"]).await;
        app.owner.read_all(&turn).await;
        let read = app.owner.read(&conversation).await;
        assert_eq!(read["messages"][0]["content"], stored);
        assert_eq!(read["title"], stored, "the title is of the same text");
    }
    let title = app
        .owner
        .post("/api/conversations")
        .header("content-type", JSON);
    let made = send(title.body(r#"{"title": "a\u0000\ud800", "system": "\u0000"}"#)).await;
    let made: serde_json::Value = made.json().await.expect("JSON");
    assert_eq!(
        (&made["title"], &made["system"]),
        (&json!("a\u{fffd}\u{fffd}"), &json!("\u{fffd}"))
    );
    app.end().await;
}

#[tokio::test]
async fn ten_megabytes_are_refused_and_the_client_gets_to_read_why() {
    let app = spawn_app().await;
    let path = messages(&app).await;
    for _ in 0..3 {
        let body = vec![b' '; TEN_MEGABYTES];
        post_refused(&app.owner, &path, body, 413, "body-too-large").await;
    }
    // Without a length: nobody knows that it is too long before it is.
    let pieces = || {
        let piece = || Ok::<_, std::io::Error>(vec![b' '; TEN_MEGABYTES / 100]);
        stream::iter((0..100).map(move |_| piece()))
    };
    for _ in 0..3 {
        let body = Body::wrap_stream(pieces());
        post_refused(&app.owner, &path, body, 413, "body-too-large").await;
    }
    let without_key = app.nobody(Method::POST, &path);
    let body = vec![b' '; TEN_MEGABYTES];
    refused(without_key.body(body), 401, "unauthorized", "no key").await;
    assert_eq!(send(app.owner.get("/api/session")).await.status(), 200);
    app.end().await;
}

#[tokio::test]
async fn a_client_that_is_still_sending_too_much_is_told_and_not_reset() {
    let app = spawn_app().await;
    let path = messages(&app).await;
    let bearer = format!("authorization: Bearer {}", app.owner.key);
    let length = format!("content-length: {TEN_MEGABYTES}");
    let mut raw = Raw::connect(&app.origin).await;
    raw.head("POST", &path, &[&bearer, &length]).await;
    raw.answer().await.problem(413, "body-too-large");
    let piece = vec![b' '; 65536];
    for _ in 0..TEN_MEGABYTES / piece.len() {
        assert!(raw.send(&piece).await, "the server still reads");
    }
    raw.finish().await;
    assert_eq!(raw.rest().await, (Vec::new(), true), "closed, not reset");

    // Asked first, as curl does with a large body.
    let mut raw = Raw::connect(&app.origin).await;
    raw.head("POST", &path, &[&bearer, &length, "expect: 100-continue"])
        .await;
    assert_eq!(raw.answer_head().await.status, 100);
    raw.answer().await.problem(413, "body-too-large");
    raw.finish().await;
    assert_eq!(raw.rest().await, (Vec::new(), true));
    app.end().await;
}

#[tokio::test]
async fn a_chunked_body_that_is_too_large_or_broken_is_refused_and_the_server_goes_on() {
    let app = spawn_app_with(&[("limits.body_bytes", "1000")]).await;
    let path = messages(&app).await;
    let bearer = format!("authorization: Bearer {}", app.owner.key);
    let mut raw = Raw::connect(&app.origin).await;
    let lines = [&*bearer, "transfer-encoding: chunked"];
    raw.head("POST", &path, &lines).await;
    let piece = format!("3e9\r\n{}\r\n", " ".repeat(1001));
    assert!(raw.send(piece.as_bytes()).await);
    raw.answer().await.problem(413, "body-too-large");
    assert!(raw.send(format!("{piece}0\r\n\r\n").as_bytes()).await);
    raw.finish().await;
    assert_eq!(raw.rest().await, (Vec::new(), true), "closed, not reset");

    // Cut in the middle, or not chunked as it says: nothing is stored.
    let mut raw = Raw::connect(&app.origin).await;
    raw.head("POST", &path, &lines).await;
    assert!(raw.send(b"5\r\n{\"con").await);
    raw.finish().await;
    raw.rest().await;
    let mut raw = Raw::connect(&app.origin).await;
    raw.head("POST", &path, &lines).await;
    assert!(raw.send(b"no chunk\r\n").await);
    raw.finish().await;
    // What is no HTTP gets a 400 or the end of the connection, as the bytes happen to come together.
    let (answer, _) = raw.rest().await;
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let read = app.owner.get_json(path.trim_end_matches("/messages")).await;
    assert_eq!(read["messages"], json!([]));
    app.end().await;
}

#[tokio::test]
async fn a_lone_surrogate_in_a_field_that_nobody_reads_refuses_nothing() {
    let app = spawn_app().await;
    let path = messages(&app).await;
    let body = r#"{"content": "a\ud83d", "model": "m\ud83d", "unknown": "\ud83d"}"#;
    let request = app
        .owner
        .post(&path)
        .header("content-type", "application/json");
    assert_eq!(send(request.body(body)).await.status(), 202);
    let mut call = app.upstream.next_call().await;
    assert_eq!(call.json()["model"], "m\u{fffd}");
    assert_eq!(call.json()["messages"][0]["content"], "a\u{fffd}");
    call.answer(&["ok"]).await;
    app.end().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_given_up() {
    let app = spawn_app_with(&[("limits.body_seconds", "1")]).await;
    let mut raw = Raw::connect(&app.origin).await;
    raw.head("POST", "/api/session", &["content-length: 100"])
        .await;
    assert!(raw.send(b"{").await);
    raw.answer().await.problem(408, "body-too-slow");
    app.end().await;
}
