//! No secret leaves the process: not in its logs at their most talkative, not in answers, not in the list of processes.

use crate::support::{
    app::{Account, send},
    fake_upstream::{Call, FakeUpstream},
    process::{Process, Running, continuo},
};
use reqwest::Client;
use serde_json::json;
use std::fs;

const KEY: &str = "sk-xyzzykey";
const PASSWORD: &str = "xyzzypassword";

fn holds_none(what: &str, text: &str, secrets: &[&str]) {
    for secret in secrets {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{what} holds {secret}");
    }
}

#[tokio::test]
async fn nothing_secret_is_logged_at_trace_level_answered_or_on_the_command_line() {
    nothing_secret_leaves(Some(KEY)).await;
}

/// What a proxy before a model server wants to know.
#[tokio::test]
async fn a_password_in_the_upstreams_url_is_sent_there_and_shown_nowhere() {
    nothing_secret_leaves(None).await;
}

async fn nothing_secret_leaves(upstream_key: Option<&str>) {
    let data = tempfile::tempdir().expect("a directory");
    let upstream = FakeUpstream::start().await;
    let address = upstream.address();
    let url = format!("http://xyzzyuser:{PASSWORD}@{address}/v1");
    let mut command = continuo(data.path(), &[]);
    command
        .env("OPENAI_BASE_URL", &url)
        .env("OPENAI_API_KEY", upstream_key.unwrap_or_default())
        .env("RUST_LOG", "trace");
    let server = Running::of(data.path(), &mut command).await;
    let owner: &Account = &server.owner;
    let mut answers = String::new();

    let token = server.link.split('=').nth(1).expect("a token").to_owned();
    let log_in = Client::new().post(format!("{}/api/session", server.origin));
    let response = send(log_in.json(&json!({ "token": token }))).await;
    assert_eq!(response.status(), 200);
    let cookie = response.headers()["set-cookie"].to_str().expect("ASCII");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let cookie_value = cookie.split('=').nth(1).expect("a value").to_owned();
    let by_cookie = Client::new().get(format!("{}/api/session", server.origin));
    assert_eq!(
        send(by_cookie.header("cookie", &cookie)).await.status(),
        200
    );
    let made = send(owner.post("/api/keys").json(&json!({"name": "made"}))).await;
    assert_eq!(made.status(), 201);
    let made: serde_json::Value = made.json().await.expect("JSON");
    let made = made["key"].as_str().expect("shown once").to_owned();

    // An answer that fails and repeats what it was asked with, by either API.
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    // base64 of the user and the password.
    let basic = "eHl6enl1c2VyOnh5enp5cGFzc3dvcmQ=";
    let sent = match upstream_key {
        Some(key) => format!("Bearer {key}"),
        None => format!("Basic {basic}"),
    };
    let echo = |call: &Call| {
        assert_eq!(call.headers["authorization"], sent);
        let own = upstream_key.unwrap_or(PASSWORD);
        json!({"error": {"message": format!("no {own} here: {sent}, {PASSWORD}"), "asked": {sent.clone(): [sent]}}})
    };
    for status in [401, 500] {
        let request = owner.post("/v1/chat/completions").json(&body);
        let asked = tokio::spawn(send(request));
        let mut call = upstream.next_call().await;
        let echo = echo(&call);
        call.reply_json(status, &echo).await;
        println!("{status}");
        answers += &asked.await.expect("no panic").text().await.expect("text");
    }
    let turn = owner.ask(&owner.conversation().await, "hello").await;
    let mut call = upstream.next_call().await;
    let echo = echo(&call);
    call.reply_json(500, &echo).await;
    drop(call);
    let problem = owner.read_all(&turn).await.done.expect("the end");
    answers += &problem.to_string();
    upstream.stop_listening().await;
    let request = owner.post("/v1/chat/completions").json(&body);
    answers += &send(request).await.text().await.expect("text");
    for path in [
        "/api/models",
        "/v1/models",
        "/readyz",
        "/api/keys",
        "/api/sessions",
        "/api/operator/generations",
        "/api/operator/emitters",
    ] {
        answers += &send(owner.get(path)).await.text().await.expect("text");
    }
    for wrong in ["Bearer xyzzywrong", "Basic xyzzywrong"] {
        let refused = owner.get("/api/session").header("authorization", wrong);
        answers += &send(refused).await.text().await.expect("text");
    }
    let id = server.process.id();
    let listed = fs::read(format!("/proc/{id}/cmdline")).expect("it runs");
    let listed = String::from_utf8_lossy(&listed).replace('\0', " ");

    let key = owner.key.clone();
    let secrets = [
        &*key,
        &token,
        &cookie_value,
        &made,
        KEY,
        "xyzzyuser",
        PASSWORD,
        basic,
        "xyzzywrong",
    ];
    holds_none("an answer", &answers, &secrets);
    holds_none("the command line", &listed, &secrets);
    let ended = server.terminate().await;
    assert!(ended.stderr.contains("\"TRACE\""), "it logged everything");
    holds_none("the log", &ended.stderr, &secrets);
}

#[tokio::test]
async fn a_database_that_is_away_keeps_its_password_at_trace_level_too() {
    let data = tempfile::tempdir().expect("a directory");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let mut command = continuo(data.path(), &["--bind", "127.0.0.1:0"]);
    command
        .env(
            "DATABASE_URL",
            format!("postgres://u:{PASSWORD}@{address}/d"),
        )
        .env("RUST_LOG", "trace");
    let ended = Process::start(&mut command).ended().await;
    assert_eq!(ended.code, Some(1));
    holds_none("the log", &ended.stderr, &[PASSWORD]);
}

#[tokio::test]
async fn a_password_on_the_command_line_is_warned_of_by_the_name_of_what_is_better() {
    let data = tempfile::tempdir().expect("a directory");
    // A file with a name that could be a login.
    let database = format!("sqlite://{}/u:{PASSWORD}@h.db", data.path().display());
    let upstream = format!("http://u:{PASSWORD}@127.0.0.1:1/v1");
    let flags = ["--database-url", &*database, "--upstream-url", &upstream];
    let mut server = Process::start(&mut continuo(
        data.path(),
        &[&["--bind", "127.0.0.1:0"], &flags[..]].concat(),
    ));
    server.line().await;
    server.signal("TERM").await;
    let ended = server.ended().await;
    for words in [
        ["--database-url", "DATABASE_URL"],
        ["--upstream-url", "OPENAI_BASE_URL"],
    ] {
        let is_said =
            |line: &str| line.contains("WARN") && words.iter().all(|word| line.contains(word));
        let lines: Vec<_> = ended.stderr.lines().filter(|line| is_said(line)).collect();
        assert_eq!(lines.len(), 1, "{}", ended.stderr);
    }
    holds_none("the log", &ended.stderr, &[PASSWORD]);

    let mut quiet = continuo(data.path(), &["--bind", "127.0.0.1:0"]);
    let quiet = quiet
        .env("DATABASE_URL", &database)
        .env("OPENAI_BASE_URL", &upstream);
    let mut server = Process::start(quiet);
    server.line().await;
    server.signal("TERM").await;
    let ended = server.ended().await;
    assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
}
