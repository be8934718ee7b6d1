//! Titles that a model gives, in the background.

use crate::support::{
    app::{Account, TestApp, Turn, send, spawn_app, spawn_app_with},
    events::Events,
    fake_upstream::Call,
    until,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const QUESTION: &str = "  Why are there tides?\nAnd moons?";
const LINE: &str = "Why are there tides?";

async fn titling(options: &[(&str, &str)]) -> TestApp {
    spawn_app_with(&[&[("titles.enabled", "true")], options].concat()).await
}

/// A first question and its answer, and the request for a title that follows.
async fn first_turn(app: &TestApp) -> (Turn, Call) {
    let conversation = app.owner.conversation().await;
    let turn = app
        .answered(&conversation, QUESTION, &["The moon ", "pulls."])
        .await;
    (turn, title_call(app).await)
}

async fn title_call(app: &TestApp) -> Call {
    let call = app.upstream.next_call().await;
    assert_eq!(call.json()["stream"], false, "{}", call.json());
    call
}

async fn title(app: &TestApp, turn: &Turn) -> Value {
    app.owner.read(&turn.conversation).await["title"].clone()
}

/// Another conversation gets a title: whatever became of earlier ones has become of them by then.
async fn another_gets_one(app: &TestApp) {
    let (turn, mut call) = first_turn(app).await;
    call.reply_completion("Another").await;
    until("the title is there", async || {
        title(app, &turn).await == "Another"
    })
    .await;
}

async fn change(account: &Account, turn: &Turn, version: u64, body: Value) {
    let path = format!("/api/conversations/{}", turn.conversation);
    let request = account
        .request(Method::PATCH, &path)
        .header("if-match", format!("\"{version}\""));
    assert_eq!(send(request.json(&body)).await.status(), 200);
}

#[tokio::test]
async fn after_its_first_answer_a_conversation_gets_a_title_in_every_tab() {
    let app = titling(&[]).await;
    let mut feed = Events::new(send(app.owner.get("/api/feed")).await);
    feed.expect("snapshot").await;
    let (turn, mut call) = first_turn(&app).await;
    let asked = call.json();
    assert_eq!(asked["model"], "fake-model");
    assert_eq!(asked["max_tokens"], 48);
    assert!(asked["tools"].is_null() && asked["stream_options"].is_null());
    let said = asked["messages"].as_array().expect("messages");
    let said: Vec<_> = said
        .iter()
        .map(|said| (said["role"].as_str(), said["content"].as_str()))
        .collect();
    assert_eq!(
        said[..2],
        [
            (Some("user"), Some(QUESTION)),
            (Some("assistant"), Some("The moon pulls."))
        ]
    );
    assert_eq!((said.len(), said[2].0), (3, Some("user")));
    let before = app.owner.read(&turn.conversation).await;
    assert_eq!(before["title"], LINE, "until there is a better one");
    call.reply_completion("<think>\nHm.\n</think>\n**\"Tides and the moon.\"**")
        .await;
    let told = loop {
        let told = feed
            .next()
            .await
            .and_then(|frame| frame.data)
            .expect("more events");
        if told["title"]
            .as_str()
            .is_some_and(|title| !["", LINE].contains(&title))
        {
            break told;
        }
    };
    let after = app.owner.read(&turn.conversation).await;
    for row in [&told, &after] {
        assert_eq!(row["title"], "Tides and the moon");
        // Nobody changed anything.
        for name in ["version", "updated_at", "head_id"] {
            assert_eq!(row[name], before[name], "{name}");
        }
    }
    let found = app
        .owner
        .get_json("/api/conversations?q=tides%20moon")
        .await;
    assert_eq!(found["items"][0]["id"], *turn.conversation);
    drop(feed);
    app.end().await;
}

#[tokio::test]
async fn a_title_is_asked_for_once_after_an_answer_that_is_complete_and_of_nobody_who_named_it() {
    let app = titling(&[]).await;
    let (turn, mut call) = first_turn(&app).await;
    call.reply_completion("Tides").await;
    until("the title is there", async || {
        title(&app, &turn).await == "Tides"
    })
    .await;
    // The second question, another first answer, a conversation with a name: no request for a title, so the next is for an answer.
    app.answered(&turn.conversation, "And on Mars?", &["None."])
        .await;
    let again = app
        .owner
        .post(&format!("/api/messages/{}/regenerate", turn.message));
    let again = Turn::started(&turn.conversation, send(again).await).await;
    app.upstream.next_call().await.answer(&["Gravity."]).await;
    app.owner.read_all(&again).await;
    let request = app
        .owner
        .post("/api/conversations")
        .json(&json!({"title": "Mine"}));
    let named: Value = send(request).await.json().await.expect("JSON");
    let named = named["id"].as_str().expect("an id");
    app.answered(named, "Why?", &["So."]).await;

    // One that failed is not complete; the one in its place is.
    let conversation = app.owner.conversation().await;
    let turn = app.owner.ask(&conversation, QUESTION).await;
    app.upstream.next_call().await.reply_429("1").await;
    app.owner.read_all(&turn).await;
    let again = app
        .owner
        .post(&format!("/api/messages/{}/regenerate", turn.message));
    let again = Turn::started(&conversation, send(again).await).await;
    let mut call = app.upstream.next_call().await;
    assert_eq!(call.json()["stream"], true);
    call.answer(&["Gravity."]).await;
    app.owner.read_all(&again).await;
    title_call(&app).await.reply_completion("Gravity").await;
    until("the title is there", async || {
        title(&app, &turn).await == "Gravity"
    })
    .await;
    app.end().await;
}

#[tokio::test]
async fn when_nothing_usable_comes_the_first_line_stays() {
    let app = titling(&[]).await;
    let mut turns = Vec::new();
    for said in [
        "",
        " \n\n",
        "\"\"",
        "<think>Tides, perhaps",
        "```\n```",
        &"x".repeat(10_000),
    ] {
        let (turn, mut call) = first_turn(&app).await;
        call.reply_completion(said).await;
        turns.push(turn);
    }
    for fault in 0..4 {
        let (turn, mut call) = first_turn(&app).await;
        match fault {
            0 => call.reply_429("1").await,
            1 => {
                call.reply(200, &[("content-type", "text/html")], "<html>")
                    .await;
            }
            2 => {
                call.head_chunked("application/json").await;
                call.cut().await;
            }
            _ => call.reply(500, &[], "").await,
        }
        turns.push(turn);
    }
    another_gets_one(&app).await;
    for turn in &turns {
        assert_eq!(title(&app, turn).await, LINE);
    }
    app.end().await;
}

#[tokio::test]
async fn a_model_that_takes_too_long_is_left() {
    let app = titling(&[("titles.seconds", "1")]).await;
    let (turn, call) = first_turn(&app).await;
    call.closed().await;
    another_gets_one(&app).await;
    assert_eq!(title(&app, &turn).await, LINE);
    app.end().await;
}

#[tokio::test]
async fn what_a_person_calls_it_meanwhile_stays() {
    let app = titling(&[]).await;
    // Word for word what it is called already, and no name at all: both are what somebody wants.
    for name in ["Mine", LINE, ""] {
        let (turn, mut call) = first_turn(&app).await;
        change(&app.owner, &turn, 1, json!({"title": name})).await;
        call.reply_completion("Tides").await;
        another_gets_one(&app).await;
        assert_eq!(title(&app, &turn).await, name);
    }
    // Any other change is no name.
    let (turn, mut call) = first_turn(&app).await;
    change(&app.owner, &turn, 1, json!({"pinned": true})).await;
    call.reply_completion("Tides").await;
    until("the title is there", async || {
        title(&app, &turn).await == "Tides"
    })
    .await;
    change(&app.owner, &turn, 2, json!({"title": "Mine"})).await;
    assert_eq!(title(&app, &turn).await, "Mine");
    app.end().await;
}

#[tokio::test]
async fn a_conversation_that_was_deleted_meanwhile_gets_none() {
    let app = titling(&[]).await;
    let (turn, mut call) = first_turn(&app).await;
    let path = format!("/api/conversations/{}", turn.conversation);
    let deleted = send(app.owner.request(Method::DELETE, &path)).await;
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    call.reply_completion("Tides").await;
    another_gets_one(&app).await;
    let restored: Value = send(app.owner.post(&format!("{path}/restore")))
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!(restored["title"], LINE);
    app.end().await;
}

#[tokio::test]
async fn a_title_that_is_being_asked_for_counts_as_nothing_and_holds_no_drain_up() {
    let mut app = titling(&[
        ("titles.seconds", "600"),
        ("drain.grace_seconds", "600"),
        ("limits.generations_per_user", "1"),
    ])
    .await;
    let (turn, call) = first_turn(&app).await;
    app.nothing_runs().await;
    app.answered(&turn.conversation, "And on Mars?", &["None."])
        .await;
    assert!(!call.is_closed());
    app.shut_down().await;
    call.closed().await;
}

#[tokio::test]
async fn titles_can_be_left_to_the_first_line() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let turn = app.answered(&conversation, QUESTION, &["The moon."]).await;
    // `answered` would have met a request for a title.
    app.answered(&conversation, "And on Mars?", &["None."])
        .await;
    assert!(app.upstream.waiting_call().is_none());
    assert_eq!(title(&app, &turn).await, LINE);
    app.end().await;
}

#[tokio::test]
async fn the_demo_model_names_conversations() {
    let app = titling(&[("upstream.url", "")]).await;
    let conversation = app.owner.conversation().await;
    let body = json!({"content": "please compare zebras with giraffes", "max_tokens": 5});
    let turn = Turn::started(
        &conversation,
        send(app.owner.say(&conversation, &body)).await,
    )
    .await;
    app.owner.read_all(&turn).await;
    until("the title is there", async || {
        title(&app, &turn).await == "Compare zebras with giraffes"
    })
    .await;
    app.end().await;
}
