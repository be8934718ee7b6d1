//! The feed: what happens to a user's conversations, in every tab of that user.

use crate::support::{
    app::{Account, TestApp, problem, send, spawn_app, spawn_app_with},
    events::{Events, Frame},
    until,
};
use continuo::{
    feed::{Feed, FeedEvent},
    model::{ConversationId, UserId},
    store::ConversationChange,
};
use futures_util::FutureExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

const FEED: &str = "/api/feed";

async fn follow(account: &Account, session: &str, last_event_id: Option<&str>) -> Events {
    let mut request = account.get(FEED).header("accept", "text/event-stream");
    if !session.is_empty() {
        request = request.header("x-session-id", session);
    }
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    Events::new(send(request).await)
}

/// A tab that has read its snapshot, and its position there.
async fn tab(account: &Account, session: &str) -> (Events, String) {
    let mut events = follow(account, session, None).await;
    let id = events.expect("snapshot").await.whole_id.expect("an id");
    (events, id)
}

async fn change(account: &Account, conversation: &str, body: Value) -> Value {
    let path = format!("/api/conversations/{conversation}");
    let response = send(account.request(Method::PATCH, &path).json(&body)).await;
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

async fn delete(account: &Account, conversation: &str) {
    let path = format!("/api/conversations/{conversation}");
    let response = send(account.request(Method::DELETE, &path)).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
}

/// A conversation as it stands in lists. What runs in it the feed tells by events of its own.
async fn listed(account: &Account, conversation: &str) -> Value {
    let mut row = account.read(conversation).await;
    for name in ["messages", "generation"] {
        row.as_object_mut().expect("an object").remove(name);
    }
    row
}

/// Reads until the `count`th event of this name, and all that came.
async fn read_until(events: &mut Events, name: &str, mut count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    while count > 0 {
        let frame = events.next().await.expect("more events");
        count -= usize::from(frame.event.as_deref() == Some(name));
        frames.push(frame);
    }
    frames
}

fn data(frame: &Frame) -> &Value {
    frame.data.as_ref().expect("data")
}

#[tokio::test]
async fn a_feed_has_the_bytes_of_the_contract() {
    let app = spawn_app().await;
    let request = app.owner.get(FEED);
    let mut events = Events::new(send(request).await);
    let retry = events.next_frame().await.expect("a frame");
    let retry = retry.retry.expect("retry first");
    let comment = events.next_frame().await.expect("a frame");
    assert_eq!(comment.comment.as_deref(), Some("continuo"));
    let id = events.expect("snapshot").await.whole_id.expect("an id");
    let (boot, number) = id.split_once('-').expect("two parts");
    let number: u64 = number.parse().expect("a number");
    let conversation = app.owner.conversation().await;
    events.expect("conversation").await;
    let row = listed(&app.owner, &conversation).await;
    delete(&app.owner, &conversation).await;
    events.expect("deleted").await;
    let raw = String::from_utf8(events.raw.clone()).expect("UTF-8");
    let (start, rest) = raw
        .split_once("event: conversation\ndata: ")
        .expect("it was there");
    let (told, end) = rest.split_once("\n\n").expect("a frame");
    assert_eq!(
        start,
        format!(
            "retry: {retry}\n\n: continuo\n\nid: {boot}-{number}\nevent: snapshot\ndata: {{\"running\":[],\"sessions\":1}}\n\nid: {boot}-{}\n",
            number + 1
        )
    );
    assert_eq!(serde_json::from_str::<Value>(told).expect("JSON"), row);
    assert_eq!(
        end,
        format!(
            "id: {boot}-{}\nevent: deleted\ndata: {{\"id\":\"{conversation}\"}}\n\n",
            number + 2
        )
    );
    drop(events);
    app.end().await;
}

#[tokio::test]
async fn every_tab_of_a_user_is_told_everything_and_no_other_user_is() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let (mut first, _) = tab(&app.owner, "a").await;
    let (mut second, _) = tab(&app.owner, "b").await;
    let (mut other, _) = tab(&stranger, "a").await;
    assert_eq!(
        data(&first.expect("presence").await),
        &json!({"sessions": 2})
    );

    let (turn, mut call) = app.answering().await;
    let id = turn.conversation.clone();
    call.send("Hello").await;
    change(&app.owner, &id, json!({"pinned": true})).await;
    change(
        &app.owner,
        &id,
        json!({"title": "Renamed", "system": "Be kind."}),
    )
    .await;
    call.finish("stop").await;
    call.done().await;
    app.owner.read_all(&turn).await;
    // What is deleted before it was told is not told any more.
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| data(last)["version"] != 3) {
        seen.push(first.next().await.expect("more events"));
    }
    delete(&app.owner, &id).await;

    seen.extend(read_until(&mut first, "deleted", 1).await);
    assert_eq!(
        read_until(&mut second, "deleted", 1).await,
        seen,
        "byte for byte"
    );
    // Made, asked in, pinned, renamed, deleted: what is told later may tell of two changes at once, and nothing is told out of order.
    let conversations: Vec<_> = seen
        .iter()
        .filter(|frame| frame.event.as_deref() == Some("conversation"))
        .map(data)
        .collect();
    assert!(
        conversations
            .iter()
            .all(|row| row["id"] == *id && row["messages"].is_null())
    );
    let versions: Vec<_> = conversations
        .iter()
        .map(|row| row["version"].as_i64())
        .collect();
    assert!(versions.is_sorted(), "{versions:?}");
    let last = conversations.last().expect("some");
    assert_eq!(
        (
            &last["title"],
            &last["pinned"],
            &last["version"],
            &last["head_id"]
        ),
        (
            &json!("Renamed"),
            &json!(true),
            &json!(3),
            &json!(turn.message)
        )
    );
    let generations: Vec<_> = seen
        .iter()
        .filter(|frame| frame.event.as_deref() == Some("generation"))
        .map(data)
        .collect();
    let told = |status: &str| json!({"id": turn.generation, "conversation_id": id, "message_id": turn.message, "status": status});
    assert_eq!(generations, [&told("running"), &told("completed")]);

    let restore = app.owner.post(&format!("/api/conversations/{id}/restore"));
    assert_eq!(send(restore).await.status(), 200);
    let restored = listed(&app.owner, &id).await;
    assert_eq!(*data(&first.expect("conversation").await), restored);

    let theirs = stranger.conversation().await;
    assert_eq!(data(&other.expect("conversation").await)["id"], *theirs);
    drop((first, second, other));
    app.end().await;
}

