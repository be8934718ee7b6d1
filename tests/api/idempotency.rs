//! `Idempotency-Key`: an effect happens once, however often and from wherever it is asked for.

use crate::support::{
    app::{TestApp, Turn, problem, send, spawn_app, spawn_app_with},
    events::{Events, Reader},
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

fn with_key(request: RequestBuilder, key: &str) -> RequestBuilder {
    request.header("idempotency-key", key)
}

/// What is answered, byte for byte, with its `Location`.
async fn answer(request: RequestBuilder, status: u16) -> (String, String) {
    let response = send(request).await;
    assert_eq!(response.status(), status);
    let location = response.headers()["location"].to_str().expect("ASCII");
    let location = location.to_owned();
    (location, response.text().await.expect("text"))
}

async fn generations(app: &TestApp, conversation: &str) -> usize {
    let read = app.owner.read(conversation).await;
    read["messages"].as_array().expect("messages").len() / 2
}

#[tokio::test]
async fn the_same_key_and_body_start_once_and_answer_the_same() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let ask = || {
        with_key(
            app.owner.say(&conversation, &json!({"content": "hello"})),
            "k1",
        )
    };
    let first = answer(ask(), 202).await;
    assert_eq!(answer(ask(), 202).await, first, "while it runs");
    let ids: Value = serde_json::from_str(&first.1).expect("JSON");
    let mut call = app.upstream.next_call().await;
    call.answer(&["Hello"]).await;
    let turn = Turn {
        generation: ids["generation_id"].as_str().expect("an id").to_owned(),
        message: ids["message_id"].as_str().expect("an id").to_owned(),
        conversation: conversation.clone(),
    };
    assert_eq!(app.owner.read_all(&turn).await.text, "Hello");
    assert_eq!(answer(ask(), 202).await, first, "after its end");
    assert_eq!(generations(&app, &conversation).await, 1);
    assert!(app.upstream.waiting_call().is_none(), "asked once");
    app.end().await;
}

#[tokio::test]
async fn another_body_or_path_under_the_same_key_is_refused() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let turn = Turn::started(
        &conversation,
        send(with_key(
            app.owner.say(&conversation, &json!({"content": "hello"})),
            "k",
        ))
        .await,
    )
    .await;
    app.upstream.next_call().await.answer(&["Hello"]).await;
    app.owner.read_all(&turn).await;
    let elsewhere = app.owner.conversation().await;
    let regenerate = format!("/api/messages/{}/regenerate", turn.message);
    for request in [
        app.owner.say(&conversation, &json!({"content": "Hello"})),
        app.owner
            .say(&conversation, &json!({"content": "hello", "seed": 1})),
        app.owner.say(&elsewhere, &json!({"content": "hello"})),
        app.owner.post("/api/conversations"),
        app.owner.post(&regenerate),
    ] {
        let response = send(with_key(request, "k")).await;
        problem(response, 422, "idempotency-key-reused").await;
    }
    assert_eq!(generations(&app, &conversation).await, 1);
    assert_eq!(generations(&app, &elsewhere).await, 0);
    app.end().await;
}

#[tokio::test]
async fn twenty_twins_at_once_have_one_effect_and_one_answer() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let twins: Vec<_> = (0..20)
        .map(|_| {
            let request = app.owner.say(&conversation, &json!({"content": "hello"}));
            tokio::spawn(answer(with_key(request, "twin"), 202))
        })
        .collect();
    let mut answers = Vec::new();
    for twin in twins {
        answers.push(twin.await.expect("no panic"));
    }
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
    app.upstream.next_call().await.answer(&["Hello"]).await;
    let mut reader = Reader::default();
    let request = app.owner.get(&format!("{}/events", answers[0].0));
    Events::new(send(request).await)
        .read_to_end(&mut reader)
        .await;
    assert_eq!(reader.text, "Hello");
    assert!(app.upstream.waiting_call().is_none());
    assert_eq!(generations(&app, &conversation).await, 1);
    app.end().await;
}

