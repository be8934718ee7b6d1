//! Tries to log in from one address: so many failures a minute. A try is paid for before it is made, and one that succeeds is given back:
//! so a thousand guesses at once are not a thousand guesses.

use super::{Limiter, Ticks, limiter};
use crate::clock::Clock;
use governor::{clock::Clock as _, middleware::NoOpMiddleware};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

pub struct Logins {
    clock: Clock,
    /// `None`: as many as they like.
    tries: Option<Mutex<Tries>>,
}

struct Tries {
    limiter: Limiter<IpAddr, NoOpMiddleware<Duration>>,
    /// Given back and not used again yet.
    credits: HashMap<IpAddr, u32>,
}

/// One try. Dropped, it counts as a failure.
#[must_use]
pub struct Try<'a> {
    of: &'a Logins,
    from: IpAddr,
}

impl Logins {
    /// Failures a minute of an address; 0: as many as they like.
    pub fn new(failures_per_minute: u32, clock: &Clock) -> Self {
        let tries = NonZeroU32::new(failures_per_minute).map(|limit| {
            Mutex::new(Tries {
                limiter: limiter(limit, clock),
                credits: HashMap::new(),
            })
        });
        Self {
            clock: clock.clone(),
            tries,
        }
    }

    /// Admits a try, or says how long to wait.
    pub fn begin(&self, address: IpAddr) -> Result<Try<'_>, Duration> {
        let from = network(address);
        if let Some(mut tries) = self.lock() {
            if let Some(credit) = tries.credits.get_mut(&from) {
                *credit -= 1;
                if *credit == 0 {
                    tries.credits.remove(&from);
                }
            } else if let Err(until) = tries.limiter.check_key(&from) {
                return Err(until.wait_time_from(Ticks(self.clock.clone()).now()));
            }
        }
        Ok(Try { of: self, from })
    }

    /// Forgets addresses from which nobody has failed lately.
    pub fn release(&self) {
        if let Some(tries) = self.lock() {
            tries.limiter.retain_recent();
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Tries>> {
        let tries = self.tries.as_ref()?;
        Some(tries.lock().expect("no code panics while it counts tries"))
    }
}

impl Try<'_> {
    /// It was no failure.
    pub fn succeeded(self) {
        if let Some(mut tries) = self.of.lock() {
            *tries.credits.entry(self.from).or_default() += 1;
        }
    }
}

/// Whoever has one address of IPv6 has all that begin with the same 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(bits).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now;

    fn fails(logins: &Logins, address: &str) -> bool {
        logins.begin(address.parse().expect("an address")).is_ok()
    }

    #[test]
    fn failures_are_limited_for_each_address_and_successes_are_not() {
        let clock = Clock::standing_at(now());
        let logins = Logins::new(10, &clock);
        for _ in 0..100 {
            let one = logins.begin([192, 0, 2, 1].into());
            one.map(Try::succeeded).expect("no failure before");
        }
        let failed = (0..1000).filter(|_| fails(&logins, "192.0.2.1")).count();
        assert_eq!(failed, 10, "the first on what was given back");
        assert!(fails(&logins, "192.0.2.2"), "another address");
        let wait = logins.begin([192, 0, 2, 1].into()).err();
        assert_eq!(wait, Some(Duration::from_secs(6)));
        clock.advance(Duration::from_secs(6));
        let one = logins.begin([192, 0, 2, 1].into());
        one.map(Try::succeeded).expect("one more");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let logins = Logins::new(1, &Clock::standing_at(now()));
        assert!(fails(&logins, "2001:db8:0:1::1"));
        assert!(!fails(&logins, "2001:db8:0:1:ffff::2"));
        assert!(fails(&logins, "2001:db8:0:2::1"));
        assert!(fails(&logins, "192.0.2.1"));
        assert!(!fails(&logins, "::ffff:192.0.2.1"), "the same as before");
    }

    #[test]
    fn without_a_limit_everybody_tries() {
        let logins = Logins::new(0, &Clock::default());
        assert!((0..1000).all(|_| fails(&logins, "192.0.2.1")));
    }
}
