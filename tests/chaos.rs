//! Faults for real: the binary as a process, peers that die or stand still, too much of everything, kills, and a database that goes
//! away and comes back. What readers assembled is then compared with what is stored.
//!
//! Tests named `soak_…` take minutes or print figures: `tests/run --soak`.
#![allow(clippy::disallowed_methods, reason = "tests may spawn")]

#[path = "chaos/churn.rs"]
mod churn;
#[path = "chaos/disk.rs"]
mod disk;
#[path = "chaos/dropped.rs"]
mod dropped;
#[path = "chaos/kills.rs"]
mod kills;
#[path = "chaos/namespace.rs"]
mod namespace;
#[path = "chaos/nodes.rs"]
mod nodes;
#[path = "chaos/outage.rs"]
mod outage;
#[path = "chaos/overload.rs"]
mod overload;
#[path = "chaos/peers.rs"]
mod peers;
#[path = "chaos/slow.rs"]
mod slow;
mod support;

use serde_json::Value;
use std::path::Path;
use support::{
    app::{Account, Turn},
    fake_upstream::{Call, FakeUpstream},
    process::{Running, continuo},
    until,
};
use tempfile::TempDir;
use tokio::process::Command;

/// A running server with a model server of the test's.
struct Scene {
    server: Running,
    upstream: FakeUpstream,
    data: TempDir,
}

impl Scene {
    /// With these options over the defaults, by dotted key.
    async fn start(options: &[(&str, &str)]) -> Self {
        Self::start_at("127.0.0.1:0", options).await
    }

    /// The same, on another address.
    async fn start_at(bind: &str, options: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let upstream = FakeUpstream::start().await;
        let mut command = command(data.path(), &upstream, options);
        let server = Running::at(bind, data.path(), &mut command).await;
        Self {
            server,
            upstream,
            data,
        }
    }

    fn owner(&self) -> &Account {
        &self.server.owner
    }

    /// An answer whose head has been sent.
    async fn answering(&self) -> (Turn, Call) {
        let owner = self.owner();
        let turn = owner.ask(&owner.conversation().await, "hello").await;
        let mut call = self.upstream.next_call().await;
        call.head_sse().await;
        (turn, call)
    }

    /// A question gets its answer.
    async fn is_well(&self) {
        let owner = self.owner();
        let turn = owner.ask(&owner.conversation().await, "well?").await;
        self.upstream.next_call().await.answer(&["Yes"]).await;
        let reader = owner.read_all(&turn).await;
        assert_eq!(
            (reader.text.as_str(), reader.outcome()),
            ("Yes", "completed")
        );
        assert_eq!(owner.message(&turn).await["content"], "Yes");
    }

    /// Nobody is attached any more, and what was opened and closed adds up; the count of connections closed for this reason.
    async fn left(&self, reason: &str) -> u64 {
        let owner = self.owner();
        let mut list = Value::Null;
        until("nobody is attached", async || {
            list = emitters(owner).await;
            list["total"] == 0
        })
        .await;
        assert_eq!(list["opened"].as_u64(), Some(closed(&list)), "{list}");
        list["closed"][reason].as_u64().expect("a count")
    }
}

/// The binary with an upstream and options.
fn command(data: &Path, upstream: &FakeUpstream, options: &[(&str, &str)]) -> Command {
    let mut command = continuo(data, &["--upstream-url", &upstream.base_url()]);
    for (key, value) in options {
        let name = key.to_uppercase().replace('.', "__");
        command.env(format!("CONTINUO__{name}"), value);
    }
    command
}

async fn emitters(operator: &Account) -> Value {
    operator.get_json("/api/operator/emitters").await
}

/// How many connections were closed, for all reasons.
fn closed(list: &Value) -> u64 {
    let reasons = list["closed"].as_object().expect("reasons");
    reasons.values().filter_map(Value::as_u64).sum()
}
