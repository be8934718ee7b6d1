//! What a page of another origin cannot do, names that this server does not answer to, and the page itself.

use crate::support::{
    app::{Turn, problem, send, spawn_app, spawn_app_with},
    raw::Raw,
};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn requests_that_other_sites_sent_change_nothing() {
    let app = spawn_app().await;
    let origin = app.origin.clone();
    let other_port = "http://127.0.0.1:1".to_owned();
    let https = origin.replace("http:", "https:");
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "nonsense"),
        ("origin", "null"),
        ("origin", "http://evil.example"),
        ("origin", &other_port),
        ("origin", ""),
    ] {
        println!("{name}: {value}");
        let create = app.owner.post("/api/conversations").header(name, value);
        problem(send(create).await, 403, "cross-site").await;
        let log_in = app.nobody(Method::POST, "/api/session").header(name, value);
        let log_in = log_in.json(&json!({"token": app.owner.key}));
        problem(send(log_in).await, 403, "cross-site").await;
        let read = app.owner.get("/api/conversations").header(name, value);
        assert_eq!(send(read).await.status(), 200, "reading is CORS's business");
    }
    let list = app.owner.get_json("/api/conversations").await;
    assert_eq!(list["items"], json!([]));
    for (name, value) in [
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("origin", &origin),
        // A proxy took the TLS off; the name and port are ours.
        ("origin", &https),
    ] {
        let create = app.owner.post("/api/conversations").header(name, value);
        assert_eq!(send(create).await.status(), 201, "{name}: {value}");
    }
    let response = send(
        app.owner
            .get("/api/session")
            .header("origin", "http://evil.example"),
    )
    .await;
    let allowed = response.headers().get("access-control-allow-origin");
    assert_eq!(allowed, None);
    app.end().await;
}

#[tokio::test]
async fn a_foreign_name_that_leads_here_is_refused_whatever_it_forwards() {
    let app = spawn_app().await;
    let port = app.origin.rsplit_once(':').expect("a port").1.to_owned();
    let forwarded = format!("x-forwarded-host: 127.0.0.1:{port}");
    let bearer = format!("authorization: Bearer {}", app.owner.key);
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "127.0.0.2",
        "",
        "[::2]",
    ] {
        for path in ["/", "/api/session", "/livez", "/nothing"] {
            println!("{host} {path}");
            let mut raw = Raw::connect(&app.origin).await;
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: {host}\r\n{forwarded}\r\nforwarded: host=127.0.0.1\r\n{bearer}\r\n\r\n"
            );
            assert!(raw.send(request.as_bytes()).await);
            raw.answer().await.problem(421, "unknown-host");
        }
    }
    // The request's own target counts before the header (RFC 9112, section 3.2.2).
    let mut raw = Raw::connect(&app.origin).await;
    raw.head("GET", "http://evil.example/", &[]).await;
    raw.answer().await.problem(421, "unknown-host");
    for host in [
        "localhost",
        &format!("LocalHost:{port}"),
        "127.0.0.1",
        "[::1]:80",
    ] {
        let request = app.nobody(Method::GET, "/livez").header("host", host);
        assert_eq!(send(request).await.status(), 200, "{host}");
    }
    app.end().await;
}

#[tokio::test]
async fn a_name_that_is_configured_is_answered_to_with_and_without_its_port() {
    let options = [("server.allowed_hosts", "chat.example, other.example:8443")];
    let app = spawn_app_with(&options).await;
    for (host, status) in [
        ("chat.example", 200),
        ("CHAT.example:1234", 200),
        ("other.example:8443", 200),
        ("other.example:1", 421),
        ("other.example", 421),
        ("chat.example.evil", 421),
    ] {
        let request = app.nobody(Method::GET, "/livez").header("host", host);
        assert_eq!(send(request).await.status(), status, "{host}");
    }
    let create = app.owner.post("/api/conversations");
    let create = create
        .header("host", "chat.example")
        .header("origin", "https://chat.example");
    assert_eq!(send(create).await.status(), 201);
    app.end().await;
}

#[tokio::test]
async fn every_answer_names_its_request_and_problems_carry_the_same_id() {
    let app = spawn_app().await;
    let (turn, mut call) = app.asked().await;
    call.reply_429("1").await;
    let mut ids = Vec::new();
    for path in ["/", "/livez", "/api/session", "/nothing", &turn.events()] {
        let response = send(app.owner.get(path)).await;
        ids.push(response.headers()["x-request-id"].clone());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "one for each request");
    // The problem of an answer belongs to the request that asked for it.
    let conversation = app.owner.conversation().await;
    let response = send(app.owner.say(&conversation, &json!({"content": "x"}))).await;
    let id = response.headers()["x-request-id"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let turn = Turn::started(&conversation, response).await;
    app.upstream.next_call().await.reply_429("1").await;
    let done = app.owner.read_all(&turn).await.done.expect("the end");
    assert_eq!(done["problem"]["instance"], id.as_str());
    app.end().await;
}

#[tokio::test]
async fn a_stranger_is_told_so_before_anything_else_is_looked_at() {
    let app = spawn_app().await;
    for (method, path) in [
        (Method::POST, "/api/conversations/no-id/messages"),
        (Method::PATCH, "/api/conversations/no-id"),
        (Method::GET, "/api/conversations?limit=none"),
        (Method::GET, "/api/generations/no-id/events"),
        (Method::GET, "/api/operator/emitters?limit=none"),
    ] {
        let request = app.nobody(method, path).body("no JSON");
        problem(send(request).await, 401, "unauthorized").await;
    }
    app.end().await;
}

#[tokio::test]
async fn a_server_answers_to_the_address_that_it_is_bound_to() {
    let app = spawn_app_with(&[("server.bind", "127.0.0.2:0")]).await;
    assert!(app.origin.starts_with("http://127.0.0.2:"));
    app.owner.get_json("/api/session").await;
    app.end().await;
}
