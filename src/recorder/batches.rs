//! What running generations say, on its way to the store while they say it.

use super::{Entry, Recorder};
use crate::{event::EventSegment, generation::Generation, text::with_causes};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::OwnedMutexGuard,
    time::{MissedTickBehavior, interval, timeout},
};

/// How often new events are recorded, and how long the store may take for them before they go to disk: together with a write to disk
/// no more than the 250 ms that a killed process may lose.
const RECORD_EVERY: Duration = Duration::from_millis(100);
const BATCH_PATIENCE: Duration = Duration::from_millis(100);
/// The largest segment and the largest batch, in bytes; what is more comes with the next batch.
const SEGMENT_BYTES: usize = 1 << 20;
const BATCH_BYTES: usize = 32 << 20;

impl Recorder {
    /// Records for as long as it is polled. Never ends.
    pub(super) async fn record(&self) {
        let mut ticks = interval(RECORD_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.record_once().await;
        }
    }

    async fn record_once(&self) {
        let batch = Batch::of(&self.registry.running());
        if batch.segments.is_empty() {
            return;
        }
        if self.is_stored(&batch.segments).await {
            self.set_stuck(false);
            return batch.recorded();
        }
        if self.spool_up(Entry::Events(batch.segments.clone())).await {
            batch.recorded();
        }
        // Else it stays in the logs, which are in memory, and comes with the next batch.
    }

    /// False when it has to go to the spool.
    async fn is_stored(&self, segments: &[EventSegment]) -> bool {
        if !self.spool.is_empty() {
            return false;
        }
        let appended = self.store.append_events(self.lease(), segments);
        match timeout(BATCH_PATIENCE, appended).await {
            Ok(Ok(())) => true,
            // One row, perhaps: the spool's replay finds out which.
            Ok(Err(error)) => {
                tracing::debug!(error = with_causes(&error), "a batch was not stored");
                false
            }
            Err(_) => false,
        }
    }
}

/// What the running generations said since the last batch. Their ends wait until it is dropped.
struct Batch {
    segments: Vec<EventSegment>,
    /// Of each segment's generation: up to where it is recorded.
    recorded: Vec<OwnedMutexGuard<u64>>,
}

impl Batch {
    fn of(running: &[Arc<Generation>]) -> Self {
        let mut batch = Self {
            segments: Vec::new(),
            recorded: Vec::new(),
        };
        let mut bytes = 0;
        for generation in running {
            if bytes >= BATCH_BYTES {
                break;
            }
            // One whose end is being stored takes the rest along.
            let Ok(recorded) = generation.recorded.clone().try_lock_owned() else {
                continue;
            };
            // What no conversation keeps lives in memory only.
            if generation.is_kept() || generation.conversation_id().is_none() {
                continue;
            }
            let segment = generation
                .log
                .segment(generation.id, *recorded, SEGMENT_BYTES);
            if let Some(segment) = segment {
                bytes += segment.frames.len();
                batch.segments.push(segment);
                batch.recorded.push(recorded);
            }
        }
        batch
    }

    fn recorded(self) {
        for (segment, mut recorded) in self.segments.into_iter().zip(self.recorded) {
            *recorded = segment.last_seq;
        }
    }
}

/// All that a generation said after `recorded`.
pub(super) fn segments(generation: &Generation, mut recorded: u64) -> Vec<EventSegment> {
    let mut segments = Vec::new();
    while let Some(segment) = generation
        .log
        .segment(generation.id, recorded, SEGMENT_BYTES)
    {
        recorded = segment.last_seq;
        segments.push(segment);
    }
    segments
}
