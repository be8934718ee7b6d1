//! Whom the store has vouched for. What it said is believed until the authorisation epoch moves: so a known key or login costs no
//! database round trip, and outlives an outage. Only what it affirmed is kept, never that it knew somebody not.

use super::{CurrentUser, proof::Proof};
use crate::{
    model::{Credential, Limits, User},
    standing::{Allowance, Standing},
    store::{Vouched, When},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use time::OffsetDateTime;

/// So many are remembered; then the one whom the store has not vouched for the longest is forgotten, unless something of theirs lives.
const AT_MOST: usize = 10_000;
/// How long after the store's last word anybody is believed.
const BELIEVED: Duration = Duration::from_hours(24);

/// The store's positive answers.
#[derive(Debug)]
pub struct Known {
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    by_proof: HashMap<Proof, Entry>,
    /// By the number of the answer, oldest first.
    order: BTreeMap<u64, Proof>,
    answers: u64,
    at_most: usize,
    /// The authorisation epoch that the store told last, and when.
    epoch: i64,
    told_at: Option<OffsetDateTime>,
}

#[derive(Debug)]
struct Entry {
    user: Arc<User>,
    standing: Arc<Standing>,
    is_restricted: bool,
    expires_at: Option<OffsetDateTime>,
    /// Of a login.
    last_seen_at: Option<OffsetDateTime>,
    /// The last time, unless the store was told since.
    used_at: Option<OffsetDateTime>,
    /// The answer was no earlier than this epoch.
    as_of: i64,
    answered_at: OffsetDateTime,
    answer: u64,
}

impl Entry {
    /// As far as its own times go.
    fn holds(&self, when: When) -> bool {
        self.expires_at.is_none_or(|expires| when.now < expires)
            && self
                .last_seen_at
                .is_none_or(|seen| seen > when.seen_since())
    }

    fn current(&self) -> CurrentUser {
        CurrentUser {
            user: self.user.clone(),
            standing: self.standing.clone(),
            is_restricted: self.is_restricted,
        }
    }

    fn use_at(&mut self, now: OffsetDateTime) {
        self.used_at = self.used_at.max(Some(now));
        self.last_seen_at = self.last_seen_at.map(|seen| seen.max(now));
    }

    fn learn(&mut self, vouched: Vouched, as_of: i64) {
        self.standing.allow(Allowance {
            user: vouched.user.limits,
            key: vouched.key_limits,
        });
        self.is_restricted = vouched.key_expires || vouched.key_limits != Limits::default();
        if *self.user != vouched.user {
            self.user = Arc::new(vouched.user);
        }
        self.expires_at = vouched.expires_at;
        self.last_seen_at = self.last_seen_at.max(vouched.last_seen_at);
        self.as_of = self.as_of.max(as_of);
    }
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
                epoch: 0,
                told_at: None,
            }),
        }
    }

    /// Who it is, as long as the store's last word on it may be believed. Counts as a use.
    pub(super) fn current(&self, proof: Proof, when: When) -> Option<CurrentUser> {
        let mut entries = self.lock();
        let told_at = entries.told_at;
        let entry = entries.by_proof.get_mut(&proof)?;
        let last_word = told_at.map_or(entry.answered_at, |told| told.max(entry.answered_at));
        if !entry.holds(when) || when.now >= last_word + BELIEVED {
            return None;
        }
        entry.use_at(when.now);
        Some(entry.current())
    }

    /// The store vouched for them when asked at this epoch or later.
    pub(super) fn remember(
        &self,
        proof: Proof,
        vouched: Vouched,
        as_of: i64,
        when: When,
    ) -> CurrentUser {
        let mut entries = self.lock();
        let before = entries.remove(proof);
        let before = before.filter(|entry| entry.standing.credential == vouched.credential);
        entries.answers += 1;
        let answer = entries.answers;
        let mut entry = before.unwrap_or_else(|| Entry {
            user: Arc::new(vouched.user.clone()),
            standing: Standing::new(vouched.user.id, vouched.credential, vouched.key),
            is_restricted: false,
            expires_at: None,
            last_seen_at: None,
            used_at: None,
            as_of,
            answered_at: when.now,
            answer,
        });
        entry.learn(vouched, as_of);
        entry.use_at(when.now);
        (entry.answered_at, entry.answer) = (when.now, answer);
        let current = entry.current();
        entries.insert(proof, entry);
        entries.make_room();
        current
    }

    /// The store does not vouch for them any more: what they began ends.
    pub(super) fn forget(&self, proof: Proof) {
        let removed = self.lock().remove(proof);
        if let Some(entry) = removed {
            entry.standing.end();
        }
    }

    /// The same when it is not known by what secret.
    pub(super) fn end(&self, credential: Credential) {
        self.confirm(&[credential], Vec::new(), 0);
    }

    /// The epoch as the store told it last; 0 before it did.
    pub(super) fn epoch(&self) -> i64 {
        self.lock().epoch
    }

    /// The store told its epoch: it answers, and whom it vouched for at an earlier one is to be asked for again.
    pub(super) fn told(&self, epoch: i64, at: OffsetDateTime) {
        let mut entries = self.lock();
        entries.epoch = entries.epoch.max(epoch);
        entries.told_at = entries.told_at.max(Some(at));
    }

    /// Of whom the store is to be asked again: something was taken away since, perhaps from them, or their time is over.
    pub(super) fn unconfirmed(&self, when: When) -> Vec<Credential> {
        let entries = self.lock();
        let is_open = |entry: &&Entry| entry.as_of < entries.epoch || !entry.holds(when);
        let open = entries.by_proof.values().filter(is_open);
        open.map(|entry| entry.standing.credential).collect()
    }

    /// Of those it was asked for at this epoch or later the store vouches for these and no others: what the others began ends.
    pub(super) fn confirm(&self, asked: &[Credential], vouched: Vec<Vouched>, as_of: i64) {
        let asked: HashSet<_> = asked.iter().copied().collect();
        let mut vouched: HashMap<_, _> = vouched
            .into_iter()
            .map(|vouched| (vouched.credential, vouched))
            .collect();
        let mut over = Vec::new();
        let mut entries = self.lock();
        for (proof, entry) in &mut entries.by_proof {
            let credential = entry.standing.credential;
            if let Some(vouched) = vouched.remove(&credential) {
                entry.learn(vouched, as_of);
            } else if asked.contains(&credential) {
                over.push(*proof);
            }
        }
        let over: Vec<_> = over
            .into_iter()
            .filter_map(|proof| entries.remove(proof))
            .collect();
        drop(entries);
        for entry in over {
            entry.standing.end();
        }
    }

    /// Whether somebody is known by this, believed or not, of whose last use the store was not told.
    pub(super) fn has_untold(&self, proof: Proof) -> bool {
        let entries = self.lock();
        let entry = entries.by_proof.get(&proof);
        entry.is_some_and(|entry| entry.used_at.is_some())
    }

    /// Who asked since this was asked last, and when.
    pub(super) fn take_used(&self) -> Vec<(Credential, OffsetDateTime)> {
        let mut entries = self.lock();
        let used = entries.by_proof.values_mut();
        used.filter_map(|entry| Some((entry.standing.credential, entry.used_at.take()?)))
            .collect()
    }

    /// The store could not be told.
    pub(super) fn give_back_used(&self, used: &[(Credential, OffsetDateTime)]) {
        let used: HashMap<_, _> = used.iter().copied().collect();
        for entry in self.lock().by_proof.values_mut() {
            let used_at = used.get(&entry.standing.credential).copied();
            entry.used_at = entry.used_at.max(used_at);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries
            .lock()
            .expect("no code panics while it holds what is known")
    }
}

