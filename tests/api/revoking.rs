//! What is taken away in the store is taken away here, within a second and with everything that was begun with it; nothing else is.

use crate::{
    support::{
        app::{Account, TestApp, Turn, problem, send, spawn_app},
        events::Events,
        fake_upstream::Call,
        until,
    },
    v1::{Stream, asking, completion, refusal},
};
use continuo::{
    auth::{self, hash_of},
    model::{Credential, KeyId, Limits, LoginId, UserId, now},
    store::{NewKey, UserChange, When},
};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use std::time::Duration;

/// Somebody who is logged in, by a link.
struct Browser {
    login: LoginId,
    account: Account,
    cookie: String,
}

impl Browser {
    async fn of(app: &TestApp, account: &Account, user: UserId) -> Self {
        let link = auth::login_link(&*app.chat.store, user, &app.origin).await;
        let link = link.expect("stored");
        let token = link.split_once("/#login=").expect("a link").1;
        let request = app.nobody(Method::POST, "/api/session");
        let response = send(request.json(&json!({ "token": token }))).await;
        assert_eq!(response.status(), 200);
        let cookie = response.headers()["set-cookie"].to_str().expect("ASCII");
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        let when = When {
            now: now(),
            idle: Duration::from_hours(1),
        };
        let logins = app.chat.store.logins(Some(user), when).await.expect("read");
        Self {
            login: logins.last().expect("theirs").id,
            account: account.clone(),
            cookie,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.account.origin);
        let request = self.account.client.request(method, url);
        request.header("cookie", &self.cookie)
    }
}

async fn user_id(account: &Account) -> UserId {
    let who = account.get_json("/api/session").await;
    let id = who["user"]["id"].as_str().expect("an id");
    id.parse().expect("an id")
}

/// Another key of the same user.
async fn another_key(app: &TestApp, account: &Account, user: UserId) -> (Account, Credential) {
    let (key, secret) = auth::new_key(&*app.chat.store, user, "other", Limits::default(), None)
        .await
        .expect("stored");
    let account = Account {
        key: secret,
        ..account.clone()
    };
    (account, Credential::Key(key.id))
}

/// An answer that is being written, and somebody who reads it.
struct Live {
    turn: Turn,
    call: Call,
    events: Events,
}

async fn live(app: &TestApp, request: impl Fn(Method, &str) -> RequestBuilder) -> Live {
    let made = send(request(Method::POST, "/api/conversations")).await;
    let conversation: serde_json::Value = made.json().await.expect("JSON");
    let conversation = conversation["id"].as_str().expect("an id");
    let path = format!("/api/conversations/{conversation}/messages");
    let asked = request(Method::POST, &path).json(&json!({ "content": "hello" }));
    let turn = Turn::started(conversation, send(asked).await).await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("partial").await;
    let attach = request(Method::GET, &turn.events()).header("accept", "text/event-stream");
    let mut events = Events::new(send(attach).await);
    events.expect("started").await;
    events.expect("delta").await;
    Live { turn, call, events }
}

impl Live {
    /// Its reader is cut off, its answer is stopped and its socket to the upstream closed.
    async fn ends(mut self, app: &TestApp) {
        assert!(self.events.next().await.is_none(), "no terminal event");
        self.call.closed().await;
        let id = self.turn.generation.parse().expect("an id");
        until("stopped", async || !app.chat.registry.is_running(id)).await;
    }

    async fn goes_on(mut self) {
        self.call.send(" and more").await;
        self.call.finish("stop").await;
        self.call.done().await;
        for event in ["delta", "block", "done"] {
            self.events.expect(event).await;
        }
    }
}

async fn is_refused(request: impl Fn() -> RequestBuilder) {
    until("refused", async || send(request()).await.status() == 401).await;
    problem(send(request()).await, 401, "unauthorized").await;
}

#[tokio::test]
async fn a_revoked_key_ends_what_it_and_its_logins_began_and_nothing_else() {
    let app = spawn_app().await;
    let user = user_id(&app.owner).await;
    let (key, credential) = another_key(&app, &app.owner, user).await;
    let request = app.nobody(Method::POST, "/api/session");
    let response = send(request.json(&json!({ "token": key.key }))).await;
    let cookie = response.headers()["set-cookie"].to_str().expect("ASCII");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let by_cookie = |method, path: &str| app.nobody(method, path).header("cookie", &cookie);
    let ending = live(&app, |method, path| key.request(method, path)).await;
    let login_ending = live(&app, by_cookie).await;
    let stays = live(&app, |method, path| app.owner.request(method, path)).await;
    let Credential::Key(id) = credential else {
        unreachable!("it is a key")
    };
    // As the command line does it: in the database.
    assert!(app.chat.store.revoke_key(id, None).await.expect("stored"));
    let stopped = ending.turn.clone();
    ending.ends(&app).await;
    login_ending.ends(&app).await;
    is_refused(|| key.get("/api/session")).await;
    is_refused(|| by_cookie(Method::GET, "/api/session")).await;
    let message = app.owner.message(&stopped).await;
    assert_eq!(
        (&message["content"], &message["status"]),
        (&json!("partial"), &json!("stopped"))
    );
    stays.goes_on().await;
    app.end().await;
}

