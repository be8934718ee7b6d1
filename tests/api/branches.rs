//! One branch of a conversation at a time: which one is shown, page by page, and where the next prompt goes.

use super::conversations::{change, id, path};
use crate::support::{
    app::{TestApp, Turn, problem, send, spawn_app},
    events::Reader,
};
use reqwest::Response;
use serde_json::{Value, json};

/// Questions and answers below one another, so many.
async fn talked(app: &TestApp, questions: usize) -> (String, Vec<Turn>) {
    let conversation = app.owner.conversation().await;
    let mut turns = Vec::new();
    for n in 0..questions {
        let answer = format!("a{n}");
        turns.push(
            app.answered(&conversation, &format!("q{n}"), &[&answer])
                .await,
        );
    }
    (conversation, turns)
}

async fn regenerated(app: &TestApp, of: &Turn, answer: &str) -> Turn {
    let path = format!("/api/messages/{}/regenerate", of.message);
    let turn = Turn::started(&of.conversation, send(app.owner.post(&path)).await).await;
    app.upstream.next_call().await.answer(&[answer]).await;
    app.owner.read_all(&turn).await;
    turn
}

async fn page(app: &TestApp, conversation: &str, query: &str) -> Value {
    let path = format!("/api/conversations/{conversation}?{query}");
    app.owner.get_json(&path).await
}

fn texts(read: &Value) -> Vec<&str> {
    let messages = read["messages"].as_array().expect("messages").iter();
    messages
        .map(|message| message["content"].as_str().expect("text"))
        .collect()
}

async fn move_head(app: &TestApp, conversation: &str, head: &Value) -> Response {
    let path = format!("/api/conversations/{conversation}");
    change(&app.owner, &path, None, json!({ "head_id": head })).await
}

#[tokio::test]
async fn a_branch_is_read_from_its_end_upwards_page_by_page() {
    let app = spawn_app().await;
    let (conversation, turns) = talked(&app, 3).await;
    let last = page(&app, &conversation, "limit=4").await;
    assert_eq!(texts(&last), ["q1", "a1", "q2", "a2"]);
    assert_eq!(last["earlier"], true);
    assert_eq!(last["leaf_id"], turns[2].message.as_str());
    assert_eq!(last["head_id"], last["leaf_id"]);
    assert_eq!(last["generation"], Value::Null);
    let whole = app.owner.read(&conversation).await;
    for name in ["id", "title", "version", "head_id", "updated_at"] {
        assert_eq!(last[name], whole[name], "{name}");
    }
    assert_eq!(
        last["messages"][0], whole["messages"][2],
        "the same message"
    );
    assert_eq!(
        whole["leaf_id"],
        Value::Null,
        "the tree has no end of its own"
    );

    let first = id(&last["messages"][0]);
    let above = page(&app, &conversation, &format!("limit=4&before={first}")).await;
    assert_eq!(texts(&above), ["q0", "a0"]);
    assert_eq!(above["earlier"], false);
    assert_eq!(above["leaf_id"], last["leaf_id"]);
    let root = id(&above["messages"][0]);
    let nothing = page(&app, &conversation, &format!("limit=4&before={root}")).await;
    assert_eq!(texts(&nothing), [] as [&str; 0]);
    let all = page(&app, &conversation, "limit=1000").await;
    assert_eq!(texts(&all).len(), 6);

    let blocks = page(&app, &conversation, "limit=1&blocks=1").await;
    assert_eq!(blocks["messages"][0]["blocks"], json!([["p", {}, "a2"]]));
    assert_eq!(blocks["earlier"], true);

    let empty = page(&app, &app.owner.conversation().await, "limit=4").await;
    assert_eq!(
        (&empty["messages"], &empty["leaf_id"], &empty["earlier"]),
        (&json!([]), &Value::Null, &json!(false))
    );
    app.end().await;
}

#[tokio::test]
async fn messages_with_siblings_name_them_and_each_leads_to_its_newest_end() {
    let app = spawn_app().await;
    let (conversation, turns) = talked(&app, 2).await;
    let other = regenerated(&app, &turns[0], "other").await;
    let read = page(&app, &conversation, "limit=9").await;
    assert_eq!(texts(&read), ["q0", "other"]);
    assert_eq!(read["messages"][0].get("siblings"), None);
    let siblings = json!([turns[0].message, other.message]);
    assert_eq!(read["messages"][1]["siblings"], siblings);

    let through = format!("limit=9&through={}", turns[0].message);
    let first = page(&app, &conversation, &through).await;
    assert_eq!(texts(&first), ["q0", "a0", "q1", "a1"]);
    assert_eq!(first["messages"][1]["siblings"], siblings);
    assert_eq!(first["leaf_id"], turns[1].message.as_str());
    assert_eq!(
        first["head_id"],
        other.message.as_str(),
        "looking moves nothing"
    );

    // A second beginning is a sibling of the first.
    let body = json!({"content": "again", "parent_id": null});
    let turn = Turn::started(
        &conversation,
        send(app.owner.say(&conversation, &body)).await,
    )
    .await;
    app.upstream.next_call().await.answer(&["A"]).await;
    app.owner.read_all(&turn).await;
    let again = page(&app, &conversation, "limit=9").await;
    assert_eq!(texts(&again), ["again", "A"]);
    let roots = json!([id(&first["messages"][0]), id(&again["messages"][0])]);
    assert_eq!(again["messages"][0]["siblings"], roots);
    app.end().await;
}

