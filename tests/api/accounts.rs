//! Keys, logins and users by the API: what owners and operators see of them, and take away.

use crate::support::{
    app::{Account, TestApp, problem, send, spawn_app},
    events::Events,
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;

async fn made(request: RequestBuilder) -> Value {
    let response = send(request).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.headers().contains_key("location"));
    response.json().await.expect("JSON")
}

fn id(of: &Value) -> &str {
    of["id"].as_str().expect("an id")
}

async fn user_id(account: &Account) -> String {
    let who = account.get_json("/api/session").await;
    id(&who["user"]).to_owned()
}

/// Whoever has the key that was made.
fn holder(account: &Account, made: &Value) -> Account {
    Account {
        key: made["key"].as_str().expect("the key").to_owned(),
        ..account.clone()
    }
}

async fn log_in(app: &TestApp, token: &str) -> Response {
    let request = app.nobody(Method::POST, "/api/session");
    let request = request.header("user-agent", "Browser/1");
    send(request.json(&json!({ "token": token }))).await
}

fn cookie(response: &Response) -> String {
    assert_eq!(response.status(), 200);
    let cookie = response.headers()["set-cookie"].to_str().expect("ASCII");
    cookie.split(';').next().expect("a pair").to_owned()
}

async fn status(request: RequestBuilder) -> u16 {
    send(request).await.status().as_u16()
}

#[tokio::test]
async fn a_key_is_shown_once_and_known_again_by_its_beginning_until_it_is_revoked() {
    let app = spawn_app().await;
    let body = json!({ "name": "läptop", "expires_at": null });
    let key = made(app.owner.post("/api/keys").json(&body)).await;
    let secret = key["key"].as_str().expect("the key");
    assert_eq!(key["prefix"], secret[..12]);
    assert_eq!(key["name"], "läptop");
    let account = holder(&app.owner, &key);
    assert_eq!(user_id(&account).await, user_id(&app.owner).await);

    let list = app.owner.get_json("/api/keys").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));
    assert!(!list.to_string().contains(secret), "{list}");
    let listed = &list["items"][1];
    assert_eq!(
        (&listed["id"], &listed["prefix"], &listed["revoked_at"]),
        (&key["id"], &key["prefix"], &Value::Null)
    );

    let stranger = app.stranger().await;
    let path = format!("/api/keys/{}", id(&key));
    let foreign = send(stranger.request(Method::DELETE, &path)).await;
    problem(foreign, 404, "not-found").await;
    assert_eq!(status(account.get("/api/session")).await, 200);
    assert_eq!(status(app.owner.request(Method::DELETE, &path)).await, 204);
    // At once: the server that revoked it need not wait for its next look.
    problem(send(account.get("/api/session")).await, 401, "unauthorized").await;
    assert_eq!(status(app.owner.request(Method::DELETE, &path)).await, 204);
    let list = app.owner.get_json("/api/keys").await;
    assert!(list["items"][1]["revoked_at"].is_string(), "{list}");
    app.end().await;
}

#[tokio::test]
async fn keys_that_make_no_sense_are_refused_in_words() {
    let app = spawn_app().await;
    for body in [
        json!({}),
        json!({ "name": "" }),
        json!({ "name": " x" }),
        json!({ "name": "a\nb" }),
        json!({ "name": "a\u{2028}b" }),
        json!({ "name": "bob\u{202e}" }),
        json!({ "name": "é".repeat(201) }),
        json!({ "name": "x", "expires_at": "2001-01-01T00:00:00Z" }),
        json!({ "name": "x", "expires_at": "9999-12-31T00:00:00Z" }),
        json!({ "name": "x", "expires_at": "tomorrow" }),
        json!({ "name": "x", "expires_at": 5 }),
    ] {
        println!("{body}");
        let response = send(app.owner.post("/api/keys").json(&body)).await;
        problem(response, 422, "invalid-value").await;
    }
    for n in 1..100 {
        let name = format!("{n:é>200}");
        made(app.owner.post("/api/keys").json(&json!({ "name": name }))).await;
    }
    let one_more = app.owner.post("/api/keys").json(&json!({ "name": "x" }));
    problem(send(one_more).await, 409, "too-many-keys").await;
    app.end().await;
}

