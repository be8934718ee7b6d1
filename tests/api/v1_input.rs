//! OpenAI's API and what may be in a request or in what the upstream says to it: megabytes, and texts that want to be headers or lines.

use crate::{
    support::{
        app::{TestApp, send, spawn_app},
        raw::Raw,
    },
    v1::{Stream, asked, asking, completion, refusal, streaming},
};
use reqwest::Response;
use serde_json::{Value, json};

/// The default of `limits.body_bytes`.
const LARGEST: usize = 8 << 20;
/// What a text says that wants out of its place.
const BREAKOUT: &str = "m\r\nx-injected: 1\r\n\r\nid: 99\ndata: [DONE]\n\n\u{2028}";

async fn posted(app: &TestApp, body: String) -> Response {
    let request = app.owner.post("/v1/chat/completions");
    send(
        request
            .header("content-type", "application/json")
            .body(body),
    )
    .await
}

fn is_clean(response: &Response) {
    assert!(
        !response.headers().contains_key("x-injected"),
        "{:?}",
        response.headers()
    );
}

/// Every line of a stream is one that the server has written, in their order.
fn is_framed(stream: &str) {
    for (index, event) in stream.split_terminator("\n\n").enumerate() {
        let mut lines = event.split('\n');
        assert_eq!(
            lines.next(),
            Some(&*format!("id: {}", index + 1)),
            "{stream}"
        );
        assert!(lines.all(|line| line.starts_with("data: ")), "{event:?}");
    }
    assert!(!stream.contains('\r'), "{stream:?}");
}

#[tokio::test]
async fn a_body_of_the_largest_size_passes_as_it_is_and_no_larger_one() {
    let app = spawn_app().await;
    let body = |bytes: usize| {
        let begin = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,"#;
        let end = r#""}}]}], "max_tokens":1.0}"#;
        let image = "iVBORw0K"
            .chars()
            .cycle()
            .take(bytes - begin.len() - end.len());
        [begin, &image.collect::<String>(), end].concat()
    };
    let largest = body(LARGEST);
    let request = app
        .owner
        .post("/v1/chat/completions")
        .header("content-type", "application/json");
    let response = asking(request.body(largest.clone()));
    let mut call = app.upstream.next_call().await;
    assert!(call.body == largest.as_bytes(), "{} bytes", call.body.len());
    call.reply_completion("A cat.").await;
    assert_eq!(response.await.expect("no panic").status(), 200);
    refusal(posted(&app, body(LARGEST + 1)).await, 413, "body_too_large").await;
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

#[tokio::test]
async fn no_text_of_a_request_becomes_a_header() {
    let app = spawn_app().await;
    let body = json!({"model": BREAKOUT, "user": BREAKOUT, "stream": true, "store": true, BREAKOUT: BREAKOUT, "messages": [
        {"role": "system", "content": BREAKOUT},
        {"role": "user", "content": BREAKOUT},
        {"role": BREAKOUT, "tool_call_id": BREAKOUT, "content": [{"type": BREAKOUT}]},
    ]});
    let response = asking(completion(&app.owner, &body));
    let mut call = app.upstream.next_call().await;
    assert!(
        !call.headers.contains_key("x-injected"),
        "{:?}",
        call.headers
    );
    assert_eq!(call.json()["model"], BREAKOUT);
    assert_eq!(call.json()[BREAKOUT], BREAKOUT);
    call.answer(&[BREAKOUT]).await;
    let response = response.await.expect("no panic");
    is_clean(&response);
    let stream = Stream::of(response);
    let location = stream.location.clone();
    is_framed(&stream.rest().await);
    // What is kept of it is read as events, too.
    let events = location.replace("/v1/", "/api/");
    let response = send(app.owner.get(&events)).await;
    is_clean(&response);
    let text = response.text().await.expect("a body");
    assert!(
        !text.contains("\nid: 99") && !text.contains("\ndata: [DONE]"),
        "{text}"
    );

    let escaped = "%0d%0ax-injected:%201%0d%0a";
    for path in [
        format!("/v1/models/{escaped}"),
        format!("/v1/models{escaped}"),
        format!("/v1/generations/{escaped}/events"),
        format!("{location}?after={escaped}"),
        format!("{location}?session={escaped}"),
    ] {
        let response = send(app.owner.get(&path)).await;
        is_clean(&response);
        assert!((400..500).contains(&response.status().as_u16()), "{path}");
        assert!(response.json::<Value>().await.expect("JSON")["error"].is_object());
    }
    let key = &app.owner.key;
    for header in [
        "idempotency-key",
        "x-session-id",
        "last-event-id",
        "x-request-id",
    ] {
        let mut raw = Raw::connect(&app.origin).await;
        let host = app.origin.strip_prefix("http://").expect("http");
        let head = format!(
            "GET {location} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n{header}: a\rx-injected: 1\r\n\r\n"
        );
        raw.send(head.as_bytes()).await;
        let answer = raw.answer().await;
        assert!(!answer.headers.contains_key("x-injected"), "{header}");
    }
    app.end().await;
}

#[tokio::test]
async fn no_text_of_the_upstream_becomes_a_header_or_a_line() {
    let app = spawn_app().await;
    let error = json!({"error": {"message": BREAKOUT, "code": BREAKOUT, "type": BREAKOUT, "param": BREAKOUT}});
    let pretty = serde_json::to_string_pretty(&error)
        .expect("JSON")
        .replace('\n', "\r\n");
    // Before the first byte.
    for (status, body) in [
        (400, pretty.clone()),
        (200, pretty.clone()),
        (429, BREAKOUT.to_owned()),
    ] {
        let (response, mut call) = asked(&app).await;
        call.reply(
            status,
            &[("content-type", "application/json"), ("x-injected", "1")],
            body,
        )
        .await;
        let response = response.await.expect("no panic");
        is_clean(&response);
        let told: Value = response.json().await.expect("JSON");
        assert!(told["error"]["message"].is_string(), "{told}");
    }
    // In the stream: fields of events, line ends of every kind within JSON, and an error in several lines.
    let (stream, mut call) = streaming(&app, &[BREAKOUT]).await;
    call.send_raw(
        "event: x\nid: 99\nretry: 1\ndata: {\rdata: \"choices\":\r\ndata: []\ndata: }\n\n",
    )
    .await;
    call.send_raw(
        ": x-injected: 1\rid: 99\r\rdata: {\"choices\": [], \"x\": \"\\r\\nid: 99\"}\r\r",
    )
    .await;
    let lines = pretty.replace("\r\n", "\ndata: ");
    call.send_raw(format!("data: {lines}\n\n")).await;
    call.end().await;
    let text = stream.rest().await;
    is_framed(&text);
    assert_eq!(text.matches("\n\n").count(), 4, "{text}");
    // A whole answer that becomes a chunk.
    let (response, mut call) = asked(&app).await;
    let whole = json!({"choices": [{"message": {"content": BREAKOUT}, "finish_reason": "stop"}]});
    let whole = serde_json::to_string_pretty(&whole)
        .expect("JSON")
        .replace('\n', "\r");
    call.reply(200, &[("content-type", "application/json")], whole)
        .await;
    is_framed(&Stream::of(response.await.expect("no panic")).rest().await);
    app.end().await;
}
