//! The second half of promise 2: a stop ends the generation it names, whenever it comes, and closes the upstream's socket.

use crate::support::{
    app::{Account, TestApp, Turn, problem, send, spawn_app, spawn_app_with},
    events::{Events, Reader},
    fake_upstream::Call,
    until,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinHandle;

#[tokio::test]
async fn a_stop_keeps_the_partial_answer_and_closes_the_upstream() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    call.send("partial").await;
    events.read_until(&mut reader, 7).await;
    let stopped = app.owner.stop(&turn).await;
    call.closed().await;
    assert_eq!(stopped["status"], "stopped");
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("partial", "stopped")
    );
    let message = app.owner.message(&turn).await;
    assert_eq!(
        (message["content"].as_str(), message["status"].as_str()),
        (Some("partial"), Some("stopped"))
    );
    assert_eq!(
        app.owner.stop(&turn).await,
        stopped,
        "a second stop says the same"
    );
    app.end().await;
}

#[tokio::test]
async fn a_stop_before_the_upstream_has_answered_closes_its_socket() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let call = app.upstream.next_call().await;
    let stopped = app.owner.stop(&turn).await;
    call.closed().await;
    assert_eq!(stopped["status"], "stopped");
    let mut reader = Reader::default();
    app.owner
        .events(&turn, 0)
        .await
        .read_to_end(&mut reader)
        .await;
    assert_eq!((reader.text.as_str(), reader.outcome()), ("", "stopped"));
    app.end().await;
}

#[tokio::test]
async fn a_stop_after_the_end_changes_nothing_and_cannot_hit_the_next_answer() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    let first = app.owner.ask(&conversation, "one").await;
    app.upstream.next_call().await.answer(&["One"]).await;
    app.owner
        .events(&first, 0)
        .await
        .read_to_end(&mut Reader::default())
        .await;
    let second = app.owner.ask(&conversation, "two").await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    assert_eq!(app.owner.stop(&first).await["status"], "completed");
    call.send("Two").await;
    call.finish("stop").await;
    call.done().await;
    let mut reader = Reader::default();
    app.owner
        .events(&second, 0)
        .await
        .read_to_end(&mut reader)
        .await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("Two", "completed")
    );
    app.end().await;
}

#[tokio::test]
async fn ten_stops_at_once_get_the_same_answer() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send("partial").await;
    let stops = (0..10).map(|_| {
        let (account, turn) = (app.owner.clone(), turn.clone());
        tokio::spawn(async move { account.stop(&turn).await })
    });
    let mut answers = Vec::new();
    for stop in stops.collect::<Vec<_>>() {
        answers.push(stop.await.expect("no panic"));
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    app.end().await;
}

#[tokio::test]
async fn an_operator_stops_anybodys_generation_and_sees_it_run() {
    let app = spawn_app().await;
    let stranger = app.stranger().await;
    let turn = stranger.ask(&stranger.conversation().await, "hello").await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    let running = app.owner.get_json("/api/operator/generations").await;
    assert_eq!(running["items"][0]["id"], turn.generation.as_str());
    let path = format!("/api/operator/generations/{}/stop", turn.generation);
    problem(send(stranger.post(&path)).await, 403, "operators-only").await;
    let response = send(app.owner.post(&path)).await;
    assert_eq!(response.status(), 200);
    call.closed().await;
    app.nothing_runs().await;
    problem(send(app.owner.post(&path)).await, 404, "not-found").await;
    assert_eq!(stranger.message(&turn).await["status"], "stopped");
    app.end().await;
}

#[tokio::test]
async fn a_stop_of_a_turn_that_is_refused_waits_for_nothing() {
    let app = spawn_app().await;
    let nowhere = format!("/api/conversations/{}/messages", uuid::Uuid::now_v7());
    // Many, so that one is seen between its place in the registry and its refusal.
    let asking = (0..20).map(|_| {
        let request = app
            .owner
            .post(&nowhere)
            .json(&serde_json::json!({"content": "x"}));
        tokio::spawn(send(request))
    });
    let asking: Vec<_> = asking.collect();
    for _ in 0..50 {
        for generation in app.chat.registry.running() {
            app.chat.stop_any(generation.id).await;
        }
        tokio::task::yield_now().await;
    }
    for answer in asking {
        let status = answer.await.expect("no panic").status();
        assert!(status == 404 || status == 429, "{status}");
    }
    app.end().await;
}

