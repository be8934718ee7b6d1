//! Where a prompt may stand, how large it may be, and what happens when two come at once.

use crate::support::{
    app::{TestApp, Turn, problem, send, spawn_app, spawn_app_with},
    events::Reader,
};
use serde_json::{Value, json};

async fn ask_below(app: &TestApp, conversation: &str, parent: Value, content: &str) -> Turn {
    let body = json!({"content": content, "parent_id": parent});
    let response = send(app.owner.say(conversation, &body)).await;
    let turn = Turn::started(conversation, response).await;
    app.upstream.next_call().await.answer(&["Fine"]).await;
    app.owner.read_all(&turn).await;
    turn
}

/// The ids from the root to the parent of `id`, and its own.
fn path_to(conversation: &Value, id: &str) -> Vec<String> {
    let messages = conversation["messages"].as_array().expect("messages");
    let mut path = vec![id.to_owned()];
    while let Some(message) = messages.iter().find(|m| m["id"] == path[0].as_str())
        && let Some(parent) = message["parent_id"].as_str()
    {
        path.insert(0, parent.to_owned());
    }
    path
}

#[tokio::test]
async fn of_two_messages_at_once_one_starts_and_the_other_is_told_which_runs() {
    let app = spawn_app().await;
    for _ in 0..5 {
        let conversation = app.owner.conversation().await;
        let ask = |content: &str| send(app.owner.say(&conversation, &json!({"content": content})));
        let (one, two) = tokio::join!(ask("one"), ask("two"));
        let (started, refused) = if one.status() == 202 {
            (one, two)
        } else {
            (two, one)
        };
        let turn = Turn::started(&conversation, started).await;
        let refusal = problem(refused, 409, "still-streaming").await;
        assert_eq!(refusal["generation_id"], turn.generation.as_str());
        app.upstream.next_call().await.answer(&["Fine"]).await;
        app.owner.read_all(&turn).await;
        let read = app.owner.read(&conversation).await;
        assert_eq!(read["messages"].as_array().expect("messages").len(), 2);
    }
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

#[tokio::test]
async fn below_an_answer_that_streams_nothing_starts_and_what_is_refused_leaves_nothing() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send("Hel").await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    events.read_until(&mut reader, 3).await;
    let before = app.owner.read(&turn.conversation).await;
    for parent in [None, Some(&turn.message)] {
        let mut body = json!({"content": "more"});
        if let Some(parent) = parent {
            body["parent_id"] = json!(parent);
        }
        let response = send(app.owner.say(&turn.conversation, &body)).await;
        let refusal = problem(response, 409, "still-streaming").await;
        assert_eq!(refusal["generation_id"], turn.generation.as_str());
    }
    let regenerate = format!("/api/messages/{}/regenerate", turn.message);
    let refusal = problem(
        send(app.owner.post(&regenerate)).await,
        409,
        "still-streaming",
    )
    .await;
    assert_eq!(refusal["generation_id"], turn.generation.as_str());
    assert_eq!(app.owner.read(&turn.conversation).await, before);
    call.send("lo").await;
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("Hello", "completed")
    );
    app.end().await;
}

#[tokio::test]
async fn two_below_the_same_finished_answer_become_siblings_and_both_stream() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let first = app.answered(&conversation, "one", &["One"]).await;
    let ask = |content: &str| {
        let body = json!({"content": content, "parent_id": first.message});
        send(app.owner.say(&conversation, &body))
    };
    let (left, right) = tokio::join!(ask("left"), ask("right"));
    let left = Turn::started(&conversation, left).await;
    let right = Turn::started(&conversation, right).await;
    assert_ne!(left.generation, right.generation);
    for _ in 0..2 {
        let mut call = app.upstream.next_call().await;
        let asked = call.json()["messages"].clone();
        assert_eq!(asked.as_array().expect("messages").len(), 3, "{asked}");
        let said = asked[2]["content"].as_str().expect("text").to_uppercase();
        call.answer(&[&said]).await;
    }
    assert_eq!(app.owner.read_all(&left).await.text, "LEFT");
    assert_eq!(app.owner.read_all(&right).await.text, "RIGHT");
    let read = app.owner.read(&conversation).await;
    for turn in [&left, &right] {
        let path = path_to(&read, &turn.message);
        assert_eq!((path.len(), &path[1]), (4, &first.message));
    }
    let head = read["head_id"].as_str().expect("a head");
    assert!([left.message.as_str(), &right.message].contains(&head));
    app.end().await;
}

