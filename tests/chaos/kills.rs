//! `kill -9` at random moments: what is lost, and that nobody is told anything else than what is stored.

use crate::{
    command,
    support::{
        app::{Account, Turn},
        events::{Events, Reader},
        fake_upstream::{Call, FakeUpstream},
        postgres_server::{Halt, PostgresServer},
        process::Running,
    },
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinHandle, time::interval};

const ANSWERS: usize = 3;
/// Between two pieces of an answer.
const PACE: Duration = Duration::from_millis(5);
/// What was said so long before a kill has been recorded, on however busy a machine.
const LONG_AGO: Duration = Duration::from_secs(1);

/// An answer under way: the upstream says piece after piece, and one reader is attached.
struct Answer {
    turn: Turn,
    said: Arc<Mutex<Vec<Piece>>>,
    saying: JoinHandle<()>,
    reading: JoinHandle<(Reader, Vec<Piece>)>,
}

/// From the beginning to here, at this time.
#[derive(Debug, Clone, Copy)]
struct Piece {
    bytes: usize,
    at: Instant,
}

/// The text of any answer up to the piece before this one; every piece differs.
fn text(pieces: usize) -> String {
    let pieces: Vec<_> = (0..pieces).map(|n| format!("{n}漢 ")).collect();
    pieces.concat()
}

impl Answer {
    async fn begin(
        account: &Account,
        upstream: &FakeUpstream,
        news: mpsc::UnboundedSender<()>,
    ) -> Self {
        let turn = account.ask(&account.conversation().await, "go").await;
        let mut call = upstream.next_call().await;
        call.head_sse().await;
        let events = account.events(&turn, 0).await;
        let said: Arc<Mutex<Vec<Piece>>> = Arc::default();
        Self {
            turn,
            saying: tokio::spawn(say(call, said.clone())),
            said,
            reading: tokio::spawn(read(events, news)),
        }
    }
}

/// Until the connection is cut.
async fn say(mut call: Call, said: Arc<Mutex<Vec<Piece>>>) {
    let mut pace = interval(PACE);
    let mut bytes = 0;
    for n in 0.. {
        pace.tick().await;
        let piece = format!("{n}漢 ");
        bytes += piece.len();
        let at = Instant::now();
        if !call.send(&piece).await {
            return;
        }
        said.lock().expect("not poisoned").push(Piece { bytes, at });
    }
}

/// Until the connection is cut; tells of every event.
async fn read(mut events: Events, news: mpsc::UnboundedSender<()>) -> (Reader, Vec<Piece>) {
    let (mut reader, mut seen) = (Reader::default(), Vec::new());
    while let Some(frame) = events.next().await {
        reader.take(&frame);
        seen.push(Piece {
            bytes: reader.text.len(),
            at: Instant::now(),
        });
        let _ = news.send(());
    }
    (reader, seen)
}

/// What a kill cost: characters, and the time over which they were said.
#[derive(Debug, Clone, Copy)]
struct Lost {
    characters: usize,
    time: Duration,
}

