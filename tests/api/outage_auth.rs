//! Whom the store vouched for is believed while it does not answer; nobody else is, and nobody is called a stranger for it.

use crate::support::{
    app::{Account, TestApp, problem, send, spawn_app, spawn_app_with},
    database::with_database,
    until,
};
use continuo::{
    auth::hash_of,
    model::{KeyId, now},
    store::When,
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};

fn who(account: &Account) -> RequestBuilder {
    account.get("/api/session")
}

fn who_by_cookie(app: &TestApp, cookie: &str) -> RequestBuilder {
    app.nobody(Method::GET, "/api/session")
        .header("cookie", cookie)
}

/// Logs the owner in; `name=value` of the cookie.
async fn cookie_of_a_login(app: &TestApp) -> String {
    let request = app.nobody(Method::POST, "/api/session");
    let response = send(request.json(&json!({ "token": app.owner.key }))).await;
    assert_eq!(response.status(), 200);
    let cookie = response.headers()["set-cookie"].to_str().expect("ASCII");
    cookie.split(';').next().expect("a pair").to_owned()
}

async fn key_id(app: &TestApp, account: &Account) -> KeyId {
    let when = When {
        now: now(),
        idle: Duration::from_hours(1),
    };
    let found = app.chat.store.user_by_key(hash_of(&account.key), when);
    let key = found.await.expect("an answer").expect("a key").key;
    key.expect("it is one")
}

async fn unavailable(response: Response) {
    assert!(response.headers().contains_key("retry-after"));
    problem(response, 503, "store-unavailable").await;
}

#[tokio::test]
async fn keys_and_logins_already_seen_work_during_an_outage_and_unknown_ones_wait() {
    let app = spawn_app().await;
    let unseen = app.stranger().await;
    assert_eq!(send(who(&app.owner)).await.status(), 200);
    let cookie = cookie_of_a_login(&app).await;
    app.chat.store.close().await;
    for _ in 0..2 {
        assert_eq!(send(who(&app.owner)).await.status(), 200);
        assert_eq!(send(who_by_cookie(&app, &cookie)).await.status(), 200);
    }
    unavailable(send(who(&unseen)).await).await;
    let made_up = Account {
        key: "continuo-made-up".to_owned(),
        ..unseen
    };
    unavailable(send(who(&made_up)).await).await;
    let (_, value) = cookie.split_once('=').expect("a pair");
    let cookie_as_key = Account {
        key: value.to_owned(),
        ..made_up
    };
    unavailable(send(who(&cookie_as_key)).await).await;
    let nobody = app.nobody(Method::GET, "/api/session");
    problem(send(nobody).await, 401, "unauthorized").await;
    app.end().await;
}

#[tokio::test]
async fn what_the_store_took_back_is_not_believed_during_an_outage() {
    let app = spawn_app().await;
    let revoked = app.stranger().await;
    assert_eq!(send(who(&revoked)).await.status(), 200);
    let id = key_id(&app, &revoked).await;
    assert!(app.chat.store.revoke_key(id, None).await.expect("stored"));
    let is_refused = async || send(who(&revoked)).await.status() == 401;
    until("it is taken back", is_refused).await;

    let ended = cookie_of_a_login(&app).await;
    let log_out = |cookie: &str| {
        app.nobody(Method::DELETE, "/api/session")
            .header("cookie", cookie)
    };
    assert_eq!(send(log_out(&ended)).await.status(), 204);

    let other = cookie_of_a_login(&app).await;
    assert_eq!(send(who(&app.owner)).await.status(), 200);
    app.chat.store.close().await;
    unavailable(send(who(&revoked)).await).await;
    unavailable(send(who_by_cookie(&app, &ended)).await).await;
    // The store cannot be told, but the login is over here.
    assert_eq!(send(who_by_cookie(&app, &other)).await.status(), 200);
    unavailable(send(log_out(&other)).await).await;
    unavailable(send(who_by_cookie(&app, &other)).await).await;
    app.end().await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Passes,
    /// What is open stays open and says nothing any more; so does what is opened.
    Silent,
    /// What is open is reset; so is what is opened.
    Cut,
}

/// Stands between the program and its database.
async fn line_to(target: String) -> (String, watch::Sender<Line>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (line, state) = watch::channel(Line::Passes);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, target.clone(), state.clone()));
        }
    });
    (address, line)
}

async fn carry(mut client: TcpStream, target: String, mut line: watch::Receiver<Line>) {
    let mut changes = line.clone();
    if *line.borrow() == Line::Passes {
        let passes = async {
            let mut server = TcpStream::connect(target).await?;
            copy_bidirectional(&mut client, &mut server).await
        };
        tokio::select! {
            _ = passes => return,
            _ = changes.wait_for(|line| *line != Line::Passes) => {}
        }
    }
    // Open and silent until that changes; then reset.
    let _ = line.wait_for(|line| *line != Line::Silent).await;
    let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn a_database_that_is_cut_off_or_silent_keeps_nobody_out_who_was_seen() {
    with_database(async |url| {
        let (user, place) = url.split_once('@').expect("a user");
        let (server, name) = place.split_once('/').expect("a database");
        let (address, line) = line_to(server.to_owned()).await;
        let url = format!("{user}@{address}/{name}");
        let app = spawn_app_with(&[("store.url", &url), ("store.acquire_seconds", "15")]).await;
        let (unseen, revoked) = (app.stranger().await, app.account("other").await);
        for account in [&app.owner, &revoked] {
            assert_eq!(send(who(account)).await.status(), 200);
        }
        for state in [Line::Silent, Line::Cut] {
            line.send_replace(state);
            let begun = Instant::now();
            assert_eq!(send(who(&app.owner)).await.status(), 200, "{state:?}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{state:?}");
        }
        unavailable(send(who(&unseen)).await).await;

        line.send_replace(Line::Passes);
        assert_eq!(send(who(&unseen)).await.status(), 200, "it is back");
        let id = key_id(&app, &revoked).await;
        assert!(app.chat.store.revoke_key(id, None).await.expect("stored"));
        let is_refused = async || send(who(&revoked)).await.status() == 401;
        until("it is taken back", is_refused).await;
        line.send_replace(Line::Cut);
        unavailable(send(who(&revoked)).await).await;
        assert_eq!(send(who(&unseen)).await.status(), 200, "seen by now");
        line.send_replace(Line::Passes);
        app.end().await;
    })
    .await;
}
