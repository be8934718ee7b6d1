//! OpenAI's API: a repeated request with an `Idempotency-Key`, and models under other names.

use crate::{
    support::app::{Account, send, spawn_app, spawn_app_with},
    v1::{Stream, asking, completion, refusal},
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

fn once(account: &Account, key: &str, body: &Value) -> RequestBuilder {
    completion(account, body).header("idempotency-key", key)
}

#[tokio::test]
async fn a_repeat_streams_the_same_answer_from_its_beginning() {
    let app = spawn_app().await;
    let body = json!({"model": "m", "stream": true});
    let first = asking(once(&app.owner, "k", &body));
    let mut call = app.upstream.next_call().await;
    // A twin at the same time waits for it.
    let twin = asking(once(&app.owner, "k", &body));
    call.head_sse().await;
    call.send("Hel").await;
    let first = Stream::of(first.await.expect("no panic"));
    let twin = Stream::of(twin.await.expect("no panic"));
    assert_eq!(twin.location, first.location);
    call.send("lo").await;
    call.finish("stop").await;
    call.done().await;
    let text = first.rest().await;
    assert_eq!(twin.rest().await, text);
    let later = Stream::of(send(once(&app.owner, "k", &body)).await);
    assert_eq!(later.rest().await, text);
    assert!(app.upstream.waiting_call().is_none(), "it was asked once");
    let other = send(once(&app.owner, "k", &json!({"model": "m"}))).await;
    refusal(other, 422, "idempotency_key_reused").await;
    // Another user's key is another key.
    let stranger = app.stranger().await;
    let theirs = asking(once(&stranger, "k", &body));
    app.upstream.next_call().await.answer(&["theirs"]).await;
    assert!(
        Stream::of(theirs.await.expect("no panic"))
            .rest()
            .await
            .contains("theirs")
    );
    app.end().await;
}

#[tokio::test]
async fn who_was_cut_off_and_repeats_the_request_gets_an_answer() {
    let app = spawn_app().await;
    let body = json!({"model": "m", "stream": true});
    let first = asking(once(&app.owner, "k", &body));
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("Hel").await;
    let first = Stream::of(first.await.expect("no panic"));
    let location = first.location.clone();
    drop(first);
    call.closed().await;
    let again = asking(once(&app.owner, "k", &body));
    app.upstream.next_call().await.answer(&["Hello"]).await;
    let again = Stream::of(again.await.expect("no panic"));
    assert_ne!(again.location, location);
    assert!(again.rest().await.ends_with("data: [DONE]\n\n"));
    app.end().await;
}

#[tokio::test]
async fn a_repeat_of_a_whole_answer_gets_the_same_json() {
    let app = spawn_app().await;
    let body = json!({"model": "m"});
    let first = asking(once(&app.owner, "k", &body));
    app.upstream
        .next_call()
        .await
        .reply_completion("Hello")
        .await;
    let first = first.await.expect("no panic");
    let location = first.headers()["location"].clone();
    let first = first.text().await.expect("a body");
    let again = send(once(&app.owner, "k", &body)).await;
    assert_eq!(again.headers()["location"], location);
    assert_eq!(again.text().await.expect("a body"), first);
    app.end().await;
}

#[tokio::test]
async fn what_was_refused_before_the_first_byte_may_be_asked_again() {
    let app = spawn_app().await;
    let body = json!({"model": "m", "stream": true});
    let first = asking(once(&app.owner, "k", &body));
    let mut call = app.upstream.next_call().await;
    let twin = asking(once(&app.owner, "k", &body));
    call.reply_429("1").await;
    assert_eq!(first.await.expect("no panic").status(), 429);
    // The twin's turn.
    app.upstream.next_call().await.answer(&["Hi"]).await;
    let text = Stream::of(twin.await.expect("no panic")).rest().await;
    assert!(text.contains("[DONE]"), "{text}");
    app.end().await;
}

#[tokio::test]
async fn a_repeat_holds_the_answer_as_any_reader() {
    let app = spawn_app().await;
    let body = json!({"model": "m", "stream": true});
    let first = asking(once(&app.owner, "k", &body));
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("Hel").await;
    let mut first = Stream::of(first.await.expect("no panic"));
    first.read_until("Hel").await;
    let mut again = Stream::of(send(once(&app.owner, "k", &body)).await);
    again.read_until("Hel").await;
    drop(first);
    call.send("lo").await;
    again.read_until("\"lo\"").await;
    drop(again);
    call.closed().await;
    app.end().await;
}

#[tokio::test]
async fn who_lost_a_detached_whole_answer_gets_it_by_asking_again() {
    let app = spawn_app().await;
    let body = json!({"model": "m"});
    let detached = || once(&app.owner, "k", &body).header("x-continuo-detach", "true");
    let lost = asking(detached());
    let mut call = app.upstream.next_call().await;
    lost.abort();
    app.no_emitters().await;
    // It waits for the one that runs.
    let again = asking(detached());
    assert!(!call.is_closed());
    call.reply_completion("Hello").await;
    let again = again.await.expect("no panic");
    assert_eq!(again.status(), 200);
    let answer: Value = again.json().await.expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello");
    assert!(app.upstream.waiting_call().is_none(), "it was asked once");
    app.end().await;
}

#[tokio::test]
async fn a_model_is_asked_for_by_another_name() {
    let aliases = [
        ("upstream.aliases", "gpt-4o=llama3.3:70b, small=fake-model"),
        ("upstream.model", "small"),
    ];
    let app = spawn_app_with(&aliases).await;
    for (asked, model) in [
        (json!({"model": "gpt-4o"}), "llama3.3:70b"),
        (json!({}), "fake-model"),
        (json!({"model": "other"}), "other"),
    ] {
        let response = asking(completion(&app.owner, &asked));
        let mut call = app.upstream.next_call().await;
        assert_eq!(call.json()["model"], model);
        call.reply_completion("Hi").await;
        assert_eq!(response.await.expect("no panic").status(), 200);
    }
    let list = app.owner.get_json("/v1/models").await;
    let ids: Vec<_> = list["data"]
        .as_array()
        .expect("models")
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(ids, ["gpt-4o", "small", "fake-model"]);
    assert_eq!(
        app.owner.get_json("/v1/models/gpt-4o").await["object"],
        "model"
    );
    // In conversations too.
    let conversation = app.owner.conversation().await;
    let ask = app
        .owner
        .say(&conversation, &json!({"content": "hi", "model": "gpt-4o"}));
    assert_eq!(send(ask).await.status(), 202);
    let mut call = app.upstream.next_call().await;
    assert_eq!(call.json()["model"], "llama3.3:70b");
    call.answer(&["Hi"]).await;
    app.nothing_runs().await;
    app.end().await;
}
