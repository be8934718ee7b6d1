//! Promise 1, exact resume, and the first half of promise 2: a disconnect never ends a generation.

use crate::support::{
    app::{Account, Turn, problem, send, spawn_app, spawn_app_with},
    events::{Events, Reader},
};
use continuo::model::now;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_cut_reader_resumes_exactly_and_the_stored_message_is_the_same() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let mut reader = Reader::default();

    let mut first = app.owner.events(&turn, 0).await;
    call.send("Hel").await;
    call.send("lo, 漢").await;
    first.read_until(&mut reader, "Hello, 漢".len()).await;
    drop(first);

    call.send("字 😀").await;
    let mut second = app.owner.events(&turn, reader.position).await;
    call.send(" and more").await;
    call.finish("stop").await;
    call.usage(3, 5).await;
    call.done().await;
    second.read_to_end(&mut reader).await;

    assert_eq!(reader.text, "Hello, 漢字 😀 and more");
    assert_eq!(reader.outcome(), "completed");
    assert_eq!(reader.done.as_ref().expect("done")["finish_reason"], "stop");
    assert_eq!(
        reader.done.as_ref().expect("done")["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 5})
    );
    let message = app.owner.message(&turn).await;
    assert_eq!(message["content"], reader.text.as_str());
    assert_eq!(message["status"], "completed");
    app.end().await;
}

#[tokio::test]
async fn the_stream_has_the_bytes_of_the_contract() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let response = send(app.owner.get(&turn.events())).await;
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-store, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    let mut events = Events::new(response);
    let retry = events
        .next_frame()
        .await
        .expect("retry first")
        .retry
        .expect("retry first");
    assert!((1800..=2200).contains(&retry), "{retry}");
    assert!(
        events
            .next_frame()
            .await
            .expect("a comment")
            .comment
            .is_some()
    );
    let started = events.expect("started").await;
    assert_eq!(started.id, Some(1));
    let data = started.data.expect("data");
    assert_eq!(data["generation_id"], turn.generation.as_str());
    assert_eq!(data["message_id"], turn.message.as_str());
    assert_eq!(data["conversation_id"], turn.conversation.as_str());
    assert_eq!(data["model"], "fake-model");
    call.send("a\nb").await;
    events.expect("delta").await;
    call.finish("stop").await;
    call.done().await;
    events.expect("block").await;
    events.expect("done").await;
    assert!(
        events.next().await.is_none(),
        "the stream ends after the terminal event"
    );
    let raw = String::from_utf8(events.raw.clone()).expect("UTF-8");
    assert!(
        raw.contains("id: 2\nevent: delta\ndata: {\"text\":\"a\\nb\"}\n\n"),
        "{raw}"
    );
    app.end().await;
}

#[tokio::test]
async fn posting_for_a_stream_answers_with_the_stream_itself() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let request = app
        .owner
        .post(&format!("/api/conversations/{conversation}/messages"));
    let response = send(
        request
            .header("accept", "text/event-stream")
            .json(&json!({"content": "hello"})),
    )
    .await;
    let location = response.headers()["location"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let mut events = Events::new(response);
    app.upstream.next_call().await.answer(&["Hel", "lo"]).await;
    let mut reader = Reader::default();
    events.read_to_end(&mut reader).await;
    assert_eq!(reader.text, "Hello");
    let record = app.owner.get_json(&location).await;
    assert_eq!(record["status"], "completed");
    assert_eq!(record["seq"], reader.position);
    app.end().await;
}

