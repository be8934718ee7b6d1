//! The same program by TLS: both versions of HTTP, the cookie, and streams that end on a connection that goes on.

use crate::support::{
    PATIENCE,
    app::TestApp,
    tls::{Answer, Certificate, Http2},
    until,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Shorter than half of the longest heartbeat, after which the first may come: what happens meanwhile was not noticed by one.
const BEFORE_A_HEARTBEAT: Duration = Duration::from_secs(8);
const RARE_HEARTBEATS: (&str, &str) = ("emitter.heartbeat_seconds", "20");

async fn end(mut app: TestApp) {
    app.no_emitters().await;
    app.nothing_runs().await;
    app.shut_down().await;
}

/// An answer that has begun: the path of its events, and the upstream's call.
async fn answering(
    app: &TestApp,
    http: &mut Http2,
) -> (String, crate::support::fake_upstream::Call) {
    let bearer = format!("Bearer {}", app.owner.key);
    let bearer = [("authorization", &*bearer)];
    let created = http
        .answer("POST", "/api/conversations", &bearer, None)
        .await;
    assert_eq!(created.status, 201);
    let id = created.json().await["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/api/conversations/{id}/messages");
    let asked = http
        .answer("POST", &path, &bearer, Some(&json!({"content": "hello"})))
        .await;
    assert_eq!(asked.status, 202);
    let location = asked.headers["location"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    (format!("{location}/events"), call)
}

async fn attached(app: &TestApp, http: &mut Http2, path: &str) -> Answer {
    let mut events = http.get(path, &app.owner.key).await;
    assert_eq!(events.status, 200);
    assert_eq!(events.headers["content-type"], "text/event-stream");
    events.read_until("event: started").await;
    events
}

async fn gone_before_a_heartbeat(app: &TestApp) {
    let gone = timeout(BEFORE_A_HEARTBEAT, app.chat.registry.no_emitters());
    gone.await.expect("an emitter stayed");
}

#[tokio::test]
async fn by_tls_both_versions_of_http_are_spoken_and_plain_http_is_not() {
    let certificate = Certificate::new();
    let app = certificate.app(&[]).await;
    assert!(
        app.origin.starts_with("https://127.0.0.1:"),
        "{}",
        app.origin
    );
    let mut http2 = certificate.http2(&app.origin).await;
    let page = http2.get("/", "").await;
    assert_eq!(page.status, 200);
    assert!(page.headers.contains_key("content-security-policy"));
    let who = http2.get("/api/session", &app.owner.key).await.json().await;
    assert_eq!(who["by"], "key");

    let authority = app.origin.strip_prefix("https://").expect("https");
    let request = format!("GET /livez HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    for protocols in [&["http/1.1"][..], &[]] {
        let mut http1 = certificate
            .connect(&app.origin, protocols)
            .await
            .expect("trusted");
        http1.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, http1.read_to_end(&mut answer)).await;
        read.expect("in time").expect("a clean end");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    let mut plain = TcpStream::connect(authority).await.expect("it listens");
    plain.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, plain.read_to_end(&mut answer))
        .await
        .expect("closed");
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("HTTP/"), "{answer}");
    assert!(Certificate::new().connect(&app.origin, &[]).await.is_err());
    end(app).await;
}