#[tokio::test]
async fn a_key_that_expires_makes_none_that_does_not() {
    let app = spawn_app().await;
    let body = json!({ "name": "short", "expires_at": "2999-01-01T01:00:00+01:00" });
    let key = made(app.owner.post("/api/keys").json(&body)).await;
    assert_eq!(key["expires_at"], "2999-01-01T00:00:00.000Z");
    let short = holder(&app.owner, &key);
    let cookie = cookie(&log_in(&app, &short.key).await);
    let owner = user_id(&app.owner).await;
    for (path, body) in [
        ("/api/keys".to_owned(), json!({ "name": "long" })),
        (
            "/api/operator/users".to_owned(),
            json!({ "name": "eve", "operator": true }),
        ),
        (
            format!("/api/operator/users/{owner}/keys"),
            json!({ "name": "long" }),
        ),
        (format!("/api/operator/users/{owner}/login-link"), json!({})),
    ] {
        let by_key = short.post(&path).json(&body);
        let by_login = app
            .nobody(Method::POST, &path)
            .header("cookie", &cookie)
            .json(&body);
        for request in [by_key, by_login] {
            problem(send(request).await, 403, "restricted-key").await;
        }
    }
    // Nor does it make somebody an operator who would.
    let bob = user_id(&app.stranger().await).await;
    let path = format!("/api/operator/users/{bob}");
    let promote = short.request(Method::PATCH, &path);
    let promote = promote.json(&json!({ "operator": true }));
    problem(send(promote).await, 403, "restricted-key").await;
    let list = short.get_json("/api/keys").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));
    app.end().await;
}

#[tokio::test]
async fn what_was_to_restrict_somebody_and_is_misspelt_is_refused() {
    let app = spawn_app().await;
    let owner = user_id(&app.owner).await;
    for (method, path, body) in [
        (
            Method::POST,
            "/api/keys".to_owned(),
            json!({ "name": "x", "expires": "2999-01-01T00:00:00Z" }),
        ),
        (
            Method::POST,
            "/api/keys".to_owned(),
            json!({ "name": "x", "limit": {} }),
        ),
        (
            Method::POST,
            "/api/operator/users".to_owned(),
            json!({ "name": "x", "disabled": true }),
        ),
        (
            Method::PATCH,
            format!("/api/operator/users/{owner}"),
            json!({ "disable": true }),
        ),
    ] {
        let request = app.owner.request(method, &path).json(&body);
        assert!(
            (400..500).contains(&send(request).await.status().as_u16()),
            "{body}"
        );
    }
    let list = app.owner.get_json("/api/operator/users").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let keys = app.owner.get_json("/api/keys").await;
    assert_eq!(keys["items"].as_array().map(Vec::len), Some(1));
    app.end().await;
}

#[tokio::test]
async fn of_many_keys_made_at_once_no_more_are_made_than_a_user_may_have() {
    let app = spawn_app().await;
    let mut making = JoinSet::new();
    for n in 0..130 {
        let make = app
            .owner
            .post("/api/keys")
            .json(&json!({ "name": format!("{n}") }));
        making.spawn(async move { send(make).await.status().as_u16() });
    }
    let mut made = making.join_all().await;
    made.sort_unstable();
    // With the one that it was asked by.
    assert_eq!(made, [[201; 99].as_slice(), &[409; 31]].concat());
    app.end().await;
}

#[tokio::test]
async fn logins_are_listed_and_ended_by_their_owner_and_nobody_elses() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let [one, two] = [
        cookie(&log_in(&app, &app.owner.key).await),
        cookie(&log_in(&app, &app.owner.key).await),
    ];
    let by = |cookie: &str, method, path: &str| app.nobody(method, path).header("cookie", cookie);
    let list = send(by(&one, Method::GET, "/api/sessions")).await;
    let list: Value = list.json().await.expect("JSON");
    let items = list["items"].as_array().expect("a list");
    let current: Vec<_> = items.iter().map(|login| &login["current"]).collect();
    assert_eq!(current, [&json!(true), &json!(false)]);
    for login in items {
        assert_eq!(
            (&login["user_agent"], &login["address"]),
            (&json!("Browser/1"), &json!("127.0.0.1"))
        );
    }
    assert_eq!(
        stranger.get_json("/api/sessions").await,
        json!({ "items": [] })
    );

    let mut feed = Events::new(send(by(&two, Method::GET, "/api/feed")).await);
    feed.expect("snapshot").await;
    let path = format!("/api/sessions/{}", id(&items[1]));
    let foreign = send(stranger.request(Method::DELETE, &path)).await;
    problem(foreign, 404, "not-found").await;
    assert_eq!(status(by(&two, Method::GET, "/api/session")).await, 200);
    assert_eq!(status(by(&one, Method::DELETE, &path)).await, 204);
    while feed.next().await.is_some() {}
    assert_eq!(status(by(&two, Method::GET, "/api/session")).await, 401);
    problem(
        send(by(&one, Method::DELETE, &path)).await,
        404,
        "not-found",
    )
    .await;
    let own = format!("/api/sessions/{}", id(&items[0]));
    assert_eq!(status(by(&one, Method::DELETE, &own)).await, 204);
    assert_eq!(status(by(&one, Method::GET, "/api/session")).await, 401);
    app.end().await;
}

