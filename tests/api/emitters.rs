//! The registry of live connections: who is in it, who pushes whom out, how many fit, and what an operator sees and ends.

use crate::support::{
    app::{Account, TestApp, Turn, problem, send, spawn_app, spawn_app_with},
    events::{Events, Reader},
    fake_upstream::Call,
};
use reqwest::Method;
use serde_json::{Value, json};

const LIST: &str = "/api/operator/emitters";

/// Attaches under a session's name and has read `started`.
async fn attach(account: &Account, turn: &Turn, session: Option<&str>) -> Events {
    let mut request = account.get(&turn.events());
    if let Some(session) = session {
        request = request.header("x-session-id", session);
    }
    let mut events = Events::new(send(request).await);
    events.expect("started").await;
    events
}

async fn closed(app: &TestApp, reason: &str) -> u64 {
    let list = app.owner.get_json(LIST).await;
    list["closed"][reason].as_u64().expect("a count")
}

/// Ends the answer and reads everybody to the end.
async fn finish(mut call: Call, readers: Vec<Events>) {
    call.finish("stop").await;
    call.done().await;
    for mut events in readers {
        let mut reader = Reader {
            position: 1,
            ..Reader::default()
        };
        events.read_to_end(&mut reader).await;
        assert_eq!(reader.outcome(), "completed");
    }
}

fn ids(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("rows");
    let id = |row: &Value| row["id"].as_str().expect("an id").to_owned();
    items.iter().map(id).collect()
}

#[tokio::test]
async fn an_operator_sees_every_connection_with_what_it_reads_and_how_far_it_is() {
    let app = spawn_app().await;
    let (turn, call) = app.answering().await;
    let request = app
        .owner
        .get(&turn.events())
        .header("user-agent", "u".repeat(300));
    let mut events = Events::new(send(request.header("x-session-id", "tab-1")).await);
    events.expect("started").await;
    let list = app.owner.get_json(LIST).await;
    let row = &list["items"][0];
    for (name, value) in [
        ("session", json!("tab-1")),
        ("kind", json!("generation")),
        ("target", json!(turn.generation)),
        ("conversation_id", json!(turn.conversation)),
        ("seq", json!(1)),
        ("lag", json!(0)),
        ("age_seconds", json!(0)),
        ("user_agent", json!("u".repeat(256))),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    let peer = row["peer"].as_str().expect("an address");
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");
    assert!(row["bytes"].as_u64().expect("a count") > 100, "{row}");
    for name in ["id", "user_id", "node", "opened_at"] {
        assert!(row[name].is_string(), "{name}");
    }
    assert_eq!((&list["total"], &list["opened"]), (&json!(1), &json!(1)));
    let reasons = [
        "disconnected",
        "finished",
        "lifetime",
        "replaced",
        "killed",
        "shutdown",
        "error",
    ];
    for reason in reasons {
        assert_eq!(list["closed"][reason], 0, "{reason}");
    }
    let stranger = app.stranger().await;
    problem(send(stranger.get(LIST)).await, 403, "operators-only").await;
    finish(call, vec![events]).await;
    app.end().await;
}

#[tokio::test]
async fn the_list_is_filtered_sorted_and_paged() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let (turn, mut call) = app.answering().await;
    let theirs = stranger.ask(&stranger.conversation().await, "hello").await;
    let mut other = app.upstream.next_call().await;
    other.head_sse().await;
    let mut readers = Vec::new();
    for session in ["a", "b", "c"] {
        readers.push(attach(&app.owner, &turn, Some(session)).await);
    }
    call.send("Hello").await;
    for events in &mut readers {
        events.expect("delta").await;
    }
    let unnamed = attach(&stranger, &theirs, None).await;
    let all = app.owner.get_json(LIST).await;
    assert_eq!((&all["total"], &all["opened"]), (&json!(4), &json!(4)));
    let all = ids(&all);
    assert_eq!(all.len(), 4);

    let first = app.owner.get_json(&format!("{LIST}?limit=3")).await;
    assert_eq!(
        (ids(&first), &first["total"]),
        (all[..3].to_vec(), &json!(4))
    );
    let next = first["next"].as_str().expect("another page");
    let last = app
        .owner
        .get_json(&format!("{LIST}?limit=3&cursor={next}"))
        .await;
    assert_eq!(
        (ids(&last), &last["next"]),
        (all[3..].to_vec(), &Value::Null)
    );
    let beyond = app.owner.get_json(&format!("{LIST}?cursor=1000")).await;
    assert_eq!((ids(&beyond), &beyond["next"]), (Vec::new(), &Value::Null));

    let mut newest_first = all.clone();
    newest_first.reverse();
    for (sort, order) in [
        ("opened_at", &all),
        ("-opened_at", &newest_first),
        ("-age", &all),
        ("age", &newest_first),
    ] {
        let list = app.owner.get_json(&format!("{LIST}?sort={sort}")).await;
        assert_eq!(ids(&list), *order, "{sort}");
    }
    for sort in ["seq", "bytes"] {
        let list = app.owner.get_json(&format!("{LIST}?sort={sort}")).await;
        assert_eq!(
            ids(&list)[0],
            all[3],
            "the one that has read least, by {sort}"
        );
        let list = app.owner.get_json(&format!("{LIST}?sort=-{sort}")).await;
        assert_eq!(ids(&list)[3], all[3], "by -{sort}");
    }
    let list = app.owner.get_json(&format!("{LIST}?session=b")).await;
    assert_eq!(
        (ids(&list), &list["total"], &list["opened"]),
        (vec![all[1].clone()], &json!(1), &json!(4))
    );
    let who = stranger.get_json("/api/session").await;
    let user = who["user"]["id"].as_str().expect("an id");
    let list = app.owner.get_json(&format!("{LIST}?user={user}")).await;
    assert_eq!(ids(&list), all[3..]);
    let session = list["items"][0]["session"].as_str().expect("a name");
    assert!(session.starts_with("key:"), "{session}");
    other.finish("stop").await;
    other.done().await;
    drop(unnamed);
    drop(readers);
    finish(call, Vec::new()).await;
    app.end().await;
}