#[tokio::test]
async fn an_end_is_told_when_it_can_be_read() {
    let app = spawn_app().await;
    let (mut events, _) = tab(&app.owner, "").await;
    for outcome in ["completed", "stopped", "truncated"] {
        let (turn, mut call) = app.answering().await;
        call.send("Hello").await;
        match outcome {
            "completed" => {
                call.finish("stop").await;
                call.done().await;
            }
            "truncated" => call.cut().await,
            _ => {
                app.owner.stop(&turn).await;
            }
        }
        let end = loop {
            let frames = read_until(&mut events, "generation", 1).await;
            let end = data(frames.last().expect("one")).clone();
            if end["status"] != "running" {
                break end;
            }
        };
        assert_eq!(end["status"], outcome);
        let record = app
            .owner
            .get_json(&format!("/api/generations/{}", turn.generation))
            .await;
        assert_eq!(record["status"], outcome);
        assert_eq!(app.owner.message(&turn).await["status"], outcome);
    }
    drop(events);
    app.end().await;
}

#[tokio::test]
async fn a_snapshot_tells_what_runs_and_how_far_it_is() {
    let app = spawn_app().await;
    let (turn, mut call) = app.answering().await;
    call.send("Hello").await;
    let mut reader = app.owner.events(&turn, 0).await;
    let seq = read_until(&mut reader, "delta", 1)
        .await
        .last()
        .and_then(|frame| frame.id);
    let mut events = follow(&app.owner, "", None).await;
    let snapshot = events.expect("snapshot").await;
    assert_eq!(
        data(&snapshot),
        &json!({"running": [{"id": turn.generation, "conversation_id": turn.conversation, "message_id": turn.message, "seq": seq}],
            "sessions": 1})
    );
    app.owner.stop(&turn).await;
    let end = events.expect("generation").await;
    assert_eq!(data(&end)["status"], "stopped");
    let (_, id) = tab(&app.owner, "").await;
    let mut again = follow(&app.owner, "", None).await;
    assert_eq!(
        data(&again.expect("snapshot").await)["running"],
        json!([]),
        "after {id}"
    );
    drop((reader, events, again));
    app.end().await;
}