/// Where answers are kept, and whether that is away when the server is killed.
enum Kept<'a> {
    Sqlite,
    Postgres(&'a PostgresServer),
    PostgresThatStops(&'a mut PostgresServer),
}

/// Kills a server so many times while answers stream, each time after so many events of theirs, on the same data.
async fn killed(kills: usize, mut kept: Kept<'_>) {
    let data = tempfile::tempdir().expect("a directory");
    let upstream = FakeUpstream::start().await;
    let url = match &kept {
        Kept::Sqlite => String::new(),
        Kept::Postgres(postgres) => postgres.url(),
        Kept::PostgresThatStops(postgres) => postgres.url(),
    };
    let options = [("store.url", url.as_str())];
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut losses = Vec::new();
    let mut server = start(data.path(), &upstream, &options).await;
    for round in 0..kills {
        let (news, mut told) = mpsc::unbounded_channel();
        let mut answers = Vec::new();
        for _ in 0..ANSWERS {
            answers.push(Answer::begin(&server.owner, &upstream, news.clone()).await);
        }
        // The first kills come while hardly anything was said.
        let mut moment = async || {
            for _ in 0..random.random_range(1..=(round * 1000 / kills + 5)) {
                told.recv().await.expect("they read");
            }
        };
        moment().await;
        if let Kept::PostgresThatStops(postgres) = &mut kept {
            postgres.stop(Halt::Immediate).await;
            moment().await;
        }
        let killed_at = Instant::now();
        server.process.signal("KILL").await;
        assert_eq!(server.process.ended().await.code, None);
        if let Kept::PostgresThatStops(postgres) = &mut kept {
            postgres.start_again().await;
        }
        server = start(data.path(), &upstream, &options).await;
        for answer in answers {
            losses.push(compare(&server.owner, answer, killed_at).await);
        }
    }
    report(losses);
    assert_eq!(server.terminate().await.code, Some(0));
}

async fn start(data: &Path, upstream: &FakeUpstream, options: &[(&str, &str)]) -> Running {
    Running::of(data, &mut command(data, upstream, options)).await
}

/// What was said, what was read, what is stored and what a returning reader gets are one text, cut in different places.
async fn compare(account: &Account, answer: Answer, killed_at: Instant) -> Lost {
    let Answer {
        turn,
        said,
        saying,
        reading,
    } = answer;
    saying.await.expect("no panic");
    let (mut reader, seen) = reading.await.expect("no panic");
    assert_eq!(reader.done, None, "cut, not ended");
    let said = said.lock().expect("not poisoned").clone();

    let message = account.message(&turn).await;
    assert_eq!(message["status"], "interrupted");
    let stored = message["content"].as_str().expect("text");
    let whole = text(said.len() + 1);
    assert!(whole.starts_with(stored), "only what was said: {stored}");
    assert!(whole.starts_with(&reader.text));
    let record = account
        .get_json(&format!("/api/generations/{}", turn.generation))
        .await;
    assert_eq!(record["status"], "interrupted");
    let read = account.read(&turn.conversation).await;
    assert_eq!(read["generation"], Value::Null, "nothing spins");
    assert_eq!(read["messages"].as_array().map(Vec::len), Some(2));
    let long_ago = seen
        .iter()
        .rev()
        .find(|piece| piece.at + LONG_AGO < killed_at);
    assert!(
        stored.len() >= long_ago.map_or(0, |piece| piece.bytes),
        "what a reader had seen a second before is stored: {long_ago:?} {}",
        stored.len()
    );

    let is_behind = reader.text.len() < stored.len();
    let mut events = account.events(&turn, reader.position).await;
    events.read_to_end(&mut reader).await;
    assert_eq!(
        (reader.text.as_str(), reader.outcome()),
        (stored, "interrupted")
    );
    // One that had less goes on where it was.
    assert!(!is_behind || reader.gaps == 0, "{reader:?}");
    assert_eq!(
        reader.done.expect("the end")["problem"]["type"],
        json!("/problems/interrupted")
    );
    // Nobody who comes late is told anything else.
    assert_eq!(account.read_all(&turn).await.text, stored);

    let lost: Vec<_> = said
        .iter()
        .filter(|piece| piece.at <= killed_at && piece.bytes > stored.len())
        .collect();
    let upto = lost.last().map_or(stored.len(), |piece| piece.bytes);
    Lost {
        characters: whole[stored.len()..upto].chars().count(),
        time: lost
            .first()
            .map_or(Duration::ZERO, |piece| killed_at - piece.at),
    }
}

fn report(mut losses: Vec<Lost>) {
    let middle = losses.len() / 2;
    losses.sort_by_key(|lost| lost.time);
    let (p50, max) = (losses[middle].time, losses[losses.len() - 1].time);
    println!(
        "text lost, as time: p50 {} ms, max {} ms",
        p50.as_millis(),
        max.as_millis()
    );
    losses.sort_by_key(|lost| lost.characters);
    let (p50, max) = (
        losses[middle].characters,
        losses[losses.len() - 1].characters,
    );
    println!(
        "text lost: p50 {p50} characters, max {max} characters, of {} answers",
        losses.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_twenty_kills_what_is_stored_is_what_readers_are_told_with_sqlite() {
    killed(20, Kept::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: its programs, see tests/run"]
async fn after_twenty_kills_what_is_stored_is_what_readers_are_told_with_postgres() {
    let postgres = PostgresServer::start().await;
    killed(20, Kept::Postgres(&postgres)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: its programs, see tests/run"]
async fn after_kills_during_outages_what_is_stored_is_what_readers_are_told() {
    let mut postgres = PostgresServer::start().await;
    killed(6, Kept::PostgresThatStops(&mut postgres)).await;
}
