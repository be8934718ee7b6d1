//! Requests with the same `Idempotency-Key` at the same time: the later ones wait for the first, and find its receipt.
//!
//! The store alone would keep the effect to one; but a twin needs a place among the running generations before it can ask the
//! store, and would be refused at the limit for an answer that it is to share.

use crate::{model::UserId, store::Once};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

/// Whose, and which.
type Key = (UserId, String);

#[derive(Debug, Default)]
pub(super) struct Twins {
    /// Those that nobody holds or waits for are forgotten at the next call.
    keys: Mutex<HashMap<Key, Weak<Turns<()>>>>,
}

impl Twins {
    /// Waits for the turn of this request. It is over when the guard is dropped.
    pub async fn turn(&self, owner: UserId, once: &Once) -> OwnedMutexGuard<()> {
        let turns = {
            let mut keys = self.keys.lock().expect("no code panics while it holds it");
            keys.retain(|_, turns| turns.strong_count() > 0);
            let kept = keys.entry((owner, once.key.clone())).or_default();
            kept.upgrade().unwrap_or_else(|| {
                let turns = Arc::default();
                *kept = Arc::downgrade(&turns);
                turns
            })
        };
        turns.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn once(key: &str) -> Once {
        Once {
            key: key.to_owned(),
            fingerprint: [0; 32],
        }
    }

    #[tokio::test]
    async fn twins_take_turns_and_others_do_not_wait() {
        let (twins, user) = (Twins::default(), UserId::new());
        let first = twins.turn(user, &once("a")).await;
        let same = once("a");
        let mut second = Box::pin(twins.turn(user, &same));
        assert!(second.as_mut().now_or_never().is_none());
        drop(twins.turn(user, &once("b")).await);
        drop(twins.turn(UserId::new(), &once("a")).await);
        drop(first);
        drop(second.await);
        drop(twins.turn(user, &once("c")).await);
        assert_eq!(twins.keys.lock().expect("not poisoned").len(), 1);
    }
}