#[tokio::test]
async fn a_tab_resumes_from_every_position_with_exactly_what_it_missed() {
    let app = spawn_app().await;
    let (mut first, start) = tab(&app.owner, "a").await;
    let conversation = app.owner.conversation().await;
    for n in 0..5 {
        change(
            &app.owner,
            &conversation,
            json!({"title": format!("title {n}")}),
        )
        .await;
    }
    delete(&app.owner, &conversation).await;
    let seen = read_until(&mut first, "deleted", 1).await;
    let ids = [Some(start)]
        .into_iter()
        .chain(seen.iter().map(|frame| frame.whole_id.clone()));
    for (missed, id) in ids.enumerate() {
        // Of the same session, so that its coming changes nothing for others.
        let mut events = follow(&app.owner, "a", id.as_deref()).await;
        for expected in &seen[missed..] {
            assert_eq!(events.next().await.as_ref(), Some(expected));
        }
        // And then what is new: to the last of them, and to the next one from its position.
        if missed == seen.len() {
            let new = app.owner.conversation().await;
            assert_eq!(data(&events.expect("conversation").await)["id"], *new);
        }
    }
    drop(first);
    app.end().await;
}

#[tokio::test]
async fn a_position_of_another_process_or_of_none_starts_over_or_is_refused() {
    let app = spawn_app().await;
    let (events, id) = tab(&app.owner, "a").await;
    let (boot, _) = id.split_once('-').expect("two parts");
    for (id, reason) in [
        ("0123456789abcdef-7".to_owned(), "lost"),
        (format!("{boot}-1000000"), "beyond_end"),
    ] {
        let mut events = follow(&app.owner, "a", Some(&id)).await;
        let gap = events.expect("gap").await;
        assert_eq!(
            (data(&gap), gap.whole_id.clone()),
            (&json!({"reason": reason}), None)
        );
        let snapshot = events.expect("snapshot").await;
        assert_eq!(data(&snapshot), &json!({"running": [], "sessions": 1}));
        let conversation = app.owner.conversation().await;
        let told = events.expect("conversation").await;
        assert_eq!(data(&told)["id"], *conversation);
        assert_eq!(told.id, snapshot.id.map(|id| id + 1));
    }
    for id in [
        "7",
        "x",
        "-",
        &format!("{boot}-x"),
        &format!("{boot}7-7"),
        "ünïcode-7",
    ] {
        let request = app.owner.get(FEED).header("last-event-id", id.as_bytes());
        problem(send(request).await, 400, "malformed-request").await;
    }
    let request = app.owner.get(FEED).header("accept", "application/json");
    problem(send(request).await, 406, "not-acceptable").await;
    problem(
        send(app.nobody(Method::GET, FEED)).await,
        401,
        "unauthorized",
    )
    .await;
    let request = app.owner.get(&format!("{FEED}?session=a%20b"));
    problem(send(request).await, 400, "malformed-request").await;
    drop(events);
    app.end().await;
}

/// The feed that the owner's tabs follow, as the program has it.
async fn followed(app: &TestApp) -> Arc<Feed> {
    let feed = app.chat.feeds.followed(owner(app).await);
    feed.expect("somebody follows it")
}

async fn owner(app: &TestApp) -> UserId {
    let who = app.owner.get_json("/api/session").await;
    who["user"]["id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a UUID")
}

#[tokio::test]
async fn a_change_that_is_told_late_is_told_as_it_stands_by_then() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let gone = app.owner.conversation().await;
    let (mut events, _) = tab(&app.owner, "a").await;
    let feed = followed(&app).await;
    let telling = feed.telling.lock().await;
    for title in ["first", "second"] {
        change(&app.owner, &conversation, json!({"title": title})).await;
    }
    change(&app.owner, &gone, json!({"pinned": true})).await;
    delete(&app.owner, &gone).await;
    drop(telling);
    for _ in 0..2 {
        assert_eq!(
            data(&events.expect("conversation").await)["title"],
            "second"
        );
    }
    assert_eq!(data(&events.expect("deleted").await)["id"], *gone);
    drop((events, feed));
    app.end().await;
}

