//! OpenAI's API: the upstream's payloads reach its clients byte for byte, and can be read again from any position.

use crate::support::{
    PATIENCE,
    app::{Account, TestApp, send, spawn_app, spawn_app_with},
    fake_upstream::{Call, chunk},
};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

/// Asks as a client does: the answer comes when the upstream has begun one.
pub fn asking(request: RequestBuilder) -> JoinHandle<Response> {
    tokio::spawn(send(request))
}

pub fn completion(account: &Account, body: &Value) -> RequestBuilder {
    account.post("/v1/chat/completions").json(body)
}

/// A streamed completion of the owner, and the call that is to answer it.
pub async fn asked(app: &TestApp) -> (JoinHandle<Response>, Call) {
    let body = json!({"model": "m", "stream": true, "messages": []});
    let response = asking(completion(&app.owner, &body));
    (response, app.upstream.next_call().await)
}

/// The same, with these pieces sent and the response's head there.
pub async fn streaming(app: &TestApp, pieces: &[&str]) -> (Stream, Call) {
    let (response, mut call) = asked(app).await;
    call.head_sse().await;
    for piece in pieces {
        call.send(piece).await;
    }
    (Stream::of(response.await.expect("no panic")), call)
}

/// A response that is read as bytes.
pub struct Stream {
    response: Response,
    pub location: String,
    /// What was read so far.
    pub text: String,
}

impl Stream {
    pub fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["cache-control"], "no-store, no-transform");
        assert_eq!(headers["x-accel-buffering"], "no");
        assert!(headers.contains_key("x-request-id"));
        let location = headers
            .get("location")
            .map_or("", |at| at.to_str().expect("ASCII"));
        Self {
            location: location.to_owned(),
            response,
            text: String::new(),
        }
    }

    pub async fn read_until(&mut self, text: &str) {
        while !self.text.contains(text) {
            assert!(self.read().await, "no {text:?} in {:?}", self.text);
        }
    }

    /// All of it, without comments.
    pub async fn rest(mut self) -> String {
        let all = async { while self.read().await {} };
        // Comments alone would keep it going for ever.
        timeout(5 * PATIENCE, all).await.expect("an end in time");
        let comment = |line: &&str| !line.starts_with(':');
        let lines: Vec<_> = self.text.split_inclusive('\n').filter(comment).collect();
        lines.concat()
    }

    async fn read(&mut self) -> bool {
        let piece = timeout(PATIENCE, self.response.chunk()).await;
        let piece = piece.expect("bytes in time").expect("no broken connection");
        let bytes = piece.as_deref().unwrap_or_default();
        self.text += str::from_utf8(bytes).expect("no character is cut");
        piece.is_some()
    }

    pub fn generation(&self) -> &str {
        let id = self.location.strip_prefix("/v1/generations/");
        id.and_then(|id| id.strip_suffix("/events"))
            .expect("a location")
    }
}

/// What a client reads at the Location from a position on.
pub async fn resumed(account: &Account, location: &str, after: usize) -> String {
    let request = account.get(location).header("last-event-id", after);
    Stream::of(send(request).await).rest().await
}

/// Events with these payloads from position 1 on.
fn events(payloads: &[&str]) -> String {
    let event =
        |(index, payload): (usize, &&str)| format!("id: {}\ndata: {payload}\n\n", index + 1);
    payloads.iter().enumerate().map(event).collect()
}

/// What OpenAI says of an error, whose shape, status and code are checked.
pub async fn refusal(response: Response, status: u16, code: &str) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(response.status(), status);
    let body: Value = response.json().await.expect("JSON");
    let error = &body["error"];
    assert_eq!(error["code"], code, "{body}");
    assert!(!error["message"].as_str().expect("words").is_empty());
    assert!(error["type"].is_string(), "{body}");
    error.clone()
}

const ODD: [&str; 5] = [
    r#"{ "id":"x", "choices":[{"index":1,"delta":{"role":"assistant","content":null},"finish_reason":""}], "timings": {"a":1.50} }"#,
    r#"{"choices":[],"prompt_filter_results":[]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"\ud83d","tool_calls":[{"index":0,"extra_content":{"google":{"thought_signature":"A="}}}]}}],"obfuscation":"xx"}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"\ude00 漢"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}"#,
    r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r"}}"#,
];

