//! The time, for what counts and compares it: the system's, or in tests one that stands until it is moved.

use crate::model::now;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use time::OffsetDateTime;

#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System { since: Instant },
    Standing(Arc<Mutex<(OffsetDateTime, Duration)>>),
}

impl Default for Clock {
    /// The system's.
    fn default() -> Self {
        Self(Source::System {
            since: Instant::now(),
        })
    }
}

impl Clock {
    /// One that stands; its copies stand and move with it.
    pub fn standing_at(time: OffsetDateTime) -> Self {
        Self(Source::Standing(Arc::new(Mutex::new((
            time,
            Duration::ZERO,
        )))))
    }

    /// Moves one that stands.
    pub fn advance(&self, by: Duration) {
        if let Source::Standing(shown) = &self.0 {
            let mut shown = shown.lock().expect("no code panics while it moves a clock");
            *shown = (shown.0 + by, shown.1 + by);
        }
    }

    /// In UTC, to the millisecond.
    pub fn now(&self) -> OffsetDateTime {
        match &self.0 {
            Source::System { .. } => now(),
            Source::Standing(shown) => {
                shown
                    .lock()
                    .expect("no code panics while it moves a clock")
                    .0
            }
        }
    }

    /// Since some moment; nobody sets it back.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { since } => since.elapsed(),
            Source::Standing(shown) => {
                shown
                    .lock()
                    .expect("no code panics while it moves a clock")
                    .1
            }
        }
    }
}
