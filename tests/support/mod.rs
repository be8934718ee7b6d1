//! What test binaries share.

pub mod app;
pub mod database;
pub mod events;
pub mod fake_upstream;
pub mod postgres_server;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod tls;

use std::time::Duration;
use tokio::time::timeout;

/// Longer than any step of a test takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `fact` is one, without sleeping; fails in words when it never becomes one.
#[allow(dead_code, reason = "no test binary uses all of it")]
pub async fn until(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let becomes_true = async {
        while !fact().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = timeout(PATIENCE, becomes_true).await;
    assert!(waited.is_ok(), "never: {what}");
}
