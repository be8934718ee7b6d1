//! How long to wait, and what it means when it was in vain.

use super::{Failure, UpstreamError};
use std::time::Duration;
use tokio::time::Instant;

/// For what no model has to think about: an error body, the list of models.
pub(super) const SHORT: Duration = Duration::from_secs(10);

/// A moment, and what it means when it comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    pub at: Instant,
    after: Duration,
    failure: Failure,
}

impl Deadline {
    pub fn new(after: Duration, failure: Failure) -> Self {
        Self::from(Instant::now(), after, failure)
    }

    pub fn from(now: Instant, after: Duration, failure: Failure) -> Self {
        // A duration beyond the clock's range is as good as a year.
        let year = Duration::from_hours(365 * 24);
        let at = now.checked_add(after).unwrap_or(now + year);
        Self { at, after, failure }
    }

    pub fn or_earlier(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }

    pub fn error(self) -> UpstreamError {
        let seconds = self.after.as_secs_f64();
        let message = match self.failure {
            Failure::Late => format!("the upstream sent nothing within {seconds} s"),
            Failure::Silent => format!("the upstream fell silent for {seconds} s"),
            _ => format!("the answer took longer than {seconds} s"),
        };
        UpstreamError::new(self.failure, message)
    }
}
