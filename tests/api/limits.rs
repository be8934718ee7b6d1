//! What is limited is limited exactly, also when a thousand come at once; and whoever is refused learns when to come back.

use crate::{
    support::{
        app::{Account, TestApp, problem, send, spawn_app, spawn_app_by, spawn_app_with},
        until,
    },
    v1::{asking, completion, refusal},
};
use continuo::{
    clock::Clock,
    model::{UserId, now},
};
use futures_util::{StreamExt as _, stream};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::time::Duration;

/// The statuses of so many requests, as many of them at once as connections allow.
async fn statuses(count: usize, request: impl Fn() -> RequestBuilder) -> Vec<u16> {
    let sent = stream::iter((0..count).map(|_| send(request())));
    let statuses = sent.map(async |response| response.await.status().as_u16());
    statuses.buffer_unordered(200).collect().await
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|one| **one == status).count()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().expect("ASCII"))
}

/// What is told of the requests that are left: limit, remaining, reset.
fn room(response: &Response) -> [&str; 3] {
    ["limit", "remaining", "reset"]
        .map(|what| header(response, &format!("x-ratelimit-{what}-requests")))
}

async fn id_of(app: &TestApp, name: &str) -> UserId {
    let user = app.chat.store.user_by_name(name).await.expect("read");
    user.expect("a user").id
}

/// An operator's word on what a user may use.
async fn limit(app: &TestApp, name: &str, limits: Value) {
    let path = format!("/api/operator/users/{}", id_of(app, name).await);
    let body = json!({ "limits": limits });
    let changed = send(app.owner.request(Method::PATCH, &path).json(&body)).await;
    assert_eq!(changed.status(), 200);
    let changed: Value = changed.json().await.expect("JSON");
    assert_eq!(changed["limits"], limits);
}

#[tokio::test]
async fn of_a_thousand_requests_at_once_at_a_limit_of_ten_ten_are_answered() {
    let clock = Clock::standing_at(now());
    let app = spawn_app_by(&clock, &[("limits.requests_per_minute", "10")]).await;
    let stranger = app.stranger().await;
    let who = || stranger.get("/api/session");
    let all = statuses(1000, who).await;
    assert_eq!((count(&all, 200), count(&all, 429)), (10, 990));
    let refused = send(who()).await;
    assert_eq!(header(&refused, "retry-after"), "6");
    assert_eq!(room(&refused), ["10", "0", "1m"]);
    let said = problem(refused, 429, "rate-limit-exceeded").await;
    assert_eq!(said["retry_after"], 6);
    // As every route, and as OpenAI's clients know it.
    let refused = send(stranger.get("/v1/models")).await;
    assert_eq!(room(&refused), ["10", "0", "1m"]);
    assert_eq!(header(&refused, "retry-after"), "6");
    let error = refusal(refused, 429, "rate_limit_exceeded").await;
    assert_eq!(error["type"], "rate_limit_error");

    clock.advance(Duration::from_secs(6));
    let all = statuses(100, who).await;
    assert_eq!(count(&all, 200), 1, "a tenth of a minute later, one more");
    clock.advance(Duration::from_mins(1));
    let admitted = send(who()).await;
    assert_eq!(room(&admitted), ["10", "9", "6s"]);
    assert_eq!(admitted.status(), 200);
    app.end().await;
}