#[tokio::test]
async fn a_key_is_its_owners_alone() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let mut made = Vec::new();
    for account in [&app.owner, &stranger, &app.owner] {
        let request = account
            .post("/api/conversations")
            .json(&json!({"title": "mine"}));
        made.push(answer(with_key(request, "k"), 201).await.0);
    }
    assert_eq!(made[0], made[2]);
    assert_ne!(made[0], made[1]);
    problem(send(app.owner.get(&made[1])).await, 404, "not-found").await;
    assert_eq!(stranger.get_json(&made[1]).await["title"], "mine");
    app.end().await;
}

#[tokio::test]
async fn a_repeated_ask_for_a_stream_attaches_to_the_same_generation() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let ask = || {
        let request = app.owner.say(&conversation, &json!({"content": "hello"}));
        with_key(request.header("accept", "text/event-stream"), "k")
    };
    let first = send(ask()).await;
    let location = first.headers()["location"].clone();
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("Hel").await;
    // The network is gone before the first byte came; the client asks again.
    drop(first);
    let again = send(ask()).await;
    assert_eq!(again.headers()["location"], location);
    let mut events = Events::new(again);
    let mut reader = Reader::default();
    events.read_until(&mut reader, 3).await;
    call.send("lo").await;
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("Hello", "completed")
    );
    let mut late = Reader::default();
    Events::new(send(ask()).await).read_to_end(&mut late).await;
    assert_eq!(late, reader, "the same after the end");
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

#[tokio::test]
async fn a_key_counts_for_conversations_and_for_other_answers_too() {
    let app = spawn_app().await;
    let create = || {
        let request = app.owner.post("/api/conversations");
        with_key(request.json(&json!({"title": "once"})), "create")
    };
    let (location, _) = answer(create(), 201).await;
    assert_eq!(answer(create(), 201).await.0, location);
    let list = app.owner.get_json("/api/conversations").await;
    assert_eq!(list["items"].as_array().expect("rows").len(), 1);

    let conversation = app.owner.conversation().await;
    let turn = app.answered(&conversation, "hello", &["Hello"]).await;
    let path = format!("/api/messages/{}/regenerate", turn.message);
    let regenerate = || with_key(app.owner.post(&path), "again");
    let first = answer(regenerate(), 202).await;
    assert_eq!(answer(regenerate(), 202).await, first);
    app.upstream.next_call().await.answer(&["Hi"]).await;
    let mut reader = Reader::default();
    let events = app.owner.get(&format!("{}/events", first.0));
    Events::new(send(events).await)
        .read_to_end(&mut reader)
        .await;
    assert_eq!(answer(regenerate(), 202).await, first);
    let read = app.owner.read(&conversation).await;
    assert_eq!(read["messages"].as_array().expect("messages").len(), 3);
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

#[tokio::test]
async fn a_creation_is_answered_the_same_whatever_becomes_of_the_conversation() {
    let app = spawn_app().await;
    let create = async || {
        let request = app.owner.post("/api/conversations");
        let body = json!({"title": "first", "model": "m", "system": "Be brief.\u{0}"});
        let response = send(with_key(request.json(&body), "k")).await;
        assert_eq!(response.status(), 201);
        let headers = response.headers();
        let headers = [&headers["location"], &headers["etag"]].map(Clone::clone);
        (headers, response.text().await.expect("text"))
    };
    let first = create().await;
    let [location, etag] = &first.0;
    assert_eq!(etag, "\"1\"");
    let location = location.to_str().expect("ASCII");
    let said: Value = serde_json::from_str(&first.1).expect("JSON");
    assert_eq!(said, app.owner.get_json(location).await, "as it reads");

    let rename = app.owner.request(reqwest::Method::PATCH, location);
    let renamed = send(rename.json(&json!({"title": "second"}))).await;
    assert_eq!(renamed.status(), 200);
    let id = said["id"].as_str().expect("an id");
    app.answered(id, "hello", &["Hello"]).await;
    assert_eq!(create().await, first, "after a rename and an answer");
    let deleted = send(app.owner.request(reqwest::Method::DELETE, location)).await;
    assert_eq!(deleted.status(), 204);
    assert_eq!(create().await, first, "after its end");
    let list = app.owner.get_json("/api/conversations").await;
    assert_eq!(list["items"], json!([]));
    app.end().await;
}

#[tokio::test]
async fn a_refused_ask_does_not_use_its_key_up() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    let ask = || {
        with_key(
            app.owner
                .say(&turn.conversation, &json!({"content": "next"})),
            "k",
        )
    };
    problem(send(ask()).await, 409, "still-streaming").await;
    call.finish("stop").await;
    call.done().await;
    app.owner.read_all(&turn).await;
    let next = Turn::started(&turn.conversation, send(ask()).await).await;
    app.upstream.next_call().await.answer(&["Next"]).await;
    assert_eq!(app.owner.read_all(&next).await.text, "Next");
    app.end().await;
}

