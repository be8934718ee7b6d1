//! OpenAI's API with `store: true`: a conversation keeps the exchange, and its answer is one like any other besides.

use crate::{
    support::{
        app::{Account, TestApp, problem, send, spawn_app, spawn_app_with},
        database::with_database,
        events::{Events, Reader},
        fake_upstream::Call,
        until,
    },
    v1::{Stream, asking, completion, refusal, resumed},
};
use reqwest::Method;
use serde_json::{Value, json};

fn body(stream: bool) -> Value {
    json!({"model": "m", "store": true, "stream": stream, "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Sure?\u{0}"},
    ]})
}

/// A streamed exchange that is to be kept, with this much of its answer there.
async fn streaming(account: &Account, app: &TestApp, piece: &str) -> (Stream, Call) {
    let response = asking(completion(account, &body(true)));
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send(piece).await;
    let mut stream = Stream::of(response.await.expect("no panic"));
    stream.read_until(piece).await;
    (stream, call)
}

async fn conversations(account: &Account) -> Vec<Value> {
    let list = account.get_json("/api/conversations").await;
    list["items"].as_array().expect("a list").clone()
}

/// The one conversation of this user, with its messages.
async fn kept(account: &Account) -> Value {
    let list = conversations(account).await;
    assert_eq!(list.len(), 1, "{list:?}");
    account.read(list[0]["id"].as_str().expect("an id")).await
}

/// From the first payload to what can be read when no memory has it any more.
async fn an_exchange(app: TestApp) {
    let mut feed = Events::new(send(app.owner.get("/api/feed")).await);
    feed.expect("snapshot").await;
    let response = asking(completion(&app.owner, &body(true)));
    let mut call = app.upstream.next_call().await;
    let mut expected = body(true);
    expected["stream_options"] = json!({"include_usage": true});
    expected.as_object_mut().expect("an object").remove("store");
    assert_eq!(call.json(), expected, "all but `store` passes on");
    assert_eq!(
        conversations(&app.owner).await.len(),
        0,
        "not before there is an answer"
    );
    call.head_sse().await;
    call.send("Quite ").await;
    let stream = Stream::of(response.await.expect("no panic"));
    let id = stream.generation().to_owned();

    // Pages are told, and read it while it is written.
    let told = feed.expect("generation").await.data.expect("data");
    assert_eq!(
        (&told["id"], &told["status"]),
        (&json!(id), &json!("running"))
    );
    let running = kept(&app.owner).await;
    assert_eq!(running["generation"]["id"], json!(id));
    assert_eq!(
        (&running["title"], &running["system"]),
        (&json!("What is it?"), &json!("Be kind."))
    );
    assert_eq!(running["model"], "m");
    let mut reader = Reader::default();
    let events = format!("/api/generations/{id}/events");
    let mut events = Events::new(send(app.owner.get(&events)).await);
    events.read_until(&mut reader, 6).await;
    call.send("sure.").await;
    call.finish("stop").await;
    call.usage(7, 2).await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (&*reader.text, reader.outcome()),
        ("Quite sure.", "completed")
    );
    drop(events);
    let location = stream.location.clone();
    let text = stream.rest().await;
    assert!(
        text.ends_with("data: [DONE]\n\n") && !text.contains("usage"),
        "{text}"
    );

    let conversation = kept(&app.owner).await;
    let messages = conversation["messages"].as_array().expect("messages");
    let said: Vec<_> = messages
        .iter()
        .map(|message| {
            (
                message["role"].as_str().expect("a role"),
                message["content"].as_str().expect("text"),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("user", "What is it?\n[image]"),
            ("assistant", "A cat."),
            ("user", "Sure?\u{fffd}"),
            ("assistant", "Quite sure."),
        ]
    );
    let answer = &messages[3];
    assert_eq!(answer["status"], "completed");
    assert_eq!(answer["finish_reason"], "stop");
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 7, "completion_tokens": 2})
    );
    assert_eq!(answer["generation_id"], json!(id));
    assert_eq!(conversation["head_id"], answer["id"]);
    assert!(
        app.upstream.waiting_call().is_none(),
        "nobody asked for a title"
    );

    // The payloads leave memory at once here; what is kept stays.
    app.nothing_in_memory().await;
    let record = app.owner.get_json(&format!("/v1/generations/{id}")).await;
    assert_eq!(record["conversation_id"], conversation["id"]);
    assert_eq!(record["message_id"], answer["id"]);
    refusal(send(app.owner.get(&location)).await, 410, "position_gone").await;

    // It goes on as any other.
    let conversation = conversation["id"].as_str().expect("an id");
    let turn = app.answered(conversation, "And now?", &["Still."]).await;
    assert_eq!(app.owner.message(&turn).await["content"], "Still.");
    drop(feed);
    app.end().await;
}

const AT_ONCE: (&str, &str) = ("log.retain_bytes", "0");