#[tokio::test]
async fn a_user_and_a_key_may_have_limits_of_their_own() {
    let clock = Clock::standing_at(now());
    let app = spawn_app_by(&clock, &[("limits.requests_per_minute", "50")]).await;
    let stranger = app.stranger().await;
    limit(&app, "stranger", json!({ "requests_per_minute": 5 })).await;
    let body = json!({ "name": "narrow", "limits": { "requests_per_minute": 2 } });
    let path = format!("/api/operator/users/{}/keys", id_of(&app, "stranger").await);
    let made: Value = send(app.owner.post(&path).json(&body))
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!(made["limits"], json!({ "requests_per_minute": 2 }));
    let narrow = Account {
        key: made["key"].as_str().expect("a key").to_owned(),
        ..stranger.clone()
    };
    let all = statuses(20, || narrow.get("/api/session")).await;
    assert_eq!(count(&all, 200), 2, "the key's");
    let all = statuses(20, || stranger.get("/api/session")).await;
    assert_eq!(count(&all, 200), 3, "what is left of the user's");
    clock.advance(Duration::from_mins(1));
    let make = narrow.post("/api/keys").json(&json!({ "name": "wide" }));
    problem(send(make).await, 403, "restricted-key").await;

    // 0: as many as they like.
    limit(&app, "stranger", json!({ "requests_per_minute": 0 })).await;
    let all = statuses(60, || stranger.get("/api/session")).await;
    assert_eq!(count(&all, 200), 60);
    let free = send(stranger.get("/api/session")).await;
    assert_eq!(room(&free), ["", "", ""]);
    limit(&app, "stranger", json!({})).await;
    let limited = send(stranger.get("/api/session")).await;
    assert_eq!(room(&limited)[0], "50", "as configured");
    app.end().await;
}

#[tokio::test]
async fn limits_that_make_no_sense_are_refused() {
    let app = spawn_app().await;
    app.stranger().await;
    let path = format!("/api/operator/users/{}", id_of(&app, "stranger").await);
    for limits in [
        json!({ "request_per_minute": 5 }),
        json!({ "requests_per_minute": -1 }),
        json!({ "requests_per_minute": 1.5 }),
        json!({ "requests_per_minute": u64::MAX }),
        json!([5]),
        json!("none"),
    ] {
        println!("{limits}");
        let request = app.owner.request(Method::PATCH, &path);
        let response = send(request.json(&json!({ "limits": limits }))).await;
        problem(response, 422, "invalid-value").await;
    }
    app.end().await;
}

#[tokio::test]
async fn of_a_thousand_answers_at_once_at_a_limit_of_ten_ten_begin() {
    let app = spawn_app_with(&[("limits.emitters_per_user", "2000")]).await;
    let stranger = app.stranger().await;
    limit(&app, "stranger", json!({ "generations": 10 })).await;
    let body = json!({"model": "m"});
    let asked: Vec<_> = (0..1000)
        .map(|_| asking(completion(&stranger, &body)))
        .collect();
    let mut calls = Vec::new();
    for _ in 0..10 {
        calls.push(app.upstream.next_call().await);
    }
    let refused = || asked.iter().filter(|one| one.is_finished()).count();
    until("the others are refused", async || refused() == 990).await;
    assert!(app.upstream.waiting_call().is_none(), "no more were asked");
    for call in &mut calls {
        call.reply_completion("Hello").await;
    }
    let mut all = Vec::new();
    for one in asked {
        let response = one.await.expect("no panic");
        if response.status() == 429 {
            assert_eq!(header(&response, "retry-after"), "1");
        }
        all.push(response.status().as_u16());
    }
    assert_eq!((count(&all, 200), count(&all, 429)), (10, 990));
    app.nothing_runs().await;
    app.end().await;
}

#[tokio::test]
async fn a_key_has_its_own_share_of_what_runs_and_is_attached() {
    let app = spawn_app().await;
    let body = json!({ "name": "one", "limits": { "generations": 1, "emitters": 1 } });
    let made = send(app.owner.post("/api/keys").json(&body)).await;
    let made: Value = made.json().await.expect("JSON");
    let narrow = Account {
        key: made["key"].as_str().expect("a key").to_owned(),
        ..app.owner.clone()
    };
    let [one, two] = [
        app.owner.conversation().await,
        app.owner.conversation().await,
    ];
    let turn = narrow.ask(&one, "hello").await;
    let mut call = app.upstream.next_call().await;
    let second = send(narrow.say(&two, &json!({ "content": "hello" }))).await;
    let said = problem(second, 429, "too-many").await;
    assert!(said["detail"].as_str().expect("words").contains("this key"));
    call.head_sse().await;
    let reader = narrow.events(&turn, 0).await;
    let another = narrow
        .get(&turn.events())
        .header("accept", "text/event-stream");
    problem(send(another).await, 429, "too-many").await;
    // Its user is not limited by that.
    let others = app.owner.ask(&two, "hello").await;
    app.upstream.next_call().await.answer(&["Hi"]).await;
    app.owner.read_all(&others).await;
    call.finish("stop").await;
    call.done().await;
    drop(reader);
    app.no_emitters().await;
    narrow.read_all(&turn).await;
    app.nothing_runs().await;
    app.end().await;
}