#[tokio::test]
async fn an_imported_conversation_is_told_and_a_repeated_import_is_not() {
    let app = spawn_app().await;
    let (mut events, _) = tab(&app.owner, "a").await;
    let id = app.owner.conversation().await;
    events.expect("conversation").await;
    let path = format!("/api/conversations/{id}/export");
    let exported = app.owner.get_json(&path).await;
    let mut imported = Vec::new();
    for _ in 0..2 {
        let import = app.owner.post("/api/conversations/import");
        let import = import.header("idempotency-key", "once").json(&exported);
        let made: Value = send(import).await.json().await.expect("JSON");
        imported.push(made["id"].clone());
    }
    assert_eq!(imported[0], imported[1]);
    let told = events.expect("conversation").await;
    assert_eq!(data(&told)["id"], imported[0]);
    let next = app.owner.conversation().await;
    assert_eq!(data(&events.expect("conversation").await)["id"], *next);
    drop(events);
    app.end().await;
}

#[tokio::test]
async fn a_change_whose_client_leaves_is_made_and_told() {
    let app = spawn_app().await;
    let (mut events, _) = tab(&app.owner, "a").await;
    let id = app.owner.conversation().await;
    events.expect("conversation").await;
    let change = ConversationChange {
        title: Some("Renamed".into()),
        ..ConversationChange::default()
    };
    let (owner, conversation) = (owner(&app).await, id.parse().expect("an id"));
    let changing = app
        .chat
        .change_conversation(owner, conversation, change, None);
    // Begun, and dropped before it was done.
    assert!(changing.now_or_never().is_none());
    assert_eq!(
        data(&events.expect("conversation").await)["title"],
        "Renamed"
    );
    drop(events);
    app.end().await;
}

#[tokio::test]
async fn a_slow_tab_that_missed_too_much_starts_over() {
    let app = spawn_app().await;
    let (events, id) = tab(&app.owner, "a").await;
    let feed = followed(&app).await;
    drop(events);
    for _ in 0..600 {
        let id = ConversationId::new();
        feed.tell(&FeedEvent::Deleted { id });
    }
    let mut events = follow(&app.owner, "a", Some(&id)).await;
    assert_eq!(
        data(&events.expect("gap").await),
        &json!({"reason": "trimmed"})
    );
    events.expect("snapshot").await;
    drop(events);
    app.end().await;
}

#[tokio::test]
async fn presence_follows_sessions_as_they_come_and_go_and_replace_themselves() {
    let app = spawn_app().await;
    let (mut first, _) = tab(&app.owner, "a").await;
    let sessions =
        async |events: &mut Events| data(&events.expect("presence").await)["sessions"].clone();
    let (second, _) = tab(&app.owner, "b").await;
    assert_eq!(sessions(&mut first).await, 2);
    let unnamed = [tab(&app.owner, "").await, tab(&app.owner, "").await];
    assert_eq!(sessions(&mut first).await, 3);
    assert_eq!(sessions(&mut first).await, 4);
    // Its own connection again, before the old one has gone: nobody is told.
    let (mut again, _) = tab(&app.owner, "b").await;
    let mut second = second;
    while second.next().await.is_some() {}
    drop(unnamed);
    assert_eq!(sessions(&mut first).await, 3);
    assert_eq!(sessions(&mut first).await, 2);
    assert_eq!(sessions(&mut again).await, 3);
    drop(first);
    assert_eq!(sessions(&mut again).await, 2);
    assert_eq!(sessions(&mut again).await, 1);
    drop(again);
    app.end().await;
}

