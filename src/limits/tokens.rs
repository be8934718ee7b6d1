//! Tokens a day, from midnight to midnight in UTC: what was spent, by whom, and whether that leaves room for one more answer.
//!
//! Every generation that ends is counted, by its slot ([`Registry`](crate::registry::Registry)): with what the upstream said it cost, else
//! with an estimate. The store keeps one row for each, so that the same one counts once, a restart forgets nothing and nodes share a day.

use crate::{clock::Clock, generation::Generation, model::Spending, standing::Standing};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};
use time::{Date, Time};
use tokio::sync::Notify;
use uuid::Uuid;

/// How long the store's word on what others spent is good enough.
const FRESH: Duration = Duration::from_secs(5);

/// No answer begins before tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    pub limit: u64,
    /// Until midnight.
    pub wait: Duration,
}

/// What is left of the narrowest limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    pub limit: u64,
    pub remaining: u64,
    /// Until midnight.
    pub reset: Duration,
}

#[derive(Debug)]
pub struct Ledger {
    /// What a user may spend who has no limit of their own; 0: as much as they like.
    configured: u64,
    clock: Clock,
    book: Mutex<Book>,
    something_to_save: Notify,
}

#[derive(Debug, Default)]
struct Book {
    day: Option<Date>,
    /// What the store said of today, of users and keys, and when.
    stored: HashMap<Uuid, (u64, Duration)>,
    /// Not in the store yet, as far as is known here.
    unsaved: Vec<Spending>,
}

impl Book {
    fn learn(&mut self, day: Date, said: &[(Uuid, u64)], now: Duration) {
        if self.day == Some(day) {
            let said = said
                .iter()
                .map(|(spender, tokens)| (*spender, (*tokens, now)));
            self.stored.extend(said);
        }
    }

    fn spent(&self, spender: Uuid, day: Date) -> Option<u64> {
        let (stored, _) = self.stored.get(&spender)?;
        let unsaved = self.unsaved.iter().filter(|spending| {
            spending.day == day && spending.spenders().any(|one| one == spender)
        });
        Some(unsaved.fold(*stored, |sum, spending| {
            sum.saturating_add(spending.tokens())
        }))
    }
}

impl Ledger {
    pub fn new(configured: u64, clock: &Clock) -> Self {
        Self {
            configured,
            clock: clock.clone(),
            book: Mutex::default(),
            something_to_save: Notify::new(),
        }
    }

    pub fn today(&self) -> Date {
        self.clock.now().date()
    }

    /// Who has a limit, and how much that is.
    fn limits(&self, standing: &Standing) -> Vec<(Uuid, u64)> {
        let allowance = standing.allowance();
        let of_user = allowance.user.tokens_per_day.unwrap_or(self.configured);
        let of_key = allowance.key.tokens_per_day.unwrap_or(0);
        let of_key = standing.key.map(|key| (key.0, of_key));
        let all = of_key.into_iter().chain([(standing.user.0, of_user)]);
        all.filter(|(_, limit)| *limit > 0).collect()
    }

    /// Of whom the store is to be asked before [`admit`](Self::admit): what it said is missing or old.
    pub fn unknown(&self, standing: &Standing) -> Vec<Uuid> {
        let limits = self.limits(standing);
        let (book, now) = (self.book(), self.clock.elapsed());
        let is_old = |spender: &Uuid| {
            let said = book.stored.get(spender);
            said.is_none_or(|(_, at)| now.saturating_sub(*at) >= FRESH)
        };
        let spenders = limits.into_iter().map(|(spender, _)| spender);
        spenders.filter(is_old).collect()
    }

    /// The store's word on what was spent on a day.
    pub fn learn(&self, day: Date, said: &[(Uuid, u64)]) {
        self.book().learn(day, said, self.clock.elapsed());
    }

    /// Whether one more answer may begin. `Ok(false)`: nobody knows, because the store has never told.
    pub fn admit(&self, standing: &Standing) -> Result<bool, Spent> {
        let limits = self.limits(standing);
        let book = self.book();
        for (spender, limit) in limits {
            match book.spent(spender, self.today()) {
                None => return Ok(false),
                Some(spent) if spent >= limit => {
                    return Err(Spent {
                        limit,
                        wait: self.until_midnight(),
                    });
                }
                Some(_) => {}
            }
        }
        Ok(true)
    }

    /// What is left today, as far as it is known without asking.
    pub fn left(&self, standing: &Standing) -> Option<Tokens> {
        let limits = self.limits(standing);
        let book = self.book();
        let left = limits.into_iter().filter_map(|(spender, limit)| {
            let spent = book.spent(spender, self.today())?;
            Some(Tokens {
                limit,
                remaining: limit.saturating_sub(spent),
                reset: self.until_midnight(),
            })
        });
        left.min_by_key(|left| left.remaining)
    }

    /// Counts a generation that has ended, when it cost anything.
    pub fn count(&self, generation: &Generation) {
        let usage = generation.ending().and_then(|ending| ending.usage);
        let Some(usage) = usage else { return };
        let spending = Spending {
            generation: generation.id,
            user: generation.owner,
            key: generation.standing.key,
            day: self.today(),
            usage,
        };
        self.book().unsaved.push(spending);
        self.something_to_save.notify_one();
    }

    /// Resolves when there is something that the store does not have.
    pub async fn something_to_save(&self) {
        self.something_to_save.notified().await;
    }

    /// What the store does not have: the first of it.
    pub fn unsaved(&self, at_most: usize) -> Vec<Spending> {
        let book = self.book();
        book.unsaved.iter().take(at_most).copied().collect()
    }

