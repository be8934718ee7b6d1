//! Whom the store has vouched for, kept in memory for the time in which it answers nothing. It never speaks against the store.

use super::CurrentUser;
use crate::store::{Credential, SecretHash};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
    time::Duration,
};
use time::OffsetDateTime;

/// So many are remembered; then the one whom the store has not vouched for the longest is forgotten.
const AT_MOST: usize = 10_000;
/// How long after the store's last word a login is believed whose end this process does not know: an earlier one made it.
const LOGIN_BELIEVED: Duration = Duration::from_hours(1);

/// By what somebody says who they are. A cookie is no key, so each is remembered as what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Proof {
    Key(SecretHash),
    Login(SecretHash),
}

/// The store's last positive answers.
#[derive(Debug)]
pub struct Known {
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    by_proof: HashMap<Proof, Remembered>,
    /// By the number of the answer, oldest first.
    order: BTreeMap<u64, Proof>,
    answers: u64,
    at_most: usize,
}

#[derive(Debug)]
struct Remembered {
    current: CurrentUser,
    answered_at: OffsetDateTime,
    /// When a login ends that was made here: the store does not tell.
    expires: Option<OffsetDateTime>,
    answer: u64,
}

impl Default for Known {
    fn default() -> Self {
        Self::with_at_most(AT_MOST)
    }
}

impl Known {
    fn with_at_most(at_most: usize) -> Self {
        Self {
            entries: Mutex::new(Entries {
                by_proof: HashMap::new(),
                order: BTreeMap::new(),
                answers: 0,
                at_most,
            }),
        }
    }

    /// Who it was at the store's last answer, as long as that may be believed.
    pub(super) fn current(&self, proof: Proof, now: OffsetDateTime) -> Option<CurrentUser> {
        let entries = self.lock();
        let known = entries.by_proof.get(&proof)?;
        let believed = match proof {
            Proof::Key(_) => true,
            Proof::Login(_) => {
                let expires = known.expires;
                now < expires.unwrap_or(known.answered_at + LOGIN_BELIEVED)
            }
        };
        believed.then(|| known.current.clone())
    }

    /// The store vouched for them. `expires` is of a login made just now; what is known of an earlier one stays.
    pub(super) fn remember(
        &self,
        proof: Proof,
        current: &CurrentUser,
        now: OffsetDateTime,
        expires: Option<OffsetDateTime>,
    ) {
        let mut entries = self.lock();
        let before = entries.remove(proof).and_then(|known| known.expires);
        entries.answers += 1;
        let answer = entries.answers;
        entries.order.insert(answer, proof);
        let known = Remembered {
            current: current.clone(),
            answered_at: now,
            expires: expires.or(before),
            answer,
        };
        entries.by_proof.insert(proof, known);
        if entries.order.len() > entries.at_most
            && let Some((_, oldest)) = entries.order.pop_first()
        {
            entries.by_proof.remove(&oldest);
        }
    }

    /// The store does not vouch for them any more.
    pub(super) fn forget(&self, proof: Proof) {
        self.lock().remove(proof);
    }

    /// The same when it is not known by what secret.
    pub(super) fn forget_credential(&self, credential: Credential) {
        let mut entries = self.lock();
        let found = entries
            .by_proof
            .iter()
            .find(|(_, known)| known.current.credential == credential);
        if let Some(proof) = found.map(|(proof, _)| *proof) {
            entries.remove(proof);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries
            .lock()
            .expect("no code panics while it holds what is known")
    }
}

impl Entries {
    fn remove(&mut self, proof: Proof) -> Option<Remembered> {
        let known = self.by_proof.remove(&proof)?;
        self.order.remove(&known.answer);
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyId, LoginId, User, UserId, now};

    fn somebody(credential: Credential) -> CurrentUser {
        let user = User {
            id: UserId::new(),
            name: "somebody".to_owned(),
            operator: false,
            disabled: false,
            created_at: now(),
        };
        CurrentUser { user, credential }
    }

    fn by_key() -> CurrentUser {
        somebody(Credential::Key(KeyId::new()))
    }

    fn by_login() -> CurrentUser {
        somebody(Credential::Login(LoginId::new()))
    }

    #[test]
    fn the_one_without_a_word_from_the_store_for_longest_is_forgotten() {
        let known = Known::with_at_most(2);
        let [one, two, three] = [1, 2, 3].map(|n| Proof::Key([n; 32]));
        for proof in [one, two, one, three] {
            known.remember(proof, &by_key(), now(), None);
        }
        let knows = |proof| known.current(proof, now()).is_some();
        assert_eq!([one, two, three].map(knows), [true, false, true]);
        let entries = known.lock();
        assert_eq!((entries.by_proof.len(), entries.order.len()), (2, 2));
    }

    #[test]
    fn a_login_ends_at_its_time_and_one_without_a_known_end_after_an_hour() {
        let known = Known::default();
        let (made_here, made_before) = (Proof::Login([1; 32]), Proof::Login([2; 32]));
        let start = now();
        let end = start + Duration::from_hours(5);
        known.remember(made_here, &by_login(), start, Some(end));
        known.remember(made_here, &by_login(), start, None);
        known.remember(made_before, &by_login(), start, None);
        let knows = |proof, at| known.current(proof, at).is_some();
        let moment = Duration::from_millis(1);
        assert!(knows(made_here, end - moment) && !knows(made_here, end));
        let hour = start + Duration::from_hours(1);
        assert!(knows(made_before, hour - moment) && !knows(made_before, hour));
        known.remember(made_before, &by_login(), hour, None);
        assert!(knows(made_before, hour), "the store spoke again");
    }

    #[test]
    fn a_key_is_no_cookie_and_what_is_forgotten_is_gone() {
        let known = Known::default();
        let (key, login) = (Proof::Key([1; 32]), Proof::Login([2; 32]));
        let current = by_login();
        known.remember(key, &by_key(), now(), None);
        known.remember(login, &current, now(), None);
        assert!(known.current(Proof::Login([1; 32]), now()).is_none());
        assert!(known.current(Proof::Key([2; 32]), now()).is_none());
        known.forget_credential(current.credential);
        assert!(known.current(login, now()).is_none());
        known.forget(key);
        assert!(known.current(key, now()).is_none());
    }
}
