//! The real binary: how it starts, what it says when it cannot, the commands beside it, and how it ends.
#![allow(clippy::disallowed_methods, reason = "tests may spawn")]

#[path = "binary/ending.rs"]
mod ending;
#[path = "binary/refusals.rs"]
mod refusals;
#[path = "binary/revoking.rs"]
mod revoking;
#[path = "binary/secrets.rs"]
mod secrets;
mod support;
#[path = "binary/tls.rs"]
mod tls;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use support::{
    app::{Account, problem, send},
    events::Reader,
    fake_upstream::FakeUpstream,
    process::{Process, Running, continuo, output, run},
    until,
};

/// Logs in with the token of a link; the status.
async fn follow(link: &str) -> StatusCode {
    let (origin, token) = link.trim().split_once("/#login=").expect("a link");
    let request = Client::new().post(format!("{origin}/api/session"));
    send(request.json(&json!({ "token": token })))
        .await
        .status()
}

/// Soon: the server looks twice a second.
async fn is_refused(account: &Account) {
    let who = || account.get("/api/session");
    until("refused", async || send(who()).await.status() == 401).await;
    problem(send(who()).await, 401, "unauthorized").await;
}

#[tokio::test]
async fn it_prints_where_it_listens_and_a_way_in_and_answers_with_nothing_configured() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Running::start(data.path(), &[]).await;
    assert!(
        server.origin.starts_with("http://127.0.0.1:"),
        "{}",
        server.origin
    );
    assert!(
        server
            .link
            .starts_with(&format!("{}/#login=", server.origin)),
        "{}",
        server.link
    );
    assert_eq!(follow(&server.link).await, 200);
    assert_eq!(follow(&server.link).await, 401, "once");
    let turn = server
        .owner
        .ask(&server.owner.conversation().await, "hello")
        .await;
    let mut events = server.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    events.read_until(&mut reader, 1).await;
    server.owner.stop(&turn).await;
    events.read_to_end(&mut reader).await;
    assert_eq!(
        server.owner.message(&turn).await["content"],
        reader.text.as_str()
    );
    let ended = server.terminate().await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), ""),
        "two lines, no more"
    );
}

#[tokio::test]
async fn commands_beside_a_running_server_work_at_once() {
    let data = tempfile::tempdir().expect("a directory");
    let data = data.path();
    let server = Running::start(data, &[]).await;
    let link = output(data, &["login"]).await;
    assert!(
        link.starts_with(&server.origin),
        "the real port, not the configured one: {link}"
    );
    assert_eq!(follow(&link).await, 200);

    output(data, &["user", "add", "ada"]).await;
    let key = output(data, &["key", "add", "phone", "--user", "ada"]).await;
    let ada = Account {
        key: key.trim().to_owned(),
        ..server.owner.clone()
    };
    let who = ada.get_json("/api/session").await;
    assert_eq!(
        (&who["user"]["name"], &who["user"]["operator"]),
        (&json!("ada"), &json!(false))
    );
    assert_eq!(follow(&output(data, &["login", "ada"]).await).await, 200);

    let keys = output(data, &["key", "list"]).await;
    assert!(!keys.contains(key.trim()), "a key is shown once: {keys}");
    let phone = keys
        .lines()
        .find(|line| line.contains("phone"))
        .expect("the key");
    assert!(phone.contains(&key[..12]), "but known again: {phone}");
    let id = phone.split_whitespace().next().expect("an id");
    output(data, &["key", "revoke", id]).await;
    is_refused(&ada).await;
    assert!(
        output(data, &["key", "list"])
            .await
            .contains("phone  revoked")
    );

    let expiring = ["key", "add", "--user", "ada", "--expires", "1h"];
    let key = output(data, &expiring).await;
    let ada = Account {
        key: key.trim().to_owned(),
        ..ada
    };
    ada.get_json("/api/session").await;
    let link = output(data, &["login", "ada"]).await;
    output(data, &["user", "disable", "ada"]).await;
    is_refused(&ada).await;
    assert_eq!(follow(&link).await, 401);
    let users = output(data, &["user", "list"]).await;
    assert!(
        users.contains("operator  owner") && users.contains("ada  disabled"),
        "{users}"
    );
    output(data, &["user", "disable", "--undo", "ada"]).await;
    assert_eq!(send(ada.get("/api/session")).await.status(), 200);
    output(data, &["user", "add", "--operator", "grace"]).await;
    let key = output(data, &["key", "add", "--user", "grace"]).await;
    let grace = Account {
        key: key.trim().to_owned(),
        ..ada
    };
    grace.get_json("/api/operator/emitters").await;
    output(data, &["user", "role", "grace", "user"]).await;
    let emitters = || grace.get("/api/operator/emitters");
    until("no operator", async || {
        send(emitters()).await.status() == 403
    })
    .await;
    for command in [
        &["user", "disable", "owner"][..],
        &["user", "role", "owner", "user"],
    ] {
        let refused = run(data, command).await;
        assert_eq!(refused.code, Some(1), "the last operator: {refused:?}");
        assert!(refused.stderr.contains("only operator"), "{refused:?}");
    }
    assert_eq!(server.terminate().await.code, Some(0));
}

