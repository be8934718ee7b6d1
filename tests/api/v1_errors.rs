//! Errors of OpenAI's API: those of the upstream stay what they are, ours have the same shape, and no end is forged.

use crate::{
    support::{
        app::{send, spawn_app, spawn_app_with},
        fake_upstream::Call,
        raw::Raw,
    },
    v1::{asked, asking, completion, refusal, streaming},
};
use reqwest::{Method, Response};
use serde_json::{Value, json};

#[tokio::test]
async fn a_429_stays_a_429_and_the_upstream_is_not_asked_twice() {
    let app = spawn_app().await;
    for body in [json!({"stream": true}), json!({})] {
        let response = asking(completion(&app.owner, &body));
        let mut call = app.upstream.next_call().await;
        let words = r#"{ "error": {"message": "slow down","type":"tokens","param":null,"code":"rate_limit_exceeded"}, "x":1.0}"#;
        let headers = [
            ("content-type", "application/json; charset=utf-8"),
            ("retry-after", "7"),
            ("retry-after-ms", "6900"),
            ("x-should-retry", "false"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("set-cookie", "a=b"),
        ];
        call.reply(429, &headers, words).await;
        let response = response.await.expect("no panic");
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["content-type"], "application/json");
        for (name, value) in &headers[1..6] {
            assert_eq!(response.headers()[*name], *value);
        }
        assert_eq!(response.headers().get_all("retry-after").iter().count(), 1);
        assert!(!response.headers().contains_key("set-cookie"));
        assert_eq!(response.text().await.expect("a body"), words);
        assert!(app.upstream.waiting_call().is_none());
    }
    app.end().await;
}

/// Asks for a stream or a whole answer; what `answering` does decides.
async fn refused(stream: bool, answering: impl AsyncFn(&mut Call)) -> Response {
    let app = spawn_app().await;
    let response = asking(completion(
        &app.owner,
        &json!({"model": "m", "stream": stream}),
    ));
    let mut call = app.upstream.next_call().await;
    answering(&mut call).await;
    drop(call);
    let response = response.await.expect("no panic");
    app.end().await;
    response
}

#[tokio::test]
async fn what_comes_instead_of_an_answer_is_an_error_with_a_status() {
    for stream in [true, false] {
        let html = refused(stream, async |call| {
            call.reply(
                502,
                &[("content-type", "text/html")],
                "<html>Bad Gateway</html>",
            )
            .await;
        });
        let error = refusal(html.await, 502, "upstream_refused").await;
        assert_eq!(error["message"], "the upstream answered 502 Bad Gateway");

        let empty = refused(stream, async |call| call.reply(200, &[], "").await);
        refusal(empty.await, 502, "upstream_unreadable").await;

        let empty = refused(stream, async |call| {
            call.head_sse().await;
            call.comment("processing").await;
            call.end().await;
        });
        refusal(empty.await, 502, "upstream_truncated").await;

        let page = refused(stream, async |call| {
            call.reply(200, &[], "<html>hi</html>").await;
        });
        refusal(page.await, 502, "upstream_unreadable").await;

        let gone = refused(stream, async |call| call.close());
        refusal(gone.await, 502, "upstream_unreachable").await;

        let theirs = json!({"error": {"message": "no credits", "code": 402}, "user_id": "u"});
        for kind in ["application/json", "text/event-stream"] {
            let reported = refused(stream, async |call| {
                call.reply(200, &[("content-type", kind)], theirs.to_string())
                    .await;
            });
            let reported = reported.await;
            assert_eq!(reported.status(), 402);
            assert_eq!(reported.json::<Value>().await.expect("JSON"), theirs);
        }
        let reported = refused(stream, async |call| {
            call.head_sse().await;
            call.send_json(&json!({"error": {"message": "overloaded", "type": "server_error"}}))
                .await;
            call.done().await;
        });
        let reported = reported.await;
        assert_eq!(reported.status(), 502);
        assert_eq!(
            reported.json::<Value>().await.expect("JSON")["error"]["message"],
            "overloaded"
        );

        let detail = refused(stream, async |call| {
            call.reply_json(422, &json!({"detail": [{"loc": ["n"], "msg": "too many"}]}))
                .await;
        });
        let error = refusal(detail.await, 422, "upstream_refused").await;
        assert_eq!(error["message"], "too many");
    }
    // Chunks are nothing for whoever wants one JSON text.
    let chunks = refused(false, async |call| call.answer(&["Hi"]).await);
    refusal(chunks.await, 502, "upstream_unreadable").await;
    let broken = refused(false, async |call| {
        call.head_chunked("application/json").await;
        call.send_raw("{\"choices\": [{\"mess").await;
        call.end().await;
    });
    refusal(broken.await, 502, "upstream_truncated").await;
}

