//! What happens to a user's conversations, told to every tab of that user: one feed a user, and nothing a tab.
//!
//! A feed is a log of which the last events are kept, each encoded once; whoever asks for more gets `gap`, and a `snapshot` of the same
//! moment. It is there while somebody follows it and a while after, and while a generation of its user runs. Positions are given out
//! once a process: a feed that was let go and came again never takes an old position for one of its own.
//!
//! `chat` tells it what happened and `routes` let listeners in; it knows neither of them.

mod event;
mod one;

pub use event::FeedEvent;
pub use one::Feed;

use crate::{
    cursor::{Frame, Log},
    generation::Generation,
    model::{Outcome, Progress, UserId},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::watch;

/// The position of a reader who has read nothing: a snapshot comes first.
const NOTHING: u64 = 0;
/// The position of a reader of another process' feed.
const FOREIGN: u64 = u64::MAX;

/// The feeds of all users of this process.
#[derive(Debug)]
pub struct Feeds {
    /// How long a feed stays whole when nobody follows it any more.
    retain: Duration,
    /// Part of every id, so that one of another process is known as such.
    boot: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    users: HashMap<UserId, Arc<Feed>>,
    /// Beyond every position of the feeds that were let go, and beyond [`NOTHING`].
    next_position: u64,
}

impl Feeds {
    pub fn new(retain: Duration) -> Arc<Self> {
        Arc::new(Self {
            retain,
            boot: format!("{:016x}", rand::random::<u64>()),
            state: Mutex::new(State {
                users: HashMap::new(),
                next_position: NOTHING + 1,
            }),
        })
    }

    /// The position that an SSE id names; no id is the beginning. `None` when it is none of ours, of whatever process.
    pub fn position(&self, last_event_id: Option<&str>) -> Option<u64> {
        let Some(id) = last_event_id else {
            return Some(NOTHING);
        };
        let (boot, position) = id.split_once('-')?;
        let is_boot =
            boot.len() == self.boot.len() && boot.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_boot || position.is_empty() || !position.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if boot != self.boot {
            return Some(FOREIGN);
        }
        // Larger than any number is beyond any end, and 0 was never given.
        let position = position.parse().unwrap_or(FOREIGN - 1);
        Some(position.clamp(NOTHING + 1, FOREIGN - 1))
    }

    /// One more emitter of this user, of a session when it named one. Others are told when it [joins](Listener::join).
    pub fn listener(self: &Arc<Self>, user: UserId, session: Option<&str>) -> Arc<Listener> {
        let feed = self.lock().feed(user);
        // Before the emitter that it replaces is asked to go: that one must not be seen leaving.
        feed.arrive(session);
        Arc::new(Listener {
            feeds: self.clone(),
            feed,
            session: session.map(Into::into),
        })
    }

    /// This user's feed, when somebody would be told.
    pub fn followed(&self, user: UserId) -> Option<Arc<Feed>> {
        let feed = self.lock().users.get(&user).cloned();
        feed.filter(|feed| feed.is_followed())
    }

    /// Tells that it runs; its end is told when the guard says so, or goes.
    pub fn begun(self: &Arc<Self>, generation: &Arc<Generation>) -> Announced {
        let feed = self.lock().feed(generation.owner);
        feed.begun(generation);
        Announced {
            feeds: self.clone(),
            generation: generation.clone(),
        }
    }

    /// Lets go of the feeds that nobody needs any more. Called by a timer.
    pub fn release(&self) {
        let mut state = self.lock();
        let State {
            users,
            next_position,
        } = &mut *state;
        users.retain(|_, feed| {
            let stays = is_held(feed) || !feed.is_over(self.retain);
            if !stays {
                *next_position = (*next_position).max(*feed.tail().borrow() + 1);
            }
            stays
        });
    }

    /// How many users have one.
    pub fn count(&self) -> usize {
        self.lock().users.len()
    }

    fn ended(&self, generation: &Generation, outcome: Outcome) {
        let mut state = self.lock();
        let Entry::Occupied(entry) = state.users.entry(generation.owner) else {
            return;
        };
        let feed = entry.get();
        feed.ended(generation, Progress::Ended(outcome));
        // Of a user whom nobody follows nothing is left behind, not even until the timer.
        if !is_held(feed) && feed.is_over(self.retain) {
            let position = *feed.tail().borrow() + 1;
            entry.remove();
            state.next_position = state.next_position.max(position);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the feeds")
    }
}

/// True when somebody besides the table has it. They get it under the table's lock only.
fn is_held(feed: &Arc<Feed>) -> bool {
    Arc::strong_count(feed) > 1
}

impl State {
    fn feed(&mut self, user: UserId) -> Arc<Feed> {
        let position = self.next_position;
        let feed = self.users.entry(user);
        feed.or_insert_with(|| Arc::new(Feed::new(position)))
            .clone()
    }
}

/// A feed as one emitter reads it; when it goes, the emitter's session is present no more.
#[derive(Debug)]
pub struct Listener {
    feeds: Arc<Feeds>,
    feed: Arc<Feed>,
    session: Option<Box<str>>,
}

impl Listener {
    /// It was let in.
    pub fn join(&self) {
        self.feed.tell_presence();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.feed.leave(self.session.as_deref());
    }
}

impl Log for Listener {
    fn read(&self, after: u64) -> Vec<Frame> {
        self.feed.read(after)
    }

    fn tail(&self) -> &watch::Sender<u64> {
        self.feed.tail()
    }

    fn ends_at(&self, _: u64) -> bool {
        false
    }

    fn id(&self, seq: u64) -> String {
        format!("{}-{seq}", self.feeds.boot)
    }
}

/// A generation that the feed calls running.
#[derive(Debug)]
pub struct Announced {
    feeds: Arc<Feeds>,
    generation: Arc<Generation>,
}

impl Announced {
    /// Tells how it ended. Once: whatever is said later changes nothing.
    pub fn ended(&self, outcome: Outcome) {
        self.feeds.ended(&self.generation, outcome);
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        // Its task died when nobody said so before.
        let outcome = self.generation.claim(Outcome::Failed);
        self.ended(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cursor::Cursor,
        log::EventLog,
        model::{Conversation, ConversationId, GenerationId, MessageId, Sampling, now},
        standing::Standing,
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    fn feeds() -> Arc<Feeds> {
        Feeds::new(Duration::from_mins(1))
    }

    fn generation(owner: UserId) -> Arc<Generation> {
        let log = EventLog::new(1024);
        let (id, message) = (GenerationId::new(), MessageId::new());
        let generation =
            Generation::new(id, Some(message), Standing::of(owner), String::new(), log);
        generation.belongs_to(ConversationId::new());
        generation.into()
    }

    fn follow(feeds: &Arc<Feeds>, user: UserId, session: Option<&str>) -> Cursor {
        resume(feeds, user, session, NOTHING)
    }

    fn resume(feeds: &Arc<Feeds>, user: UserId, session: Option<&str>, after: u64) -> Cursor {
        let listener = feeds.listener(user, session);
        listener.join();
        Cursor::new(listener, after)
    }

    /// What a reader at this position gets, without its being there.
    fn look(
        feeds: &Arc<Feeds>,
        user: UserId,
        after: u64,
    ) -> Vec<(Option<u64>, &'static str, Value)> {
        read_all(&mut Cursor::new(feeds.listener(user, None), after))
    }

    fn tell(feeds: &Feeds, user: UserId, id: ConversationId) {
        if let Some(feed) = feeds.followed(user) {
            feed.tell(&FeedEvent::Deleted { id });
        }
    }

    /// Everything that is there now: position, name and data of each.
    fn read_all(cursor: &mut Cursor) -> Vec<(Option<u64>, &'static str, Value)> {
        let mut all = Vec::new();
        loop {
            let frames = cursor.read();
            if frames.is_empty() {
                return all;
            }
            all.extend(frames.into_iter().map(|Frame { seq, event }| {
                let data = serde_json::from_str(&event.data).expect("JSON");
                (seq, event.name, data)
            }));
        }
    }

    fn names(cursor: &mut Cursor) -> Vec<&'static str> {
        read_all(cursor)
            .into_iter()
            .map(|(_, name, _)| name)
            .collect()
    }

    #[test]
    fn events_have_the_bytes_of_the_contract() {
        let id = |text: &str| text.parse().expect("an id");
        let a = "0197a000-0000-7000-8000-00000000000a";
        let conversation = Conversation {
            id: ConversationId(id(a)),
            title: "Tides".into(),
            model: None,
            system: None,
            sampling: Sampling::default(),
            pinned: true,
            archived: false,
            version: 3,
            head_id: None,
            created_at: now(),
            updated_at: now(),
        };
        let encoded = FeedEvent::Conversation(&conversation).encode();
        assert_eq!(encoded.name, "conversation");
        assert_eq!(
            *encoded.data,
            serde_json::to_string(&conversation).expect("JSON")
        );
        let deleted = FeedEvent::Deleted {
            id: ConversationId(id(a)),
        }
        .encode();
        assert_eq!(
            (deleted.name, &*deleted.data),
            ("deleted", &*format!(r#"{{"id":"{a}"}}"#))
        );
        let presence = FeedEvent::Presence { sessions: 2 }.encode();
        assert_eq!(
            (presence.name, &*presence.data),
            ("presence", r#"{"sessions":2}"#)
        );
        let generation = generation(UserId::new());
        let (id, message) = (generation.id, generation.message_id().expect("set"));
        let conversation = generation.conversation_id().expect("set");
        for (progress, word) in [
            (Progress::Running, "running"),
            (Progress::Ended(Outcome::Interrupted), "interrupted"),
        ] {
            let encoded = FeedEvent::generation(&generation, progress).encode();
            let data = format!(
                r#"{{"id":"{id}","conversation_id":"{conversation}","message_id":"{message}","status":"{word}"}}"#
            );
            assert_eq!((encoded.name, &*encoded.data), ("generation", &*data));
        }
        let feeds = feeds();
        let _announced = feeds.begun(&generation);
        let frames = follow(&feeds, generation.owner, None).read();
        let data = format!(
            r#"{{"running":[{{"id":"{id}","conversation_id":"{conversation}","message_id":"{message}","seq":0}}],"sessions":1}}"#
        );
        assert_eq!((frames.len(), &*frames[0].event.data), (1, &*data));
    }

    #[test]
    fn an_id_is_a_position_of_this_process_or_foreign_or_none() {
        let feeds = feeds();
        let (boot, other) = (feeds.boot.clone(), Feeds::new(Duration::ZERO).boot.clone());
        assert_ne!(boot, other);
        for (id, position) in [
            (None, Some(NOTHING)),
            (Some(format!("{boot}-7")), Some(7)),
            (Some(format!("{boot}-0")), Some(1)),
            (
                Some(format!("{boot}-99999999999999999999999")),
                Some(FOREIGN - 1),
            ),
            (Some(format!("{boot}-{FOREIGN}")), Some(FOREIGN - 1)),
            (Some(format!("{other}-7")), Some(FOREIGN)),
            (Some("7".into()), None),
            (Some(String::new()), None),
            (Some("-7".into()), None),
            (Some(format!("{boot}-")), None),
            (Some(format!("{boot}--7")), None),
            (Some(format!("{boot}-7x")), None),
            (Some(format!("{}-7", &boot[1..])), None),
            (Some("ﬀﬀﬀﬀﬀﬀ-7".into()), None),
        ] {
            assert_eq!(feeds.position(id.as_deref()), position, "{id:?}");
        }
        let listener = feeds.listener(UserId::new(), None);
        assert_eq!(feeds.position(Some(&listener.id(12))), Some(12));
    }

    #[test]
    fn a_position_that_is_not_there_starts_over_and_says_why() {
        let (feeds, user) = (feeds(), UserId::new());
        let mut first = follow(&feeds, user, None);
        let start = read_all(&mut first)[0].0.expect("a position");
        for _ in 0..600 {
            tell(&feeds, user, ConversationId::new());
        }
        let tail = start + 600;
        assert_eq!(
            read_all(&mut first)[0].1,
            "gap",
            "a slow reader holds nothing back"
        );
        assert_eq!(first.seq(), tail);
        for (after, reason) in [
            (start, Some("trimmed")),
            (tail - 513, Some("trimmed")),
            (tail - 512, None),
            (tail - 1, None),
            (tail, None),
            (tail + 1, Some("beyond_end")),
            (FOREIGN, Some("lost")),
        ] {
            let seen = look(&feeds, user, after);
            let Some(reason) = reason else {
                let positions: Vec<_> = seen.iter().map(|(seq, ..)| *seq).collect();
                let expected: Vec<_> = (after + 1..=tail).map(Some).collect();
                assert_eq!(positions, expected);
                continue;
            };
            assert_eq!(
                (seen[0].1, &seen[0].2),
                ("gap", &json!({"reason": reason})),
                "{after}"
            );
            assert_eq!((seen.len(), seen[1].1), (2, "snapshot"));
            assert_eq!((seen[0].0, seen[1].0), (None, Some(tail)));
        }
    }

    #[test]
    fn large_events_are_bounded_in_bytes_and_the_last_one_is_kept() {
        let (feeds, user) = (feeds(), UserId::new());
        let mut cursor = follow(&feeds, user, None);
        cursor.read();
        let large = |bytes| Conversation {
            id: ConversationId::new(),
            title: String::new(),
            model: None,
            system: Some("x".repeat(bytes)),
            sampling: Sampling::default(),
            pinned: false,
            archived: false,
            version: 1,
            head_id: None,
            created_at: now(),
            updated_at: now(),
        };
        let feed = feeds.followed(user).expect("followed");
        let start = cursor.seq();
        for _ in 0..10 {
            feed.tell(&FeedEvent::Conversation(&large(1 << 20)));
        }
        let kept = |after| look(&feeds, user, after)[0].1;
        assert_eq!(kept(start + 1), "gap");
        assert_eq!(kept(start + 8), "conversation");
        feed.tell(&FeedEvent::Conversation(&large(5 << 20)));
        let tail = *feed.tail().borrow();
        assert_eq!(kept(tail - 1), "conversation");
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_that_nobody_follows_stays_whole_for_a_minute_and_then_starts_over() {
        let (feeds, user) = (feeds(), UserId::new());
        let mut cursor = follow(&feeds, user, None);
        cursor.read();
        let after = cursor.seq();
        drop(cursor);
        tell(&feeds, user, ConversationId::new());
        tokio::time::advance(Duration::from_secs(59)).await;
        feeds.release();
        let mut back = resume(&feeds, user, None, after);
        assert_eq!(
            names(&mut back),
            ["deleted"],
            "and nobody was told that it was away"
        );
        let after = back.seq();
        drop(back);
        tokio::time::advance(Duration::from_secs(61)).await;
        feeds.release();
        assert_eq!(feeds.count(), 0);
        assert!(feeds.followed(user).is_none());
        let mut back = resume(&feeds, user, None, after);
        assert_eq!(names(&mut back), ["gap", "snapshot"]);
        // Nor does it while a generation keeps its place.
        let announced = feeds.begun(&generation(user));
        let after = back.seq() + 1;
        drop(back);
        tokio::time::advance(Duration::from_secs(61)).await;
        feeds.release();
        assert_eq!(feeds.count(), 1);
        drop(announced);
        assert_eq!(feeds.count(), 0, "it goes with the generation");
        assert_eq!(
            names(&mut resume(&feeds, user, None, after)),
            ["gap", "snapshot"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_thousand_users_that_come_and_go_leave_nothing_behind() {
        let feeds = feeds();
        for round in 0..100_000 {
            let user = UserId::new();
            match round % 3 {
                0 => drop(follow(&feeds, user, Some("tab"))),
                1 => drop(feeds.begun(&generation(user))),
                // Refused by a limit.
                _ => drop(feeds.listener(user, None)),
            }
            if round % 10_000 == 0 {
                tokio::time::advance(Duration::from_mins(1)).await;
                feeds.release();
                assert_eq!(feeds.count(), 0, "{round}");
            }
        }
        tokio::time::advance(Duration::from_mins(1)).await;
        feeds.release();
        assert_eq!(feeds.count(), 0);
    }

    #[test]
    fn presence_counts_sessions_not_connections_and_is_told_when_it_changes() {
        let (feeds, user) = (feeds(), UserId::new());
        let sessions = |seen: Vec<(Option<u64>, &str, Value)>| -> Vec<u64> {
            seen.iter()
                .map(|(_, name, data)| {
                    assert!(["presence", "snapshot"].contains(name));
                    data["sessions"].as_u64().expect("a count")
                })
                .collect()
        };
        let mut first = follow(&feeds, user, Some("a"));
        assert_eq!(sessions(read_all(&mut first)), [1]);
        let second = follow(&feeds, user, Some("b"));
        let unnamed = [follow(&feeds, user, None), follow(&feeds, user, None)];
        assert_eq!(sessions(read_all(&mut first)), [2, 3, 4]);
        // A session replaces its own connection: the new one is there before the old one has gone.
        let again = follow(&feeds, user, Some("b"));
        drop(second);
        assert_eq!(names(&mut first), [] as [&str; 0]);
        drop((again, unnamed));
        assert_eq!(sessions(read_all(&mut first)), [3, 2, 1]);
        // Not let in, so not there.
        drop(feeds.listener(user, Some("c")));
        let _other_user = follow(&feeds, UserId::new(), Some("d"));
        assert_eq!(names(&mut first), [] as [&str; 0]);
    }

    #[test]
    fn a_change_that_cannot_be_told_makes_everybody_start_over() {
        let (feeds, user) = (feeds(), UserId::new());
        let mut cursor = follow(&feeds, user, None);
        cursor.read();
        let after = cursor.seq();
        feeds.followed(user).expect("followed").lose();
        assert_eq!(names(&mut cursor), ["gap", "snapshot"]);
        assert_eq!(
            names(&mut resume(&feeds, user, None, after)),
            ["gap", "snapshot"]
        );
    }

    #[test]
    fn a_task_that_dies_leaves_nothing_running() {
        let (feeds, user) = (feeds(), UserId::new());
        let mut cursor = follow(&feeds, user, None);
        cursor.read();
        let announced = feeds.begun(&generation(user));
        drop(announced);
        let seen = read_all(&mut cursor);
        assert_eq!(
            (&seen[0].2["status"], &seen[1].2["status"]),
            (&json!("running"), &json!("failed"))
        );
        let announced = feeds.begun(&generation(user));
        announced.ended(Outcome::Stopped);
        drop(announced);
        assert_eq!(read_all(&mut cursor).len(), 2, "an end is told once");
    }

    /// What a tab keeps of a feed.
    #[derive(Debug, Default, Clone, PartialEq)]
    struct Tab {
        position: u64,
        running: BTreeSet<String>,
        /// Gone by the tab's knowledge, since its last snapshot.
        deleted: BTreeSet<String>,
    }

    impl Tab {
        fn take(&mut self, (seq, name, data): &(Option<u64>, &str, Value)) {
            let id = |data: &Value| data["id"].as_str().expect("an id").to_owned();
            match *name {
                "snapshot" => {
                    self.running = data["running"]
                        .as_array()
                        .expect("rows")
                        .iter()
                        .map(id)
                        .collect();
                    self.deleted.clear();
                }
                "generation" if data["status"] == "running" => {
                    assert!(self.running.insert(id(data)), "told twice");
                }
                "generation" => {
                    assert!(self.running.remove(&id(data)), "an end without a beginning");
                }
                "deleted" => assert!(self.deleted.insert(id(data)), "told twice"),
                "gap" => assert_eq!(*seq, None),
                _ => assert_eq!(*name, "presence"),
            }
            if let Some(seq) = seq {
                assert!(
                    *name == "snapshot" || *seq == self.position + 1,
                    "{seq} after {}",
                    self.position
                );
                self.position = *seq;
            }
        }
    }

    proptest! {
        /// Whatever happens, whenever tabs come, are cut and resume, and feeds are let go: what a tab knows is what holds, nothing that
        /// happened after its snapshot is missing, and nothing is told twice.
        #[test]
        fn every_tab_knows_what_holds(
            schedule in prop::collection::vec((0usize..8, 0usize..4, any::<u16>()), 0..300),
            retain in 0u64..2,
        ) {
            let feeds = Feeds::new(Duration::from_hours(retain));
            let user = UserId::new();
            let mut running: Vec<(Arc<Generation>, Announced)> = Vec::new();
            let mut tabs: Vec<(Tab, Option<Cursor>)> = Vec::new();
            let mut happened: Vec<String> = Vec::new();
            // How much had happened when the tab read its snapshot.
            let mut since: Vec<usize> = Vec::new();
            let catch_up = |tab: &mut Tab, cursor: &mut Cursor, since: &mut usize, happened: usize, at_most: usize| {
                let seen = read_all(cursor);
                let arrived = at_most.min(seen.len());
                for event in &seen[..arrived] {
                    if event.1 == "snapshot" { *since = happened; }
                    tab.take(event);
                }
            };
            for (action, which, number) in schedule {
                match action {
                    0 => {
                        tabs.push((Tab::default(), Some(follow(&feeds, user, None))));
                        since.push(0);
                    }
                    1 => {
                        let generation = generation(user);
                        running.push((generation.clone(), feeds.begun(&generation)));
                    }
                    2 if !running.is_empty() => {
                        let (_, announced) = running.remove(which % running.len());
                        if number % 2 == 0 { announced.ended(Outcome::Completed); }
                    }
                    3 => for _ in 0..number % 200 {
                        let id = ConversationId::new();
                        happened.push(id.to_string());
                        tell(&feeds, user, id);
                    },
                    4 if !tabs.is_empty() => {
                        let which = which % tabs.len();
                        let (tab, cursor) = &mut tabs[which];
                        if let Some(cursor) = cursor {
                            catch_up(tab, cursor, &mut since[which], happened.len(), usize::MAX);
                        }
                    }
                    // Cut in mid-delivery: some events arrived, the rest did not.
                    5 if !tabs.is_empty() => {
                        let which = which % tabs.len();
                        let (tab, cursor) = &mut tabs[which];
                        if let Some(mut cursor) = cursor.take() {
                            catch_up(tab, &mut cursor, &mut since[which], happened.len(), usize::from(number % 8));
                        }
                    }
                    6 if !tabs.is_empty() => {
                        let which = which % tabs.len();
                        let (tab, cursor) = &mut tabs[which];
                        if cursor.is_none() { *cursor = Some(resume(&feeds, user, None, tab.position)); }
                    }
                    7 => feeds.release(),
                    _ => {}
                }
            }
            let truth: BTreeSet<_> = running.iter().map(|(generation, _)| generation.id.to_string()).collect();
            for (which, (mut tab, cursor)) in tabs.into_iter().enumerate() {
                let mut cursor = cursor.unwrap_or_else(|| resume(&feeds, user, None, tab.position));
                catch_up(&mut tab, &mut cursor, &mut since[which], happened.len(), usize::MAX);
                prop_assert_eq!(&tab.running, &truth);
                let missed: BTreeSet<_> = happened[since[which]..].iter().cloned().collect();
                prop_assert!(missed.is_subset(&tab.deleted));
            }
            drop(running);
            feeds.release();
            prop_assert!(retain > 0 || feeds.count() == 0);
        }
    }
}
