//! Two thousand readers that come and go: nothing of them stays, neither in the registry nor in memory. `load churn` does it a hundred
//! thousand times.

use crate::{
    Scene,
    support::{PATIENCE, app::Turn, raw::Raw},
};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, interval},
};

const AT_ONCE: usize = 16;
const READERS: usize = 2000;
/// Before memory is looked at: what the first readers of all cost is not theirs alone.
const WARM_UP: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_readers_that_come_and_go_leave_neither_entries_nor_memory_behind() {
    let scene = Scene::start(&[]).await;
    let (turn, mut call) = scene.answering().await;
    call.send("Hello").await;
    come_and_go(&scene, &turn, WARM_UP).await;
    scene.left("disconnected").await;
    let before = scene.server.process.resident_kib();
    come_and_go(&scene, &turn, READERS).await;
    scene.left("disconnected").await;
    // Allocators give back what they had at the height a little later.
    let begun = Instant::now();
    let mut look = interval(Duration::from_millis(50));
    while scene.server.process.resident_kib() > before + before / 5 {
        look.tick().await;
        let after = scene.server.process.resident_kib();
        assert!(
            begun.elapsed() < PATIENCE,
            "{before} KiB before, {after} KiB after"
        );
    }
    call.finish("stop").await;
    call.done().await;
    assert_eq!(scene.owner().read_all(&turn).await.text, "Hello");
    scene.left("finished").await;
}

async fn come_and_go(scene: &Scene, turn: &Turn, readers: usize) {
    let mut all = JoinSet::new();
    for first in 0..AT_ONCE {
        let (owner, path) = (scene.owner().clone(), turn.events());
        all.spawn(async move {
            let bearer = format!("authorization: Bearer {}", owner.key);
            for number in (first..readers).step_by(AT_ONCE) {
                let mut raw = Raw::connect(&owner.origin).await;
                raw.head("GET", &path, &[&bearer]).await;
                match number % 4 {
                    // Gone before it is answered, with RST.
                    0 => raw.socket.set_zero_linger().expect("a socket"),
                    // Gone with what was not read.
                    1 => {
                        raw.answer_head().await;
                    }
                    2 => {
                        raw.answer_head().await;
                        raw.socket.set_zero_linger().expect("a socket");
                    }
                    // It says that it is done, and reads what comes.
                    _ => {
                        raw.answer_head().await;
                        raw.finish().await;
                        raw.rest().await;
                    }
                }
            }
        });
    }
    all.join_all().await;
}
