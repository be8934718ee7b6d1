//! Looking after what is known: twice a second, whether something was taken away, here, on another node or by a command beside the
//! server; and once a minute, telling the store who was seen.

use super::Auth;
use crate::{model::Credential, store::StoreError, text::with_causes};
use std::{collections::BTreeMap, time::Duration};
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};

const LOOK_EVERY: Duration = Duration::from_millis(500);
const TELL_EVERY: Duration = Duration::from_mins(1);
/// Of a look that finds more to ask for whenever it has asked; the next look goes on.
const ROUNDS: usize = 10;

impl Auth {
    /// Never ends.
    pub async fn watch(&self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told_at = self.clock.elapsed();
        loop {
            look.tick().await;
            if self.clock.elapsed() >= told_at + TELL_EVERY {
                told_at = self.clock.elapsed();
                self.requests.release();
                self.logins.release();
                self.tell_used().await;
            }
            self.look_now().await;
        }
    }

    /// Ends what is not vouched for any more. While the store does not answer, nothing; the next look finds it.
    pub async fn look_now(&self) {
        if let Err(error) = self.look().await {
            tracing::debug!(
                error = with_causes(&error),
                "who may do what is believed as it was"
            );
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let epoch = self.store.authorisation_epoch().await?;
        self.known.told(epoch, self.clock.now());
        for _ in 0..ROUNDS {
            // The epoch first: what the store says next is from no earlier moment.
            let (as_of, when) = (self.known.epoch(), self.when());
            let asked = self.known.unconfirmed(when);
            if asked.is_empty() {
                break;
            }
            // Or it would take a login for one that nobody uses.
            self.tell_used().await;
            let vouched = self.store.vouched(&asked, when).await?;
            self.known.confirm(&asked, vouched, as_of);
        }
        Ok(())
    }

    /// Tells the store which keys and logins were used, and when, to the minute.
    pub async fn tell_used(&self) {
        let used = self.known.take_used();
        let mut by_minute: BTreeMap<i64, (OffsetDateTime, Vec<Credential>)> = BTreeMap::new();
        for (credential, at) in &used {
            let minute = by_minute.entry(at.unix_timestamp() / 60);
            let (latest, credentials) = minute.or_insert((*at, Vec::new()));
            *latest = (*latest).max(*at);
            credentials.push(*credential);
        }
        for (at, credentials) in by_minute.values() {
            if let Err(error) = self.store.used(credentials, *at).await {
                // Some of them again, perhaps; that changes nothing.
                self.known.give_back_used(&used);
                return tracing::debug!(
                    error = with_causes(&error),
                    "when keys and logins were used is stored later"
                );
            }
        }
    }
}
