//! Who gets in, by what, and for how long; and whom a browser may not act for.

use crate::{
    support::{
        app::{Account, TestApp, problem, send, spawn_app},
        events::Events,
        until,
    },
    v1::refusal,
};
use continuo::{
    auth::{LINK_LIFETIME, hash_of, login_link},
    model::{UserId, now},
    store::UserChange,
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

async fn id_of(account: &Account) -> UserId {
    let who = account.get_json("/api/session").await;
    let id = who["user"]["id"].as_str().expect("an id");
    id.parse().expect("an id")
}

/// The token of a fresh link for the owner.
async fn token(app: &TestApp) -> String {
    let owner = id_of(&app.owner).await;
    let link = login_link(&*app.chat.store, owner, &app.origin).await;
    let link = link.expect("stored");
    let (origin, token) = link.split_once("/#login=").expect("a link");
    assert_eq!(origin, app.origin);
    token.to_owned()
}

async fn log_in(app: &TestApp, token: &str) -> Response {
    let request = app.nobody(Method::POST, "/api/session");
    send(request.json(&json!({ "token": token }))).await
}

/// `name=value` of the cookie that a login sets.
fn cookie(response: &Response) -> String {
    let cookie = response.headers()["set-cookie"].to_str().expect("ASCII");
    cookie.split(';').next().expect("a pair").to_owned()
}

fn by_cookie(app: &TestApp, cookie: &str, method: Method, path: &str) -> RequestBuilder {
    app.nobody(method, path).header("cookie", cookie)
}

#[tokio::test]
async fn a_login_link_works_once_and_sets_a_cookie_that_scripts_and_other_sites_cannot_use() {
    let app = spawn_app().await;
    let token = token(&app).await;
    let response = log_in(&app, &format!(" {token}\n")).await;
    assert_eq!(response.status(), 200);
    let set = response.headers()["set-cookie"].to_str().expect("ASCII");
    let mut parts: Vec<_> = set.split("; ").collect();
    let (name, value) = parts.remove(0).split_once('=').expect("a pair");
    let port = app.origin.rsplit_once(':').expect("a port").1;
    assert_eq!(name, format!("continuo_{port}"));
    assert_eq!(value.len(), 64, "256 bits");
    parts.sort_unstable();
    assert_eq!(
        parts,
        ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Strict"]
    );
    let cookie = cookie(&response);
    let who: Value = response.json().await.expect("JSON");
    assert_eq!(
        (&who["by"], &who["user"]["operator"]),
        (&json!("login"), &json!(true))
    );
    let read = send(by_cookie(&app, &cookie, Method::GET, "/api/session")).await;
    assert_eq!(read.json::<Value>().await.expect("JSON"), who);

    problem(log_in(&app, &token).await, 401, "login-failed").await;
    let wrong_name = cookie.replacen(port, "1", 1);
    let read = send(by_cookie(&app, &wrong_name, Method::GET, "/api/session")).await;
    problem(read, 401, "unauthorized").await;
    app.end().await;
}

#[tokio::test]
async fn of_two_who_use_a_link_at_once_one_gets_in() {
    let app = spawn_app().await;
    let token = token(&app).await;
    let (one, two) = tokio::join!(log_in(&app, &token), log_in(&app, &token));
    let mut statuses = [one.status().as_u16(), two.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    app.end().await;
}

#[tokio::test]
async fn tokens_that_are_old_or_made_up_do_not_work() {
    let app = spawn_app().await;
    let owner = id_of(&app.owner).await;
    let store = &app.chat.store;
    let expired = now() - LINK_LIFETIME;
    store
        .add_login_link(owner, hash_of("old"), expired)
        .await
        .expect("stored");
    let fresh = token(&app).await;
    let hash = Sha256::digest(fresh.as_bytes());
    let hex = |hash: String, byte: &u8| hash + &format!("{byte:02x}");
    let hash = hash.iter().fold(String::new(), hex);
    for wrong in [
        "old",
        "",
        "login-",
        "garbage",
        &fresh[1..],
        &hash,
        &"x".repeat(16_000),
    ] {
        println!("{wrong:.20}");
        problem(log_in(&app, wrong).await, 401, "login-failed").await;
    }
    // Whoever it is, nobody holds megabytes for them.
    let large = log_in(&app, &"x".repeat(16_384)).await;
    problem(large, 413, "body-too-large").await;
    assert_eq!(log_in(&app, &fresh).await.status(), 200);
    app.end().await;
}

#[tokio::test]
async fn a_key_logs_in_too_and_as_often_as_it_likes() {
    let app = spawn_app().await;
    let mut cookies = Vec::new();
    for _ in 0..2 {
        let response = log_in(&app, &app.owner.key).await;
        assert_eq!(response.status(), 200);
        cookies.push(cookie(&response));
    }
    assert_ne!(cookies[0], cookies[1]);
    for cookie in &cookies {
        let read = send(by_cookie(&app, cookie, Method::GET, "/api/session")).await;
        assert_eq!(read.status(), 200);
    }
    assert_eq!(app.owner.get_json("/api/session").await["by"], "key");
    app.end().await;
}

#[tokio::test]
async fn a_logout_ends_the_streams_of_that_login_and_no_others() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    let first = cookie(&log_in(&app, &app.owner.key).await);
    let second = cookie(&log_in(&app, &app.owner.key).await);
    let attach = async |request: RequestBuilder| {
        let mut events = Events::new(send(request).await);
        events.expect("started").await;
        events
    };
    let mut ended = attach(by_cookie(&app, &first, Method::GET, &turn.events())).await;
    let mut others = [
        attach(by_cookie(&app, &second, Method::GET, &turn.events())).await,
        attach(app.owner.get(&turn.events())).await,
    ];
    let response = send(by_cookie(&app, &first, Method::DELETE, "/api/session")).await;
    assert_eq!(response.status(), 204);
    let taken_away = response.headers()["set-cookie"].to_str().expect("ASCII");
    assert!(
        taken_away.contains("=;") && taken_away.contains("Max-Age=0"),
        "{taken_away}"
    );
    assert!(ended.next().await.is_none(), "no terminal event");
    for path in ["/api/session", &turn.events()] {
        let request = by_cookie(&app, &first, Method::GET, path);
        problem(send(request).await, 401, "unauthorized").await;
    }
    let list = app.owner.get_json("/api/operator/emitters").await;
    assert_eq!(
        (&list["closed"]["killed"], &list["total"]),
        (&json!(1), &json!(2))
    );
    call.send("Hello").await;
    call.finish("stop").await;
    call.done().await;
    for events in &mut others {
        events.expect("delta").await;
        events.expect("block").await;
        events.expect("done").await;
    }
    let request = app.owner.request(Method::DELETE, "/api/session");
    problem(send(request).await, 409, "not-a-login").await;
    app.end().await;
}

/// Every route that needs somebody, as the table in `routes` has them.
const ROUTES: [(&str, &str); 43] = [
    ("GET", "/api/session"),
    ("DELETE", "/api/session"),
    ("GET", "/api/conversations"),
    ("POST", "/api/conversations"),
    ("POST", "/api/conversations/import"),
    ("GET", "/api/conversations/{id}/export"),
    ("GET", "/api/conversations/{id}"),
    ("PATCH", "/api/conversations/{id}"),
    ("DELETE", "/api/conversations/{id}"),
    ("POST", "/api/conversations/{id}/restore"),
    ("POST", "/api/conversations/{id}/messages"),
    ("POST", "/api/messages/{id}/regenerate"),
    ("POST", "/api/messages/{id}/continue"),
    ("GET", "/api/generations/{id}"),
    ("GET", "/api/generations/{id}/events"),
    ("POST", "/api/generations/{id}/stop"),
    ("GET", "/api/models"),
    ("GET", "/api/feed"),
    ("GET", "/api/operator/emitters"),
    ("DELETE", "/api/operator/emitters/{id}"),
    ("GET", "/api/operator/generations"),
    ("POST", "/api/operator/generations/{id}/stop"),
    ("POST", "/api/operator/drain"),
    ("GET", "/api/keys"),
    ("POST", "/api/keys"),
    ("DELETE", "/api/keys/{id}"),
    ("GET", "/api/sessions"),
    ("DELETE", "/api/sessions/{id}"),
    ("GET", "/api/operator/users"),
    ("POST", "/api/operator/users"),
    ("PATCH", "/api/operator/users/{id}"),
    ("GET", "/api/operator/users/{id}/keys"),
    ("POST", "/api/operator/users/{id}/keys"),
    ("GET", "/api/operator/users/{id}/sessions"),
    ("POST", "/api/operator/users/{id}/login-link"),
    ("DELETE", "/api/operator/keys/{id}"),
    ("DELETE", "/api/operator/sessions/{id}"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{id:.+}"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/generations/{id}"),
    ("GET", "/v1/generations/{id}/events"),
    ("POST", "/v1/generations/{id}/cancel"),
];
/// Those that need nobody.
const OPEN: [&str; 6] = [
    "/",
    "/assets/{hash}/{file}",
    "/favicon.ico",
    "/livez",
    "/readyz",
    "/api/openapi.json",
];

#[tokio::test]
async fn without_a_credential_every_route_is_closed_and_the_page_open() {
    let table = include_str!("../../src/routes/mod.rs");
    let quoted = table.split('"').skip(1).step_by(2);
    let paths: Vec<_> = quoted.filter(|text| text.starts_with('/')).collect();
    assert!(paths.len() > 15, "{paths:?}");
    for path in paths {
        let is_walked = OPEN.contains(&path) || ROUTES.iter().any(|(_, known)| *known == path);
        assert!(is_walked, "{path} is not walked by this test");
    }
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.finish("stop").await;
    call.done().await;
    app.owner.read_all(&turn).await;
    for (method, path) in ROUTES {
        let id = match path {
            _ if path.contains("generations") => &turn.generation,
            _ if path.contains("messages/{id}") => &turn.message,
            _ => &turn.conversation,
        };
        let (method, path) = (
            method.parse().expect("a method"),
            path.replace("{id}", id).replace("{id:.+}", id),
        );
        println!("{method} {path}");
        for credential in [
            None,
            Some("Bearer wrong"),
            Some("Bearer "),
            Some("Basic eDp5"),
        ] {
            let mut request = app.nobody(Method::clone(&method), &path);
            if method != Method::GET {
                // Nobody's body is explained to them.
                request = request
                    .header("content-type", "application/json")
                    .body("nonsense");
            }
            if let Some(credential) = credential {
                request = request.header("authorization", credential);
            }
            let response = send(request).await;
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            if path.starts_with("/v1/") {
                refusal(response, 401, "invalid_api_key").await;
            } else {
                problem(response, 401, "unauthorized").await;
            }
        }
    }
    for path in ["/", "/favicon.ico", "/livez", "/readyz"] {
        assert_eq!(
            send(app.nobody(Method::GET, path)).await.status(),
            200,
            "{path}"
        );
    }
    app.end().await;
}

#[tokio::test]
async fn only_operators_see_the_operators_routes() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let id = "0190a0c4-7c3d-7cc0-8000-000000000000";
    for (method, path) in ROUTES.iter().filter(|(_, path)| path.contains("operator")) {
        let path = path.replace("{id}", id);
        let request = stranger.request(method.parse().expect("a method"), &path);
        problem(send(request).await, 403, "operators-only").await;
    }
    app.end().await;
}