#[tokio::test]
async fn a_stream_that_breaks_ends_in_an_error_and_not_in_done() {
    let app = spawn_app().await;
    for (how, expected) in [
        ("fin", "upstream_truncated"),
        ("reset", "upstream_truncated"),
        ("clean", "upstream_truncated"),
    ] {
        let (mut stream, mut call) = streaming(&app, &["Hel"]).await;
        stream.read_until("Hel").await;
        match how {
            "fin" => call.cut().await,
            "reset" => call.reset(),
            _ => call.end().await,
        }
        let text = stream.rest().await;
        let (_, last) = text
            .rsplit_once("\n\nid: 2\ndata: ")
            .expect("a second event");
        let error: Value = serde_json::from_str(last).expect("JSON");
        assert_eq!(error["error"]["code"], expected, "{how}");
        assert!(!text.contains("[DONE]"), "{text}");
    }
    // An upstream's own error stays as it is where clients find it.
    let theirs = r#"{ "error": {"message":"overloaded","code":503,"metadata":{"a":1.0}} }"#;
    for (event, expected) in [
        (
            format!("data: {theirs}\n\ndata: [DONE]\n\n"),
            theirs.to_owned(),
        ),
        (
            format!("event: error\ndata: {theirs}\n\n"),
            theirs.to_owned(),
        ),
        (
            "event: error\ndata: {\"message\":\"overloaded\"}\n\n".to_owned(),
            String::new(),
        ),
        (
            "data: {\"error\":\"overloaded\"}\n\n".to_owned(),
            "{\"error\":\"overloaded\"}".to_owned(),
        ),
    ] {
        let (stream, mut call) = streaming(&app, &["Hel"]).await;
        call.send_raw(&event).await;
        call.end().await;
        let text = stream.rest().await;
        let (_, last) = text
            .rsplit_once("\n\nid: 2\ndata: ")
            .expect("a second event");
        if expected.is_empty() {
            let error: Value = serde_json::from_str(last).expect("JSON");
            assert_eq!(error["error"]["message"], "overloaded");
        } else {
            assert_eq!(last, format!("{expected}\n\n"));
        }
        assert!(!text.contains("[DONE]"), "{text}");
    }
    app.end().await;
}

#[tokio::test]
async fn the_upstreams_key_is_in_no_error() {
    let app = spawn_app_with(&[("upstream.api_key", "sk-very-secret")]).await;
    let (response, mut call) = asked(&app).await;
    assert_eq!(call.headers["authorization"], "Bearer sk-very-secret");
    call.reply_json(
        401,
        &json!({"error": {"message": "Incorrect API key: sk-very-secret"}}),
    )
    .await;
    let response = response.await.expect("no panic");
    assert_eq!(response.status(), 401);
    let text = response.text().await.expect("a body");
    assert!(text.contains("Incorrect API key: …"), "{text}");
    app.end().await;
}