#[tokio::test]
async fn logs_are_json_and_hold_neither_texts_nor_secrets() {
    let data = tempfile::tempdir().expect("a directory");
    let upstream = FakeUpstream::start().await;
    let (text, key) = ("xyzzyquestion", "sk-xyzzysecret");
    let mut command = continuo(data.path(), &["--upstream-url", &upstream.base_url()]);
    let command = command.env("OPENAI_API_KEY", key).env("RUST_LOG", "debug");
    let server = Running::of(data.path(), command).await;
    let owner = &server.owner;
    let conversation = owner.conversation().await;
    let turn = owner.ask(&conversation, text).await;
    let mut call = upstream.next_call().await;
    assert_eq!(call.headers["authorization"], format!("Bearer {key}"));
    call.answer(&["xyzzyanswer"]).await;
    assert_eq!(owner.read_all(&turn).await.text, "xyzzyanswer");
    let turn = owner.ask(&conversation, "xyzzymore").await;
    let body = json!({"error": {"message": format!("no xyzzyfailure for {key}")}});
    upstream.next_call().await.reply_json(500, &body).await;
    let problem = owner.read_all(&turn).await.done.expect("the end")["problem"].clone();
    assert_eq!(problem["detail"], "no xyzzyfailure for …");
    owner.get_json("/api/conversations?q=xyzzysearch").await;
    send(owner.say(&conversation, &json!({"content": 5, "xyzzyfield": 1}))).await;
    send(
        owner
            .get("/api/session")
            .header("authorization", "Bearer xyzzywrong"),
    )
    .await;
    assert_eq!(
        follow(&format!("{}/#login=xyzzytoken", server.origin)).await,
        401
    );
    assert_eq!(follow(&server.link).await, 200);
    let made = send(owner.post("/api/keys").json(&json!({"name": "logged"}))).await;
    let made: Value = made.json().await.expect("JSON");
    let made = made["key"].as_str().expect("a key");
    let who = owner.get_json("/api/session").await;
    let id = who["user"]["id"].as_str().expect("an id");
    let link = send(owner.post(&format!("/api/operator/users/{id}/login-link"))).await;
    let link: Value = link.json().await.expect("JSON");
    let link = link["link"]
        .as_str()
        .and_then(|link| link.split('=').nth(1));
    let (bearer, token) = (
        owner.key.clone(),
        server.link.split('=').nth(1).expect("a token").to_owned(),
    );
    let ended = server.terminate().await;
    let lines: Vec<Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    for line in ended.stderr.lines() {
        for secret in ["xyzzy", &bearer, &token, made, link.expect("a token")] {
            assert!(!line.contains(secret), "{line}");
        }
    }
    let said = |message: &str| {
        lines
            .iter()
            .filter(|line| line["message"] == message)
            .count()
    };
    assert_eq!(said("generation ended"), 2, "{}", ended.stderr);
    assert!(said("request finished") > 5);
    assert_eq!(said("ended"), 1);
    let from = |line: &Value| line["span"]["client.address"] == "127.0.0.1";
    assert!(lines.iter().any(from), "{}", ended.stderr);
}

#[tokio::test]
async fn the_demo_model_runs_alone() {
    let data = tempfile::tempdir().expect("a directory");
    let mut command = continuo(data.path(), &["demo-upstream", "--bind", "127.0.0.1:0"]);
    let mut demo = Process::start(&mut command);
    let line = demo.line().await;
    let url = line
        .strip_prefix("listening on ")
        .expect("its address")
        .to_owned();
    assert!(url.ends_with("/v1"), "{url}");
    let models = send(Client::new().get(format!("{url}/models"))).await;
    let models: Value = models.json().await.expect("JSON");
    assert!(models["data"][0]["id"].is_string(), "{models}");
    let server = Running::start(data.path(), &["--upstream-url", &url]).await;
    let turn = server
        .owner
        .ask(&server.owner.conversation().await, "hello")
        .await;
    let mut events = server.owner.events(&turn, 0).await;
    events.read_until(&mut Reader::default(), 1).await;
    server.owner.stop(&turn).await;
    assert_eq!(server.terminate().await.code, Some(0));
    demo.signal("TERM").await;
    assert_eq!(demo.ended().await.code, Some(0));
    let entries = std::fs::read_dir(data.path()).expect("a directory").count();
    assert_eq!(entries, 1, "the demo keeps nothing");
}

#[tokio::test]
async fn the_configuration_is_shown_without_its_secrets() {
    let data = tempfile::tempdir().expect("a directory");
    let mut command = continuo(
        data.path(),
        &["config", "--database-url", "postgres://u:hunter2@h/d"],
    );
    let ended = Process::start(command.env("OPENAI_API_KEY", "hunter2"))
        .ended()
        .await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
    for line in [
        "store.url = …  # flag --database-url",
        "upstream.api_key = …  # environment OPENAI_API_KEY",
        "drain.grace_seconds = 30  # default",
    ] {
        assert!(
            ended.stdout.lines().any(|shown| shown == line),
            "{line}: {}",
            ended.stdout
        );
    }
    let defaults = output(data.path(), &["config", "--defaults"]).await;
    assert_eq!(
        defaults.trim(),
        include_str!("../config.default.toml").trim()
    );
    let path = data.path().join("own.toml");
    std::fs::write(&path, defaults).expect("written");
    let path = path.to_str().expect("UTF-8");
    let ended = run(data.path(), &["config", "--config", path]).await;
    assert_eq!(
        ended.code,
        Some(0),
        "the defaults are a configuration file: {ended:?}"
    );
}