#[tokio::test]
async fn links_and_keys_of_a_disabled_user_and_revoked_keys_let_nobody_in() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let (user, store) = (id_of(&stranger).await, &app.chat.store);
    let expires = now() + LINK_LIFETIME;
    store
        .add_login_link(user, hash_of("link"), expires)
        .await
        .expect("stored");
    let disabled = |disabled| UserChange {
        disabled: Some(disabled),
        operator: None,
        limits: None,
    };
    store
        .change_user(user, disabled(true))
        .await
        .expect("stored");
    for token in ["link", &stranger.key] {
        problem(log_in(&app, token).await, 401, "login-failed").await;
    }
    store
        .change_user(user, disabled(false))
        .await
        .expect("stored");
    let by_link = cookie(&log_in(&app, "link").await);
    let by_key = cookie(&log_in(&app, &stranger.key).await);

    let keys = store.keys(Some(user)).await.expect("keys");
    store.revoke_key(keys[0].id, None).await.expect("stored");
    problem(log_in(&app, &stranger.key).await, 401, "login-failed").await;
    let request = |cookie| by_cookie(&app, cookie, Method::GET, "/api/session");
    let is_refused = async || send(request(&by_key)).await.status() == 401;
    until("a key's login ends with it", is_refused).await;
    let read = send(request(&by_link)).await;
    assert_eq!(read.status(), 200, "a link's login has no key");
    app.end().await;
}

#[tokio::test]
async fn a_wrong_key_is_not_made_up_for_by_a_right_cookie() {
    let app = spawn_app().await;
    let cookie = cookie(&log_in(&app, &app.owner.key).await);
    for authorization in ["Bearer wrong", "Bearer", "Basic eDp5", "wrong", ""] {
        let request = by_cookie(&app, &cookie, Method::GET, "/api/session");
        let response = send(request.header("authorization", authorization)).await;
        problem(response, 401, "unauthorized").await;
    }
    for scheme in ["bearer", "BEARER"] {
        let authorization = format!("{scheme} {}", app.owner.key);
        let request = app.nobody(Method::GET, "/api/session");
        let response = send(request.header("authorization", authorization)).await;
        assert_eq!(response.status(), 200);
    }
    app.end().await;
}
