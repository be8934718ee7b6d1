//! The feed of one user: its last events, what a snapshot tells, and who follows it.

use super::{
    FOREIGN, NOTHING,
    event::{FeedEvent, Running},
};
use crate::{
    cursor::Frame,
    event::{Encoded, GapReason},
    generation::Generation,
    model::{GenerationId, Progress},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// At most so many events are kept, and so many bytes of them; the last one always.
const EVENTS: usize = 512;
const BYTES: usize = 4 << 20;
/// A reader takes at most this many at once, so that a long replay does not hold the lock.
const READ_AT_MOST: usize = 64;

#[derive(Debug)]
pub struct Feed {
    state: Mutex<State>,
    /// The position of the last event; readers wait here.
    tail: watch::Sender<u64>,
    /// Held from reading how something stands until it is told: who reads last tells last.
    pub telling: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// Events up to here are not kept.
    base: u64,
    events: VecDeque<Encoded>,
    bytes: usize,
    running: BTreeMap<GenerationId, Arc<Generation>>,
    /// Sessions with a name, and how many emitters of each are attached: more than one while it is being replaced.
    named: HashMap<Box<str>, usize>,
    unnamed: usize,
    /// What the last `presence` said, and what a snapshot says.
    sessions_told: usize,
    /// Since when nobody has been attached; `None` while somebody is, and when nobody can come back to it.
    left_at: Option<Instant>,
}

impl Feed {
    /// Without events, at `position`.
    pub(super) fn new(position: u64) -> Self {
        Self {
            state: Mutex::new(State {
                base: position,
                events: VecDeque::new(),
                bytes: 0,
                running: BTreeMap::new(),
                named: HashMap::new(),
                unnamed: 0,
                sessions_told: 0,
                left_at: None,
            }),
            tail: watch::Sender::new(position),
            telling: tokio::sync::Mutex::default(),
        }
    }

    /// Tells those who follow it, and those who come back to it.
    pub fn tell(&self, event: &FeedEvent) {
        let event = event.encode();
        self.change(|state| state.append(event));
    }

    /// Something happened that cannot be told: whoever follows it starts over.
    pub fn lose(&self) {
        self.change(State::start_over);
    }

    pub fn is_followed(&self) -> bool {
        self.lock().is_followed()
    }

    pub(super) fn begun(&self, generation: &Arc<Generation>) {
        let event = FeedEvent::generation(generation, Progress::Running).encode();
        self.change(|state| {
            state.running.insert(generation.id, generation.clone());
            state.append(event);
        });
    }

    pub(super) fn ended(&self, generation: &Generation, progress: Progress) {
        let event = FeedEvent::generation(generation, progress).encode();
        self.change(|state| {
            if state.running.remove(&generation.id).is_some() {
                state.append(event);
            }
        });
    }

    /// Counts one more connection of a session. Nobody is told before it is [let in](Self::tell_presence).
    pub(super) fn arrive(&self, session: Option<&str>) {
        self.change(|state| {
            match session {
                Some(name) => *state.named.entry(name.into()).or_default() += 1,
                None => state.unnamed += 1,
            }
            state.left_at = None;
        });
    }

    pub(super) fn tell_presence(&self) {
        self.change(State::tell_presence);
    }

    pub(super) fn leave(&self, session: Option<&str>) {
        self.change(|state| {
            match session {
                None => state.unnamed -= 1,
                Some(name) => {
                    if let Some(count) = state.named.get_mut(name) {
                        *count -= 1;
                        if *count == 0 {
                            state.named.remove(name);
                        }
                    }
                }
            }
            if state.sessions() == 0 {
                state.left_at = Some(Instant::now());
            } else {
                state.tell_presence();
            }
        });
    }

    /// True when nobody needs it: nobody has followed it for so long, and nothing runs. Its events go even when something does.
    pub(super) fn is_over(&self, retain: Duration) -> bool {
        let mut state = self.lock();
        if state.left_at.is_some_and(|left| left.elapsed() >= retain) {
            state.left_at = None;
            state.start_over();
            self.tail.send_replace(state.tail());
        }
        !state.is_followed() && state.running.is_empty()
    }

    pub(super) fn tail(&self) -> &watch::Sender<u64> {
        &self.tail
    }

    pub(super) fn read(&self, after: u64) -> Vec<Frame> {
        self.lock().read(after)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        // Under the lock: several may tell at once, and the tail never goes back.
        let tail = state.tail();
        self.tail
            .send_if_modified(|told| std::mem::replace(told, tail) != tail);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds a feed")
    }
}

impl State {
    fn tail(&self) -> u64 {
        self.base + self.events.len() as u64
    }

    fn sessions(&self) -> usize {
        self.named.len() + self.unnamed
    }

    fn is_followed(&self) -> bool {
        self.sessions() > 0 || self.left_at.is_some()
    }

    fn append(&mut self, event: Encoded) {
        if !self.is_followed() {
            return;
        }
        self.bytes += event.data.len();
        self.events.push_back(event);
        while self.events.len() > EVENTS || self.bytes > BYTES && self.events.len() > 1 {
            let oldest = self.events.pop_front();
            self.bytes -= oldest.map_or(0, |event| event.data.len());
            self.base += 1;
        }
    }

    /// No position given so far is there from here on.
    fn start_over(&mut self) {
        self.base = self.tail() + 1;
        self.events = VecDeque::new();
        self.bytes = 0;
    }

    /// Unless everybody knows: a session that replaces its connection neither comes nor goes.
    fn tell_presence(&mut self) {
        let sessions = self.sessions();
        if self.sessions_told != sessions {
            self.sessions_told = sessions;
            self.append(FeedEvent::Presence { sessions }.encode());
        }
    }

    fn read(&self, after: u64) -> Vec<Frame> {
        let gap = match after {
            NOTHING => None,
            FOREIGN => Some(GapReason::Lost),
            _ if after > self.tail() => Some(GapReason::BeyondEnd),
            _ if after < self.base => Some(GapReason::Trimmed),
            _ => return self.events_after(after),
        };
        let gap = gap.map(|reason| Frame {
            seq: None,
            event: FeedEvent::Gap { reason }.encode(),
        });
        let snapshot = FeedEvent::Snapshot {
            running: self.running.values().map(|it| Running::of(it)).collect(),
            sessions: self.sessions_told,
        };
        let snapshot = Frame {
            seq: Some(self.tail()),
            event: snapshot.encode(),
        };
        gap.into_iter().chain([snapshot]).collect()
    }

    fn events_after(&self, after: u64) -> Vec<Frame> {
        let seen = usize::try_from(after - self.base).unwrap_or(usize::MAX);
        (after + 1..)
            .zip(self.events.iter().skip(seen).take(READ_AT_MOST))
            .map(|(seq, event)| Frame {
                seq: Some(seq),
                event: event.clone(),
            })
            .collect()
    }
}