#[tokio::test]
async fn the_head_can_be_moved_and_the_next_prompt_goes_there() {
    let app = spawn_app().await;
    let (conversation, turns) = talked(&app, 2).await;
    let before = app.owner.read(&conversation).await;
    let moved = move_head(&app, &conversation, &json!(turns[0].message)).await;
    assert_eq!(moved.status(), 200);
    assert_eq!(
        moved.headers()["etag"],
        format!("\"{}\"", before["version"]).as_str()
    );
    let moved: Value = moved.json().await.expect("JSON");
    assert_eq!(moved["head_id"], turns[0].message.as_str());
    assert_eq!(moved["generation"], Value::Null);
    for name in ["version", "updated_at"] {
        assert_eq!(moved[name], before[name], "{name}");
    }
    let read = page(&app, &conversation, "limit=9").await;
    assert_eq!(texts(&read), ["q0", "a0"]);
    let next = app.owner.ask(&conversation, "q2").await;
    let call = app.upstream.next_call().await;
    assert_eq!(
        call.json()["messages"],
        json!([
            {"role": "user", "content": "q0"},
            {"role": "assistant", "content": "a0"},
            {"role": "user", "content": "q2"},
        ])
    );
    let mut call = call;
    call.answer(&["a3"]).await;
    app.owner.read_all(&next).await;

    // Together with another field it is a change like any other.
    let path = path(&before);
    let body = json!({"title": "T", "head_id": turns[1].message});
    let changed = change(&app.owner, &path, Some("\"1\""), body).await;
    assert_eq!(changed.status(), 200);
    let changed: Value = changed.json().await.expect("JSON");
    assert_eq!(
        (&changed["version"], &changed["title"]),
        (&json!(2), &json!("T"))
    );
    let stale = json!({"head_id": turns[0].message});
    let stale = change(&app.owner, &path, Some("\"1\""), stale).await;
    problem(stale, 412, "version-mismatch").await;
    assert_eq!(
        app.owner.read(&conversation).await["head_id"],
        turns[1].message.as_str()
    );
    app.end().await;
}

#[tokio::test]
async fn a_head_that_the_conversation_does_not_have_is_refused_by_name() {
    let app = spawn_app().await;
    let (conversation, turns) = talked(&app, 1).await;
    let (other, _) = talked(&app, 1).await;
    let before = app.owner.read(&other).await;
    for head in [
        json!(turns[0].message),
        json!("0190a0c4-7c3d-7cc0-8000-000000000000"),
        json!("x"),
        json!(""),
        json!(null),
    ] {
        println!("{head}");
        let refusal = problem(move_head(&app, &other, &head).await, 422, "invalid-value").await;
        let detail = refusal["detail"].as_str().expect("words");
        assert!(detail.starts_with("head_id"), "{detail}");
        assert!(
            detail.contains(head.as_str().unwrap_or_default()),
            "{detail}"
        );
    }
    let refused = move_head(&app, &other, &json!(5)).await;
    problem(refused, 422, "invalid-value").await;
    assert_eq!(app.owner.read(&other).await, before);
    let unknown = "0190a0c4-7c3d-7cc0-8000-000000000000";
    let foreign = &turns[0].message;
    for (status, kind, query) in [
        (404, "not-found", format!("limit=1&before={unknown}")),
        (404, "not-found", format!("limit=1&through={unknown}")),
        (404, "not-found", format!("limit=1&before={foreign}")),
        (404, "not-found", format!("limit=1&through={foreign}")),
        (400, "malformed-request", format!("before={unknown}")),
        (400, "malformed-request", format!("through={unknown}")),
        (400, "malformed-request", "limit=1&before=x".to_owned()),
        (400, "malformed-request", "limit=x".to_owned()),
        (422, "invalid-value", "limit=0".to_owned()),
    ] {
        println!("{query}");
        let path = format!("/api/conversations/{other}?{query}");
        problem(send(app.owner.get(&path)).await, status, kind).await;
    }
    let path = format!("/api/conversations/{conversation}?limit=1");
    let stranger = app.stranger().await;
    problem(send(stranger.get(&path)).await, 404, "not-found").await;
    app.end().await;
}

#[tokio::test]
async fn what_is_being_written_is_seen_on_the_page_in_lists_and_after_a_change() {
    let app = spawn_app().await;
    let (conversation, turns) = talked(&app, 2).await;
    let turn = app.owner.ask(&conversation, "q2").await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("Hel").await;
    let mut reader = Reader::default();
    let mut events = app.owner.events(&turn, 0).await;
    events.read_until(&mut reader, 3).await;
    let running = json!({"id": turn.generation, "seq": reader.position});

    let read = page(&app, &conversation, "limit=1").await;
    assert_eq!(texts(&read), ["Hel"]);
    assert_eq!(read["messages"][0]["status"], "streaming");
    assert_eq!(read["generation"], running);
    // Also where what is written is not on the page.
    let above = format!("limit=1&before={}", turns[1].message);
    let above = page(&app, &conversation, &above).await;
    assert_eq!(above["generation"], running);
    let row = async || app.owner.get_json("/api/conversations").await["items"][0].clone();
    assert_eq!(row().await["generation"], running);

    // An answer that runs keeps nobody from looking elsewhere.
    let moved = move_head(&app, &conversation, &json!(turns[0].message)).await;
    assert_eq!(moved.status(), 200);
    let moved: Value = moved.json().await.expect("JSON");
    assert_eq!(moved["generation"], running);
    let elsewhere = page(&app, &conversation, "limit=9").await;
    assert_eq!(texts(&elsewhere), ["q0", "a0"]);
    assert_eq!(elsewhere["generation"], running);

    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(row().await["generation"], Value::Null);
    let after = app.owner.read(&conversation).await;
    assert_eq!(
        after["head_id"],
        turns[0].message.as_str(),
        "the end of an answer moves no head"
    );
    app.end().await;
}