#[tokio::test]
async fn a_session_that_comes_again_replaces_itself_and_nobody_else() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let (turn, call) = app.answering().await;
    let theirs = stranger.ask(&stranger.conversation().await, "hello").await;
    let mut other = app.upstream.next_call().await;
    other.head_sse().await;
    let elsewhere = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut third = app.upstream.next_call().await;
    third.head_sse().await;

    let mut old = attach(&app.owner, &turn, Some("tab")).await;
    let unnamed = attach(&app.owner, &turn, None).await;
    let other_tab = attach(&app.owner, &turn, Some("tab-2")).await;
    let other_target = attach(&app.owner, &elsewhere, Some("tab")).await;
    let other_user = attach(&stranger, &theirs, Some("tab")).await;
    let request = app.owner.get(&format!("{}?session=tab", turn.events()));
    let mut new = Events::new(send(request).await);
    new.expect("started").await;
    assert!(old.next().await.is_none(), "ended without a terminal event");
    assert_eq!(closed(&app, "replaced").await, 1);
    let another_unnamed = attach(&app.owner, &turn, None).await;
    let newest = attach(&app.owner, &turn, Some("tab")).await;
    assert!(new.next().await.is_none());
    assert_eq!(closed(&app, "replaced").await, 2);

    finish(call, vec![unnamed, other_tab, another_unnamed, newest]).await;
    finish(other, vec![other_user]).await;
    finish(third, vec![other_target]).await;
    assert_eq!(closed(&app, "finished").await, 6);
    app.end().await;
}

#[tokio::test]
async fn a_user_has_a_limit_of_connections_which_a_reconnect_does_not_hit() {
    let app = spawn_app_with(&[("limits.emitters_per_user", "2")]).await;
    let stranger = app.stranger().await;
    let (turn, call) = app.answering().await;
    let mut old = attach(&app.owner, &turn, Some("tab")).await;
    let second = attach(&app.owner, &turn, None).await;
    let response = send(app.owner.get(&turn.events())).await;
    assert_eq!(response.headers()["retry-after"], "1");
    let refusal = problem(response, 429, "too-many").await;
    assert_eq!(refusal["retry_after"], 1);
    let reconnected = attach(&app.owner, &turn, Some("tab")).await;
    assert!(old.next().await.is_none());

    let theirs = stranger.ask(&stranger.conversation().await, "hello").await;
    let mut other = app.upstream.next_call().await;
    other.head_sse().await;
    let not_limited = attach(&stranger, &theirs, None).await;
    finish(other, vec![not_limited]).await;

    // What was started is told, though its stream cannot be had now.
    let conversation = app.owner.conversation().await;
    let ask = app.owner.say(&conversation, &json!({"content": "hello"}));
    let response = send(ask.header("accept", "text/event-stream")).await;
    let started = Turn::started(&conversation, response).await;
    app.upstream.next_call().await.answer(&["Hi"]).await;
    finish(call, vec![second, reconnected]).await;
    assert_eq!(app.owner.read_all(&started).await.text, "Hi");
    app.end().await;
}

