//! Tokens a day: counted from what the upstream says, else about, across restarts, until midnight in UTC.

use crate::{
    support::{
        app::{Account, TestApp, Turn, problem, send, spawn_app, spawn_app_by},
        until,
    },
    v1::{asking, completion, refusal},
};
use continuo::{clock::Clock, model::UserId};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::time::Duration;
use time::macros::datetime;

const LIMIT: [(&str, &str); 1] = [("limits.tokens_per_day", "100")];

/// Two minutes before midnight.
fn late() -> Clock {
    Clock::standing_at(datetime!(2026-05-01 23:58:00 UTC))
}

async fn ask(account: &Account) -> Response {
    let conversation = account.conversation().await;
    send(account.say(&conversation, &json!({ "content": "hello" }))).await
}

/// A question and its answer, which cost so much in the upstream's words.
async fn spend(app: &TestApp, account: &Account, prompt: u64, completion: u64) -> Turn {
    let conversation = account.conversation().await;
    let turn = account.ask(&conversation, "hello").await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("Hi").await;
    call.finish("stop").await;
    call.usage(prompt, completion).await;
    call.done().await;
    account.read_all(&turn).await;
    app.nothing_runs().await;
    turn
}

async fn is_spent(response: Response, wait: &str) {
    assert_eq!(response.headers()["retry-after"], wait);
    assert_eq!(response.headers()["x-ratelimit-limit-tokens"], "100");
    assert_eq!(response.headers()["x-ratelimit-remaining-tokens"], "0");
    problem(response, 429, "token-limit-exceeded").await;
}

/// What the database has of today.
async fn stored(app: &TestApp, clock: &Clock, user: UserId) -> u64 {
    let (store, day) = (&app.chat.store, clock.now().date());
    store.tokens_spent(day, &[user.0]).await.expect("read")[0].1
}

async fn id_of(app: &TestApp, name: &str) -> UserId {
    let user = app.chat.store.user_by_name(name).await.expect("read");
    user.expect("a user").id
}

#[tokio::test]
async fn once_the_tokens_of_a_day_are_spent_no_answer_begins_until_midnight_or_a_restart_later() {
    let clock = late();
    let mut app = spawn_app_by(&clock, &LIMIT).await;
    let stranger = app.stranger().await;
    spend(&app, &stranger, 60, 39).await;
    let who = send(stranger.get("/api/session")).await;
    assert_eq!(who.headers()["x-ratelimit-remaining-tokens"], "1");
    assert_eq!(who.headers()["x-ratelimit-reset-tokens"], "2m");
    spend(&app, &stranger, 60, 39).await;
    is_spent(ask(&stranger).await, "120").await;
    let refused = send(completion(&stranger, &json!({"model": "m"}))).await;
    let error = refusal(refused, 429, "token_limit_exceeded").await;
    assert_eq!(error["type"], "rate_limit_error");
    // Everything else goes on, and for others so do questions.
    assert_eq!(send(stranger.get("/api/conversations")).await.status(), 200);
    spend(&app, &app.owner, 1, 1).await;
    let user = id_of(&app, "stranger").await;
    until("written down", async || {
        stored(&app, &clock, user).await == 198
    })
    .await;

    app.no_emitters().await;
    app.shut_down().await;
    let app = app.again_by(&clock, &LIMIT).await;
    let stranger = Account {
        origin: app.origin.clone(),
        ..stranger
    };
    is_spent(ask(&stranger).await, "120").await;
    clock.advance(Duration::from_secs(119));
    is_spent(ask(&stranger).await, "1").await;
    clock.advance(Duration::from_secs(1));
    spend(&app, &stranger, 60, 30).await;
    assert_eq!(stored(&app, &clock, id_of(&app, "owner").await).await, 0);
    app.end().await;
}

