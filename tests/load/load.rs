//! Measurements, on 127.0.0.1 only, bounded in count and time, with the server under test as a child process:
//!
//! * `load churn [100000]`: so many readers come and go; fails when one is left, or memory grew by more than a fifth.
//! * `load idle [10000]`: memory of an idle emitter, and how fast the registry is empty again.
//! * `load streams [50 50 20 5]`: streams, tokens a second, seconds, rounds; delay added to a token and processor time of a token,
//!   beside nginx that passes the same upstream on unbuffered.
//! * `load search [100000 10]`: so many messages, in conversations of so many; how long lists and searches take. In a fresh SQLite
//!   file, or in the empty Postgres database that `CONTINUO_LOAD_DATABASE_URL` names.
//!
//! Upstream, readers and clock are in this process: a token carries the time at which it was sent. Figures are for comparing within
//! one run; machines differ.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measuring tool"
)]

mod churn;
mod client;
mod filled;
mod process;
mod search;
mod texts;
mod upstream;

use client::{Target, read_tokens};
use process::{Continuo, Nginx};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use upstream::Upstream;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let numbers: Vec<usize> = arguments
        .map(|number| number.parse().expect("a whole number"))
        .collect();
    let number = |index: usize, default: usize, most: usize| {
        numbers
            .get(index)
            .copied()
            .unwrap_or(default)
            .clamp(1, most)
    };
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    match what.as_str() {
        "churn" => churn::churn(number(0, 100_000, 1_000_000)).await,
        "idle" => idle(number(0, 10_000, 20_000)).await,
        "streams" => {
            let load = Load {
                streams: number(0, 50, 500),
                rate: number(1, 50, 500),
                seconds: number(2, 20, 60),
            };
            streams(load, number(3, 5, 20)).await;
        }
        "search" => {
            let url = std::env::var("CONTINUO_LOAD_DATABASE_URL").ok();
            search::search(url, number(0, 100_000, 10_000_000), number(1, 10, 10_000)).await;
        }
        _ => eprintln!(
            "load churn [READERS] | load idle [EMITTERS] | load streams [STREAMS TOKENS_A_SECOND SECONDS ROUNDS] | load search [MESSAGES IN_A_CONVERSATION]"
        ),
    }
}

/// Attaches many readers to one answer that says nothing, and lets them go.
async fn idle(count: usize) {
    let upstream = Upstream::start(Load {
        streams: 1,
        rate: 1,
        seconds: 0,
    })
    .await;
    let server = Continuo::start(&upstream.base_url());
    let turn = server.ask().await;
    // One reader before the count, so that what the first of all costs is not counted.
    let first = client::attach(&server.target(), &turn).await;
    let before = server.resident_kib();
    let started = Instant::now();
    let mut readers = Vec::with_capacity(count);
    while readers.len() < count {
        let batch = (count - readers.len()).min(200);
        let mut attaching = JoinSet::new();
        for _ in 0..batch {
            let (target, turn) = (server.target(), turn.clone());
            attaching.spawn(async move { client::attach(&target, &turn).await });
        }
        readers.extend(attaching.join_all().await);
    }
    let attached = started.elapsed();
    let shown = server.emitters().await;
    let after = server.resident_kib();
    println!(
        "{count} attached in {:.1} s; /api/operator/emitters shows {shown} (one of them from before)",
        attached.as_secs_f64()
    );
    println!(
        "resident memory: {before} KiB before, {after} KiB with them: {:.2} KiB an emitter",
        (after - before) as f64 / count as f64
    );
    drop((first, readers));
    let dropped = Instant::now();
    let mut left = server.emitters().await;
    while left > 0 && dropped.elapsed() < Duration::from_mins(1) {
        left = server.emitters().await;
    }
    println!(
        "{left} left {:.0} ms after all were dropped",
        dropped.elapsed().as_secs_f64() * 1000.0
    );
    println!("closed: {}", server.closed_reasons().await);
}

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub streams: usize,
    pub rate: usize,
    pub seconds: usize,
}

