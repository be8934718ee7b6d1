//! What processes left behind: their spool, and generations that nobody runs any more.
//!
//! A node holds a lease and renews it. One that does not is taken for dead by the others, who end its generations; its own next
//! start does the same, and sooner.

use super::{Recorder, refused};
use crate::{
    event::Transcript,
    model::{Ending, GenerationId, LOST_POSITIONS, Outcome, Problem, Timings, Usage},
    store::{LeftOver, StoreError},
    text::with_causes,
};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How long a node may be silent before others end its generations.
const LEASE: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// Why recovery failed: the database, or the spool.
pub type RecoveryError = super::replay::ReplayError;

impl Recorder {
    /// What a start does before anybody is let in: what waits on disk goes to the store (an end that was spooled is the truth, not
    /// `interrupted`), then this node's left-over generations are ended. Returns how many.
    pub async fn recover(&self) -> Result<usize, RecoveryError> {
        self.replay_all().await?;
        let lease = self.store.take_lease(self.lease().node, LEASE).await?;
        *self.lease.lock().expect("no code panics while it holds it") = lease;
        let left_over = self.store.running_here(lease.node).await?;
        let mut recovered = 0;
        for id in left_over {
            recovered += usize::from(self.recover_if_possible(id).await?);
        }
        Ok(recovered)
    }

    /// Ends a generation that nobody runs, as far as it was recorded. False when somebody does run it, or it has ended.
    pub async fn recover_one(&self, id: GenerationId) -> Result<bool, StoreError> {
        let Some(left_over) = self.store.left_over(id).await? else {
            return Ok(false);
        };
        let ending = interrupted(&left_over);
        let node = self.lease().node;
        let is_ended = match self.store.recover(node, id, &ending).await {
            Err(error @ StoreError::Failed(_)) => {
                tracing::error!(generation.id = %id, error = with_causes(&error), "the database refuses an interrupted answer");
                self.store.recover(node, id, &refused(&ending)).await?
            }
            recovered => recovered?,
        };
        if is_ended {
            tracing::warn!(generation.id = %id, characters = ending.content.chars().count(), "an answer was interrupted");
        }
        Ok(is_ended)
    }

    /// Renews the lease, and ends what other nodes, or dead tasks of this one, left behind. Never ends.
    pub(super) async fn keep_lease(&self) {
        let mut ticks = interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut held_since = None;
        loop {
            ticks.tick().await;
            let held = match timeout(RENEW_EVERY, self.hold_lease()).await {
                Ok(held) => held,
                Err(_) => Ok(false),
            };
            match held {
                Ok(true) => {}
                Ok(false) => {
                    held_since = None;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(error = with_causes(&error), "the lease was not renewed");
                    held_since = None;
                    continue;
                }
            }
            if let Err(error) = self.replay_lost().await {
                tracing::warn!(
                    error = with_causes(&error),
                    "answers whose files were lost stay in memory"
                );
            }
            let since: &mut Instant = held_since.get_or_insert_with(Instant::now);
            // After an outage all leases have run out: those who come back first let the others renew theirs.
            if since.elapsed() >= LEASE
                && let Err(error) = self.sweep().await
            {
                tracing::warn!(
                    error = with_causes(&error),
                    "left-over answers stay a while"
                );
            }
        }
    }

    /// False when the lease had to be taken anew: another node thought this one dead.
    async fn hold_lease(&self) -> Result<bool, StoreError> {
        let lease = self.lease();
        if self.store.renew_lease(lease, LEASE).await? {
            return Ok(true);
        }
        let lease = self.store.take_lease(lease.node, LEASE).await?;
        let running = self.registry.running();
        let ids: Vec<_> = running.iter().map(|generation| generation.id).collect();
        self.store.keep_running(lease, &ids).await?;
        // Not before: until they are under it, what they say under it would be left out.
        *self.lease.lock().expect("no code panics while it holds it") = lease;
        tracing::warn!(
            epoch = lease.epoch,
            "this node was taken for dead and has its lease again"
        );
        Ok(false)
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let lease = self.lease();
        let mut left_over = self.store.seize_expired(lease).await?;
        // A task that died takes its generation out of the registry, but not out of the store.
        let here = self.store.running_here(lease.node).await?;
        left_over.extend(here.into_iter().filter(|id| {
            let is_waiting = self.lock_waiting().contains_key(id);
            !is_waiting && !self.registry.is_running(*id)
        }));
        for id in left_over {
            self.recover_if_possible(id).await?;
        }
        Ok(())
    }

    /// One that the database refuses for good, text or no text, holds up neither the others nor a start.
    async fn recover_if_possible(&self, id: GenerationId) -> Result<bool, StoreError> {
        match self.recover_one(id).await {
            Err(error @ StoreError::Failed(_)) => {
                tracing::error!(generation.id = %id, error = with_causes(&error), "a left-over answer cannot be ended");
                Ok(false)
            }
            recovered => recovered,
        }
    }
}

/// The problem of an answer that this server, not the upstream, cut off.
pub fn interruption() -> Problem {
    Problem::new(
        503,
        "interrupted",
        "The answer was interrupted",
        "the server stopped before the answer was complete; the text that was stored is kept, and can be carried on",
    )
}

/// How an answer ended whose process is gone: its text up to the last batch, its end far behind it.
fn interrupted(left_over: LeftOver) -> Ending {
    let mut text = left_over.before.clone();
    let mut usage: Option<Usage> = None;
    let mut last_seq = 0;
    for segment in &left_over.events {
        let Some(events) = segment
            .events()
            .filter(|_| segment.first_seq == last_seq + 1)
        else {
            break;
        };
        for event in &events {
            if text.apply_recorded(event).is_err() {
                break;
            }
            if event.name == "usage" {
                usage = serde_json::from_str(&event.data).ok().or(usage);
            }
        }
        last_seq = segment.last_seq;
    }
    Ending {
        outcome: Outcome::Interrupted,
        leaves_message: left_over.before != Transcript::default() && text == left_over.before,
        content: text.text,
        reasoning: Some(text.reasoning).filter(|reasoning| !reasoning.is_empty()),
        tool_calls: Some(text.tool_calls).filter(|calls| !calls.is_empty()),
        model: None,
        finish_reason: None,
        usage,
        timings: Timings {
            first_token_ms: None,
            total_ms: 0,
        },
        problem: Some(interruption()),
        last_seq: last_seq + LOST_POSITIONS,
    }
}