#[tokio::test]
async fn a_key_that_was_seen_answers_at_the_limit_too() {
    let app = spawn_app_with(&[("limits.generations_per_user", "1")]).await;
    let conversation = app.owner.conversation().await;
    let ask = || {
        with_key(
            app.owner.say(&conversation, &json!({"content": "hello"})),
            "k",
        )
    };
    let first = answer(ask(), 202).await;
    let elsewhere = app.owner.conversation().await;
    let refused = app.owner.say(&elsewhere, &json!({"content": "too many"}));
    problem(send(refused).await, 429, "too-many").await;
    assert_eq!(answer(ask(), 202).await, first);
    app.upstream.next_call().await.answer(&["Hello"]).await;
    let events = app.owner.get(&format!("{}/events", first.0));
    let mut reader = Reader::default();
    Events::new(send(events).await)
        .read_to_end(&mut reader)
        .await;
    app.end().await;
}

#[tokio::test]
async fn of_twins_at_the_limit_none_is_refused() {
    let app = spawn_app_with(&[("limits.generations_per_user", "1")]).await;
    let conversation = app.owner.conversation().await;
    for round in 0..20 {
        let key = format!("twin {round}");
        let twins: Vec<_> = (0..10)
            .map(|_| {
                let request = app.owner.say(&conversation, &json!({"content": "hello"}));
                tokio::spawn(answer(with_key(request, &key), 202))
            })
            .collect();
        let mut answers = Vec::new();
        for twin in twins {
            answers.push(twin.await.expect("the same answer for every twin"));
        }
        assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
        app.upstream.next_call().await.answer(&["Hello"]).await;
        let events = app.owner.get(&format!("{}/events", answers[0].0));
        let mut reader = Reader::default();
        Events::new(send(events).await)
            .read_to_end(&mut reader)
            .await;
        // Its place is free once it has left the registry.
        app.nothing_runs().await;
    }
    app.end().await;
}

#[tokio::test]
async fn keys_that_are_none_are_refused_and_nothing_starts() {
    let app = spawn_app().await;
    let long = "x".repeat(256);
    for key in ["", "tab\tbed", &long] {
        let request = with_key(app.owner.post("/api/conversations"), key);
        problem(send(request).await, 400, "malformed-request").await;
    }
    let latin = reqwest::header::HeaderValue::from_bytes(b"caf\xe9").expect("allowed");
    let request = app
        .owner
        .post("/api/conversations")
        .header("idempotency-key", latin);
    problem(send(request).await, 400, "malformed-request").await;
    let two = with_key(app.owner.post("/api/conversations"), "a");
    problem(send(with_key(two, "b")).await, 400, "malformed-request").await;
    let request = with_key(app.owner.post("/api/conversations"), &long[1..]);
    assert_eq!(send(request).await.status(), 201);
    let list = app.owner.get_json("/api/conversations").await;
    assert_eq!(list["items"].as_array().expect("rows").len(), 1);
    app.end().await;
}