    /// The store has so many of the first, and says what was spent today with them. One caller at a time.
    pub fn saved(&self, count: usize, day: Date, said: &[(Uuid, u64)]) {
        let mut book = self.book();
        book.unsaved.drain(..count);
        book.learn(day, said, self.clock.elapsed());
    }

    fn until_midnight(&self) -> Duration {
        let now = self.clock.now();
        let tomorrow = now.date().next_day();
        let midnight = tomorrow.map(|day| day.with_time(Time::MIDNIGHT).assume_utc());
        let left = midnight.and_then(|midnight| (midnight - now).try_into().ok());
        left.unwrap_or_default()
    }

    /// Today's: what the store said of another day is forgotten.
    fn book(&self) -> MutexGuard<'_, Book> {
        let today = self.today();
        let mut book = self
            .book
            .lock()
            .expect("no code panics while it counts tokens");
        if book.day != Some(today) {
            book.day = Some(today);
            book.stored.clear();
        }
        book
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::EventLog,
        model::{Credential, Ending, GenerationId, KeyId, Limits, Outcome, Timings, Usage, UserId},
        standing::Allowance,
    };
    use std::sync::Arc;
    use time::macros::datetime;

    fn clock() -> Clock {
        Clock::standing_at(datetime!(2026-01-02 23:59:00 UTC))
    }

    fn limited(of_key: u64) -> Arc<Standing> {
        let key = KeyId::new();
        let standing = Standing::new(UserId::new(), Credential::Key(key), Some(key));
        standing.allow(Allowance {
            user: Limits::default(),
            key: Limits {
                tokens_per_day: Some(of_key),
                ..Limits::default()
            },
        });
        standing
    }

    fn ended(standing: &Arc<Standing>, tokens: u64) -> Generation {
        let id = GenerationId::new();
        let log = EventLog::new(1024);
        let generation = Generation::new(id, None, standing.clone(), String::new(), log);
        generation.set_ending(Ending {
            outcome: Outcome::Completed,
            content: String::new(),
            reasoning: None,
            tool_calls: None,
            model: None,
            finish_reason: None,
            usage: Some(Usage {
                prompt_tokens: tokens / 2,
                completion_tokens: tokens - tokens / 2,
                estimated: false,
            }),
            timings: Timings {
                first_token_ms: None,
                thinking_ms: None,
                total_ms: 1,
            },
            problem: None,
            last_seq: 1,
            leaves_message: false,
        });
        generation
    }

    /// The store says that nobody has spent anything, or so much.
    fn hears(ledger: &Ledger, standing: &Standing, tokens: u64) {
        let unknown = ledger.unknown(standing);
        let said: Vec<_> = unknown.into_iter().map(|id| (id, tokens)).collect();
        ledger.learn(ledger.today(), &said);
    }

    #[test]
    fn what_was_spent_counts_at_once_until_midnight() {
        let clock = clock();
        let ledger = Ledger::new(100, &clock);
        let standing = limited(0);
        assert_eq!(ledger.admit(&standing), Ok(false), "the store knows");
        hears(&ledger, &standing, 0);
        ledger.count(&ended(&standing, 99));
        assert_eq!(ledger.admit(&standing), Ok(true));
        assert_eq!(ledger.left(&standing).map(|left| left.remaining), Some(1));
        ledger.count(&ended(&standing, 99));
        let spent = Spent {
            limit: 100,
            wait: Duration::from_mins(1),
        };
        assert_eq!(ledger.admit(&standing), Err(spent));
        clock.advance(Duration::from_mins(1));
        assert_eq!(ledger.admit(&standing), Ok(false), "another day");
        hears(&ledger, &standing, 0);
        assert_eq!(ledger.left(&standing).map(|left| left.remaining), Some(100));
    }

    #[test]
    fn what_is_saved_counts_as_the_store_says_and_only_once() {
        let ledger = Ledger::new(100, &clock());
        let standing = limited(0);
        hears(&ledger, &standing, 10);
        ledger.count(&ended(&standing, 20));
        ledger.count(&ended(&standing, 30));
        let remaining = || ledger.left(&standing).map(|left| left.remaining);
        assert_eq!(remaining(), Some(40));
        let first = ledger.unsaved(1);
        assert_eq!(first.len(), 1);
        // Another node has spent 5 meanwhile.
        ledger.saved(1, ledger.today(), &[(standing.user.0, 35)]);
        assert_eq!(remaining(), Some(35));
        assert_eq!(ledger.unsaved(9).len(), 1);
    }

    #[test]
    fn a_key_may_have_less_and_others_of_its_user_go_on() {
        let ledger = Ledger::new(100, &clock());
        let narrow = limited(10);
        let wide = Standing::new(narrow.user, Credential::Key(KeyId::new()), None);
        for standing in [&narrow, &wide] {
            hears(&ledger, standing, 0);
        }
        ledger.count(&ended(&narrow, 10));
        assert_eq!(ledger.admit(&narrow).map_err(|spent| spent.limit), Err(10));
        assert_eq!(ledger.admit(&wide), Ok(true));
        assert_eq!(ledger.left(&wide).map(|left| left.remaining), Some(90));
        let free = Ledger::new(0, &clock());
        assert!(free.unknown(&wide).is_empty());
        assert_eq!((free.admit(&wide), free.left(&wide)), (Ok(true), None));
    }

    #[test]
    fn the_stores_word_is_asked_for_again_after_a_while() {
        let clock = clock();
        let ledger = Ledger::new(100, &clock);
        let standing = limited(0);
        hears(&ledger, &standing, 0);
        assert!(ledger.unknown(&standing).is_empty());
        clock.advance(FRESH);
        assert_eq!(ledger.unknown(&standing), [standing.user.0]);
        assert_eq!(ledger.admit(&standing), Ok(true), "but believed");
    }
}
