//! Too much of everything: refusals that say so, nothing dies, and a normal question works afterwards.

use crate::{
    Scene, command,
    support::{
        PATIENCE,
        app::{Account, problem, send},
        events::{Events, Reader},
        fake_upstream::FakeUpstream,
        process::Running,
        raw::Raw,
    },
};
use serde_json::json;
use std::{collections::BTreeMap, process::Stdio};
use tokio::{
    process::Command,
    task::JoinSet,
    time::{Duration, interval, timeout},
};

/// A server that may have so many descriptors.
async fn scene_with_descriptors(descriptors: u32) -> Scene {
    let data = tempfile::tempdir().expect("a directory");
    let upstream = FakeUpstream::start().await;
    let plain = command(data.path(), &upstream, &[("server.workers", "2")]);
    let plain = plain.as_std();
    let mut limited = Command::new("sh");
    limited
        .arg("-c")
        .arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""))
        .arg(plain.get_program())
        .args(plain.get_args())
        .env_clear()
        .envs(
            plain
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let server = Running::of(data.path(), &mut limited).await;
    Scene {
        server,
        upstream,
        data,
    }
}

#[tokio::test]
async fn more_connections_than_descriptors_stop_nothing_that_runs_and_new_answers_still_begin() {
    let scene = scene_with_descriptors(160).await;
    let owner = scene.owner();
    let (turn, mut call) = scene.answering().await;
    let mut events = owner.events(&turn, 0).await;
    events.expect("started").await;
    let mut flood = Vec::new();
    for _ in 0..400 {
        flood.push(Raw::connect(&scene.server.origin).await);
    }
    // Over connections from before: the one that reads, and the one that asked.
    let mut reader = Reader {
        position: 1,
        ..Reader::default()
    };
    call.send("Hello").await;
    events.read_until(&mut reader, 5).await;
    scene.is_well().await;
    call.finish("stop").await;
    call.done().await;
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        ("Hello", "completed")
    );
    drop(flood);
    // Over a new connection, once it is its turn.
    let newcomer = Account {
        client: reqwest::Client::new(),
        ..owner.clone()
    };
    assert_eq!(newcomer.message(&turn).await["content"], "Hello");
    scene.is_well().await;
    scene.left("finished").await;
}

#[tokio::test]
async fn connections_that_never_finish_their_request_are_ended_and_told_why() {
    let scene = Scene::start(&[]).await;
    let mut waiting = JoinSet::new();
    for number in 0..60 {
        let mut raw = Raw::connect(&scene.server.origin).await;
        waiting.spawn(async move {
            match number % 3 {
                // Never a byte.
                0 => {}
                // Half a head.
                1 => assert!(raw.send(b"GET /livez HTTP/1.1\r\nhost: local").await),
                // A byte now and then, for ever.
                _ => {
                    let mut pace = interval(Duration::from_millis(500));
                    let trickle = async {
                        loop {
                            pace.tick().await;
                            if !raw.send(b"x").await {
                                break;
                            }
                        }
                    };
                    timeout(PATIENCE, trickle).await.expect("it is ended");
                    return String::new();
                }
            }
            let (said, _) = raw.rest().await;
            String::from_utf8(said).expect("UTF-8")
        });
    }
    scene.is_well().await;
    let mut told = BTreeMap::new();
    for said in waiting.join_all().await {
        let status = said.split(' ').nth(1).unwrap_or("none").to_owned();
        *told.entry(status).or_insert(0) += 1;
    }
    assert!(told["408"] >= 20, "{told:?}");
    scene.is_well().await;
}

#[tokio::test]
async fn of_a_flood_of_questions_those_that_fit_are_answered_and_the_others_told_why_not() {
    let options = [
        ("limits.generations", "6"),
        ("limits.generations_per_user", "4"),
    ];
    let scene = Scene::start(&options).await;
    let owner = scene.owner();
    let mut asking = JoinSet::new();
    for _ in 0..60 {
        let owner = owner.clone();
        asking.spawn(async move {
            let conversation = owner.conversation().await;
            let response = send(owner.say(&conversation, &json!({"content": "hello"}))).await;
            if response.status() != 202 {
                problem(response, 429, "too-many").await;
                return None;
            }
            let started = crate::support::app::Turn::started(&conversation, response).await;
            Some(started)
        });
    }
    let turns: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
    assert_eq!(turns.len(), 4);
    for _ in &turns {
        scene.upstream.next_call().await.answer(&["Hi"]).await;
    }
    for turn in &turns {
        assert_eq!(owner.read_all(turn).await.text, "Hi");
    }
    scene.is_well().await;
}

#[tokio::test]
async fn of_a_flood_of_readers_those_that_fit_read_and_the_others_are_told_why_not() {
    let scene = Scene::start(&[("limits.emitters_per_user", "5")]).await;
    let owner = scene.owner();
    let (turn, mut call) = scene.answering().await;
    let mut attaching = JoinSet::new();
    for _ in 0..40 {
        let (owner, path) = (owner.clone(), turn.events());
        attaching.spawn(async move {
            let response = send(owner.get(&path)).await;
            if response.status() == 200 {
                return Some(Events::new(response));
            }
            problem(response, 429, "too-many").await;
            None
        });
    }
    let readers: Vec<_> = attaching.join_all().await.into_iter().flatten().collect();
    assert_eq!(readers.len(), 5);
    drop(readers);
    scene.left("disconnected").await;
    call.send("Hello").await;
    call.finish("stop").await;
    call.done().await;
    assert_eq!(owner.read_all(&turn).await.text, "Hello");
    scene.left("finished").await;
}

#[tokio::test]
async fn a_flood_of_attaching_and_leaving_leaves_nothing_behind() {
    const AT_ONCE: u64 = 8;
    const ROUNDS: u64 = 60;
    let scene = Scene::start(&[]).await;
    let owner = scene.owner();
    let (turn, mut call) = scene.answering().await;
    let mut attaching = JoinSet::new();
    for number in 0..AT_ONCE {
        let (owner, path) = (owner.clone(), turn.events());
        attaching.spawn(async move {
            let bearer = format!("authorization: Bearer {}", owner.key);
            for round in 0..ROUNDS {
                let mut raw = Raw::connect(&owner.origin).await;
                raw.head("GET", &path, &[&bearer]).await;
                match (number + round) % 4 {
                    // Gone before it is answered.
                    0 => {}
                    // Gone with what was not read: RST.
                    1 => raw.socket.set_zero_linger().expect("a socket"),
                    2 => {
                        raw.answer_head().await;
                    }
                    _ => {
                        raw.answer_head().await;
                        raw.finish().await;
                        raw.rest().await;
                    }
                }
            }
        });
    }
    for _ in 0..50 {
        call.send("piece ").await;
    }
    attaching.join_all().await;
    let gone = scene.left("disconnected").await;
    assert!(gone >= AT_ONCE * ROUNDS / 2, "{gone}");
    call.finish("stop").await;
    call.done().await;
    assert_eq!(owner.read_all(&turn).await.text, "piece ".repeat(50));
    // Who was gone before it was answered may have been let in only now.
    assert!(scene.left("finished").await >= 1);
    scene.is_well().await;
}