#[tokio::test]
async fn request_and_payloads_pass_byte_for_byte() {
    let app = spawn_app().await;
    let body = r#"{"messages" : [{"role":"developer","content":"\ud83d"}],  "model":"m","n":2,"stream":true,"unknown":{"a":1.0,"a":2},"temperature":1e-1}"#;
    let request = app.owner.post("/v1/chat/completions");
    let response = asking(
        request
            .header("content-type", "application/json")
            .body(body),
    );
    let mut call = app.upstream.next_call().await;
    assert_eq!(call.path, "/v1/chat/completions");
    assert_eq!(
        String::from_utf8_lossy(&call.body),
        r#"{"stream_options":{"include_usage":true},"messages" : [{"role":"developer","content":"\ud83d"}],  "model":"m","n":2,"stream":true,"unknown":{"a":1.0,"a":2},"temperature":1e-1}"#
    );
    call.head_sse().await;
    for payload in ODD {
        call.send_raw(format!(
            ": a comment\r\nevent: x\r\nid: 7\r\ndata:{payload}\r\n\r\n"
        ))
        .await;
    }
    // Broken JSON helps nobody.
    call.send_raw("data: {\"cho\n\ndata:\n\n").await;
    call.usage(7, 2).await;
    call.done().await;
    let stream = Stream::of(response.await.expect("no panic"));
    let location = stream.location.clone();
    let all = [&ODD[..], &["[DONE]"]].concat();
    assert_eq!(stream.rest().await, events(&all));
    // From every position the same bytes again.
    for after in 0..all.len() {
        let expected = events(&all);
        let expected = &expected[events(&all[..after]).len()..];
        assert_eq!(
            resumed(&app.owner, &location, after).await,
            expected,
            "after {after}"
        );
    }
    let at_end = app.owner.get(&location).header("last-event-id", all.len());
    assert_eq!(send(at_end).await.status(), 204);
    let beyond = app
        .owner
        .get(&format!("{location}?after={}", all.len() + 1));
    refusal(send(beyond).await, 410, "position_gone").await;
    app.end().await;
}

#[tokio::test]
async fn the_usage_is_asked_for_and_shown_to_those_who_asked() {
    let app = spawn_app().await;
    for (options, shown) in [
        (json!({"include_usage": true}), true),
        (json!({"include_usage": false, "x": 1}), false),
    ] {
        let body = json!({"model": "m", "stream": true, "stream_options": options});
        let response = asking(completion(&app.owner, &body));
        let mut call = app.upstream.next_call().await;
        assert_eq!(call.json()["stream_options"]["include_usage"], true);
        assert_eq!(
            call.json()["stream_options"]["x"],
            body["stream_options"]["x"]
        );
        call.answer(&["Hi"]).await;
        let stream = Stream::of(response.await.expect("no panic"));
        let record = format!("/v1/generations/{}", stream.generation());
        let text = stream.rest().await;
        assert_eq!(text.contains("\"usage\""), shown, "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        let record = app.owner.get_json(&record).await;
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 1});
        assert_eq!(record["usage"], usage, "counted in any case");
    }
    app.end().await;
}

#[tokio::test]
async fn what_is_read_at_the_location_meanwhile_is_the_same() {
    let app = spawn_app().await;
    let (mut stream, mut call) = streaming(&app, &["Hel"]).await;
    stream.read_until("Hel").await;
    let location = stream.location.clone();
    let reader = Stream::of(send(app.owner.get(&location)).await);
    call.send("lo").await;
    call.finish("stop").await;
    call.done().await;
    let text = stream.rest().await;
    assert_eq!(reader.rest().await, text);
    assert_eq!(text.matches("data: ").count(), 4, "{text}");
    app.end().await;
}

#[tokio::test]
async fn a_stream_beats_in_comments_that_end_no_event() {
    let app = spawn_app_with(&[("emitter.heartbeat_seconds", "1")]).await;
    let (mut stream, mut call) = streaming(&app, &["Hel"]).await;
    stream.read_until(": ping\n").await;
    call.done().await;
    while stream.read().await {}
    // The Python client takes a blank line behind an id for an event without data.
    assert!(!stream.text.contains(": ping\n\n"), "{:?}", stream.text);
    assert!(
        stream.text.starts_with(": continuo\nid: 1\ndata: "),
        "{:?}",
        stream.text
    );
    assert!(!stream.text.contains("retry:"));
    app.end().await;
}