/// Of this account, by name; one that has none is not counted.
async fn keys(app: &TestApp, name: &str) -> Vec<Value> {
    let keys = app.owner.get_json("/api/keys").await;
    let keys = keys["items"].as_array().cloned().expect("a list");
    keys.into_iter().filter(|key| key["name"] == name).collect()
}

#[tokio::test]
async fn a_key_is_made_once_and_a_repeat_is_told_which_it_was() {
    let app = spawn_app().await;
    let owner = app.owner.get_json("/api/session").await;
    let own = owner["user"]["id"].as_str().expect("an id").to_owned();
    for path in [
        "/api/keys".to_owned(),
        format!("/api/operator/users/{own}/keys"),
    ] {
        let body = json!({"name": path});
        let make = || with_key(app.owner.post(&path).json(&body), &path);
        let (location, made) = answer(make(), 201).await;
        let made: Value = serde_json::from_str(&made).expect("JSON");
        let secret = made["key"].as_str().expect("shown once");
        let refused = problem(send(make()).await, 409, "key-made-before").await;
        let detail = refused["detail"].as_str().expect("a detail");
        assert!(detail.contains(&format!("`DELETE {location}`")), "{detail}");
        assert!(!detail.contains(secret), "{detail}");
        assert_eq!(keys(&app, &path).await.len(), 1);
        let other = with_key(app.owner.post(&path).json(&json!({"name": "other"})), &path);
        problem(send(other).await, 422, "idempotency-key-reused").await;
        assert!(keys(&app, "other").await.is_empty());

        // As it says.
        let delete = app.owner.request(reqwest::Method::DELETE, &location);
        assert_eq!(send(delete).await.status(), 204);
        let again = with_key(app.owner.post(&path).json(&body), &format!("{path} again"));
        answer(again, 201).await;
    }
    // Also when its time is over.
    let over = OffsetDateTime::now_utc() + Duration::from_secs(4);
    let body = json!({"name": "short", "expires_at": over.format(&Rfc3339).expect("a time")});
    let make = || with_key(app.owner.post("/api/keys").json(&body), "short");
    answer(make(), 201).await;
    while OffsetDateTime::now_utc() <= over {
        tokio::task::yield_now().await;
    }
    problem(send(make()).await, 409, "key-made-before").await;
    // Another's idempotency key is another one.
    let stranger = app.stranger().await;
    let body = json!({"name": "/api/keys"});
    answer(
        with_key(stranger.post("/api/keys").json(&body), "/api/keys"),
        201,
    )
    .await;
    app.end().await;
}

#[tokio::test]
async fn of_twenty_who_make_a_key_at_once_with_one_idempotency_key_one_does() {
    let app = spawn_app().await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let request = app.owner.post("/api/keys").json(&json!({"name": "twin"}));
        asked.spawn(send(with_key(request, "twin")));
    }
    let mut statuses: Vec<_> = asked.join_all().await;
    statuses.sort_unstable_by_key(reqwest::Response::status);
    let statuses: Vec<_> = statuses
        .iter()
        .map(|response| response.status().as_u16())
        .collect();
    assert_eq!(statuses[..1], [201]);
    assert_eq!(statuses[1..], [409; 19]);
    assert_eq!(keys(&app, "twin").await.len(), 1);
    app.end().await;
}

#[tokio::test]
async fn a_repeat_at_the_limit_of_keys_is_still_told_which_key_it_made() {
    let app = spawn_app().await;
    let make = |at: usize| {
        let request = app.owner.post("/api/keys").json(&json!({"name": "many"}));
        with_key(request, &format!("k{at}"))
    };
    // The owner came with one.
    for at in 0..99 {
        answer(make(at), 201).await;
    }
    problem(send(make(99)).await, 409, "too-many-keys").await;
    problem(send(make(98)).await, 409, "key-made-before").await;
    app.end().await;
}