#[tokio::test]
async fn by_tls_the_cookie_is_of_this_host_and_never_sent_in_the_clear() {
    let certificate = Certificate::new();
    let app = certificate.app(&[]).await;
    let mut http = certificate.http2(&app.origin).await;
    let log_in = json!({"token": app.owner.key});
    let logged_in = http
        .answer("POST", "/api/session", &[], Some(&log_in))
        .await;
    assert_eq!(logged_in.status, 200);
    let set = logged_in.headers["set-cookie"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let mut parts: Vec<_> = set.split("; ").collect();
    let cookie = parts.remove(0);
    let port = app.origin.rsplit_once(':').expect("a port").1;
    assert!(
        cookie.starts_with(&format!("__Host-continuo_{port}=")),
        "{cookie}"
    );
    parts.sort_unstable();
    let attributes = [
        "HttpOnly",
        "Max-Age=2592000",
        "Path=/",
        "SameSite=Strict",
        "Secure",
    ];
    assert_eq!(parts, attributes);
    let who = http
        .answer("GET", "/api/session", &[("cookie", cookie)], None)
        .await;
    assert_eq!(who.json().await["by"], "login");
    let ended = http
        .answer("DELETE", "/api/session", &[("cookie", cookie)], None)
        .await;
    assert_eq!(ended.status, 204);
    let taken = ended.headers["set-cookie"].to_str().expect("ASCII");
    assert!(
        taken.starts_with("__Host-") && taken.contains("Secure"),
        "{taken}"
    );
    end(app).await;
}

#[tokio::test]
async fn a_reset_stream_leaves_before_the_next_heartbeat_and_its_connection_goes_on() {
    let certificate = Certificate::new();
    let app = certificate.app(&[RARE_HEARTBEATS]).await;
    let mut http = certificate.http2(&app.origin).await;
    let (path, mut call) = answering(&app, &mut http).await;
    let events = attached(&app, &mut http, &path).await;
    let other = attached(&app, &mut http, &path).await;
    drop(events);
    let live = || app.chat.registry.emitter_count();
    let one = timeout(
        BEFORE_A_HEARTBEAT,
        until("one is left", async || live() == 1),
    );
    one.await.expect("the other stayed");
    drop(other);
    gone_before_a_heartbeat(&app).await;
    let mut again = attached(&app, &mut http, &path).await;
    call.answer_rest(&["Hel", "lo"]).await;
    let text = again.read_until("event: done").await;
    assert!(text.contains("completed"), "{text}");
    drop(again);
    end(app).await;
}

#[tokio::test]
async fn a_connection_that_ends_takes_its_streams_along() {
    let certificate = Certificate::new();
    let app = certificate.app(&[RARE_HEARTBEATS]).await;
    let mut http = certificate.http2(&app.origin).await;
    let (path, mut call) = answering(&app, &mut http).await;
    let one = attached(&app, &mut http, &path).await;
    let two = attached(&app, &mut http, &path).await;
    http.cut();
    gone_before_a_heartbeat(&app).await;
    drop((one, two));
    call.answer_rest(&["Hello"]).await;
    end(app).await;
}

#[tokio::test]
async fn a_request_that_is_reset_before_its_answer_began_is_let_go() {
    let certificate = Certificate::new();
    let app = certificate.app(&[RARE_HEARTBEATS]).await;
    let mut http = certificate.http2(&app.origin).await;
    let bearer = format!("Bearer {}", app.owner.key);
    let bearer = [("authorization", &*bearer)];
    for stream in [false, true] {
        let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
        let asked = http
            .send("POST", "/v1/chat/completions", &bearer, Some(&body))
            .await;
        let call = app.upstream.next_call().await;
        drop(asked);
        timeout(BEFORE_A_HEARTBEAT, call.closed())
            .await
            .expect("the upstream was let go");
    }
    assert_eq!(http.get("/livez", "").await.status, 200);
    end(app).await;
}

#[tokio::test]
async fn two_thousand_streams_that_are_reset_at_once_leave_nothing_behind() {
    let certificate = Certificate::new();
    let app = certificate.app(&[RARE_HEARTBEATS]).await;
    let bearer = format!("Bearer {}", app.owner.key);
    let bearer = [("authorization", &*bearer)];
    let body =
        json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let mut http = certificate.http2(&app.origin).await;
    let (mut reset, mut connections) = (0, 1);
    while reset < 2000 {
        let sent = if reset % 2 == 0 {
            http.try_send("GET", "/api/feed", &bearer, None).await
        } else {
            let path = "/v1/chat/completions";
            http.try_send("POST", path, &bearer, Some(&body)).await
        };
        // Its head goes out.
        tokio::task::yield_now().await;
        if sent.is_some() {
            reset += 1;
        } else {
            // It had enough of that, and of this connection only.
            http = certificate.http2(&app.origin).await;
            connections += 1;
        }
    }
    println!("{connections} connections");
    gone_before_a_heartbeat(&app).await;
    app.nothing_runs().await;
    let mut other = certificate.http2(&app.origin).await;
    let mut feed = other.get("/api/feed", &app.owner.key).await;
    feed.read_until("event: snapshot").await;
    assert_eq!(app.chat.registry.emitter_count(), 1);
    drop((feed, http));
    end(app).await;
}

#[tokio::test]
async fn a_peer_that_reads_nothing_of_a_stream_is_cut_and_goes_on_with_another_connection() {
    let certificate = Certificate::new();
    let app = certificate
        .app(&[("emitter.peer_timeout_seconds", "2"), RARE_HEARTBEATS])
        .await;
    let mut http = certificate.http2(&app.origin).await;
    let (path, mut call) = answering(&app, &mut http).await;
    // Nothing of it is read from here on: it takes the window of its connection with it.
    let stuck = http.get(&path, &app.owner.key).await;
    let text = "x".repeat(300_000);
    call.send(&text).await;
    http.closed().await;
    app.no_emitters().await;
    drop(stuck);
    let mut http = certificate.http2(&app.origin).await;
    let mut events = attached(&app, &mut http, &path).await;
    call.answer_rest(&["end"]).await;
    let all = events.read_until("event: done").await;
    assert!(all.contains(&text), "{} bytes", all.len());
    drop(events);
    end(app).await;
}

#[tokio::test]
async fn a_peer_that_reads_slowly_and_one_to_whom_nothing_is_sent_stay() {
    let certificate = Certificate::new();
    let patience = ("emitter.peer_timeout_seconds", "4");
    let app = certificate
        .app(&[patience, ("emitter.heartbeat_seconds", "1")])
        .await;
    let mut http = certificate.http2(&app.origin).await;
    let bearer = format!("Bearer {}", app.owner.key);
    let bearer = [("authorization", &*bearer)];
    let system = json!({"system": "x".repeat(99_999), "title": "long"});
    let created = http
        .answer("POST", "/api/conversations", &bearer, Some(&system))
        .await;
    let id = created.json().await["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/api/conversations/{id}/messages");
    let question = json!({"content": "y".repeat(300_000)});
    http.answer("POST", &path, &bearer, Some(&question)).await;
    let mut call = app.upstream.next_call().await;
    // On a connection of its own: what is unread of one stream is in the way of others.
    let mut clock = certificate.http2(&app.origin).await;
    let mut quiet = clock.get("/api/feed", &app.owner.key).await;
    let mut slow = http
        .get(&format!("/api/conversations/{id}"), &app.owner.key)
        .await;
    // A heartbeat of the other between two pieces: it takes longer in all than a stuck peer is borne with.
    let mut read = 0;
    for _ in 0..8 {
        quiet.read_until("event: ping").await;
        read += slow.piece().await.expect("not cut").len();
    }
    assert!(read < 200_000, "{read}");
    let rest = slow.read_until("no such text").await;
    assert!(read + rest.len() > 400_000, "{} bytes", read + rest.len());
    call.answer(&["end"]).await;
    quiet.read_until("event: ping").await;
    drop((slow, quiet));
    end(app).await;
}

#[tokio::test]
async fn a_peer_of_http_1_that_stops_reading_is_cut_by_tls_too() {
    let certificate = Certificate::new();
    let app = certificate
        .app(&[
            ("emitter.peer_timeout_seconds", "2"),
            ("emitter.heartbeat_seconds", "1"),
        ])
        .await;
    let mut http = certificate.http2(&app.origin).await;
    let (path, mut call) = answering(&app, &mut http).await;
    let authority = app.origin.strip_prefix("https://").expect("https");
    let mut stuck = certificate
        .connect(&app.origin, &["http/1.1"])
        .await
        .expect("trusted");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {}\r\n\r\n",
        app.owner.key
    );
    stuck.write_all(request.as_bytes()).await.expect("sent");
    let live = || app.chat.registry.emitter_count();
    until("attached", async || live() == 1).await;
    // More than the buffers of both sides hold.
    let text = "x".repeat(1 << 20);
    for _ in 0..8 {
        call.send(&text).await;
    }
    app.no_emitters().await;
    call.answer_rest(&["end"]).await;
    drop(stuck);
    end(app).await;
}

#[tokio::test]
async fn a_drain_by_http_2_tells_streams_their_end() {
    let certificate = Certificate::new();
    let mut app = certificate.app(&[]).await;
    let mut http = certificate.http2(&app.origin).await;
    let (path, _call) = answering(&app, &mut http).await;
    let mut events = attached(&app, &mut http, &path).await;
    let (text, ()) = tokio::join!(events.read_until("event: done"), app.shut_down());
    assert!(text.contains("\"interrupted\""), "{text}");
}

#[tokio::test]
async fn huge_heads_are_refused_by_http_2_and_large_ones_served() {
    let certificate = Certificate::new();
    let app = certificate.app(&[]).await;
    let mut http = certificate.http2(&app.origin).await;
    let (large, huge) = ("x".repeat(60_000), "x".repeat(200_000));
    let served = http
        .answer("GET", "/livez", &[("x-large", &large)], None)
        .await;
    assert_eq!(served.status, 200);
    let refused = http
        .answer("GET", "/livez", &[("x-huge", &huge)], None)
        .await;
    assert_eq!(refused.status, 431);
    let problem: Value = refused.json().await;
    assert_eq!(problem["type"], "/problems/head-too-large");
    end(app).await;
}