#[tokio::test]
async fn closing_the_tab_does_not_stop_the_generation() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let request = app
        .owner
        .post(&format!("/api/conversations/{conversation}/messages"));
    let response = send(
        request
            .header("accept", "text/event-stream")
            .json(&json!({"content": "hello"})),
    )
    .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    drop(response);
    app.no_emitters().await;
    assert!(
        call.send("still here").await,
        "the upstream's socket is open"
    );
    call.finish("stop").await;
    call.done().await;
    let page = app
        .owner
        .get_json(&format!("/api/conversations/{conversation}"))
        .await;
    let id = page["messages"][1]["generation_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let turn = Turn {
        generation: id,
        message: String::new(),
        conversation,
    };
    let mut reader = Reader::default();
    app.owner
        .events(&turn, 0)
        .await
        .read_to_end(&mut reader)
        .await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("still here", "completed")
    );
    app.end().await;
}

/// Follows an answer to its end, cutting the connection at random places.
async fn follow(account: Account, turn: Turn, mut random: StdRng, reconnects: bool) -> Reader {
    let mut reader = Reader::default();
    while reader.done.is_none() {
        let mut events = app_events(&account, &turn, reader.position).await;
        let patience = if reconnects {
            random.random_range(1..12)
        } else {
            usize::MAX
        };
        for _ in 0..patience {
            let Some(frame) = events.next().await else {
                break;
            };
            reader.take(&frame);
        }
    }
    reader
}

async fn app_events(account: &Account, turn: &Turn, after: u64) -> Events {
    account.events(turn, after).await
}

#[tokio::test]
async fn twenty_readers_attached_at_random_times_assemble_the_same_bytes() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let mut text = String::new();
    let mut readers = Vec::new();
    for piece in 0..200 {
        if piece % 10 == 0 {
            let (account, turn, own) = (
                app.owner.clone(),
                turn.clone(),
                StdRng::seed_from_u64(random.random()),
            );
            readers.push(tokio::spawn(follow(account, turn, own, piece % 20 == 0)));
        }
        let piece = format!("{piece}漢😀{}", "x".repeat(random.random_range(0..30)));
        text.push_str(&piece);
        call.send(&piece).await;
        if random.random_bool(0.3) {
            tokio::task::yield_now().await;
        }
    }
    call.finish("stop").await;
    call.done().await;
    assert_eq!(readers.len(), 20);
    for reader in readers {
        let reader = reader.await.expect("no panic");
        assert_eq!(reader.text, text);
        assert_eq!((reader.outcome(), reader.gaps), ("completed", 0));
    }
    assert_eq!(app.owner.message(&turn).await["content"], text.as_str());
    app.end().await;
}

#[tokio::test]
async fn reading_a_conversation_in_mid_answer_continues_exactly_from_its_seq() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let mut first = app.owner.events(&turn, 0).await;
    call.send("Hello").await;
    first.read_until(&mut Reader::default(), 5).await;
    drop(first);

    let page = app
        .owner
        .get_json(&format!("/api/conversations/{}", turn.conversation))
        .await;
    assert_eq!(page["generation"]["id"], turn.generation.as_str());
    let answer = &page["messages"][1];
    assert_eq!(
        (answer["status"].as_str(), answer["content"].as_str()),
        (Some("streaming"), Some("Hello"))
    );
    assert_eq!(answer["model"], "fake-model");
    let mut reader = Reader {
        position: page["generation"]["seq"].as_u64().expect("a position"),
        text: "Hello".to_owned(),
        ..Reader::default()
    };
    let mut events = app.owner.events(&turn, reader.position).await;
    call.send(", world").await;
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!((reader.text.as_str(), reader.gaps), ("Hello, world", 0));
    app.end().await;
}