impl Entries {
    fn insert(&mut self, proof: Proof, entry: Entry) {
        self.order.insert(entry.answer, proof);
        self.by_proof.insert(proof, entry);
    }

    fn remove(&mut self, proof: Proof) -> Option<Entry> {
        let entry = self.by_proof.remove(&proof)?;
        self.order.remove(&entry.answer);
        Some(entry)
    }

    /// Those of whom something lives stay, and count as answered now: nobody would end it otherwise. There are not many more of them
    /// than emitters and generations may be.
    fn make_room(&mut self) {
        for _ in 0..self.order.len() {
            if self.order.len() <= self.at_most {
                return;
            }
            let Some((_, oldest)) = self.order.pop_first() else {
                return;
            };
            let Some(mut entry) = self.by_proof.remove(&oldest) else {
                continue;
            };
            if Arc::strong_count(&entry.standing) > 1 {
                self.answers += 1;
                entry.answer = self.answers;
                self.insert(oldest, entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyId, LoginId, UserId, now};

    const DAY: Duration = Duration::from_hours(24);

    /// Vouched for, and seen, at this time.
    fn vouched(credential: Credential, at: OffsetDateTime) -> Vouched {
        let user = User {
            id: UserId::new(),
            name: "somebody".to_owned(),
            operator: false,
            disabled: false,
            limits: Limits::default(),
            created_at: at,
        };
        let is_login = matches!(credential, Credential::Login(_));
        Vouched {
            user,
            credential,
            key: None,
            key_limits: Limits::default(),
            key_expires: false,
            expires_at: is_login.then(|| at + 30 * DAY),
            last_seen_at: is_login.then_some(at),
        }
    }

    fn by_key(at: OffsetDateTime) -> Vouched {
        vouched(Credential::Key(KeyId::new()), at)
    }

    fn by_login(at: OffsetDateTime) -> Vouched {
        vouched(Credential::Login(LoginId::new()), at)
    }

    fn at(now: OffsetDateTime) -> When {
        When { now, idle: 7 * DAY }
    }

    fn knows(known: &Known, proof: Proof, now: OffsetDateTime) -> bool {
        known.current(proof, at(now)).is_some()
    }

    #[test]
    fn the_one_without_a_word_from_the_store_for_longest_is_forgotten_unless_something_of_theirs_lives()
     {
        let known = Known::with_at_most(2);
        let [one, two, three, four] = [1, 2, 3, 4].map(|n| Proof::Key([n; 32].into()));
        let start = at(now());
        let alive = known.remember(one, by_key(start.now), 1, start);
        for proof in [two, three] {
            known.remember(proof, by_key(start.now), 1, start);
        }
        let all = [one, two, three, four].map(|proof| knows(&known, proof, start.now));
        assert_eq!(all, [true, false, true, false]);
        drop(alive);
        for proof in [three, four] {
            known.remember(proof, by_key(start.now), 1, start);
        }
        let all = [one, two, three, four].map(|proof| knows(&known, proof, start.now));
        assert_eq!(all, [false, false, true, true]);
        let entries = known.lock();
        assert_eq!((entries.by_proof.len(), entries.order.len()), (2, 2));
    }

    #[test]
    fn a_login_ends_at_its_time_and_when_it_is_not_seen_for_too_long() {
        let (known, proof, start) = (Known::default(), Proof::Login([1; 32].into()), now());
        known.remember(proof, by_login(start), 1, at(start));
        for day in 1..30 {
            // The store answers all the time.
            known.told(1, start + day * DAY);
            assert!(knows(&known, proof, start + day * DAY), "{day}");
        }
        known.told(1, start + 31 * DAY);
        assert!(!knows(&known, proof, start + 31 * DAY), "its time is over");

        let known = Known::default();
        known.remember(proof, by_login(start), 1, at(start));
        let soon = start + 7 * DAY;
        known.told(1, soon);
        assert!(!knows(&known, proof, soon), "not seen for a week");
        assert_eq!(known.unconfirmed(at(soon)).len(), 1, "the store is asked");
    }

    #[test]
    fn nobody_is_believed_for_longer_than_a_day_after_the_last_word_of_the_store() {
        let (known, proof, start) = (Known::default(), Proof::Key([1; 32].into()), now());
        known.remember(proof, by_key(start), 1, at(start));
        let moment = Duration::from_millis(1);
        assert!(knows(&known, proof, start + DAY - moment));
        assert!(!knows(&known, proof, start + DAY));
        known.told(1, start + DAY);
        assert!(knows(&known, proof, start + DAY), "the store spoke again");
    }

    #[test]
    fn a_key_is_no_cookie_and_what_is_forgotten_is_gone_with_what_it_began() {
        let known = Known::default();
        let (key, login) = (Proof::Key([1; 32].into()), Proof::Login([2; 32].into()));
        let by_key = known.remember(key, by_key(now()), 1, at(now()));
        let by_login = known.remember(login, by_login(now()), 1, at(now()));
        assert!(!knows(&known, Proof::Login([1; 32].into()), now()));
        assert!(!knows(&known, Proof::Key([2; 32].into()), now()));
        known.end(by_login.standing.credential);
        assert!(!knows(&known, login, now()) && by_login.standing.has_ended());
        assert!(knows(&known, key, now()) && !by_key.standing.has_ended());
        known.forget(key);
        assert!(!knows(&known, key, now()) && by_key.standing.has_ended());
    }

    #[test]
    fn whoever_is_not_vouched_for_after_the_epoch_moved_is_over_and_others_go_on() {
        let (known, start) = (Known::default(), at(now()));
        let (stays, goes) = (by_key(start.now), by_login(start.now));
        let staying = known.remember(Proof::Key([1; 32].into()), stays.clone(), 1, start);
        let going = known.remember(Proof::Login([2; 32].into()), goes, 1, start);
        known.told(1, start.now);
        assert!(known.unconfirmed(start).is_empty());
        known.told(2, start.now);
        let asked = known.unconfirmed(start);
        assert_eq!(asked.len(), 2);
        let mut stays = stays;
        stays.user.operator = true;
        known.confirm(&asked, vec![stays], 2);
        assert!(going.standing.has_ended() && !staying.standing.has_ended());
        assert!(known.unconfirmed(start).is_empty());
        let again = known
            .current(Proof::Key([1; 32].into()), start)
            .expect("known");
        assert!(again.user.operator, "what changed of them is known");
        assert!(Arc::ptr_eq(&again.standing, &staying.standing));
        assert!(known.current(Proof::Login([2; 32].into()), start).is_none());
    }

    #[test]
    fn an_answer_from_before_the_epoch_moved_is_asked_for_again() {
        let (known, start) = (Known::default(), at(now()));
        let as_of = known.epoch();
        // While the store is on its way with its answer, a key is revoked, and that is noticed.
        known.told(5, start.now);
        assert!(known.unconfirmed(start).is_empty());
        let late = known.remember(Proof::Key([1; 32].into()), by_key(start.now), as_of, start);
        assert_eq!(known.unconfirmed(start), [late.standing.credential]);
        known.confirm(&[late.standing.credential], Vec::new(), 5);
        assert!(late.standing.has_ended());
    }

    #[test]
    fn what_is_said_of_somebody_shows_no_hash() {
        let known = Known::default();
        known.remember(Proof::Key([0xab; 32].into()), by_key(now()), 1, at(now()));
        let shown = format!("{known:?}");
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }
}
