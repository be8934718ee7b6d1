//! What an answer is made of besides its text, and which model writes it.

use crate::support::{
    app::{TestApp, Turn, send, spawn_app, spawn_app_with},
    events::Reader,
};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn thinking_text_and_tool_calls_are_streamed_and_stored() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    let mut events = app.owner.events(&turn, 0).await;
    events.expect("started").await;
    call.send_reasoning("Let me ").await;
    let mut reader = Reader {
        position: 1,
        ..Reader::default()
    };
    reader.take(&events.expect("reasoning").await);
    call.send_reasoning("look. \u{1f914}").await;
    reader.take(&events.expect("reasoning").await);
    let function = |name: Value, arguments: &str| {
        json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
            "function": {"name": name, "arguments": arguments}}]})
    };
    call.send_delta(function(json!("weather"), r#"{"city": "#))
        .await;
    let first = events.expect("tool_calls").await;
    assert_eq!(
        first.data.as_ref().expect("data")["tool_calls"][0]["function"]["name"],
        "weather"
    );
    reader.take(&first);
    call.send_delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"Graz\"}"}}]}))
        .await;
    reader.take(&events.expect("tool_calls").await);
    call.send("It rains.").await;
    call.finish("tool_calls").await;
    call.usage(11, 22).await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(reader.reasoning, "Let me look. \u{1f914}");
    let done = reader.done.as_ref().expect("the end");
    assert_eq!(done["finish_reason"], "tool_calls");

    let message = app.owner.message(&turn).await;
    assert_eq!(message["content"], "It rains.");
    assert_eq!(message["reasoning"], reader.reasoning.as_str());
    let calls = json!([{"id": "call_1", "type": "function",
        "function": {"name": "weather", "arguments": "{\"city\": \"Graz\"}"}}]);
    assert_eq!(message["tool_calls"], calls);
    assert_eq!(
        message["usage"],
        json!({"prompt_tokens": 11, "completion_tokens": 22})
    );
    assert_eq!(message["usage"], done["usage"]);
    assert_eq!(message["timings"], done["timings"]);
    let millis = |name| done["timings"][name].as_u64().expect("milliseconds");
    assert!(millis("thinking_ms") <= millis("total_ms"));
    assert_eq!(message["finish_reason"], "tool_calls");
    app.end().await;
}

#[tokio::test]
async fn an_answer_that_only_thought_has_an_empty_text_and_its_time_to_the_first_token() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send_reasoning("Hmm").await;
    call.finish("length").await;
    call.done().await;
    let reader = app.owner.read_all(&turn).await;
    let done = reader.done.expect("the end");
    assert_eq!(
        (&done["outcome"], &done["finish_reason"]),
        (&json!("completed"), &json!("length"))
    );
    assert!(done["timings"]["first_token_ms"].is_u64(), "{done}");
    assert!(done["timings"]["thinking_ms"].is_u64(), "{done}");
    let message = app.owner.message(&turn).await;
    assert_eq!(
        (&message["content"], &message["reasoning"]),
        (&json!(""), &json!("Hmm"))
    );
    app.end().await;
}

#[tokio::test]
async fn the_system_prompt_and_the_sampling_reach_the_upstream() {
    let app = spawn_app().await;
    let made = app.owner.post("/api/conversations");
    let made = send(made.json(&json!({"system": "Be brief."}))).await;
    let made: Value = made.json().await.expect("JSON");
    let conversation = made["id"].as_str().expect("an id");
    let body = json!({"content": "hello", "temperature": 0.5, "max_tokens": 7, "stop": ["\n"], "seed": 42});
    let turn = Turn::started(conversation, send(app.owner.say(conversation, &body)).await).await;
    let mut call = app.upstream.next_call().await;
    let asked = call.json();
    assert_eq!(
        asked["messages"],
        json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}])
    );
    for (name, value) in [
        ("temperature", json!(0.5)),
        ("max_tokens", json!(7)),
        ("stop", json!(["\n"])),
        ("seed", json!(42)),
        ("stream", json!(true)),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    assert!(
        asked.get("top_p").is_none(),
        "absent is the upstream's choice"
    );
    call.answer(&["Hi"]).await;
    app.owner.read_all(&turn).await;
    app.end().await;
}

/// Asks with these fields; the model that the upstream was asked for and that `started` names.
async fn model_of(app: &TestApp, conversation: &str, fields: Value) -> String {
    let mut body = fields;
    body["content"] = json!("hello");
    let turn = Turn::started(conversation, send(app.owner.say(conversation, &body)).await).await;
    let mut call = app.upstream.next_call().await;
    if call.path.ends_with("/models") {
        call.reply(500, &[], "no list").await;
        call = app.upstream.next_call().await;
    }
    let asked = call.json()["model"].as_str().expect("a model").to_owned();
    call.answer(&["Hi"]).await;
    let mut events = app.owner.events(&turn, 0).await;
    let started = events.expect("started").await.data.expect("data");
    assert_eq!(started["model"], asked.as_str());
    events
        .read_to_end(&mut Reader {
            position: 1,
            ..Reader::default()
        })
        .await;
    asked
}

#[tokio::test]
async fn the_request_names_the_model_else_the_conversation_else_the_configuration() {
    let app = spawn_app_with(&[("upstream.model", "configured")]).await;
    app.upstream.set_models(Some(&["listed"]));
    let conversation = app.owner.conversation().await;
    assert_eq!(model_of(&app, &conversation, json!({})).await, "configured");
    let path = format!("/api/conversations/{conversation}");
    let change = app.owner.request(Method::PATCH, &path);
    let changed = send(change.json(&json!({"model": "conversation's"}))).await;
    assert_eq!(changed.status(), 200);
    assert_eq!(
        model_of(&app, &conversation, json!({})).await,
        "conversation's"
    );
    let asked = json!({"model": "request's"});
    assert_eq!(model_of(&app, &conversation, asked).await, "request's");
    let empty = json!({"model": " "});
    assert_eq!(
        model_of(&app, &conversation, empty).await,
        "conversation's",
        "no name is no choice"
    );
    assert_eq!(
        model_of(&app, &conversation, json!({"model": null})).await,
        "conversation's"
    );
    app.end().await;
}

#[tokio::test]
async fn without_a_choice_it_is_the_first_that_the_upstream_lists() {
    let app = spawn_app().await;
    app.upstream.set_models(Some(&["first", "second"]));
    let conversation = app.owner.conversation().await;
    assert_eq!(model_of(&app, &conversation, json!({})).await, "first");
    app.end().await;
}

#[tokio::test]
async fn without_a_list_it_is_default_until_there_is_one() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    app.upstream.set_models(None);
    assert_eq!(model_of(&app, &conversation, json!({})).await, "default");
    app.upstream.set_models(Some(&[]));
    assert_eq!(model_of(&app, &conversation, json!({})).await, "default");
    app.upstream.set_models(Some(&["late"]));
    assert_eq!(model_of(&app, &conversation, json!({})).await, "late");
    app.end().await;
}