#[tokio::test]
async fn an_operator_makes_users_lets_them_in_and_locks_them_out() {
    let app = spawn_app().await;
    let owner = &app.owner;
    let ada = made(
        owner
            .post("/api/operator/users")
            .json(&json!({ "name": "ada" })),
    )
    .await;
    assert_eq!(
        (&ada["operator"], &ada["disabled"]),
        (&json!(false), &json!(false))
    );
    let again = owner
        .post("/api/operator/users")
        .json(&json!({ "name": "ada" }));
    problem(send(again).await, 409, "name-taken").await;
    let path = format!("/api/operator/users/{}", id(&ada));
    let link = made(owner.post(&format!("{path}/login-link"))).await;
    let token = link["link"]
        .as_str()
        .and_then(|link| link.strip_prefix("/#login="));
    let cookie = cookie(&log_in(&app, token.expect("a link")).await);
    let key = made(
        owner
            .post(&format!("{path}/keys"))
            .json(&json!({ "name": "given" })),
    )
    .await;
    assert_eq!(key["user_id"], ada["id"]);
    let by_key = holder(owner, &key);
    assert_eq!(user_id(&by_key).await, id(&ada));

    let keys = owner.get_json(&format!("{path}/keys")).await;
    assert_eq!(keys["items"][0]["id"], key["id"]);
    let sessions = owner.get_json(&format!("{path}/sessions")).await;
    let session = id(&sessions["items"][0]);
    let users = owner.get_json("/api/operator/users").await;
    assert_eq!(users["items"][1]["name"], "ada");

    let change = |body| owner.request(Method::PATCH, &path).json(&body);
    let by_login = || {
        app.nobody(Method::GET, "/api/session")
            .header("cookie", &cookie)
    };
    let changed: Value = send(change(json!({ "disabled": true })))
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!(changed["disabled"], true);
    assert_eq!(status(by_key.get("/api/session")).await, 401);
    assert_eq!(status(by_login()).await, 401);
    let refused = owner.post(&format!("{path}/login-link"));
    problem(send(refused).await, 409, "user-disabled").await;
    assert_eq!(
        status(change(json!({ "disabled": false, "operator": true }))).await,
        200
    );
    assert_eq!(status(by_key.get("/api/operator/users")).await, 200);
    assert_eq!(status(change(json!({ "operator": false }))).await, 200);
    assert_eq!(status(by_key.get("/api/operator/users")).await, 403);

    assert_eq!(status(by_login()).await, 200);
    let session = format!("/api/operator/sessions/{session}");
    assert_eq!(status(owner.request(Method::DELETE, &session)).await, 204);
    assert_eq!(status(by_login()).await, 401);
    let key = format!("/api/operator/keys/{}", id(&key));
    assert_eq!(status(owner.request(Method::DELETE, &key)).await, 204);
    assert_eq!(status(by_key.get("/api/session")).await, 401);
    app.end().await;
}

#[tokio::test]
async fn the_last_operator_cannot_lock_everybody_out() {
    let app = spawn_app().await;
    let path = format!("/api/operator/users/{}", user_id(&app.owner).await);
    for body in [json!({ "disabled": true }), json!({ "operator": false })] {
        let request = app.owner.request(Method::PATCH, &path).json(&body);
        problem(send(request).await, 409, "last-operator").await;
    }
    let body = json!({ "name": "second", "operator": true });
    made(app.owner.post("/api/operator/users").json(&body)).await;
    let request = app
        .owner
        .request(Method::PATCH, &path)
        .json(&json!({ "operator": false }));
    assert_eq!(status(request).await, 200);
    problem(
        send(app.owner.get("/api/operator/users")).await,
        403,
        "operators-only",
    )
    .await;
    // `end` looks at the operator's list of connections.
    let mut app = app;
    app.no_emitters().await;
    app.shut_down().await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found_by_operators_either() {
    let app = spawn_app().await;
    let id = "0190a0c4-7c3d-7cc0-8000-000000000000";
    for (method, path) in [
        (Method::PATCH, format!("/api/operator/users/{id}")),
        (Method::GET, format!("/api/operator/users/{id}/keys")),
        (Method::POST, format!("/api/operator/users/{id}/keys")),
        (Method::GET, format!("/api/operator/users/{id}/sessions")),
        (Method::POST, format!("/api/operator/users/{id}/login-link")),
        (Method::DELETE, format!("/api/operator/keys/{id}")),
        (Method::DELETE, format!("/api/operator/sessions/{id}")),
        (Method::DELETE, format!("/api/keys/{id}")),
        (Method::DELETE, format!("/api/sessions/{id}")),
    ] {
        println!("{method} {path}");
        let body = match method {
            Method::PATCH => json!({ "disabled": true }),
            _ => json!({ "name": "x" }),
        };
        let request = app.owner.request(method, &path).json(&body);
        problem(send(request).await, 404, "not-found").await;
    }
    app.end().await;
}