#[tokio::test]
async fn a_prompt_stands_below_the_head_unless_it_names_a_parent() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let first = app.answered(&conversation, "one", &["One"]).await;
    let second = app.answered(&conversation, "two", &["Two"]).await;
    let aside = ask_below(&app, &conversation, json!(first.message), "aside").await;
    let afresh = ask_below(&app, &conversation, Value::Null, "afresh").await;
    let next = app.answered(&conversation, "next", &["Next"]).await;
    let read = app.owner.read(&conversation).await;
    assert_eq!(read["head_id"], next.message.as_str());
    assert_eq!(path_to(&read, &second.message)[1], first.message);
    assert_eq!(path_to(&read, &aside.message)[1], first.message);
    assert_eq!(path_to(&read, &afresh.message).len(), 2);
    assert_eq!(path_to(&read, &next.message)[1], afresh.message);
    app.end().await;
}

#[tokio::test]
async fn parents_that_are_none_are_refused_and_store_nothing() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    app.answered(&conversation, "one", &["One"]).await;
    let elsewhere = app.owner.conversation().await;
    let other = app.answered(&elsewhere, "other", &["Other"]).await;
    let stranger = app.stranger().await;
    let theirs = stranger.ask(&stranger.conversation().await, "mine").await;
    app.upstream.next_call().await.answer(&["Yours"]).await;
    stranger.read_all(&theirs).await;
    let before = app.owner.read(&conversation).await;
    let question = before["messages"][0]["id"].as_str().expect("an id");
    for parent in [
        "0190a0c4-7c3d-7cc0-8000-000000000000",
        "x",
        "",
        question,
        &other.message,
        &theirs.message,
        &conversation,
    ] {
        println!("{parent}");
        let body = json!({"content": "hello", "parent_id": parent});
        let response = send(app.owner.say(&conversation, &body)).await;
        problem(response, 422, "invalid-value").await;
    }
    let regenerate = format!("/api/messages/{question}/regenerate");
    problem(
        send(app.owner.post(&regenerate)).await,
        422,
        "invalid-value",
    )
    .await;
    assert_eq!(app.owner.read(&conversation).await, before);
    app.end().await;
}

#[tokio::test]
async fn a_prompt_over_the_limit_is_refused_and_one_at_it_is_not() {
    let app = spawn_app_with(&[("limits.message_bytes", "1000")]).await;
    let conversation = app.owner.conversation().await;
    // 333 × 3 bytes and one more.
    let fits = format!("{}x", "漢".repeat(333));
    let body = json!({"content": format!("{fits}x")});
    let refusal = problem(
        send(app.owner.say(&conversation, &body)).await,
        413,
        "message-too-large",
    )
    .await;
    let detail = refusal["detail"].as_str().expect("words");
    assert!(
        detail.contains("1001") && detail.contains("1000"),
        "{detail}"
    );
    let read = app.owner.read(&conversation).await;
    assert_eq!(read["messages"], json!([]));
    let turn = app.answered(&conversation, &fits, &["Fine"]).await;
    assert_eq!(app.owner.message(&turn).await["status"], "completed");
    app.end().await;
}

#[tokio::test]
async fn a_context_over_the_limit_fails_in_words_and_never_reaches_the_upstream() {
    let app = spawn_app_with(&[("limits.context_bytes", "100")]).await;
    let conversation = app.owner.conversation().await;
    let first = app
        .answered(&conversation, &"x".repeat(60), &["y".repeat(39).as_str()])
        .await;
    let turn = app.owner.ask(&conversation, "zz").await;
    let reader = app.owner.read_all(&turn).await;
    assert_eq!(reader.outcome(), "failed");
    let done = reader.done.expect("the end");
    assert_eq!(done["problem"]["type"], "/problems/context-too-large");
    assert_eq!(done["problem"]["status"], 413);
    assert_eq!(done["stored"], true);
    let detail = done["problem"]["detail"].as_str().expect("words");
    assert!(detail.contains("101") && detail.contains("100"), "{detail}");
    assert!(app.upstream.waiting_call().is_none());
    let message = app.owner.message(&turn).await;
    assert_eq!(message["problem"], done["problem"]);
    // Shorter, from an earlier place in the conversation, it goes on.
    let body = json!({"content": "z", "parent_id": first.message});
    let turn = Turn::started(
        &conversation,
        send(app.owner.say(&conversation, &body)).await,
    )
    .await;
    app.upstream.next_call().await.answer(&["Fine"]).await;
    assert_eq!(app.owner.read_all(&turn).await.outcome(), "completed");
    app.end().await;
}