#[tokio::test]
async fn a_full_node_says_so_inside_the_stream_because_browsers_would_give_up() {
    let app = spawn_app_with(&[("limits.emitters", "1")]).await;
    let (turn, call) = app.answering().await;
    let first = attach(&app.owner, &turn, None).await;
    let mut refused = Events::new(send(app.owner.get(&turn.events())).await);
    assert!(refused.next_frame().await.expect("a frame").retry.is_some());
    let unavailable = refused.expect("unavailable").await;
    assert_eq!(unavailable.id, None, "the position stays as it is");
    let data = unavailable.data.expect("a problem");
    assert_eq!(
        (&data["type"], &data["status"]),
        (&json!("/problems/node-full"), &json!(503))
    );
    assert!(data["instance"].is_string());
    assert!(refused.next_frame().await.is_none());
    assert_eq!(app.owner.get_json(LIST).await["opened"], 1);
    finish(call, vec![first]).await;
    app.end().await;
}

#[tokio::test]
async fn an_operator_ends_a_connection_and_its_answer_goes_on() {
    let app = spawn_app().await;
    let (turn, call) = app.answering().await;
    let mut events = attach(&app.owner, &turn, None).await;
    let id = ids(&app.owner.get_json(LIST).await).remove(0);
    let kill = || app.owner.request(Method::DELETE, &format!("{LIST}/{id}"));
    let stranger = app.stranger().await;
    let refused = stranger.request(Method::DELETE, &format!("{LIST}/{id}"));
    problem(send(refused).await, 403, "operators-only").await;
    assert_eq!(send(kill()).await.status(), 204);
    assert!(
        events.next().await.is_none(),
        "ended without a terminal event"
    );
    assert_eq!(closed(&app, "killed").await, 1);
    problem(send(kill()).await, 404, "not-found").await;
    let again = attach(&app.owner, &turn, None).await;
    finish(call, vec![again]).await;
    app.end().await;
}

#[tokio::test]
async fn running_answers_are_limited_for_a_user_and_for_the_node() {
    let options = [
        ("limits.generations_per_user", "1"),
        ("limits.generations", "2"),
    ];
    let app = spawn_app_with(&options).await;
    let (stranger, third) = (app.stranger().await, app.account("third").await);
    let (turn, mut call) = app.answering().await;
    let conversation = app.owner.conversation().await;
    let hello = json!({"content": "hello"});
    let response = send(app.owner.say(&conversation, &hello)).await;
    assert_eq!(response.headers()["retry-after"], "1");
    problem(response, 429, "too-many").await;
    let theirs = stranger.ask(&stranger.conversation().await, "hello").await;
    let mut other = app.upstream.next_call().await;
    let full = third.conversation().await;
    let response = send(third.say(&full, &hello)).await;
    assert_eq!(response.headers()["retry-after"], "5");
    problem(response, 503, "node-full").await;
    for (account, id) in [(&app.owner, &conversation), (&third, &full)] {
        assert_eq!(account.read(id).await["messages"], json!([]));
    }
    call.finish("stop").await;
    call.done().await;
    other.answer(&["Hi"]).await;
    app.owner.read_all(&turn).await;
    stranger.read_all(&theirs).await;
    app.end().await;
}

#[tokio::test]
async fn a_long_poll_is_a_live_connection_that_ends_with_its_login() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let path = format!("{}?after=1&wait=60", turn.events());
    let poll = app.owner.get(&path).header("accept", "application/json");
    let poll = tokio::spawn(send(poll));
    while app.chat.registry.emitter_count() == 0 {
        tokio::task::yield_now().await;
    }
    let list = app.owner.get_json("/api/operator/emitters").await;
    let id = list["items"][0]["id"].as_str().expect("an id").to_owned();
    let kill = app
        .owner
        .request(Method::DELETE, &format!("/api/operator/emitters/{id}"));
    assert_eq!(send(kill).await.status(), 204);
    let polled: Value = poll.await.expect("no panic").json().await.expect("JSON");
    assert_eq!(polled, json!({"events": [], "next": 1, "closed": false}));
    call.finish("stop").await;
    call.done().await;
    app.end().await;
}
