//! How much somebody may use: requests a minute, tokens a day, and tries to log in. What runs at once is the registry's to limit.
//!
//! Whether one more is admitted is decided in one step under one lock: of a thousand at once exactly as many get in as may.

mod logins;
mod requests;
mod tokens;

pub use logins::{Logins, Try};
pub use requests::{Requests, Room, TooMany};
pub use tokens::{Ledger, Spent, Tokens};

use crate::clock::Clock;
use std::{num::NonZeroU32, time::Duration};

/// A quota of one minute, kept by a clock that is given.
type Limiter<K, M> =
    governor::RateLimiter<K, governor::state::keyed::HashMapStateStore<K>, Ticks, M>;

fn limiter<K, M>(per_minute: NonZeroU32, clock: &Clock) -> Limiter<K, M>
where
    K: std::hash::Hash + Eq + Clone,
    M: governor::middleware::RateLimitingMiddleware<Duration>,
{
    let quota = governor::Quota::per_minute(per_minute);
    governor::RateLimiter::hashmap_with_clock(quota, Ticks(clock.clone())).with_middleware()
}

/// As `governor` reads a clock.
#[derive(Debug, Clone)]
struct Ticks(Clock);

impl governor::clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