#[tokio::test]
async fn an_ended_session_ends_what_it_began_and_nothing_else() {
    let app = spawn_app().await;
    let user = user_id(&app.owner).await;
    let ended = Browser::of(&app, &app.owner, user).await;
    let other = Browser::of(&app, &app.owner, user).await;
    let ending = live(&app, |method, path| ended.request(method, path)).await;
    let stays = live(&app, |method, path| other.request(method, path)).await;
    let store = &app.chat.store;
    assert!(store.end_login(ended.login, None).await.expect("stored"));
    ending.ends(&app).await;
    is_refused(|| ended.request(Method::GET, "/api/session")).await;
    stays.goes_on().await;
    app.end().await;
}

#[tokio::test]
async fn a_disabled_user_is_out_with_everything_and_comes_back_with_nothing_lost() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let user = user_id(&stranger).await;
    let browser = Browser::of(&app, &stranger, user).await;
    let by_key = live(&app, |method, path| stranger.request(method, path)).await;
    let by_login = live(&app, |method, path| browser.request(method, path)).await;
    let stays = live(&app, |method, path| app.owner.request(method, path)).await;
    let store = &app.chat.store;
    let disabled = |disabled| UserChange {
        disabled: Some(disabled),
        operator: None,
        limits: None,
    };
    store
        .change_user(user, disabled(true))
        .await
        .expect("stored");
    by_key.ends(&app).await;
    by_login.ends(&app).await;
    is_refused(|| stranger.get("/api/session")).await;
    is_refused(|| browser.request(Method::GET, "/api/session")).await;
    stays.goes_on().await;
    store
        .change_user(user, disabled(false))
        .await
        .expect("stored");
    assert_eq!(send(stranger.get("/api/session")).await.status(), 200);
    let who = browser.request(Method::GET, "/api/session");
    assert_eq!(send(who).await.status(), 200);
    app.end().await;
}

#[tokio::test]
async fn an_operator_who_is_none_any_more_is_refused_and_keeps_what_is_theirs() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let user = user_id(&stranger).await;
    let role = |operator| UserChange {
        disabled: None,
        operator: Some(operator),
        limits: None,
    };
    let store = &app.chat.store;
    store.change_user(user, role(true)).await.expect("stored");
    let list = || stranger.get("/api/operator/emitters");
    until("an operator", async || send(list()).await.status() == 200).await;
    let stays = live(&app, |method, path| stranger.request(method, path)).await;
    store.change_user(user, role(false)).await.expect("stored");
    until("none", async || send(list()).await.status() == 403).await;
    stays.goes_on().await;
    app.end().await;
}

#[tokio::test]
async fn a_key_that_was_not_there_a_moment_ago_is_let_in() {
    let app = spawn_app().await;
    let user = user_id(&app.owner).await;
    let account = Account {
        key: "continuo-made-up".to_owned(),
        ..app.owner.clone()
    };
    for _ in 0..2 {
        problem(send(account.get("/api/session")).await, 401, "unauthorized").await;
    }
    let new = NewKey {
        id: KeyId::new(),
        user,
        name: "late",
        prefix: "continuo-mad",
        hash: hash_of(&account.key),
        limits: Limits::default(),
        expires_at: None,
    };
    app.chat.store.add_key(&new).await.expect("stored");
    assert_eq!(send(account.get("/api/session")).await.status(), 200);
    app.end().await;
}

#[tokio::test]
async fn a_completion_for_openais_clients_ends_with_its_key_however_it_is_read() {
    let app = spawn_app().await;
    let user = user_id(&app.owner).await;
    let (key, credential) = another_key(&app, &app.owner, user).await;
    let Credential::Key(id) = credential else {
        unreachable!("it is a key")
    };
    let start = async |detached: bool| {
        let body = json!({"model": "m", "stream": true});
        let request = completion(&key, &body).header("x-continuo-detach", detached.to_string());
        let response = asking(request);
        let mut call = app.upstream.next_call().await;
        call.head_sse().await;
        call.send("Hel").await;
        let mut stream = Stream::of(response.await.expect("no panic"));
        stream.read_until("Hel").await;
        (stream, call)
    };
    let (read, read_call) = start(false).await;
    let (left, left_call) = start(true).await;
    let location = left.location.clone();
    drop(left);
    let waiting = asking(completion(&key, &json!({"model": "m"})));
    let waiting_call = app.upstream.next_call().await;
    assert!(app.chat.store.revoke_key(id, None).await.expect("stored"));
    let rest = read.rest().await;
    assert!(!rest.contains("[DONE]"), "{rest}");
    for call in [read_call, left_call, waiting_call] {
        call.closed().await;
    }
    let response = waiting.await.expect("no panic");
    refusal(response, 410, "stopped").await;
    app.nothing_runs().await;
    refusal(send(key.get(&location)).await, 401, "invalid_api_key").await;
    app.end().await;
}
