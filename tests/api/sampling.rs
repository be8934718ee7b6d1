//! How answers are sampled: what a conversation says, and what a question says over it.

use super::conversations::{change, create, id, path};
use crate::support::app::{Account, Turn, problem, send, spawn_app};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const FIELDS: [&str; 7] = [
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
];

/// What of a request to the upstream says how to sample.
fn sampling(asked: &Value) -> Value {
    let fields = FIELDS.iter().filter_map(|name| {
        let value = asked.get(*name)?;
        Some(((*name).to_owned(), value.clone()))
    });
    Value::Object(fields.collect())
}

#[tokio::test]
async fn what_a_question_says_wins_field_by_field_over_what_its_conversation_says() {
    let app = spawn_app().await;
    let kept =
        json!({"temperature": 0.5, "top_p": 0.9, "max_tokens": 5, "stop": ["a", "b"], "seed": 7});
    let made = create(&app.owner, json!({ "sampling": kept })).await;
    assert_eq!(made["sampling"], kept);
    let conversation = id(&made);
    let own = json!({"content": "q", "temperature": 1.5, "stop": [], "presence_penalty": -1.0});
    let response = send(app.owner.say(conversation, &own)).await;
    let turn = Turn::started(conversation, response).await;
    let mut call = app.upstream.next_call().await;
    assert_eq!(
        sampling(&call.json()),
        json!({"temperature": 1.5, "top_p": 0.9, "max_tokens": 5, "stop": [], "seed": 7, "presence_penalty": -1.0})
    );
    call.answer(&["Fi"]).await;
    app.owner.read_all(&turn).await;

    // Regenerating and continuing too.
    let regenerate = format!("/api/messages/{}/regenerate", turn.message);
    let request = app.owner.post(&regenerate).json(&json!({"seed": 8}));
    let other = Turn::started(conversation, send(request).await).await;
    let mut call = app.upstream.next_call().await;
    let mut expected = kept.clone();
    expected["seed"] = json!(8);
    assert_eq!(sampling(&call.json()), expected);
    call.head_sse().await;
    call.send("Half").await;
    call.finish("length").await;
    call.done().await;
    app.owner.read_all(&other).await;
    let carry_on = format!("/api/messages/{}/continue", other.message);
    let rest = Turn::started(conversation, send(app.owner.post(&carry_on)).await).await;
    let mut call = app.upstream.next_call().await;
    assert_eq!(sampling(&call.json()), kept);
    call.answer(&[" done"]).await;
    app.owner.read_all(&rest).await;
    app.end().await;
}

#[tokio::test]
async fn sampling_is_replaced_whole_cleared_by_null_and_makes_a_version() {
    let app = spawn_app().await;
    let made = create(&app.owner, json!({})).await;
    assert_eq!(made["sampling"], json!({}));
    let mut version = made["version"].as_i64().expect("a number");
    for (asked, kept) in [
        (json!({"temperature": 0}), json!({"temperature": 0.0})),
        (
            json!({"top_p": 1, "unknown": {"deep": [1]}, "seed": null}),
            json!({"top_p": 1.0}),
        ),
        (
            json!({"stop": ["a\u{0}b", "🙂"]}),
            json!({"stop": ["a\u{fffd}b", "🙂"]}),
        ),
        (json!(null), json!({})),
        (
            json!({"max_tokens": 4_294_967_295_u32}),
            json!({"max_tokens": 4_294_967_295_u32}),
        ),
        (json!({}), json!({})),
    ] {
        let body = json!({ "sampling": asked });
        let changed = change(&app.owner, &path(&made), None, body).await;
        let changed: Value = changed.json().await.expect("JSON");
        version += 1;
        assert_eq!(
            (&changed["sampling"], &changed["version"]),
            (&kept, &json!(version)),
            "{asked}"
        );
        assert_eq!(app.owner.read(id(&made)).await["sampling"], kept);
        let list = app.owner.get_json("/api/conversations").await;
        assert_eq!(list["items"][0]["sampling"], kept);
    }
    app.end().await;
}

#[tokio::test]
async fn sampling_that_a_question_could_not_say_is_refused_with_the_same_words() {
    let app = spawn_app().await;
    let made = create(&app.owner, json!({})).await;
    let patch = |body: &Value| app.owner.request(Method::PATCH, &path(&made)).json(body);
    let post = |account: &Account, body: &Value| account.post("/api/conversations").json(body);
    let refusal = async |request: RequestBuilder| {
        let refusal = problem(send(request).await, 422, "invalid-value").await;
        let detail = refusal["detail"].as_str().expect("words").to_owned();
        detail.split(" at line").next().map(str::to_owned)
    };
    for (name, value) in [
        ("temperature", json!("hot")),
        ("top_p", json!([1])),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(1.5)),
        ("max_tokens", json!(4_294_967_296_u64)),
        ("stop", json!("one")),
        ("stop", json!([1])),
        ("seed", json!(0.5)),
        ("presence_penalty", json!(true)),
    ] {
        println!("{name}: {value}");
        let mut prompt = json!({"content": "x"});
        prompt[name] = value.clone();
        let of_prompt = refusal(app.owner.say(id(&made), &prompt)).await;
        let mut body = json!({"sampling": {}});
        body["sampling"][name] = value;
        assert_eq!(refusal(patch(&body)).await, of_prompt);
        assert_eq!(refusal(post(&app.owner, &body)).await, of_prompt);
    }
    for no_object in [json!([0.5]), json!("x"), json!(1)] {
        let body = json!({ "sampling": no_object });
        refusal(patch(&body)).await;
        refusal(post(&app.owner, &body)).await;
    }
    assert_eq!(app.owner.read(id(&made)).await, made);
    app.end().await;
}
