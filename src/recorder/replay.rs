//! From the spool to the store: in order, one entry at a time, each exactly once however often it is tried.

use super::{End, Entry, Recorder};
use crate::{event::EventSegment, store::StoreError, text::with_causes};
use rand::RngExt as _;
use std::time::Duration;
use tokio::time::sleep;

/// Between two tries while the store takes nothing: from the first, doubling, to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

impl Recorder {
    /// Brings what is spooled to the store as soon as it takes it. Never ends.
    pub(super) async fn replay(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.spool.filled().await;
            match self.replay_one().await {
                Ok(()) => {
                    if pause > FIRST_PAUSE && self.spool.is_empty() {
                        pause = FIRST_PAUSE;
                        tracing::info!("nothing waits on disk for the database any more");
                    }
                }
                Err(error) => {
                    if pause == FIRST_PAUSE {
                        tracing::warn!(
                            error = with_causes(&error),
                            "what is said goes to disk until the database takes it again"
                        );
                    }
                    // Not in step with the other nodes.
                    let jitter = rand::rng().random_range(0.8..1.2);
                    sleep(pause.mul_f64(jitter)).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }

    /// Replays everything, or fails with the first reason to wait.
    pub(super) async fn replay_all(&self) -> Result<(), StoreError> {
        while !self.spool.is_empty() {
            self.replay_one().await?;
        }
        Ok(())
    }

    /// An error leaves the entry where it is.
    async fn replay_one(&self) -> Result<(), StoreError> {
        if let Some((ticket, entry)) = self.spool.front().await {
            match &entry {
                Entry::Events(segments) => self.replay_events(segments).await?,
                Entry::End(end) => self.replay_end(end).await?,
            }
            self.set_stuck(false);
            if let Err(error) = self.spool.remove(ticket).await {
                // It comes once more at the next start, and changes nothing then.
                tracing::warn!(error = with_causes(&error), "a spooled file stays");
            }
        }
        if self.spool.is_empty() {
            self.replay_lost().await?;
        }
        Ok(())
    }

    /// Ends whose files were damaged or taken away while they waited are in memory still.
    pub(super) async fn replay_lost(&self) -> Result<(), StoreError> {
        if !self.spool.is_empty() {
            return Ok(());
        }
        let waiting: Vec<_> = self.lock_waiting().values().cloned().collect();
        for waiting in waiting {
            let id = waiting.record.id;
            // One that is just being written to disk belongs to a task that lives.
            if self.registry.is_running(id) {
                continue;
            }
            tracing::warn!(generation.id = %id, "the file of an answer was lost; it goes to the database from memory");
            let end = End {
                generation_id: id,
                ending: Box::new(waiting.ending.clone()),
                tail: Vec::new(),
            };
            self.replay_end(&end).await?;
        }
        Ok(())
    }

    async fn replay_end(&self, end: &End) -> Result<(), StoreError> {
        let id = end.generation_id;
        match self.store.end_generation(id, &end.ending, &end.tail).await {
            Ok(true) => {
                tracing::info!(generation.id = %id, "an answer came from disk to the database");
            }
            // From an earlier try, as a rule.
            Ok(false) if self.store.has_end(id, &end.ending).await? => {}
            Ok(false) => self.set_late_aside(end).await,
            Err(error @ StoreError::Failed(_)) => self.set_aside(end, &error).await,
            Err(error) => return Err(error),
        }
        self.wait_no_more(id);
        Ok(())
    }

    /// The batch, or else each of its rows; one that is refused alone is set aside.
    async fn replay_events(&self, segments: &[EventSegment]) -> Result<(), StoreError> {
        let lease = self.lease();
        match self.store.append_events(lease, segments).await {
            Err(StoreError::Failed(_)) => {}
            stored => return stored,
        }
        for segment in segments {
            match self
                .store
                .append_events(lease, std::slice::from_ref(segment))
                .await
            {
                Err(error @ StoreError::Failed(_)) => {
                    let entry = Entry::Events(vec![segment.clone()]);
                    self.spool.set_aside(&entry, &with_causes(&error)).await;
                }
                stored => stored?,
            }
        }
        Ok(())
    }
}