#[tokio::test]
async fn a_deleted_conversation_is_not_read_from_memory_either() {
    let app = spawn_app().await;
    let turn = app
        .owner
        .ask(&app.owner.conversation().await, "hello")
        .await;
    app.upstream.next_call().await.answer(&["secret"]).await;
    app.owner
        .events(&turn, 0)
        .await
        .read_to_end(&mut Reader::default())
        .await;
    let path = format!("/api/conversations/{}", turn.conversation);
    let deleted = send(app.owner.request(reqwest::Method::DELETE, &path)).await;
    assert_eq!(deleted.status(), 204);
    problem(send(app.owner.get(&turn.events())).await, 404, "not-found").await;
    app.end().await;
}

/// What else happens while an answer ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Happens {
    Stop,
    End,
    /// The upstream's connection breaks.
    Cut,
    /// The upstream says that it failed.
    Fail,
    Delete,
}

/// Does it after a random number of other steps of the program. A call that is ended is still held, so that nothing else ends it.
fn happens(
    what: Happens,
    late: usize,
    owner: &Account,
    turn: &Turn,
    call: &mut Option<Call>,
) -> JoinHandle<(Option<Value>, Option<Call>)> {
    let (owner, turn) = (owner.clone(), turn.clone());
    let mut call = match what {
        Happens::Stop | Happens::Delete => None,
        _ => call.take(),
    };
    tokio::spawn(async move {
        for _ in 0..late {
            tokio::task::yield_now().await;
        }
        let mut answer = None;
        match (what, &mut call) {
            (Happens::Stop, _) => answer = Some(owner.stop(&turn).await),
            (Happens::Delete, _) => {
                let path = format!("/api/conversations/{}", turn.conversation);
                let deleted = send(owner.request(Method::DELETE, &path)).await;
                assert_eq!(deleted.status(), 204);
            }
            (Happens::End, Some(call)) => {
                // Whoever stops it closes the socket under these.
                if call.finish("stop").await {
                    call.done().await;
                }
            }
            (Happens::Fail, Some(call)) => {
                call.send_raw("data: {\"error\":{\"message\":\"no\"}}\n\n")
                    .await;
            }
            (Happens::Cut, cut) => *cut = None,
            (_, None) => unreachable!("it has the call"),
        }
        (answer, call)
    })
}