#[tokio::test]
async fn of_a_thousand_guesses_at_once_ten_are_heard_and_right_logins_do_not_count() {
    let clock = Clock::standing_at(now());
    let app = spawn_app_by(&clock, &[]).await;
    let log_in = |token: &str| {
        let request = app.owner.client.post(format!("{}/api/session", app.origin));
        request.json(&json!({ "token": token }))
    };
    for _ in 0..30 {
        assert_eq!(send(log_in(&app.owner.key)).await.status(), 200);
    }
    let all = statuses(1000, || log_in("continuo-guess")).await;
    assert_eq!((count(&all, 401), count(&all, 429)), (10, 990));
    // The right one is not heard either: who guesses it learns nothing.
    let refused = send(log_in(&app.owner.key)).await;
    assert_eq!(header(&refused, "retry-after"), "6");
    problem(refused, 429, "too-many-logins").await;
    assert_eq!(send(app.owner.get("/api/session")).await.status(), 200);
    clock.advance(Duration::from_secs(6));
    assert_eq!(send(log_in(&app.owner.key)).await.status(), 200);
    assert_eq!(send(log_in("continuo-guess")).await.status(), 401);
    assert_eq!(send(log_in(&app.owner.key)).await.status(), 429);
    app.end().await;
}

#[tokio::test]
async fn a_login_ends_a_week_after_it_was_used_last_and_a_key_at_its_time() {
    let clock = Clock::standing_at(now());
    let app = spawn_app_by(&clock, &[]).await;
    let day = Duration::from_hours(24);
    let request = app.nobody(Method::POST, "/api/session");
    let response = send(request.json(&json!({ "token": app.owner.key }))).await;
    let cookie = header(&response, "set-cookie")
        .split(';')
        .next()
        .expect("a pair")
        .to_owned();
    let by_cookie = || {
        app.nobody(Method::GET, "/api/session")
            .header("cookie", &cookie)
    };
    for _ in 0..4 {
        clock.advance(6 * day);
        assert_eq!(send(by_cookie()).await.status(), 200);
    }
    clock.advance(7 * day);
    assert_eq!(send(by_cookie()).await.status(), 401, "31 days old");

    let expires = clock.now() + day;
    let expires = expires.format(&time::format_description::well_known::Rfc3339);
    let body = json!({ "name": "short", "expires_at": expires.expect("a time") });
    let made = send(app.owner.post("/api/keys").json(&body)).await;
    let made: Value = made.json().await.expect("JSON");
    let short = Account {
        key: made["key"].as_str().expect("a key").to_owned(),
        ..app.owner.clone()
    };
    let response = send(
        app.owner
            .post("/api/session")
            .json(&json!({ "token": app.owner.key })),
    )
    .await;
    let cookie = header(&response, "set-cookie")
        .split(';')
        .next()
        .expect("a pair")
        .to_owned();
    let by_cookie = || {
        app.nobody(Method::GET, "/api/session")
            .header("cookie", &cookie)
    };
    assert_eq!(send(by_cookie()).await.status(), 200);
    assert_eq!(send(short.get("/api/session")).await.status(), 200);
    clock.advance(day);
    assert_eq!(send(short.get("/api/session")).await.status(), 401);
    assert_eq!(send(by_cookie()).await.status(), 200);
    clock.advance(7 * day);
    assert_eq!(send(by_cookie()).await.status(), 401, "not used for a week");
    app.end().await;
}
