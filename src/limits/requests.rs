//! Requests a minute of a user, and of a key that has a limit of its own: so many at once, then one whenever its share of the minute has
//! passed (GCRA).

use super::{Limiter, Ticks, limiter};
use crate::{clock::Clock, standing::Standing};
use governor::{clock::Clock as _, middleware::StateInformationMiddleware};
use std::{collections::HashMap, num::NonZeroU32, sync::Mutex, time::Duration};
use uuid::Uuid;

type PerMinute = Limiter<Uuid, StateInformationMiddleware>;

pub struct Requests {
    /// What a user may who has no limit of their own; 0: as many as they like.
    configured: u32,
    clock: Clock,
    /// One for each limit that there is: theirs differ.
    by_limit: Mutex<HashMap<NonZeroU32, PerMinute>>,
}

/// What is left of the narrowest limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// A minute.
    pub limit: u32,
    pub remaining: u32,
    /// Until all of it is there again.
    pub reset: Duration,
}

impl Room {
    fn of(limit: NonZeroU32, remaining: u32) -> Self {
        let used = limit.get().saturating_sub(remaining);
        Self {
            limit: limit.get(),
            remaining,
            reset: Duration::from_mins(1) / limit.get() * used,
        }
    }
}

/// Not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    pub room: Room,
    /// Until one more is admitted.
    pub wait: Duration,
}

impl Requests {
    pub fn new(configured: u32, clock: &Clock) -> Self {
        Self {
            configured,
            clock: clock.clone(),
            by_limit: Mutex::default(),
        }
    }

    /// Counts one more request; `None` when nothing limits it. One that the key does not admit does not count for the user.
    pub fn admit(&self, standing: &Standing) -> Result<Option<Room>, TooMany> {
        let allowance = standing.allowance();
        let of_user = allowance
            .user
            .requests_per_minute
            .unwrap_or(self.configured);
        let of_key = allowance.key.requests_per_minute.unwrap_or(0);
        let of_key = standing.key.map(|key| (key.0, of_key));
        let mut least: Option<Room> = None;
        for (id, limit) in of_key.into_iter().chain([(standing.user.0, of_user)]) {
            if let Some(limit) = NonZeroU32::new(limit) {
                let room = self.count(id, limit)?;
                least = Some(least.map_or(room, |least| {
                    if room.remaining < least.remaining {
                        room
                    } else {
                        least
                    }
                }));
            }
        }
        Ok(least)
    }

    fn count(&self, id: Uuid, limit: NonZeroU32) -> Result<Room, TooMany> {
        let mut by_limit = self.lock();
        let limiter = by_limit
            .entry(limit)
            .or_insert_with(|| limiter(limit, &self.clock));
        match limiter.check_key(&id) {
            Ok(state) => Ok(Room::of(limit, state.remaining_burst_capacity())),
            Err(until) => Err(TooMany {
                room: Room::of(limit, 0),
                wait: until.wait_time_from(Ticks(self.clock.clone()).now()),
            }),
        }
    }

    /// Forgets those who have not asked for long enough to have all of their minute again.
    pub fn release(&self) {
        self.lock().retain(|_, limiter| {
            limiter.retain_recent();
            !limiter.is_empty()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NonZeroU32, PerMinute>> {
        self.by_limit
            .lock()
            .expect("no code panics while it counts requests")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Credential, KeyId, Limits, UserId, now},
        standing::Allowance,
    };
    use std::{
        sync::{Arc, Barrier},
        thread,
    };

    fn per_minute(limit: u32) -> Limits {
        Limits {
            requests_per_minute: Some(limit),
            ..Limits::default()
        }
    }

    fn by_key(user: UserId, own: Limits, key: Limits) -> Arc<Standing> {
        let id = KeyId::new();
        let standing = Standing::new(user, Credential::Key(id), Some(id));
        standing.allow(Allowance { user: own, key });
        standing
    }

    #[test]
    fn of_a_thousand_at_once_at_a_limit_of_ten_ten_are_admitted() {
        let clock = Clock::standing_at(now());
        let requests = Requests::new(10, &clock);
        let user = UserId::new();
        let (barrier, admit) = (Barrier::new(10), || {
            // By another key each, of the same user.
            let standing = by_key(user, Limits::default(), Limits::default());
            requests.admit(&standing).is_ok()
        });
        let admitted = thread::scope(|scope| {
            let threads = [(); 10].map(|()| {
                scope.spawn(|| {
                    barrier.wait();
                    (0..100).filter(|_| admit()).count()
                })
            });
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert_eq!(admitted.iter().sum::<usize>(), 10);
        clock.advance(Duration::from_secs(6) - Duration::from_nanos(1));
        assert!(!admit());
        clock.advance(Duration::from_nanos(1));
        assert!(admit() && !admit(), "a tenth of the minute has passed");
        requests.release();
        assert!(!admit(), "nothing of it was forgotten");
        clock.advance(Duration::from_mins(2));
        requests.release();
        assert!(requests.lock().is_empty(), "but now it is");
        assert_eq!((0..20).filter(|_| admit()).count(), 10);
    }

    #[test]
    fn a_key_may_have_less_than_its_user_and_a_user_another_limit_than_others() {
        let clock = Clock::standing_at(now());
        let requests = Requests::new(3, &clock);
        let user = UserId::new();
        let narrow = by_key(user, per_minute(5), per_minute(2));
        let wide = by_key(user, per_minute(5), Limits::default());
        let room = |limit, remaining, seconds| Room {
            limit,
            remaining,
            reset: Duration::from_secs(seconds),
        };
        assert_eq!(requests.admit(&narrow), Ok(Some(room(2, 1, 30))));
        assert_eq!(requests.admit(&narrow), Ok(Some(room(2, 0, 60))));
        let refused = TooMany {
            room: room(2, 0, 60),
            wait: Duration::from_secs(30),
        };
        for _ in 0..5 {
            assert_eq!(requests.admit(&narrow), Err(refused));
        }
        assert_eq!(requests.admit(&wide), Ok(Some(room(5, 2, 36))));
        assert_eq!((0..5).filter(|_| requests.admit(&wide).is_ok()).count(), 2);
        let other = Standing::of(UserId::new());
        assert_eq!(requests.admit(&other), Ok(Some(room(3, 2, 20))));
        let free = by_key(UserId::new(), per_minute(0), Limits::default());
        assert!((0..100).all(|_| requests.admit(&free) == Ok(None)));
    }
}