#[tokio::test]
async fn an_operator_sees_and_ends_a_feed_and_a_log_out_ends_it() {
    let app = spawn_app().await;
    let (mut events, id) = tab(&app.owner, "tab").await;
    app.owner.conversation().await;
    events.expect("conversation").await;
    let list = app.owner.get_json("/api/operator/emitters").await;
    let row = &list["items"][0];
    for (name, value) in [
        ("session", json!("tab")),
        ("kind", json!("feed")),
        ("target", Value::Null),
        ("conversation_id", Value::Null),
        ("lag", json!(0)),
    ] {
        assert_eq!(row[name], value, "{name} after {id}");
    }
    let path = format!(
        "/api/operator/emitters/{}",
        row["id"].as_str().expect("an id")
    );
    let response = send(app.owner.request(Method::DELETE, &path)).await;
    assert_eq!(response.status(), 204);
    assert!(events.next().await.is_none());

    let response = send(
        app.nobody(Method::POST, "/api/session")
            .json(&json!({"token": app.owner.key})),
    )
    .await;
    let cookie = response.headers()["set-cookie"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let cookie = cookie.split(';').next().expect("a value");
    let mut events =
        Events::new(send(app.nobody(Method::GET, FEED).header("cookie", cookie)).await);
    events.expect("snapshot").await;
    let response = send(
        app.nobody(Method::DELETE, "/api/session")
            .header("cookie", cookie),
    )
    .await;
    assert!(response.status().is_success(), "{}", response.status());
    assert!(events.next().await.is_none());
    app.end().await;
}

#[tokio::test]
async fn a_feed_counts_within_the_limits_and_a_refused_one_is_not_present() {
    let app = spawn_app_with(&[("limits.emitters", "2"), ("limits.emitters_per_user", "2")]).await;
    let (mut first, _) = tab(&app.owner, "a").await;
    let (second, _) = tab(&app.owner, "b").await;
    assert_eq!(
        data(&first.expect("presence").await),
        &json!({"sessions": 2})
    );
    problem(send(app.owner.get(FEED)).await, 429, "too-many").await;
    // Another user's passes when somebody goes, so it is said within the stream.
    let stranger = app.stranger().await;
    let mut refused = follow(&stranger, "", None).await;
    let unavailable = refused.expect("unavailable").await;
    assert_eq!(data(&unavailable)["type"], "/problems/node-full");
    assert!(refused.next().await.is_none());
    drop(second);
    assert_eq!(
        data(&first.expect("presence").await),
        &json!({"sessions": 1})
    );
    drop(first);
    app.end().await;
}

#[tokio::test]
async fn a_shutdown_tells_the_ends_before_the_feed_ends() {
    let mut app = spawn_app().await;
    let (mut events, _) = tab(&app.owner, "a").await;
    let (turn, mut call) = app.answering().await;
    call.send("Hello").await;
    let mut reader = app.owner.events(&turn, 0).await;
    read_until(&mut reader, "delta", 1).await;
    app.shut_down().await;
    let mut last = None;
    while let Some(frame) = events.next().await {
        if frame.event.as_deref() == Some("generation") {
            last = frame.data;
        }
    }
    assert_eq!(last.expect("told")["status"], "interrupted");
}

#[tokio::test]
async fn when_nobody_follows_a_feed_any_more_it_is_let_go() {
    let app = spawn_app_with(&[("log.retain_seconds", "0")]).await;
    let (events, _) = tab(&app.owner, "a").await;
    assert_eq!(app.chat.feeds.count(), 1);
    drop(events);
    until("the feed is gone", async || {
        app.chat.feeds.release();
        app.chat.feeds.count() == 0
    })
    .await;
    let (turn, _call) = app.answering().await;
    assert_eq!(app.chat.feeds.count(), 1, "for what runs");
    app.owner.stop(&turn).await;
    until("the feed is gone", async || app.chat.feeds.count() == 0).await;
    app.end().await;
}

/// Many changes at once, of clients of which some leave before they are answered.
#[tokio::test]
async fn what_is_told_last_is_how_it_stands() {
    let app = spawn_app().await;
    let (mut events, _) = tab(&app.owner, "a").await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(app.owner.conversation().await);
    }
    let changes = (0..60).map(|n| {
        let (owner, id) = (app.owner.clone(), ids[n % ids.len()].clone());
        async move {
            let path = format!("/api/conversations/{id}");
            let request = owner
                .request(Method::PATCH, &path)
                .json(&json!({"title": n.to_string()}));
            // One in three does not wait for its answer.
            let patience = if n % 3 == 0 {
                std::time::Duration::from_millis(1)
            } else {
                crate::support::PATIENCE
            };
            let _ = tokio::time::timeout(patience, request.send()).await;
        }
    });
    futures_util::future::join_all(changes).await;
    // What was left behind may still be on its way to the store.
    let mut told = BTreeMap::new();
    loop {
        let mut stands = Vec::new();
        for id in &ids {
            stands.push(listed(&app.owner, id).await);
        }
        let marker = app.owner.conversation().await;
        loop {
            let row = data(&events.expect("conversation").await).clone();
            let id = row["id"].as_str().expect("an id").to_owned();
            if id == marker {
                break;
            }
            told.insert(id, row);
        }
        if ids
            .iter()
            .zip(stands)
            .all(|(id, row)| told.get(id) == Some(&row))
        {
            break;
        }
    }
    drop(events);
    app.end().await;
}
