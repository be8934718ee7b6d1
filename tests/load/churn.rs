//! Readers that come and go, in every way there is: what is left of them in the registry and in memory.

use crate::{
    Load,
    client::{self, Target},
    process::Continuo,
    upstream::Upstream,
};
use std::time::{Duration, Instant};
use tokio::{io::AsyncReadExt as _, task::JoinSet, time::interval};

/// At once.
const READERS: usize = 32;
/// Before the first figure: what the first readers of all cost is not theirs alone.
const WARM_UP: usize = 2000;
/// For connections under way to end, and for memory to be given back.
const SETTLE: Duration = Duration::from_mins(1);

/// Connects and drops so many readers of one answer. Panics unless the registry is empty then, what was opened was closed, and
/// memory is within a fifth of what it was.
pub async fn churn(cycles: usize) {
    let upstream = Upstream::start(Load {
        streams: 1,
        rate: 1,
        seconds: 0,
    })
    .await;
    let server = Continuo::start(&upstream.base_url());
    let path = server.ask().await;
    come_and_go(&server.target(), &path, WARM_UP).await;
    settled(&server, i64::MAX).await;
    let before = server.resident_kib();
    let begun = Instant::now();
    come_and_go(&server.target(), &path, cycles).await;
    println!(
        "{cycles} readers came and went in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    let at_once = server.resident_kib();
    let after = settled(&server, before + before / 5).await;
    let list = server.list().await;
    println!("resident memory: {before} KiB before, {at_once} KiB at once, {after} KiB then");
    println!("registry: {list}");
    let closed = list["closed"].as_object().unwrap().values();
    let closed: u64 = closed.filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(list["total"], 0, "nobody is left");
    assert_eq!(list["opened"], closed, "opened = closed by reason");
    assert!(after <= before + before / 5, "memory stays within 20 %");
}

async fn come_and_go(target: &Target, path: &str, cycles: usize) {
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (target, path) = (target.clone(), path.to_owned());
        let cycles = (reader..cycles).step_by(READERS);
        readers.spawn(async move {
            for cycle in cycles {
                come_and_go_once(&target, &path, cycle).await;
            }
        });
    }
    readers.join_all().await;
}

async fn come_and_go_once(target: &Target, path: &str, cycle: usize) {
    if cycle.is_multiple_of(4) {
        // Gone before it is answered, with RST.
        let socket = client::ask(target, path).await;
        socket.set_zero_linger().unwrap();
        return;
    }
    let mut socket = client::attach(target, path).await;
    match cycle % 4 {
        // FIN, unless something was not read: RST then.
        1 => {}
        2 => socket.set_zero_linger().unwrap(),
        // It says that it is done and reads what comes.
        _ => {
            use tokio::io::AsyncWriteExt as _;
            socket.shutdown().await.unwrap();
            let mut rest = [0; 512];
            while matches!(socket.read(&mut rest).await, Ok(1..)) {}
        }
    }
}

/// Waits until nobody is attached and memory is at most this; what it is then.
async fn settled(server: &Continuo, at_most_kib: i64) -> i64 {
    let begun = Instant::now();
    let mut look = interval(Duration::from_millis(100));
    loop {
        look.tick().await;
        let resident = server.resident_kib();
        let is_done = server.list().await["total"] == 0 && resident <= at_most_kib;
        if is_done || begun.elapsed() > SETTLE {
            return resident;
        }
    }
}