#[tokio::test]
async fn whoever_has_no_key_or_asks_nonsense_is_told_in_openais_words() {
    let app = spawn_app_with(&[("limits.body_bytes", "100")]).await;
    for (method, path) in [
        (Method::GET, "/v1/models"),
        (Method::GET, "/v1/models/x"),
        (Method::POST, "/v1/chat/completions"),
        (
            Method::GET,
            "/v1/generations/0197a000-0000-7000-8000-00000000000a",
        ),
        (
            Method::GET,
            "/v1/generations/0197a000-0000-7000-8000-00000000000a/events",
        ),
        (
            Method::POST,
            "/v1/generations/0197a000-0000-7000-8000-00000000000a/cancel",
        ),
    ] {
        let response = send(app.nobody(method, path)).await;
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let error = refusal(response, 401, "invalid_api_key").await;
        assert_eq!(error["type"], "authentication_error");
    }
    refusal(send(app.owner.get("/v1/nothing")).await, 404, "not_found").await;
    refusal(send(app.owner.get("/v1")).await, 404, "not_found").await;
    refusal(
        send(app.owner.get("/v1/generations/x/events")).await,
        404,
        "not_found",
    )
    .await;
    let wrong = send(app.owner.get("/v1/chat/completions")).await;
    assert_eq!(wrong.headers()["allow"], "POST");
    refusal(wrong, 405, "method_not_allowed").await;
    let post = |body: &str| {
        let request = app.owner.post("/v1/chat/completions");
        send(
            request
                .header("content-type", "application/json")
                .body(body.to_owned()),
        )
    };
    refusal(post("{").await, 400, "malformed_request").await;
    refusal(post("[]").await, 422, "invalid_value").await;
    let error = refusal(post(r#"{"model": 7}"#).await, 422, "invalid_value").await;
    assert_eq!(error["param"], "model");
    let large = post(&format!("{{\"a\":\"{}\"}}", "x".repeat(100))).await;
    refusal(large, 413, "body_too_large").await;
    let foreign = app
        .owner
        .post("/v1/chat/completions")
        .header("origin", "http://evil.example");
    refusal(send(foreign).await, 403, "cross_site").await;
    let mut raw = Raw::connect(&app.origin).await;
    raw.send(b"GET /v1/models HTTP/1.1\r\nhost: evil.example\r\n\r\n")
        .await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 421);
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(body["error"]["code"], "unknown_host");
    drop(raw);
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

#[tokio::test]
async fn another_users_completion_is_not_there() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let (mut stream, mut call) = streaming(&app, &["Hel"]).await;
    stream.read_until("Hel").await;
    let base = format!("/v1/generations/{}", stream.generation());
    refusal(send(stranger.get(&stream.location)).await, 404, "not_found").await;
    refusal(send(stranger.get(&base)).await, 404, "not_found").await;
    refusal(
        send(stranger.post(&format!("{base}/cancel"))).await,
        404,
        "not_found",
    )
    .await;
    assert!(call.send("lo").await);
    call.done().await;
    assert!(stream.rest().await.contains("[DONE]"));
    app.end().await;
}

#[tokio::test]
async fn after_a_restart_a_completion_is_not_there_any_more() {
    let mut app = spawn_app().await;
    let (stream, mut call) = streaming(&app, &["Hi"]).await;
    call.done().await;
    let location = stream.location.clone();
    stream.rest().await;
    app.shut_down().await;
    let again = app.again().await;
    let owner = again.owner.clone();
    refusal(send(owner.get(&location)).await, 404, "not_found").await;
    again.end().await;
}

#[tokio::test]
async fn a_list_of_models_that_does_not_come_is_an_error() {
    let app = spawn_app().await;
    app.upstream.set_models(None);
    let listing = asking(app.owner.get("/v1/models"));
    let mut call = app.upstream.next_call().await;
    call.reply_json(500, &json!({"error": {"message": "loading"}}))
        .await;
    let error = refusal(listing.await.expect("no panic"), 500, "upstream_refused").await;
    assert_eq!(error["message"], "loading");
    app.end().await;
}
