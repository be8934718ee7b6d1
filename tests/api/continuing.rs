//! An answer that was cut short goes on in the same message, and whoever reads it assembles exactly what is stored.

use crate::support::{
    PATIENCE,
    app::{Account, TestApp, Turn, problem, send, spawn_app, spawn_app_with},
    database::with_database,
    events::{Events, Reader},
    fake_upstream::Call,
};
use continuo::{
    model::{Ending, GenerationId, MessageId, NodeId, Outcome, Timings},
    recorder::interruption,
    store::{NewTurn, Parent, TurnOf},
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

fn carry_on(account: &Account, message: &str) -> RequestBuilder {
    account.post(&format!("/api/messages/{message}/continue"))
}

/// The answer of `turn` is carried on: what was started, and the call of the upstream that is to say the rest.
async fn continued(app: &TestApp, turn: &Turn) -> (Turn, Call) {
    let response = send(carry_on(&app.owner, &turn.message)).await;
    let next = Turn::started(&turn.conversation, response).await;
    assert_eq!(next.message, turn.message);
    assert_ne!(next.generation, turn.generation);
    (next, app.upstream.next_call().await)
}

/// An answer of which this much came, and a reader who has read it.
async fn begun(app: &TestApp, text: &str) -> (Turn, Call, Events) {
    let (turn, mut call) = app.answering().await;
    let mut events = app.owner.events(&turn, 0).await;
    call.send(text).await;
    events.read_until(&mut Reader::default(), text.len()).await;
    (turn, call, events)
}

/// An answer that was stopped after this text.
async fn stopped(app: &TestApp, text: &str) -> Turn {
    let (turn, call, _events) = begun(app, text).await;
    assert_eq!(app.owner.stop(&turn).await["status"], "stopped");
    call.closed().await;
    turn
}

/// What the reader assembled is what is stored, with this status.
async fn is_stored(app: &TestApp, reader: &Reader, turn: &Turn, status: &str, text: &str) -> Value {
    let message = app.owner.message(turn).await;
    assert_eq!((reader.text.as_str(), reader.gaps), (text, 0));
    assert_eq!(message["content"], text);
    assert_eq!(message["status"], status);
    message
}

/// So many characters of which no two are the same.
fn distinct(characters: usize) -> String {
    ('\u{4e00}'..).take(characters).collect()
}

#[tokio::test]
async fn however_it_was_cut_short_an_answer_goes_on_in_its_message() {
    goes_on_in_its_message(spawn_app().await).await;
}

async fn goes_on_in_its_message(app: TestApp) {
    for how in ["stopped", "truncated", "failed", "completed"] {
        println!("{how}");
        let (turn, mut call, events) = begun(&app, "Hel漢").await;
        match how {
            "stopped" => drop(app.owner.stop(&turn).await),
            "truncated" => call.cut().await,
            "failed" => drop(call.send_json(&json!({"error": "out of memory"})).await),
            _ => {
                call.finish("length").await;
                call.done().await;
            }
        }
        drop(events);
        assert_eq!(app.owner.read_all(&turn).await.outcome(), how);
        let before = app.owner.message(&turn).await;
        assert_eq!(before["status"], how);

        let (next, mut call) = continued(&app, &turn).await;
        let asked = call.json();
        assert_eq!(
            asked["messages"],
            json!([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hel漢"}])
        );
        assert_eq!(asked["continue_final_message"], true);
        assert_eq!(asked["add_generation_prompt"], false);
        call.answer(&["lo", "!"]).await;
        let reader = app.owner.read_all(&next).await;
        assert_eq!(reader.outcome(), "completed");
        let message = is_stored(&app, &reader, &next, "completed", "Hel漢lo!").await;
        assert_eq!(message["generation_id"], next.generation.as_str());
        assert_eq!(message["finish_reason"], "stop");
        assert_eq!(message["problem"], Value::Null);
        assert_eq!(message["created_at"], before["created_at"]);
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 2});
        assert_eq!(message["usage"], usage, "the upstream's last word");
        let read = app.owner.read(&turn.conversation).await;
        assert_eq!(read["messages"].as_array().map(Vec::len), Some(2));
        assert_eq!(read["generation"], Value::Null);
    }
    app.end().await;
}

#[tokio::test]
async fn after_a_restart_an_interrupted_answer_goes_on() {
    let mut app = spawn_app().await;
    let (turn, call, mut events) = begun(&app, "Hel").await;
    app.shutdown.drain.cancel();
    let mut rest = Reader {
        position: 2,
        ..Reader::default()
    };
    events.read_to_end(&mut rest).await;
    assert_eq!(rest.outcome(), "interrupted");
    call.closed().await;
    drop(events);
    app.shut_down().await;
    let app = app.again().await;
    let (next, mut call) = continued(&app, &turn).await;
    call.answer(&["lo"]).await;
    let reader = app.owner.read_all(&next).await;
    is_stored(&app, &reader, &next, "completed", "Hello").await;
    app.end().await;
}

#[tokio::test]
async fn its_log_begins_with_what_was_there_and_every_position_resumes_exactly() {
    let app = spawn_app_with(&[("log.retain_bytes", "0")]).await;
    let turn = stopped(&app, "Hel漢😀").await;
    let (next, mut call) = continued(&app, &turn).await;
    call.head_sse().await;
    let mut events = app.owner.events(&next, 0).await;
    let mut reader = Reader::default();
    let mut seen = vec![reader.clone()];

    let started = events.expect("started").await;
    let data = started.data.as_ref().expect("data");
    assert_eq!((started.id, &data["base"]), (Some(1), &json!(5)), "{data}");
    assert_eq!(data["generation_id"], next.generation.as_str());
    assert_eq!(data["message_id"], turn.message.as_str());
    let snapshot = events.expect("snapshot").await;
    assert_eq!(snapshot.id, Some(2));
    for frame in [started, snapshot] {
        reader.take(&frame);
        seen.push(reader.clone());
    }
    assert_eq!(reader.text, "Hel漢😀");
    for piece in ["lo", " 漢", "!"] {
        call.send(piece).await;
        reader.take(&events.expect("delta").await);
        seen.push(reader.clone());
    }
    // The history is one snapshot with the log.
    let read = app.owner.read(&turn.conversation).await;
    assert_eq!(read["messages"][1]["content"], "Hel漢😀lo 漢!");
    assert_eq!(read["generation"]["seq"], reader.position);

    let mut readers = Vec::new();
    for reader in &seen {
        readers.push((
            reader.clone(),
            app.owner.events(&next, reader.position).await,
        ));
    }
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    let whole = "Hel漢😀lo 漢!";
    is_stored(&app, &reader, &next, "completed", whole).await;
    for (mut resumed, mut events) in readers {
        events.read_to_end(&mut resumed).await;
        assert_eq!(resumed, reader);
    }
    drop(events);
    app.nothing_in_memory().await;
    let late = app.owner.read_all(&next).await;
    assert_eq!(
        (late.text.as_str(), late.done.as_ref()),
        (whole, reader.done.as_ref())
    );
    app.end().await;
}

/// An answer of which this much was stored when its process was killed; nobody knows of which model.
async fn lost_with_its_process(app: &TestApp, text: &str) -> Turn {
    let store = &app.chat.store;
    let conversation = app.owner.conversation().await;
    let owner = app.owner.get_json("/api/session").await["user"]["id"].clone();
    let owner = owner.as_str().expect("an id").parse().expect("an id");
    let lease = store.take_lease(NodeId::new(), PATIENCE).await;
    let new = NewTurn {
        generation_id: GenerationId::new(),
        message_id: MessageId::new(),
        lease: lease.expect("a lease"),
        model: None,
        of: TurnOf::Prompt {
            conversation_id: conversation.parse().expect("an id"),
            user_message_id: MessageId::new(),
            parent: Parent::Head,
            content: "hello".to_owned(),
        },
    };
    let begun = store.begin_turn(owner, &new, None).await;
    assert!(matches!(begun, Ok(Ok(_))), "{begun:?}");
    let ending = Ending {
        outcome: Outcome::Interrupted,
        content: text.to_owned(),
        reasoning: None,
        tool_calls: None,
        model: None,
        finish_reason: None,
        usage: None,
        timings: Timings {
            first_token_ms: None,
            total_ms: 1,
            ..Timings::default()
        },
        problem: Some(interruption()),
        last_seq: 1_000_002,
        leaves_message: false,
    };
    let ended = store.end_generation(new.generation_id, &ending, &[]).await;
    assert!(ended.expect("stored"));
    Turn {
        generation: new.generation_id.to_string(),
        message: new.message_id.to_string(),
        conversation,
    }
}

#[tokio::test]
async fn before_its_first_event_the_history_shows_what_was_there() {
    let app = spawn_app().await;
    let turn = lost_with_its_process(&app, "Hel").await;
    let conversation = &turn.conversation;
    let before = app.owner.message(&turn).await;
    // The model's name is looked up first; while that takes its time, the log is empty.
    app.upstream.set_models(None);
    let (next, _listing) = continued(&app, &turn).await;
    let read = app.owner.read(conversation).await;
    let message = &read["messages"][1];
    assert_eq!(
        (&message["status"], &message["content"]),
        (&json!("streaming"), &json!("Hel"))
    );
    let running = json!({"id": next.generation, "seq": 0});
    assert_eq!(read["generation"], running);

    let mut events = app.owner.events(&next, 0).await;
    assert_eq!(app.owner.stop(&next).await["status"], "stopped");
    let mut reader = Reader::default();
    let started = events.expect("started").await;
    assert_eq!(started.data.as_ref().expect("data")["base"], 3);
    reader.take(&started);
    events.read_to_end(&mut reader).await;
    assert_eq!((reader.outcome(), reader.text.as_str()), ("stopped", "Hel"));
    assert_eq!(app.owner.message(&turn).await, before);
    app.end().await;
}

#[tokio::test]
async fn words_that_are_repeated_are_told_once() {
    let app = spawn_app().await;
    let before = distinct(300);
    for (repeated, dropped) in [(31, 0), (32, 32), (256, 256), (257, 0)] {
        println!("{repeated}");
        let turn = stopped(&app, &before).await;
        let (next, mut call) = continued(&app, &turn).await;
        let new: Vec<char> = before.chars().skip(300 - repeated).collect();
        let new = [new, " and on".chars().collect()].concat();
        let pieces: Vec<String> = new.chunks(7).map(|piece| piece.iter().collect()).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        call.answer(&pieces).await;
        let reader = app.owner.read_all(&next).await;
        let added: String = new[dropped..].iter().collect();
        let whole = format!("{before}{added}");
        is_stored(&app, &reader, &next, "completed", &whole).await;
    }
    app.end().await;
}

#[tokio::test]
async fn what_is_held_back_is_kept_however_the_answer_ends() {
    let app = spawn_app().await;
    let before = distinct(40);
    for how in ["stopped", "truncated", "failed"] {
        println!("{how}");
        let turn = stopped(&app, &before).await;
        let (next, mut call) = continued(&app, &turn).await;
        call.head_sse().await;
        let mut events = app.owner.events(&next, 0).await;
        let mut reader = Reader::default();
        call.send("漢held").await;
        call.send_reasoning("hm").await;
        while reader.reasoning.is_empty() {
            reader.take(&events.next().await.expect("more"));
        }
        assert_eq!(reader.text, before, "held back");
        match how {
            "stopped" => drop(app.owner.stop(&next).await),
            "truncated" => call.cut().await,
            _ => drop(call.send_json(&json!({"error": "out of memory"})).await),
        }
        events.read_to_end(&mut reader).await;
        assert_eq!(reader.outcome(), how);
        let whole = format!("{before}漢held");
        let message = is_stored(&app, &reader, &next, how, &whole).await;
        assert_eq!(message["reasoning"], "hm");
        drop(events);

        let (last, mut call) = continued(&app, &next).await;
        assert_eq!(call.json()["messages"][1]["content"], whole.as_str());
        call.answer(&["!"]).await;
        let reader = app.owner.read_all(&last).await;
        is_stored(&app, &reader, &last, "completed", &format!("{whole}!")).await;
    }
    app.end().await;
}

#[tokio::test]
async fn when_the_upstream_refuses_the_message_stays_what_it_was() {
    stays_what_it_was(spawn_app_with(&[("log.retain_bytes", "0")]).await).await;
}

async fn stays_what_it_was(app: TestApp) {
    let turn = stopped(&app, &distinct(40)).await;
    let before = app.owner.message(&turn).await;
    for (how, kind) in [
        ("429", "upstream-rate-limited"),
        ("500", "upstream-refused"),
        ("empty", ""),
        ("repetition", "upstream-truncated"),
        ("unreachable", "upstream-unreachable"),
    ] {
        println!("{how}");
        if how == "unreachable" {
            app.upstream.stop_listening().await;
        }
        let response = send(carry_on(&app.owner, &turn.message)).await;
        let next = Turn::started(&turn.conversation, response).await;
        if how != "unreachable" {
            let mut call = app.upstream.next_call().await;
            match how {
                "429" => call.reply_429("7").await,
                "500" => call.reply(500, &[], "out of order").await,
                "empty" => call.reply(200, &[], "").await,
                _ => {
                    call.head_sse().await;
                    call.send(&distinct(40)).await;
                    call.close();
                }
            }
        }
        let reader = app.owner.read_all(&next).await;
        assert!(
            ["failed", "truncated"].contains(&reader.outcome()),
            "{reader:?}"
        );
        assert_eq!(reader.text, distinct(40));
        let done = reader.done.expect("the end");
        let problem = done["problem"]["type"].as_str().expect("a problem");
        assert!(problem.ends_with(kind), "{problem}");
        assert_eq!(app.owner.message(&turn).await, before);
        app.nothing_in_memory().await;
        let late = app.owner.read_all(&next).await;
        assert_eq!(
            (late.text, late.done),
            (distinct(40), Some(done)),
            "the truth about the generation"
        );
    }
    app.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn on_postgres_it_goes_on_and_stays_what_it_was_in_the_same_ways() {
    with_database(async |url| {
        goes_on_in_its_message(spawn_app_with(&[("store.url", &url)]).await).await;
    })
    .await;
    with_database(async |url| {
        let options = [("store.url", url.as_str()), ("log.retain_bytes", "0")];
        stays_what_it_was(spawn_app_with(&options).await).await;
    })
    .await;
}

#[tokio::test]
async fn after_a_refusal_it_can_be_carried_on_again() {
    let app = spawn_app().await;
    let turn = stopped(&app, "Hel").await;
    let (refused, mut call) = continued(&app, &turn).await;
    call.reply_429("1").await;
    assert_eq!(app.owner.read_all(&refused).await.outcome(), "failed");
    let (next, mut call) = continued(&app, &turn).await;
    assert_eq!(call.json()["messages"][1]["content"], "Hel");
    call.answer(&["lo"]).await;
    let reader = app.owner.read_all(&next).await;
    is_stored(&app, &reader, &next, "completed", "Hello").await;
    app.end().await;
}

#[tokio::test]
async fn an_answer_that_never_got_a_word_is_asked_for_again() {
    let app = spawn_app().await;
    let (turn, mut call) = app.asked().await;
    call.reply_429("1").await;
    assert_eq!(app.owner.read_all(&turn).await.outcome(), "failed");
    let (next, mut call) = continued(&app, &turn).await;
    let asked = call.json();
    assert_eq!(asked["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(asked["continue_final_message"], Value::Null);
    call.answer(&["Hello"]).await;
    let reader = app.owner.read_all(&next).await;
    is_stored(&app, &reader, &next, "completed", "Hello").await;
    app.end().await;
}

#[tokio::test]
async fn of_two_at_once_one_starts_and_the_other_is_told_which_runs() {
    let app = spawn_app().await;
    let turn = stopped(&app, "Hel").await;
    let ask = || send(carry_on(&app.owner, &turn.message));
    let (one, two) = tokio::join!(ask(), ask());
    let (started, refused) = if one.status() == 202 {
        (one, two)
    } else {
        (two, one)
    };
    let next = Turn::started(&turn.conversation, started).await;
    let refusal = problem(refused, 409, "still-streaming").await;
    assert_eq!(refusal["generation_id"], next.generation.as_str());
    app.upstream.next_call().await.answer(&["lo"]).await;
    let reader = app.owner.read_all(&next).await;
    is_stored(&app, &reader, &next, "completed", "Hello").await;
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

#[tokio::test]
async fn twins_with_a_key_carry_on_once() {
    let app = spawn_app().await;
    let turn = stopped(&app, "Hel").await;
    let ask = || {
        let request = carry_on(&app.owner, &turn.message);
        send(request.header("idempotency-key", "k"))
    };
    let twins: Vec<_> = (0..10).map(|_| tokio::spawn(ask())).collect();
    let mut generations = Vec::new();
    for twin in twins {
        let response = twin.await.expect("no panic");
        generations.push(Turn::started(&turn.conversation, response).await.generation);
    }
    app.upstream.next_call().await.answer(&["lo"]).await;
    let next = Turn {
        generation: generations[0].clone(),
        ..turn.clone()
    };
    let reader = app.owner.read_all(&next).await;
    is_stored(&app, &reader, &next, "completed", "Hello").await;
    // Complete by now; who asks with the key is answered as before.
    generations.push(
        Turn::started(&turn.conversation, ask().await)
            .await
            .generation,
    );
    assert!(generations.iter().all(|one| *one == generations[0]));
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

#[tokio::test]
async fn what_cannot_be_carried_on_is_refused_and_nothing_starts() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let turn = stopped(&app, "Hel").await;
    let unknown = uuid::Uuid::now_v7().to_string();
    let refused = send(carry_on(&app.owner, &unknown)).await;
    problem(refused, 404, "not-found").await;
    let refused = send(carry_on(&stranger, &turn.message)).await;
    problem(refused, 404, "not-found").await;

    let read = app.owner.read(&turn.conversation).await;
    let question = read["messages"][0]["id"].as_str().expect("an id");
    let refused = send(carry_on(&app.owner, question)).await;
    assert_eq!(refused.status(), 422);

    let complete = app.answered(&turn.conversation, "more", &["Hello"]).await;
    let refused = send(carry_on(&app.owner, &complete.message)).await;
    problem(refused, 409, "answer-complete").await;

    let (calling, mut call) = app.answering().await;
    let mut events = app.owner.events(&calling, 0).await;
    let fragment = json!([{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]);
    call.send_delta(json!({"tool_calls": fragment})).await;
    events.expect("started").await;
    events.expect("tool_calls").await;
    let refused = send(carry_on(&app.owner, &calling.message)).await;
    let refusal = problem(refused, 409, "still-streaming").await;
    assert_eq!(refusal["generation_id"], calling.generation.as_str());
    app.owner.stop(&calling).await;
    drop(events);
    app.caught_up().await;
    let before = app.owner.read(&calling.conversation).await;
    let refused = send(carry_on(&app.owner, &calling.message)).await;
    problem(refused, 409, "ends-in-tool-calls").await;
    assert_eq!(app.owner.read(&calling.conversation).await, before);
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

#[tokio::test]
async fn where_there_is_no_room_it_is_refused_and_stays_what_it_was() {
    let options = [
        ("limits.generations_per_user", "1"),
        ("drain.grace_seconds", "60"),
    ];
    let mut app = spawn_app_with(&options).await;
    let turn = stopped(&app, "Hel").await;
    let before = app.owner.message(&turn).await;
    let (_, mut call, mut events) = begun(&app, "an").await;
    let refused = send(carry_on(&app.owner, &turn.message)).await;
    problem(refused, 429, "too-many").await;
    assert_eq!(app.owner.message(&turn).await, before);

    app.chat.ask_to_drain();
    let refused = send(carry_on(&app.owner, &turn.message)).await;
    problem(refused, 503, "draining").await;
    assert_eq!(app.owner.message(&turn).await, before);
    assert!(app.upstream.waiting_call().is_none());
    call.finish("stop").await;
    call.done().await;
    let mut rest = Reader {
        position: 2,
        ..Reader::default()
    };
    events.read_to_end(&mut rest).await;
    assert_eq!(rest.outcome(), "completed");
    drop(events);
    app.shut_down().await;
}

#[tokio::test]
async fn an_answer_with_messages_below_it_goes_on_without_them() {
    let app = spawn_app().await;
    let turn = stopped(&app, "Hel").await;
    let below = app
        .answered(&turn.conversation, "and then?", &["That"])
        .await;
    let (next, mut call) = continued(&app, &turn).await;
    let asked = call.json()["messages"].clone();
    assert_eq!(asked.as_array().map(Vec::len), Some(2), "{asked}");
    call.answer(&["lo"]).await;
    let reader = app.owner.read_all(&next).await;
    is_stored(&app, &reader, &next, "completed", "Hello").await;
    let read = app.owner.read(&turn.conversation).await;
    assert_eq!(read["head_id"], below.message.as_str());
    assert_eq!(read["messages"].as_array().map(Vec::len), Some(4));
    assert_eq!(app.owner.message(&below).await["content"], "That");
    app.end().await;
}

#[tokio::test]
async fn the_text_before_counts_for_the_limits() {
    let app = spawn_app_with(&[
        ("limits.context_bytes", "100"),
        ("limits.answer_bytes", "150"),
    ])
    .await;
    let short = stopped(&app, &"a".repeat(90)).await;
    let before = app.owner.message(&short).await;
    let (next, mut call) = continued(&app, &short).await;
    call.head_sse().await;
    call.send(&"b".repeat(61)).await;
    let reader = app.owner.read_all(&next).await;
    let done = reader.done.expect("the end");
    assert_eq!(done["problem"]["type"], "/problems/answer-too-large");
    assert_eq!(app.owner.message(&short).await, before);

    let long = stopped(&app, &"a".repeat(96)).await;
    let before = app.owner.message(&long).await;
    let response = send(carry_on(&app.owner, &long.message)).await;
    let next = Turn::started(&long.conversation, response).await;
    let reader = app.owner.read_all(&next).await;
    let done = reader.done.expect("the end");
    assert_eq!(done["outcome"], "failed");
    assert_eq!(done["problem"]["type"], "/problems/context-too-large");
    assert_eq!(app.owner.message(&long).await, before);
    assert!(app.upstream.waiting_call().is_none());
    app.end().await;
}

#[tokio::test]
async fn it_may_be_asked_for_as_a_stream_of_another_model_and_in_words() {
    let app = spawn_app_with(&[("upstream.continue", "instruct")]).await;
    let turn = stopped(&app, "Hel").await;
    let body = json!({"model": "another", "max_tokens": 9});
    let request = carry_on(&app.owner, &turn.message).json(&body);
    let response = send(request.header("accept", "text/event-stream")).await;
    let location = response.headers()["location"].clone();
    let mut events = Events::new(response);
    let started = events.expect("started").await;
    let data = started.data.as_ref().expect("data");
    assert_eq!(data["model"], "another");
    let id = data["generation_id"].as_str().expect("an id");
    assert_eq!(location, format!("/api/generations/{id}"));
    let mut call = app.upstream.next_call().await;
    let asked = call.json();
    assert_eq!(asked["model"], "another");
    assert_eq!(asked["max_tokens"], 9);
    assert_eq!(asked["messages"][1]["content"], "Hel");
    assert_eq!(asked["messages"][2]["role"], "user");
    assert_eq!(asked["continue_final_message"], Value::Null);
    call.answer(&["lo"]).await;
    let mut reader = Reader::default();
    reader.take(&started);
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.outcome(), reader.text.as_str()),
        ("completed", "Hello")
    );
    assert_eq!(app.owner.message(&turn).await["content"], "Hello");
    drop(events);
    app.end().await;
}

#[tokio::test]
async fn what_is_started_names_no_new_question() {
    let app = spawn_app().await;
    let turn = stopped(&app, "Hel").await;
    let response = send(carry_on(&app.owner, &turn.message)).await;
    let ids: Value = response.json().await.expect("JSON");
    let names: Vec<_> = ids.as_object().expect("ids").keys().collect();
    assert_eq!(names, ["generation_id", "message_id"]);
    app.upstream.next_call().await.answer(&["lo"]).await;
    app.nothing_runs().await;
    app.end().await;
}
