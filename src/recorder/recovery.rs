//! What processes left behind: their spool, and generations that nobody runs any more.
//!
//! A node holds a lease and renews it. One that does not is taken for dead by the others, who end its generations; its own next
//! start does the same, and sooner.

use super::{Recorder, refused};
use crate::{
    event::Transcript,
    model::{Ending, GenerationId, LOST_POSITIONS, Outcome, Problem, Timings, Usage},
    store::{Lease, LeftOver, StoreError},
    text::with_causes,
};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How long a node may be silent before others end its generations.
const LEASE: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);

impl Recorder {
    /// What a start does before anybody is let in: what waits on disk goes to the store (an end that was spooled is the truth, not
    /// `interrupted`), then this node's left-over generations are ended. Returns how many.
    pub async fn recover(&self) -> Result<usize, StoreError> {
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
        // Since when it has been held without a break.
        let mut held: Option<Instant> = None;
        loop {
            ticks.tick().await;
            let renewed = self.store.renew_lease(self.lease(), LEASE);
            held = match timeout(RENEW_EVERY, renewed).await {
                Ok(Ok(true)) => Some(held.unwrap_or_else(Instant::now)),
                Ok(Ok(false)) => self.take_lease_again(held).await,
                Ok(Err(error)) => {
                    tracing::debug!(error = with_causes(&error), "the lease was not renewed");
                    None
                }
                Err(_) => None,
            };
            let Some(since) = held else { continue };
            self.set_stuck(false);
            if let Err(error) = self.put_in_order(since).await {
                let error = with_causes(&error);
                tracing::warn!(error, "left-over answers stay a while");
            }
        }
    }

    async fn put_in_order(&self, held_since: Instant) -> Result<(), StoreError> {
        self.replay_lost().await?;
        // After an outage all leases have run out: those who come back first let the others renew theirs.
        if held_since.elapsed() >= LEASE {
            return self.sweep().await;
        }
        // A turn that was being stored while the lease changed hands may have been missed then.
        self.keep_running(self.lease()).await
    }

    /// Another node thought this one dead, or another process has this node's id.
    async fn take_lease_again(&self, held: Option<Instant>) -> Option<Instant> {
        let node = self.lease().node;
        let taken = async {
            let lease = self.store.take_lease(node, LEASE).await?;
            self.keep_running(lease).await?;
            // Not before: until they are under it, what they say under it would be left out.
            *self.lease.lock().expect("no code panics while it holds it") = lease;
            Ok::<_, StoreError>(lease)
        };
        match taken.await {
            Ok(lease) if held.is_some_and(|since| since.elapsed() < LEASE) => tracing::error!(
                node.id = %node,
                epoch = lease.epoch,
                "this node's lease was taken again and again: another server seems to have a copy of its data directory; remove the file `node` there"
            ),
            Ok(lease) => tracing::warn!(
                epoch = lease.epoch,
                "this node was taken for dead and has its lease again"
            ),
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(
                    error,
                    "this node's lease was taken, and cannot be had again yet"
                );
                return None;
            }
        }
        Some(Instant::now())
    }

    /// Puts what runs here under this lease. What others have ended meanwhile ends here too: nobody would find what it goes on saying.
    async fn keep_running(&self, lease: Lease) -> Result<(), StoreError> {
        let mut running = self.registry.running();
        // The others' turns are just being stored, under the lease that is present then.
        running
            .retain(|generation| generation.conversation_id().is_some() && !generation.is_kept());
        let ids: Vec<_> = running.iter().map(|generation| generation.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let kept = self.store.keep_running(lease, &ids).await?;
        for generation in running {
            if !kept.contains(&generation.id) {
                generation.end(Outcome::Interrupted);
            }
        }
        Ok(())
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
fn interrupted(left_over: &LeftOver) -> Ending {
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
            ..Timings::default()
        },
        problem: Some(interruption()),
        last_seq: last_seq + LOST_POSITIONS,
    }
}