#[tokio::test]
async fn a_log_whose_events_are_forgotten_is_served_in_one_piece() {
    let app = spawn_app_with(&[("log.retain_seconds", "0"), ("log.retain_bytes", "0")]).await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    app.upstream.next_call().await.answer(&["Hel", "lo"]).await;
    let mut live = Reader::default();
    let mut events = app.owner.events(&turn, 0).await;
    events.read_to_end(&mut live).await;
    app.nothing_in_memory().await;
    let all = now() + Duration::from_secs(1);
    let forgotten = app.chat.store.forget_events(all).await;
    assert_eq!(forgotten.expect("the store writes"), 1);
    for after in [0, 1, live.position + 100] {
        let mut late = Reader::default();
        app.owner
            .events(&turn, after)
            .await
            .read_to_end(&mut late)
            .await;
        assert_eq!(
            (late.text.as_str(), late.gaps, late.position),
            ("Hello", 1, live.position),
            "after {after}"
        );
        let (late, live) = (late.done.expect("done"), live.done.as_ref().expect("done"));
        assert_eq!(&late, live, "the terminal event is the same");
    }
    let mut events = app.owner.events(&turn, live.position - 1).await;
    events.expect("done").await;
    let response = send(
        app.owner
            .get(&turn.events())
            .header("last-event-id", live.position),
    )
    .await;
    assert_eq!(
        response.status(),
        204,
        "nothing more, and EventSource must not come back"
    );
    app.end().await;
}

#[tokio::test]
async fn positions_that_are_no_numbers_are_refused_and_those_past_the_end_start_over() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("Hello").await;
    let mut events = app.owner.events(&turn, 0).await;
    events.read_until(&mut Reader::default(), 5).await;
    for position in ["abc", "-1", "1.5", "0x10", "1 2", "+1", "١"] {
        let response = send(
            app.owner
                .get(&turn.events())
                .header("last-event-id", position),
        )
        .await;
        problem(response, 400, "malformed-request").await;
    }
    problem(
        send(app.owner.get(&format!("{}?after=x", turn.events()))).await,
        400,
        "malformed-request",
    )
    .await;
    for position in ["1000", "18446744073709551615", "99999999999999999999999999"] {
        let response = send(
            app.owner
                .get(&turn.events())
                .header("last-event-id", position),
        )
        .await;
        let mut reader = Reader::default();
        let mut events = Events::new(response);
        let gap = events.expect("gap").await;
        assert_eq!(
            (gap.id, &gap.data.expect("data")["reason"]),
            (None, &json!("beyond_end"))
        );
        reader.take(&events.expect("snapshot").await);
        assert_eq!(reader.text, "Hello", "{position}");
    }
    call.send("!").await;
    call.finish("stop").await;
    call.done().await;
    events
        .read_to_end(&mut Reader {
            position: 2,
            ..Reader::default()
        })
        .await;
    app.end().await;
}

#[tokio::test]
async fn a_long_poll_gives_the_same_events_as_the_stream() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let poll = async |after: u64, wait: u64| -> Value {
        let path = format!("{}?after={after}&wait={wait}", turn.events());
        let response = send(app.owner.get(&path).header("accept", "application/json")).await;
        assert_eq!(response.status(), 200);
        response.json().await.expect("JSON")
    };
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let first = poll(0, 20).await;
    assert_eq!(first["events"][0]["event"], "started");
    assert_eq!(
        (&first["next"], &first["closed"]),
        (&json!(1), &json!(false))
    );
    let nothing = poll(1, 0).await;
    assert_eq!(nothing, json!({"events": [], "next": 1, "closed": false}));
    let (waited, ()) = tokio::join!(poll(1, 20), async {
        call.send("Hello").await;
    });
    assert_eq!(
        waited["events"],
        json!([{"seq": 2, "event": "delta", "data": {"text": "Hello"}}])
    );
    call.finish("stop").await;
    call.done().await;
    let block = poll(2, 20).await;
    assert_eq!(block["events"][0]["event"], "block");
    let last = poll(3, 20).await;
    assert_eq!(
        (&last["events"][0]["event"], &last["closed"]),
        (&json!("done"), &json!(true))
    );
    let end = poll(4, 20).await;
    assert_eq!(end, json!({"events": [], "next": 4, "closed": true}));
    let gap = poll(99, 20).await;
    assert_eq!(
        (&gap["events"][0]["event"], &gap["events"][1]["event"]),
        (&json!("gap"), &json!("snapshot"))
    );
    app.end().await;
}
