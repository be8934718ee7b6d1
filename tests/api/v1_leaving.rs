//! Whoever asks by OpenAI's API and leaves ends the answer, unless they said otherwise; operators see and end it as any other.

use crate::{
    support::{
        app::{send, spawn_app, spawn_app_with},
        until,
    },
    v1::{Stream, asked, asking, completion, refusal, resumed, streaming},
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_stops_the_upstream() {
    let app = spawn_app().await;
    let (response, call) = asked(&app).await;
    response.abort();
    call.closed().await;
    app.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_the_stream_stops_the_upstream_and_what_came_stays_readable() {
    let app = spawn_app().await;
    let (mut stream, call) = streaming(&app, &["Hel"]).await;
    stream.read_until("Hel").await;
    let location = stream.location.clone();
    drop(stream);
    call.closed().await;
    app.nothing_runs().await;
    let text = resumed(&app.owner, &location, 0).await;
    assert!(text.contains("\"Hel\""), "{text}");
    assert!(text.contains("id: 2\ndata: {\"error\":{"), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
    app.end().await;
}

#[tokio::test]
async fn a_detached_answer_goes_on_and_is_read_to_its_end_later() {
    let app = spawn_app().await;
    let body = json!({"model": "m", "stream": true});
    let request = completion(&app.owner, &body).header("x-continuo-detach", "true");
    let response = asking(request);
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("Hel").await;
    let mut stream = Stream::of(response.await.expect("no panic"));
    stream.read_until("Hel").await;
    let location = stream.location.clone();
    drop(stream);
    app.no_emitters().await;
    assert!(call.send("lo").await);
    call.finish("stop").await;
    call.done().await;
    app.nothing_runs().await;
    let text = resumed(&app.owner, &location, 1).await;
    assert!(
        text.starts_with("id: 2\ndata: ") && text.contains("\"lo\""),
        "{text}"
    );
    assert!(text.ends_with("id: 4\ndata: [DONE]\n\n"), "{text}");
    app.end().await;
}

#[tokio::test]
async fn an_answer_goes_on_until_its_last_reader_leaves() {
    let app = spawn_app().await;
    let (mut stream, mut call) = streaming(&app, &["Hel"]).await;
    stream.read_until("Hel").await;
    let mut second = Stream::of(send(app.owner.get(&stream.location)).await);
    second.read_until("Hel").await;
    drop(stream);
    let registry = &app.chat.registry;
    until("the first has left", async || registry.emitter_count() == 1).await;
    call.send("lo").await;
    second.read_until("\"lo\"").await;
    assert!(!call.is_closed());
    drop(second);
    call.closed().await;
    app.end().await;
}

#[tokio::test]
async fn a_whole_answer_that_nobody_waits_for_any_more_stops_too() {
    let app = spawn_app().await;
    let response = asking(completion(&app.owner, &json!({"model": "m"})));
    let call = app.upstream.next_call().await;
    response.abort();
    call.closed().await;
    app.end().await;
}

#[tokio::test]
async fn an_operator_sees_a_completion_and_ends_it() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let body = json!({"model": "m", "stream": true});
    let response = asking(completion(&stranger, &body));
    let mut call = app.upstream.next_call().await;
    // Seen before there is a byte of it.
    let running = app.owner.get_json("/api/operator/generations").await;
    let running = &running["items"][0];
    assert_eq!(
        (&running["message_id"], &running["conversation_id"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(running["readers"], 1);
    let emitters = app.owner.get_json("/api/operator/emitters").await;
    assert_eq!(emitters["items"][0]["target"], running["id"]);
    call.head_sse().await;
    call.send("Hel").await;
    let mut stream = Stream::of(response.await.expect("no panic"));
    stream.read_until("Hel").await;
    let stop = format!("/api/operator/generations/{}/stop", stream.generation());
    let stopped = send(app.owner.post(&stop)).await;
    assert_eq!(stopped.status(), 200);
    call.closed().await;
    let text = stream.rest().await;
    assert!(text.ends_with("\"code\":\"stopped\"}}\n\n"), "{text}");
    assert!(!text.contains("[DONE]"));
    app.end().await;
}

#[tokio::test]
async fn a_stop_before_the_first_byte_is_told_by_the_status() {
    let app = spawn_app().await;
    let (response, call) = asked(&app).await;
    let running = app.owner.get_json("/api/operator/generations").await;
    let id = running["items"][0]["id"].as_str().expect("an id");
    let stopped = send(app.owner.post(&format!("/v1/generations/{id}/cancel"))).await;
    assert_eq!(stopped.status(), 200);
    call.closed().await;
    refusal(response.await.expect("no panic"), 410, "stopped").await;
    app.end().await;
}

#[tokio::test]
async fn a_connection_that_an_operator_ends_is_told_and_ends_its_answer() {
    let app = spawn_app().await;
    let (mut stream, call) = streaming(&app, &["Hel"]).await;
    stream.read_until("Hel").await;
    let emitters = app.owner.get_json("/api/operator/emitters").await;
    let id = emitters["items"][0]["id"].as_str().expect("an id");
    let ended = send(app.owner.request(
        reqwest::Method::DELETE,
        &format!("/api/operator/emitters/{id}"),
    ));
    assert_eq!(ended.await.status(), 204);
    call.closed().await;
    let text = stream.rest().await;
    assert!(text.contains("\n\ndata: {\"error\":{"), "{text}");
    assert!(!text.contains("[DONE]"));
    app.end().await;
}

#[tokio::test]
async fn a_drain_ends_a_completion_as_interrupted_and_never_as_done() {
    let mut app = spawn_app().await;
    let (mut stream, mut call) = streaming(&app, &["Hel"]).await;
    stream.read_until("Hel").await;
    let (held, second) = asked(&app).await;
    app.shut_down().await;
    let text = stream.rest().await;
    assert!(text.ends_with("\"code\":\"interrupted\"}}\n\n"), "{text}");
    refusal(held.await.expect("no panic"), 503, "interrupted").await;
    call.close();
    drop(second);
}

#[tokio::test]
async fn completions_count_against_the_limits() {
    let app = spawn_app_with(&[("limits.generations_per_user", "1")]).await;
    let (stream, mut call) = streaming(&app, &["Hel"]).await;
    let second = send(completion(&app.owner, &json!({"stream": true}))).await;
    assert_eq!(second.headers()["retry-after"], "1");
    let error = refusal(second, 429, "too_many").await;
    assert_eq!(error["type"], "rate_limit_error");
    call.done().await;
    stream.rest().await;
    app.end().await;

    let app = spawn_app_with(&[("limits.emitters_per_user", "1")]).await;
    let (stream, mut call) = streaming(&app, &["Hel"]).await;
    let second = send(completion(&app.owner, &json!({"stream": true}))).await;
    refusal(second, 429, "too_many").await;
    call.done().await;
    stream.rest().await;
    assert!(
        app.upstream.waiting_call().is_none(),
        "the upstream was not asked"
    );
    app.end().await;
}

#[tokio::test]
async fn an_answer_too_large_ends_in_an_error() {
    let app = spawn_app_with(&[("limits.answer_bytes", "10")]).await;
    let (stream, mut call) = streaming(&app, &["Hel"]).await;
    call.send("0123456789").await;
    call.closed().await;
    let text = stream.rest().await;
    assert!(
        text.contains("answer_too_large") && !text.contains("[DONE]"),
        "{text}"
    );
    let response = asking(completion(&app.owner, &json!({"model": "m"})));
    let mut call = app.upstream.next_call().await;
    call.reply_completion("0123456789a").await;
    refusal(response.await.expect("no panic"), 502, "answer_too_large").await;
    app.end().await;
}