#[tokio::test]
async fn what_the_upstream_does_not_count_is_estimated_and_said_to_be() {
    let clock = late();
    let app = spawn_app_by(&clock, &LIMIT).await;
    let stranger = app.stranger().await;
    let conversation = stranger.conversation().await;
    let turn = stranger.ask(&conversation, &"x".repeat(40)).await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send(&"y".repeat(39)).await;
    call.finish("stop").await;
    call.done().await;
    let done = stranger.read_all(&turn).await.done.expect("the end");
    let about = json!({"prompt_tokens": 10, "completion_tokens": 10, "estimated": true});
    assert_eq!(done["usage"], about);
    assert_eq!(stranger.message(&turn).await["usage"], about);

    // A client of `/v1` that leaves in the middle, whose image is no text.
    let url = format!("data:image/png;base64,{}", "A".repeat(100_000));
    let image = json!({"type": "image_url", "image_url": {"url": url}});
    let body =
        json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": [image]}]});
    let response = asking(completion(&stranger, &body));
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send(&"z".repeat(4000)).await;
    drop(response.await.expect("no panic"));
    call.closed().await;
    app.nothing_runs().await;
    let user = id_of(&app, "stranger").await;
    until("written down", async || {
        stored(&app, &clock, user).await > 1020
    })
    .await;
    assert!(stored(&app, &clock, user).await < 1200, "without the image");
    is_spent(ask(&stranger).await, "120").await;

    // What the upstream refuses costs nothing.
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    app.upstream.next_call().await.reply_429("1").await;
    let done = app.owner.read_all(&turn).await.done.expect("the end");
    assert_eq!(done["usage"], Value::Null);
    app.end().await;
}

#[tokio::test]
async fn a_users_own_limit_and_a_keys_are_kept_within_each_other() {
    let clock = late();
    let app = spawn_app_by(&clock, &[]).await;
    let stranger = app.stranger().await;
    let path = format!("/api/operator/users/{}", id_of(&app, "stranger").await);
    let body = json!({ "limits": { "tokens_per_day": 100 } });
    let changed = send(app.owner.request(Method::PATCH, &path).json(&body)).await;
    assert_eq!(changed.status(), 200);
    let body = json!({ "name": "narrow", "limits": { "tokens_per_day": 10 } });
    let made = send(stranger.post("/api/keys").json(&body)).await;
    let made: Value = made.json().await.expect("JSON");
    let narrow = Account {
        key: made["key"].as_str().expect("a key").to_owned(),
        ..stranger.clone()
    };
    spend(&app, &narrow, 5, 5).await;
    let refused = ask(&narrow).await;
    assert_eq!(refused.headers()["x-ratelimit-limit-tokens"], "10");
    problem(refused, 429, "token-limit-exceeded").await;
    spend(&app, &stranger, 50, 40).await;
    is_spent(ask(&stranger).await, "120").await;
    app.end().await;
}

#[tokio::test]
async fn what_an_answer_cost_counts_once_however_often_it_is_told() {
    let app = spawn_app().await;
    let day = app.chat.registry.ledger.today();
    let turn = spend(&app, &app.owner, 7, 5).await;
    let user = id_of(&app, "owner").await;
    let spent = async || {
        app.chat
            .store
            .tokens_spent(day, &[user.0])
            .await
            .expect("read")[0]
            .1
    };
    until("written down", async || spent().await == 12).await;
    // The same once more, as after an answer of the database that never came.
    let again = continuo::model::Spending {
        generation: turn.generation.parse().expect("an id"),
        user,
        key: None,
        day,
        usage: continuo::model::Usage {
            prompt_tokens: 7,
            completion_tokens: 5,
            estimated: false,
        },
    };
    app.chat
        .store
        .add_spendings(&[again])
        .await
        .expect("stored");
    assert_eq!(spent().await, 12, "counted once");
    app.end().await;
}

#[tokio::test]
async fn during_an_outage_what_is_known_is_believed_and_who_is_not_known_waits() {
    let app = spawn_app_by(&late(), &LIMIT).await;
    let (known, unknown) = (app.stranger().await, app.account("other").await);
    let body = json!({"model": "m"});
    let complete = async |account: &Account| {
        let response = asking(completion(account, &body));
        app.upstream
            .next_call()
            .await
            .reply_completion("Hello")
            .await;
        response.await.expect("no panic").status()
    };
    assert_eq!(complete(&known).await, 200);
    app.nothing_runs().await;
    for seen in [&unknown, &app.owner] {
        assert_eq!(send(seen.get("/api/session")).await.status(), 200);
    }
    app.chat.store.close().await;
    assert_eq!(complete(&known).await, 200);
    let waits = send(completion(&unknown, &body)).await;
    refusal(waits, 503, "store_unavailable").await;
    app.end().await;
}
