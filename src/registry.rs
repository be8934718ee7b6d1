//! Who is attached and what runs: live emitters keyed by user and session, live generations, and the limits on both.
//!
//! There is no public `remove`. An emitter is there as long as its [`Attached`] guard, a generation as long as its [`Slot`]; both
//! leave by `Drop`, by their own id, so that the end of an old connection cannot remove the new one that replaced it.

mod emitters;
mod generations;
mod listing;

pub use emitters::{Attached, Emitter, NewEmitter, Reason, Target};
pub use generations::Slot;
pub use listing::{EmitterFilter, EmitterPage, EmitterSort};

use crate::{clock::Clock, limits::Ledger};
use emitters::Emitters;
use generations::Generations;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// The limits that the registry keeps.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    pub emitters: usize,
    pub emitters_per_user: usize,
    pub generations: usize,
    pub generations_per_user: usize,
    /// How long, and within how many bytes, the logs of ended generations stay readable from memory.
    pub retain: Duration,
    pub retain_bytes: usize,
    /// The size of one log.
    pub log_bytes: usize,
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("this user has {0} already")]
    User(usize),
    #[error("this key has {0} already")]
    Key(usize),
    #[error("this node has {0} already")]
    Node(usize),
    #[error("this node is shutting down")]
    Draining,
}

/// What limits somebody: their own, else as configured; 0 of their own: nothing.
fn limit(own: Option<u32>, configured: usize) -> usize {
    match own {
        None => configured,
        Some(0) => usize::MAX,
        Some(own) => usize::try_from(own).unwrap_or(usize::MAX),
    }
}

/// Counts one less of these, and forgets those of whom there is none.
fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

/// Cheap to share; every method returns at once.
#[derive(Debug)]
pub struct Registry {
    options: RegistryOptions,
    /// Every generation that leaves is counted in it.
    pub ledger: Arc<Ledger>,
    // Two locks: a flood of attaching readers does not hold up the start of an answer. Never held together, never over I/O.
    emitters: Mutex<Emitters>,
    generations: Mutex<Generations>,
}

impl Registry {
    /// With a ledger of its own, without limits.
    pub fn new(options: RegistryOptions) -> Arc<Self> {
        let ledger = Ledger::new(0, &Clock::default());
        Self::with_ledger(options, Arc::new(ledger))
    }

    pub fn with_ledger(options: RegistryOptions, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            options,
            ledger,
            emitters: Mutex::default(),
            generations: Mutex::default(),
        })
    }

    fn emitters(&self) -> MutexGuard<'_, Emitters> {
        self.emitters
            .lock()
            .expect("no code panics while it holds the registry")
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .expect("no code panics while it holds the registry")
    }
}