/// What one round through one server gave.
#[derive(Debug, Clone, Copy)]
struct Round {
    p50: f64,
    p99: f64,
    processor: f64,
}

async fn streams(load: Load, rounds: usize) {
    let upstream = Upstream::start(load).await;
    let continuo = Continuo::start(&upstream.base_url());
    let nginx = Nginx::start(upstream.port()).await;
    let Load {
        streams,
        rate,
        seconds,
    } = load;
    println!(
        "{streams} streams, {rate} tokens a second each, {seconds} s a round; delays in microseconds, the upstream's own pace taken off"
    );
    println!("round  server    p50      p99   processor µs a token");
    let mut all: Vec<[Round; 3]> = Vec::new();
    for round in 1..=rounds {
        let direct = Target::direct(upstream.port());
        let bare = measure(load, &direct, || 0).await;
        // Turn and turn about: neither is always the one with warm caches.
        let (nginx_round, continuo_round) = if round % 2 == 0 {
            let nginx_round = measure(load, &nginx.target(), || nginx.processor_nanos()).await;
            (
                nginx_round,
                measure(load, &continuo.target(), || continuo.processor_nanos()).await,
            )
        } else {
            let continuo_round =
                measure(load, &continuo.target(), || continuo.processor_nanos()).await;
            (
                measure(load, &nginx.target(), || nginx.processor_nanos()).await,
                continuo_round,
            )
        };
        for (name, figures) in [
            ("direct", bare),
            ("nginx", nginx_round),
            ("continuo", continuo_round),
        ] {
            println!(
                "{round:5}  {name:8} {:8.0} {:8.0} {:8.1}",
                figures.p50, figures.p99, figures.processor
            );
        }
        all.push([bare, nginx_round, continuo_round]);
    }
    let median = |figure: &dyn Fn(&[Round; 3]) -> f64| {
        let mut values: Vec<f64> = all.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "medians: delay added p50 nginx {:.0}, continuo {:.0}; p99 nginx {:.0}, continuo {:.0}; processor nginx {:.1}, continuo {:.1}",
        median(&|r| r[1].p50 - r[0].p50),
        median(&|r| r[2].p50 - r[0].p50),
        median(&|r| r[1].p99 - r[0].p99),
        median(&|r| r[2].p99 - r[0].p99),
        median(&|r| r[1].processor),
        median(&|r| r[2].processor),
    );
    println!(
        "median of ratios continuo/nginx: whole delay p50 {:.2}, p99 {:.2}; processor time {:.2}",
        median(&|r| r[2].p50 / r[1].p50),
        median(&|r| r[2].p99 / r[1].p99),
        median(&|r| r[2].processor / r[1].processor),
    );
}

/// All streams at once through one server.
async fn measure(load: Load, target: &Target, processor_nanos: impl Fn() -> u64) -> Round {
    let before = processor_nanos();
    let mut readers = JoinSet::new();
    for stream in 0..load.streams {
        let target = target.clone();
        // Spread over one token's time, as independent answers are.
        let offset = Duration::from_secs(1) * u32::try_from(stream).unwrap()
            / u32::try_from(load.rate * load.streams).unwrap();
        readers.spawn(async move {
            tokio::time::sleep(offset).await;
            read_tokens(&target).await
        });
    }
    let mut delays: Vec<u64> = readers.join_all().await.into_iter().flatten().collect();
    let processor = processor_nanos() - before;
    assert_eq!(
        delays.len(),
        load.streams * load.rate * load.seconds,
        "every token arrived once"
    );
    delays.sort_unstable();
    let at = |percent: usize| delays[(delays.len() - 1) * percent / 100] as f64 / 1000.0;
    Round {
        p50: at(50),
        p99: at(99),
        processor: processor as f64 / 1000.0 / delays.len() as f64,
    }
}
