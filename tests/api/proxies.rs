//! Whose address and scheme are believed when a proxy is in between, and where they are used.

use crate::support::{
    app::{TestApp, problem, send, spawn_app_with},
    events::Events,
};
use reqwest::{Method, Response};
use serde_json::json;

const BEHIND: (&str, &str) = ("server.trusted_proxies", "127.0.0.0/8, 10.0.0.0/8");
const FORWARDED: [(&str, &str); 2] = [
    ("x-forwarded-for", "1.1.1.1, 192.0.2.1, 10.9.9.9"),
    ("x-forwarded-proto", "https"),
];

async fn log_in(app: &TestApp, headers: &[(&str, &str)]) -> Response {
    let mut request = app.nobody(Method::POST, "/api/session");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request.json(&json!({"token": app.owner.key}))).await
}

fn cookie(response: &Response) -> String {
    let cookie = response.headers()["set-cookie"].to_str().expect("ASCII");
    cookie.to_owned()
}

/// The peer that the list of emitters shows of a reader with these headers.
async fn peer_shown(app: &TestApp, headers: &[(&str, &str)]) -> String {
    let mut request = app.owner.get("/api/feed");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let events = Events::new(send(request).await);
    let list = app.owner.get_json("/api/operator/emitters").await;
    let peer = list["items"][0]["peer"]
        .as_str()
        .expect("a peer")
        .to_owned();
    drop(events);
    app.no_emitters().await;
    peer
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_is_whom_it_names() {
    let app = spawn_app_with(&[BEHIND]).await;
    let response = log_in(&app, &FORWARDED).await;
    assert_eq!(response.status(), 200);
    let set = cookie(&response);
    let port = app.origin.rsplit_once(':').expect("a port").1;
    assert!(
        set.starts_with(&format!("__Host-continuo_{port}=")),
        "{set}"
    );
    assert!(set.contains("; Secure"), "{set}");
    let value = set.split(';').next().expect("a pair");
    let by_https = |method| {
        let request = app.nobody(method, "/api/session").header("cookie", value);
        request.header("x-forwarded-proto", "https")
    };
    assert_eq!(send(by_https(Method::GET)).await.status(), 200);
    let plain = app
        .nobody(Method::GET, "/api/session")
        .header("cookie", value);
    problem(send(plain).await, 401, "unauthorized").await;
    let sessions = app.owner.get_json("/api/sessions").await;
    assert_eq!(sessions["items"][0]["address"], "192.0.2.1", "{sessions}");
    assert_eq!(peer_shown(&app, &FORWARDED).await, "192.0.2.1");
    let direct = peer_shown(&app, &[]).await;
    assert!(direct.starts_with("127.0.0.1:"), "{direct}");
    let ended = send(by_https(Method::DELETE)).await;
    assert_eq!(ended.status(), 204);
    assert!(cookie(&ended).starts_with("__Host-"));
    app.end().await;
}

#[tokio::test]
async fn by_https_a_page_of_plain_http_is_another_origin() {
    let app = spawn_app_with(&[BEHIND]).await;
    let origin = app.origin.clone();
    let https = origin.replace("http:", "https:");
    let create = |scheme: &str, origin: &str| {
        let request = app.owner.post("/api/conversations");
        request
            .header("x-forwarded-proto", scheme)
            .header("origin", origin)
    };
    problem(send(create("https", &origin)).await, 403, "cross-site").await;
    assert_eq!(send(create("https", &https)).await.status(), 201);
    assert_eq!(send(create("http", &origin)).await.status(), 201);
    app.end().await;
}

#[tokio::test]
async fn without_a_trusted_proxy_nobody_is_believed() {
    for trusted in [&[][..], &[("server.trusted_proxies", "10.0.0.0/8, ::1")]] {
        let app = spawn_app_with(trusted).await;
        let set = cookie(&log_in(&app, &FORWARDED).await);
        assert!(
            set.starts_with("continuo_") && !set.contains("Secure"),
            "{set}"
        );
        let sessions = app.owner.get_json("/api/sessions").await;
        assert_eq!(sessions["items"][0]["address"], "127.0.0.1", "{sessions}");
        let peer = peer_shown(&app, &[("forwarded", "for=192.0.2.1"), FORWARDED[0]]).await;
        assert!(peer.starts_with("127.0.0.1:"), "{peer}");
        app.end().await;
    }
}