/// Two readers, one there from the beginning; both must be told one end, the same as every stop and as is stored.
async fn one_truth(app: &TestApp, turn: &Turn, mut events: Events, stops: &[Value]) -> String {
    let mut reader = Reader::default();
    events.read_to_end(&mut reader).await;
    let late = app.owner.read_all(turn).await;
    assert_eq!(late.done, reader.done);
    assert_eq!(late.text, reader.text);
    let outcome = reader.outcome().to_owned();
    let path = format!("/api/generations/{}", turn.generation);
    let record = app.owner.get_json(&path).await;
    for stop in stops {
        assert_eq!(*stop, record);
    }
    assert_eq!(record["status"], outcome.as_str());
    let message = app.owner.message(turn).await;
    assert_eq!(message["status"], outcome.as_str());
    assert_eq!(message["content"], reader.text.as_str());
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_first_of_stop_end_and_failure_is_the_one_truth_for_all() {
    let app = spawn_app().await;
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut seen = std::collections::BTreeMap::new();
    for round in 0..60 {
        let (turn, mut call) = app.asked().await;
        let how = [Happens::End, Happens::Cut, Happens::Fail][round % 3];
        // Some before the upstream has answered.
        if how == Happens::End || random.random_bool(0.8) {
            call.head_sse().await;
            call.send("partial").await;
        }
        let events = app.owner.events(&turn, 0).await;
        let mut call = Some(call);
        let mut under_way = vec![happens(
            how,
            random.random_range(0..400),
            &app.owner,
            &turn,
            &mut call,
        )];
        for _ in 0..random.random_range(1..4) {
            under_way.push(happens(
                Happens::Stop,
                random.random_range(0..400),
                &app.owner,
                &turn,
                &mut call,
            ));
        }
        let (mut stops, mut calls) = (Vec::new(), Vec::new());
        for one in under_way {
            let (stop, call) = one.await.expect("no panic");
            stops.extend(stop);
            calls.extend(call);
        }
        let outcome = one_truth(&app, &turn, events, &stops).await;
        assert!(
            matches!(
                (how, outcome.as_str()),
                (_, "stopped")
                    | (Happens::End, "completed")
                    | (Happens::Cut, "truncated" | "failed")
                    | (Happens::Fail, "failed")
            ),
            "{how:?} {outcome}"
        );
        *seen.entry(outcome).or_insert(0) += 1;
    }
    println!("{seen:?}");
    assert!(seen.len() > 1, "no race at all: {seen:?}");
    app.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_deleted_while_its_answer_ends_or_is_stopped_is_gone_and_nothing_hangs() {
    let app = spawn_app().await;
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..30 {
        let (turn, mut call) = app.answering().await;
        call.send("partial").await;
        let mut events = app.owner.events(&turn, 0).await;
        let mut call = Some(call);
        let mut delays = || random.random_range(0..400);
        let mut under_way = vec![happens(
            Happens::Delete,
            delays(),
            &app.owner,
            &turn,
            &mut call,
        )];
        if round % 2 == 0 {
            under_way.push(happens(
                Happens::End,
                delays(),
                &app.owner,
                &turn,
                &mut call,
            ));
        } else {
            let (owner, path) = (
                app.owner.clone(),
                format!("/api/generations/{}/stop", turn.generation),
            );
            under_way.push(tokio::spawn(async move {
                let status = send(owner.post(&path)).await.status();
                assert!(status == 200 || status == 404, "{status}");
                (None, None)
            }));
        }
        let mut calls = Vec::new();
        for one in under_way {
            calls.extend(one.await.expect("no panic").1);
        }
        let mut reader = Reader::default();
        events.read_to_end(&mut reader).await;
        assert!(
            ["stopped", "completed"].contains(&reader.outcome()),
            "{reader:?}"
        );
        problem(send(app.owner.get(&turn.events())).await, 404, "not-found").await;
        let path = format!("/api/conversations/{}", turn.conversation);
        problem(send(app.owner.get(&path)).await, 404, "not-found").await;
    }
    app.end().await;
}

#[tokio::test]
async fn stops_on_every_connection_and_worker_reach_the_generation() {
    let app = spawn_app_with(&[("server.workers", "2")]).await;
    let (turn, call) = app.answering().await;
    // Each client has connections of its own, which are spread over the workers.
    let stops = (0..20).map(|_| {
        let account = Account {
            client: reqwest::Client::new(),
            ..app.owner.clone()
        };
        let turn = turn.clone();
        tokio::spawn(async move { account.stop(&turn).await })
    });
    let mut answers = Vec::new();
    for stop in stops.collect::<Vec<_>>() {
        answers.push(stop.await.expect("no panic"));
    }
    call.closed().await;
    assert_eq!(answers[0]["status"], "stopped");
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    app.end().await;
}

#[tokio::test]
async fn a_stop_while_the_process_ends_is_told_as_a_stop_and_the_end_follows() {
    let mut app = spawn_app_with(&[("drain.grace_seconds", "3600")]).await;
    let (turn, mut call) = app.answering().await;
    call.send("partial").await;
    let mut events = app.owner.events(&turn, 0).await;
    let mut reader = Reader::default();
    events.read_until(&mut reader, 7).await;
    app.shutdown.drain.cancel();
    let registry = app.chat.registry.clone();
    until("the drain begins", async || registry.is_draining()).await;
    assert_eq!(app.owner.stop(&turn).await["status"], "stopped");
    call.closed().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("partial", "stopped")
    );
    // Nothing runs any more: the end does not wait out the grace.
    app.shut_down().await;
    let app = app.again().await;
    assert_eq!(app.owner.message(&turn).await["status"], "stopped");
    app.end().await;
}

#[tokio::test]
async fn a_stop_that_races_with_the_end_of_the_grace_agrees_with_what_is_stored() {
    for _ in 0..6 {
        let mut app = spawn_app().await;
        let (turn, _call) = app.answering().await;
        let mut events = app.owner.events(&turn, 0).await;
        let (owner, stopped) = (app.owner.clone(), turn.clone());
        let stop = tokio::spawn(async move {
            let path = format!("/api/generations/{}/stop", stopped.generation);
            owner.post(&path).send().await.ok()
        });
        app.shutdown.drain.cancel();
        let mut reader = Reader::default();
        events.read_to_end(&mut reader).await;
        let outcome = reader.outcome().to_owned();
        assert!(
            ["stopped", "interrupted"].contains(&outcome.as_str()),
            "{outcome}"
        );
        // HTTP may have ended before the stop was sent.
        if let Some(answer) = stop
            .await
            .expect("no panic")
            .filter(|answer| answer.status() == 200)
        {
            let record: Value = answer.json().await.expect("JSON");
            assert_eq!(record["status"], outcome.as_str());
        }
        app.shut_down().await;
        let app = app.again().await;
        assert_eq!(app.owner.message(&turn).await["status"], outcome.as_str());
        app.end().await;
    }
}
