//! The command line takes away what a running server has let in: its streams and answers end.

use super::support::{
    app::{Account, Turn, send},
    events::Events,
    process::{Running, output},
    until,
};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::time::Instant;

/// A long answer of the demo model, and somebody who reads it.
async fn reading(request: impl Fn(Method, &str) -> RequestBuilder) -> (Turn, Events) {
    let made = send(request(Method::POST, "/api/conversations")).await;
    let made: Value = made.json().await.expect("JSON");
    let conversation = made["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/conversations/{conversation}/messages");
    let asked = request(Method::POST, &path).json(&json!({ "content": "demo:long" }));
    let turn = Turn::started(&conversation, send(asked).await).await;
    let attach = request(Method::GET, &turn.events()).header("accept", "text/event-stream");
    let mut events = Events::new(send(attach).await);
    events.expect("started").await;
    (turn, events)
}

/// Reads on until the stream ends, which it does without a terminal event.
async fn cut_off(mut events: Events) {
    while let Some(frame) = events.next().await {
        assert_ne!(frame.event.as_deref(), Some("done"), "{frame:?}");
    }
}

async fn status(owner: &Account, turn: &Turn) -> String {
    let message = owner.message(turn).await;
    message["status"].as_str().expect("a status").to_owned()
}

#[tokio::test]
async fn what_the_command_line_takes_away_ends_in_the_running_server() {
    let data = tempfile::tempdir().expect("a directory");
    let data = data.path();
    let server = Running::start(data, &[]).await;
    let owner = &server.owner;
    let key = output(data, &["key", "add", "gone"]).await;
    let by_key = Account {
        key: key.trim().to_owned(),
        ..owner.clone()
    };
    let token = server.link.split('=').nth(1).expect("a token");
    let request = Client::new().post(format!("{}/api/session", server.origin));
    let request = request.header("user-agent", "Browser/1");
    let response = send(request.json(&json!({ "token": token }))).await;
    let cookie = response.headers()["set-cookie"].to_str().expect("ASCII");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let by_login = |method, path: &str| {
        let request = Client::new().request(method, format!("{}{path}", server.origin));
        request.header("cookie", &cookie)
    };

    let (of_key, key_reads) = reading(|method, path| by_key.request(method, path)).await;
    let (of_login, login_reads) = reading(by_login).await;
    let (stays, _reads) = reading(|method, path| owner.request(method, path)).await;

    let keys = output(data, &["key", "list", "--user", "owner"]).await;
    let line = keys.lines().find(|line| line.contains("gone"));
    let id = line.and_then(|line| line.split_whitespace().next());
    output(data, &["key", "revoke", id.expect("an id")]).await;
    let begun = Instant::now();
    cut_off(key_reads).await;
    println!(
        "after a key was revoked its reader was cut off in {:?}",
        begun.elapsed()
    );
    let sessions = output(data, &["session", "list"]).await;
    assert!(sessions.contains("127.0.0.1  Browser/1"), "{sessions}");
    assert_eq!(sessions.lines().count(), 1, "{sessions}");
    let id = sessions.split_whitespace().next().expect("an id");
    output(data, &["session", "end", id]).await;
    let begun = Instant::now();
    cut_off(login_reads).await;
    println!(
        "after a session was ended its reader was cut off in {:?}",
        begun.elapsed()
    );
    assert_eq!(output(data, &["session", "list"]).await, "");
    for turn in [&of_key, &of_login] {
        until("stopped", async || status(owner, turn).await == "stopped").await;
    }
    assert_eq!(status(owner, &stays).await, "streaming");
    owner.stop(&stays).await;
    assert_eq!(server.terminate().await.code, Some(0));
}

#[tokio::test]
async fn limits_set_by_the_command_line_hold_in_the_running_server() {
    let data = tempfile::tempdir().expect("a directory");
    let data = data.path();
    let server = Running::start(data, &[]).await;
    output(data, &["user", "add", "ada"]).await;
    let args = [
        "key",
        "add",
        "narrow",
        "--user",
        "ada",
        "--requests-per-minute",
        "2",
    ];
    let account = async |args: &[&str]| Account {
        key: output(data, args).await.trim().to_owned(),
        ..server.owner.clone()
    };
    let (narrow, wide) = (
        account(&args).await,
        account(&["key", "add", "--user", "ada"]).await,
    );
    let ask = async |account: &Account| send(account.get("/api/session")).await.status().as_u16();
    assert_eq!(
        [ask(&narrow).await, ask(&narrow).await, ask(&narrow).await],
        [200, 200, 429]
    );
    assert_eq!(ask(&wide).await, 200, "its user has no limit yet");

    output(
        data,
        &[
            "user",
            "limits",
            "ada",
            "--requests-per-minute",
            "1",
            "--emitters",
            "0",
        ],
    )
    .await;
    until("the user's limit holds", async || ask(&wide).await == 429).await;
    let users = output(data, &["user", "list"]).await;
    assert!(
        users.contains("ada  requests/min 1  emitters 0\n"),
        "{users}"
    );
    let keys = output(data, &["key", "list", "--user", "ada"]).await;
    assert!(keys.contains("narrow  requests/min 2"), "{keys}");

    output(data, &["user", "limits", "ada"]).await;
    until("it is as configured again", async || {
        ask(&wide).await == 200
    })
    .await;
}
