//! Requests with the same `Idempotency-Key` at the same time: the later ones wait for the first, and find its receipt.
//!
//! The store alone would keep the effect to one; but a twin needs a place among the running generations before it can ask the
//! store, and would be refused at the limit for an answer that it is to share.

use crate::{
    generation::Generation,
    model::UserId,
    store::{Once, SecretHash},
};
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

/// Which answer a key stands for where no store keeps receipts: for as long as that answer is in memory.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Those that are in memory no more are forgotten at the next call.
    kept: Mutex<HashMap<Key, (SecretHash, Weak<Generation>)>>,
}

/// The key was used for another request.
#[derive(Debug)]
pub(super) struct Reused;

impl Repeats {
    pub fn find(&self, owner: UserId, once: &Once) -> Result<Option<Arc<Generation>>, Reused> {
        let kept = self.kept.lock().expect("no code panics while it holds it");
        let Some((fingerprint, generation)) = kept.get(&(owner, once.key.clone())) else {
            return Ok(None);
        };
        match generation.upgrade() {
            Some(_) if *fingerprint != once.fingerprint => Err(Reused),
            // Its client was cut off, perhaps, and asks again for what it did not get.
            Some(generation) if generation.is_stopped() => Ok(None),
            generation => Ok(generation),
        }
    }

    pub fn keep(&self, once: &Once, generation: &Arc<Generation>) {
        let mut kept = self.kept.lock().expect("no code panics while it holds it");
        kept.retain(|_, (_, generation)| generation.strong_count() > 0);
        let known = (once.fingerprint, Arc::downgrade(generation));
        kept.insert((generation.owner, once.key.clone()), known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn once(key: &str) -> Once {
        Once {
            key: key.to_owned(),
            fingerprint: [0; 32].into(),
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
