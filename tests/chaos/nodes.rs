//! Several servers on one database: a well one ends what a dead one left, and one that only stood still finds that out.

use crate::{
    Scene,
    support::{
        app::{Account, Turn, send},
        database::with_database,
        events::{Events, Reader},
        fake_upstream::Call,
    },
};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use std::time::Duration;
use tokio::time::timeout;

/// Longer than a lease, and than all looks at it, on a busy machine.
const LEASE_PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `fact` is one; leases take longer than the other steps of a test.
async fn in_time(what: &str, fact: impl AsyncFn() -> bool) {
    let becomes_true = async {
        while !fact().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = timeout(LEASE_PATIENCE, becomes_true).await;
    assert!(waited.is_ok(), "never: {what}");
}

/// An answer with some text that is recorded, and a reader who has it.
async fn answering(scene: &Scene, url: &str, text: &str) -> (Turn, Call, Events, Reader) {
    let (turn, mut call) = scene.answering().await;
    let mut events = scene.owner().events(&turn, 0).await;
    let mut reader = Reader::default();
    call.send(text).await;
    events.read_until(&mut reader, text.len()).await;
    let mut database = PgConnection::connect(url).await.expect("the database");
    let recorded = "SELECT count(*) FROM generation_events WHERE frames LIKE '%' || $1 || '%'";
    let mut count: i64 = 0;
    while count == 0 {
        let counted = sqlx::query_scalar(recorded).bind(text);
        count = counted.fetch_one(&mut database).await.expect("counted");
    }
    (turn, call, events, reader)
}

async fn is(account: &Account, turn: &Turn, status: &str, content: &str) -> bool {
    let message = account.message(turn).await;
    message["status"] == status && message["content"] == content
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn a_server_ends_what_a_dead_one_left_and_one_that_stood_still_ends_it_too() {
    with_database(async |url| {
        let options = [("store.url", &*url)];
        let dead = Scene::start(&options).await;
        let still = Scene::start(&options).await;
        let well = Scene::start(&options).await;
        let (left, _call, ..) = answering(&dead, &url, "Hello").await;
        let (stood, mut call, mut events, mut reader) = answering(&still, &url, "Guten Tag").await;
        for turn in [&left, &stood] {
            assert_eq!(well.owner().message(turn).await["status"], "streaming");
        }

        dead.server.process.signal("KILL").await;
        still.server.process.signal("STOP").await;
        in_time("the others' answers are ended", async || {
            is(well.owner(), &left, "interrupted", "Hello").await
                && is(well.owner(), &stood, "interrupted", "Guten Tag").await
        })
        .await;
        // Its own server says more before it learns of it; nothing that its readers see is lost.
        call.send(" zusammen").await;
        still.server.process.signal("CONT").await;
        events.read_to_end(&mut reader).await;
        assert_eq!(reader.outcome(), "interrupted");
        assert_eq!(reader.done.as_ref().expect("the end")["stored"], true);
        call.closed().await;
        in_time("everybody knows all of it", async || {
            is(well.owner(), &stood, "interrupted", &reader.text).await
                && is(still.owner(), &stood, "interrupted", &reader.text).await
        })
        .await;

        // Anybody may carry on what the dead one left.
        let path = format!("/api/messages/{}/continue", left.message);
        let response = send(well.owner().post(&path)).await;
        let more = Turn::started(&left.conversation, response).await;
        let mut call = well.upstream.next_call().await;
        let asked: Value = call.json();
        assert_eq!(asked["messages"][1]["content"], "Hello");
        call.answer(&[" world"]).await;
        assert_eq!(well.owner().read_all(&more).await.text, "Hello world");
        assert!(is(still.owner(), &left, "completed", "Hello world").await);
    })
    .await;
}
