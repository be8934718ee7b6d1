//! Looking after what is known: twice a second, whether something was taken away, here, on another node or by a command beside the
//! server; and once a minute, telling the store who was seen.

use super::Auth;
use crate::{model::now, store::StoreError, text::with_causes};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const LOOK_EVERY: Duration = Duration::from_millis(500);
const TELL_EVERY: Duration = Duration::from_mins(1);
/// Of a look that finds more to ask for whenever it has asked; the next look goes on.
const ROUNDS: usize = 10;

impl Auth {
    /// Never ends.
    pub async fn watch(&self) {
        let mut look = interval(LOOK_EVERY);
        let mut tell = interval(TELL_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => self.look_now().await,
                _ = tell.tick() => self.tell_used().await,
            }
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
        self.known.told(epoch, now());
        for _ in 0..ROUNDS {
            // The epoch first: what the store says next is from no earlier moment.
            let (as_of, when) = (self.known.epoch(), self.when());
            let asked = self.known.unconfirmed(when);
            if asked.is_empty() {
                break;
            }
            let vouched = self.store.vouched(&asked, when).await?;
            self.known.confirm(&asked, vouched, as_of);
        }
        Ok(())
    }

    /// Tells the store which keys and logins were used.
    pub async fn tell_used(&self) {
        let used = self.known.take_used();
        if used.is_empty() {
            return;
        }
        if let Err(error) = self.store.used(&used, now()).await {
            self.known.give_back_used(&used);
            tracing::debug!(
                error = with_causes(&error),
                "when keys and logins were used is stored later"
            );
        }
    }
}