#[tokio::test]
async fn a_payload_of_several_lines_stays_one() {
    let app = spawn_app().await;
    let (response, mut call) = asked(&app).await;
    call.head_sse().await;
    call.send_raw("data: {\ndata:   \"choices\": []\ndata: }\n\n")
        .await;
    call.done().await;
    let text = Stream::of(response.await.expect("no panic")).rest().await;
    assert_eq!(
        text,
        "id: 1\ndata: {\ndata:   \"choices\": []\ndata: }\n\nid: 2\ndata: [DONE]\n\n"
    );
    app.end().await;
}

#[tokio::test]
async fn a_whole_answer_to_a_streamed_request_comes_as_a_chunk() {
    let app = spawn_app().await;
    let (response, mut call) = asked(&app).await;
    call.reply_completion("Hello").await;
    let text = Stream::of(response.await.expect("no panic")).rest().await;
    assert!(
        text.contains(r#""delta":{"content":"Hello","role":"assistant"}"#),
        "{text}"
    );
    assert!(
        text.contains(r#""object":"chat.completion.chunk""#),
        "{text}"
    );
    assert!(text.ends_with("id: 2\ndata: [DONE]\n\n"), "{text}");
    app.end().await;
}

#[tokio::test]
async fn a_finish_reason_without_done_is_a_real_end() {
    let app = spawn_app().await;
    let (stream, mut call) = streaming(&app, &["Hi"]).await;
    call.finish("stop").await;
    call.end().await;
    assert!(stream.rest().await.ends_with("id: 3\ndata: [DONE]\n\n"));
    app.end().await;
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_passes_whole() {
    let app = spawn_app().await;
    let request = json!({"model": "m", "stream_options": null, "messages": [1]});
    let response = asking(completion(&app.owner, &request));
    let mut call = app.upstream.next_call().await;
    assert_eq!(call.json(), request, "nothing is added");
    let body = "{\r\n  \"choices\": [ {\"message\": {\"content\":\"Hi\"},\"finish_reason\":\"stop\"} ],\n  \"x\": 1.50,\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}";
    call.reply(200, &[("content-type", "application/json")], body)
        .await;
    let response = response.await.expect("no panic");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    let location = response.headers()["location"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    assert_eq!(response.text().await.expect("a body"), body);
    let record = location.strip_suffix("/events").expect("a location");
    let record = app.owner.get_json(record).await;
    assert_eq!(record["status"], "completed");
    assert_eq!(
        record["usage"],
        json!({"prompt_tokens": 7, "completion_tokens": 2})
    );
    assert_eq!(record.get("conversation_id"), None);
    app.end().await;
}

#[tokio::test]
async fn the_models_are_listed_and_found() {
    let app = spawn_app().await;
    app.upstream.set_models(Some(&["a", "org/b"]));
    let object =
        |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "upstream"});
    assert_eq!(
        app.owner.get_json("/v1/models").await,
        json!({"object": "list", "data": [object("a"), object("org/b")]})
    );
    assert_eq!(
        app.owner.get_json("/v1/models/org/b").await,
        object("org/b")
    );
    let unknown = send(app.owner.get("/v1/models/c")).await;
    refusal(unknown, 404, "model_not_found").await;
    // The one that answers when none is named is the first.
    let response = asking(completion(&app.owner, &json!({"messages": []})));
    let mut call = app.upstream.next_call().await;
    assert_eq!(call.json(), json!({"model": "a", "messages": []}));
    call.reply_completion("Hi").await;
    assert_eq!(response.await.expect("no panic").status(), 200);
    app.end().await;
}

#[tokio::test]
async fn nothing_of_it_is_in_the_store_or_in_the_feed() {
    let app = spawn_app().await;
    let (stream, mut call) = streaming(&app, &["Hi"]).await;
    let id = stream.generation().to_owned();
    let mut feed = crate::support::events::Events::new(send(app.owner.get("/api/feed")).await);
    let snapshot = feed.expect("snapshot").await.data.expect("data");
    assert_eq!(snapshot["running"], json!([]));
    // Its events are nobody's: it has none.
    let events = send(app.owner.get(&format!("/api/generations/{id}/events"))).await;
    crate::support::app::problem(events, 409, "has-no-events").await;
    call.send_json(&chunk(&json!([]))).await;
    call.done().await;
    stream.rest().await;
    assert_eq!(
        app.owner.get_json("/api/conversations").await["items"],
        json!([])
    );
    assert_eq!(app.chat.recorder.backlog().0, 0);
    drop(feed);
    app.end().await;
}
