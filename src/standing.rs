//! Whether what somebody proved still holds, shared by everything that was begun with it.
//!
//! `auth` makes one for each key and login that it knows, and ends it when the store vouches for that no more. An emitter and a
//! generation take theirs along and end with it: also those begun a moment later, by a request that was let in a moment before.

use crate::model::{Credential, KeyId, Limits, LoginId, UserId};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub struct Standing {
    pub user: UserId,
    pub credential: Credential,
    /// The key, or the one that logged in.
    pub key: Option<KeyId>,
    allowance: Mutex<Allowance>,
    ended: CancellationToken,
}

/// What its user may use, and within that its key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    pub user: Limits,
    pub key: Limits,
}

impl Standing {
    pub fn new(user: UserId, credential: Credential, key: Option<KeyId>) -> Arc<Self> {
        Arc::new(Self {
            user,
            credential,
            key,
            allowance: Mutex::default(),
            ended: CancellationToken::new(),
        })
    }

    /// Of a login that nobody ends: for what is begun in a test, or by nobody who asked.
    pub fn of(user: UserId) -> Arc<Self> {
        Self::new(user, Credential::Login(LoginId::new()), None)
    }

    pub fn allowance(&self) -> Allowance {
        *self.allowed()
    }

    /// It may change while it holds.
    pub fn allow(&self, allowance: Allowance) {
        *self.allowed() = allowance;
    }

    fn allowed(&self) -> MutexGuard<'_, Allowance> {
        self.allowance
            .lock()
            .expect("no code panics while it copies a few numbers")
    }

    /// For good: who proves the same again gets another.
    pub fn end(&self) {
        self.ended.cancel();
    }

    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// A token of one's own that is cancelled with it at the latest.
    pub fn while_it_holds(&self) -> CancellationToken {
        self.ended.child_token()
    }
}