#[tokio::test]
async fn a_conversation_keeps_the_exchange_and_shows_it_while_it_is_written() {
    an_exchange(spawn_app_with(&[AT_ONCE]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn on_postgres_a_conversation_keeps_the_exchange_in_the_same_way() {
    with_database(async |url| {
        an_exchange(spawn_app_with(&[("store.url", &url), AT_ONCE]).await).await;
    })
    .await;
}

#[tokio::test]
async fn a_whole_answer_is_kept_too() {
    let app = spawn_app().await;
    let response = asking(completion(&app.owner, &body(false)));
    app.upstream
        .next_call()
        .await
        .reply_completion("Quite sure.")
        .await;
    let response = response.await.expect("no panic");
    assert_eq!(response.status(), 200);
    let whole: Value = response.json().await.expect("JSON");
    assert_eq!(whole["choices"][0]["message"]["content"], "Quite sure.");
    let answer = kept(&app.owner).await["messages"][3].clone();
    assert_eq!(
        (&answer["content"], &answer["status"]),
        (&json!("Quite sure."), &json!("completed"))
    );
    app.end().await;
}

#[tokio::test]
async fn what_was_refused_before_the_first_byte_leaves_nothing() {
    let app = spawn_app().await;
    for stream in [true, false] {
        let response = asking(completion(&app.owner, &body(stream)));
        app.upstream.next_call().await.reply_429("1").await;
        assert_eq!(response.await.expect("no panic").status(), 429);
    }
    let response = asking(completion(&app.owner, &body(true)));
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.comment("working on it").await;
    call.end().await;
    refusal(response.await.expect("no panic"), 502, "upstream_truncated").await;
    // Chunks that nobody asked for.
    let response = asking(completion(&app.owner, &body(false)));
    app.upstream.next_call().await.answer(&["Hi"]).await;
    refusal(
        response.await.expect("no panic"),
        502,
        "upstream_unreadable",
    )
    .await;
    assert_eq!(conversations(&app.owner).await.len(), 0);
    app.end().await;
}

#[tokio::test]
async fn who_leaves_or_stops_keeps_what_came() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let (stream, call) = streaming(&app.owner, &app, "Qui").await;
    drop(stream);
    call.closed().await;
    app.nothing_runs().await;
    let answer = kept(&app.owner).await["messages"][3].clone();
    assert_eq!(
        (&answer["content"], &answer["status"]),
        (&json!("Qui"), &json!("stopped"))
    );

    let (stream, call) = streaming(&stranger, &app, "Qui").await;
    let id = stream.generation().to_owned();
    let stopped = send(stranger.post(&format!("/v1/generations/{id}/cancel"))).await;
    assert_eq!(stopped.status(), 200);
    call.closed().await;
    let text = stream.rest().await;
    assert!(text.ends_with("\"code\":\"stopped\"}}\n\n"), "{text}");
    assert_eq!(kept(&stranger).await["messages"][3]["status"], "stopped");

    // What is another's is not there, kept or not.
    refusal(
        send(app.owner.get(&format!("/v1/generations/{id}"))).await,
        404,
        "not_found",
    )
    .await;
    refusal(
        send(app.owner.get(&format!("/v1/generations/{id}/events"))).await,
        404,
        "not_found",
    )
    .await;
    problem(
        send(app.owner.get(&format!("/api/generations/{id}/events"))).await,
        404,
        "not-found",
    )
    .await;
    app.end().await;
}

#[tokio::test]
async fn a_stop_before_there_is_an_answer_leaves_nothing() {
    let app = spawn_app().await;
    let response = asking(completion(&app.owner, &body(true)));
    let call = app.upstream.next_call().await;
    let running = app.owner.get_json("/api/operator/generations").await;
    let running = &running["items"][0];
    assert_eq!(
        (&running["conversation_id"], &running["message_id"]),
        (&Value::Null, &Value::Null)
    );
    let id = running["id"].as_str().expect("an id");
    let stopped = send(app.owner.post(&format!("/v1/generations/{id}/cancel"))).await;
    assert_eq!(stopped.status(), 200);
    call.closed().await;
    refusal(response.await.expect("no panic"), 410, "stopped").await;
    assert_eq!(conversations(&app.owner).await.len(), 0);
    app.end().await;
}

#[tokio::test]
async fn an_answer_that_breaks_is_kept_as_far_as_it_came() {
    let app = spawn_app().await;
    let (stream, mut call) = streaming(&app.owner, &app, "Qui").await;
    call.cut().await;
    let text = stream.rest().await;
    assert!(
        text.contains("upstream_truncated") && !text.contains("[DONE]"),
        "{text}"
    );
    let answer = kept(&app.owner).await["messages"][3].clone();
    assert_eq!(
        (&answer["content"], &answer["status"]),
        (&json!("Qui"), &json!("truncated"))
    );
    assert_eq!(answer["problem"]["type"], "/problems/upstream-truncated");
    app.end().await;
}

#[tokio::test]
async fn what_a_kept_answer_says_is_in_the_database_while_it_is_said() {
    let mut app = spawn_app().await;
    let (stream, mut call) = streaming(&app.owner, &app, "Qui").await;
    let id = stream.generation().parse().expect("an id");
    until("it is recorded", async || {
        let segments = app.chat.store.events(id, 0).await.expect("the store reads");
        segments
            .iter()
            .any(|segment| segment.frames.contains("delta {\"text\":\"Qui\"}"))
    })
    .await;
    app.shut_down().await;
    let text = stream.rest().await;
    assert!(text.ends_with("\"code\":\"interrupted\"}}\n\n"), "{text}");
    call.close();
    let again = app.again().await;
    let answer = kept(&again.owner).await["messages"][3].clone();
    assert_eq!(
        (&answer["content"], &answer["status"]),
        (&json!("Qui"), &json!("interrupted"))
    );
    again.end().await;
}

#[tokio::test]
async fn a_key_keeps_one_exchange_for_a_day() {
    let app = spawn_app().await;
    let once = |body: &Value| completion(&app.owner, body).header("idempotency-key", "k");
    let first = asking(once(&body(true)));
    let mut call = app.upstream.next_call().await;
    let twin = asking(once(&body(true)));
    call.answer(&["Quite ", "sure."]).await;
    let first = Stream::of(first.await.expect("no panic"));
    let location = first.location.clone();
    let text = first.rest().await;
    let twin = Stream::of(twin.await.expect("no panic"));
    assert_eq!(twin.location, location);
    assert_eq!(twin.rest().await, text);
    assert_eq!(resumed(&app.owner, &location, 0).await, text);
    kept(&app.owner).await;

    let mut app = app;
    app.shut_down().await;
    let again = app.again().await;
    let owner = again.owner.clone();
    let once = |body: &Value| completion(&owner, body).header("idempotency-key", "k");
    let error = refusal(send(once(&body(true))).await, 410, "answered_before").await;
    let at = location.strip_suffix("/events").expect("a location");
    assert!(
        error["message"].as_str().expect("words").contains(at),
        "{error}"
    );
    refusal(
        send(once(&body(false))).await,
        422,
        "idempotency_key_reused",
    )
    .await;
    assert!(again.upstream.waiting_call().is_none());
    kept(&again.owner).await;
    again.end().await;
}

#[tokio::test]
async fn what_no_conversation_may_have_is_refused_and_passes_unkept() {
    let options = [
        ("limits.message_bytes", "10"),
        ("limits.import_messages", "2"),
    ];
    let app = spawn_app_with(&options).await;
    let user = |content: &str| json!({"role": "user", "content": content});
    let request = |store: bool, messages: &[Value]| {
        completion(&app.owner, &json!({"store": store, "messages": messages}))
    };
    let large = [user("0123456789a")];
    refusal(send(request(true, &large)).await, 413, "message_too_large").await;
    let many = [user("a"), user("b"), user("c")];
    refusal(send(request(true, &many)).await, 413, "too_many_messages").await;
    let long = [json!({"role": "system", "content": "x".repeat(100_001)})];
    refusal(send(request(true, &long)).await, 422, "invalid_value").await;
    assert!(app.upstream.waiting_call().is_none());
    for messages in [&large[..], &many, &long] {
        let response = asking(request(false, messages));
        app.upstream.next_call().await.reply_completion("Hi").await;
        assert_eq!(response.await.expect("no panic").status(), 200);
    }
    assert_eq!(conversations(&app.owner).await.len(), 0);
    app.end().await;
}

#[tokio::test]
async fn a_deleted_conversation_ends_the_stream_of_its_answer() {
    let app = spawn_app().await;
    let (stream, call) = streaming(&app.owner, &app, "Qui").await;
    let conversation = kept(&app.owner).await;
    let path = format!(
        "/api/conversations/{}",
        conversation["id"].as_str().expect("an id")
    );
    let deleted = send(app.owner.request(Method::DELETE, &path)).await;
    assert_eq!(deleted.status(), 204);
    call.closed().await;
    let location = stream.location.clone();
    let text = stream.rest().await;
    assert!(text.ends_with("\"code\":\"stopped\"}}\n\n"), "{text}");
    refusal(send(app.owner.get(&location)).await, 404, "not_found").await;
    app.end().await;
}

#[tokio::test]
async fn the_upstream_is_told_to_store_where_that_is_configured() {
    let app = spawn_app_with(&[("upstream.pass_store", "true")]).await;
    let response = asking(completion(&app.owner, &body(false)));
    let mut call = app.upstream.next_call().await;
    assert_eq!(call.json(), body(false));
    call.reply_completion("Hi").await;
    assert_eq!(response.await.expect("no panic").status(), 200);
    app.end().await;
}
