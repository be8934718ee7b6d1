//! The event log of one generation.
//!
//! It is appended to by its generation alone, holds each event encoded once, and ends with exactly one terminal event. Nothing a reader
//! does can reach the writer.

use crate::{
    cursor::{Cursor, Frame, Log},
    event::{Encoded, Event, EventSegment, GapReason, Snapshot, Transcript},
    markdown::{NewBlocks, Rendered},
    model::GenerationId,
    openai,
};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// What an entry costs besides its JSON: its place in the list and two allocations.
const ENTRY_BYTES: usize = 96;

/// What the entries of a log are; it is fixed when the log starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The events of the contract.
    Chat,
    /// The upstream's own payloads, which are nobody's to assemble here, and what ends such a stream.
    OpenAi,
}

/// A reader takes about so many events and bytes at once at most: a long replay does not hold the lock, and a slow reader no buffer.
const READ_AT_MOST: usize = 64;
const READ_BYTES: usize = 32 * 1024;

/// An append-only list of events, positions from 1.
#[derive(Debug)]
pub struct EventLog {
    format: Format,
    state: Mutex<State>,
    /// The position of the last event; readers wait here.
    tail: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    format: Format,
    /// Events up to here are not held one by one, only in the transcript.
    base: u64,
    /// Those after it, without the terminal one.
    events: Vec<Encoded>,
    /// The terminal event and its position, which may stand far behind the last event: see [`EventLog::recorded`].
    end: Option<(u64, Encoded)>,
    transcript: Transcript,
    /// The events tell every block of the text, up to its end.
    blocks_are_told: bool,
    bytes: usize,
    bytes_at_most: usize,
}

/// What a reader has who has read everything so far.
#[derive(Debug)]
pub struct Standing {
    pub transcript: Transcript,
    /// Attaching here continues it exactly.
    pub seq: u64,
    /// All blocks of the text are finished and told; else the last may grow.
    pub is_whole: bool,
}

/// What is made for one reader alone, and not under the log's lock.
enum Made {
    StartOver(GapReason, Standing),
    /// The blocks of this text, before the end of a log that does not tell them all.
    Blocks(String),
}

/// Why an event was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the log is full")]
    Full,
    #[error("the log has ended")]
    Ended,
}

impl EventLog {
    /// An empty log that refuses events, other than the terminal one, once it holds `bytes_at_most`.
    pub fn new(bytes_at_most: usize) -> Arc<Self> {
        Self::empty(Format::Chat, bytes_at_most)
    }

    /// The same for an upstream's payloads.
    pub fn of_payloads(bytes_at_most: usize) -> Arc<Self> {
        Self::empty(Format::OpenAi, bytes_at_most)
    }

    fn empty(format: Format, bytes_at_most: usize) -> Arc<Self> {
        Self::with(State {
            format,
            base: 0,
            events: Vec::new(),
            end: None,
            transcript: Transcript::default(),
            blocks_are_told: true,
            bytes: 0,
            bytes_at_most,
        })
    }

    /// A log that left memory, rebuilt from what was stored: the transcript and the terminal event at `last_seq`.
    pub fn ended(last_seq: u64, transcript: Transcript, done: &Event) -> Arc<Self> {
        let base = last_seq.saturating_sub(1);
        Self::recorded(base, Vec::new(), last_seq, transcript, done)
    }

    /// A log that left memory, rebuilt from its recorded events after `base`. The terminal event at `last_seq` may stand behind a
    /// hole: positions in it were seen by a reader and lost by the store.
    pub fn recorded(
        base: u64,
        events: Vec<Encoded>,
        last_seq: u64,
        transcript: Transcript,
        done: &Event,
    ) -> Arc<Self> {
        let told = events.iter().rev().find_map(Encoded::closes_blocks);
        Self::with(State {
            format: Format::Chat,
            base,
            blocks_are_told: told.unwrap_or(true),
            events,
            end: Some((last_seq, done.encode())),
            transcript,
            bytes: 0,
            bytes_at_most: 0,
        })
    }

    fn with(state: State) -> Arc<Self> {
        let (tail, _) = watch::channel(state.tail());
        Arc::new(Self {
            format: state.format,
            state: Mutex::new(state),
            tail,
        })
    }

    /// Appends and tells the readers. After the terminal event nothing more is taken. A log of payloads takes the terminal event only,
    /// and tells it in its own words.
    pub fn append(&self, event: &Event) -> Result<u64, AppendError> {
        let encoded = match (self.format, event) {
            (Format::OpenAi, Event::Done(done)) => openai::end(done),
            _ => event.encode(),
        };
        let seq = self.lock().append(event, encoded)?;
        self.tail.send_replace(seq);
        Ok(seq)
    }

    /// Appends a payload as it came.
    pub fn append_payload(&self, payload: String) -> Result<u64, AppendError> {
        self.append_raw(payload, false)
    }

    /// Appends the payload that ends a log of payloads.
    pub fn append_end(&self, payload: String) -> Result<u64, AppendError> {
        self.append_raw(payload, true)
    }

    fn append_raw(&self, payload: String, is_end: bool) -> Result<u64, AppendError> {
        let seq = self.lock().push(openai::payload(payload), is_end)?;
        self.tail.send_replace(seq);
        Ok(seq)
    }

    /// Appends both before any reader sees one.
    pub fn append_both(&self, first: &Event, second: &Event) -> Result<u64, AppendError> {
        let encoded = (first.encode(), second.encode());
        let seq = {
            let mut state = self.lock();
            state.append(first, encoded.0)?;
            state.append(second, encoded.1)
        };
        self.tail.send_replace(self.lock().tail());
        seq
    }

    /// The events after `after` for the store, about `bytes` of them at most and at least one; `None` when there are none. The
    /// terminal event is never among them: it is stored with the end.
    pub fn segment(&self, id: GenerationId, after: u64, bytes: usize) -> Option<EventSegment> {
        let state = self.lock();
        let seen = usize::try_from(after.checked_sub(state.base)?).ok()?;
        let mut frames = String::new();
        let mut last_seq = after;
        for event in state.events.iter().skip(seen) {
            if frames.len() >= bytes {
                break;
            }
            event.write_line(&mut frames);
            last_seq += 1;
        }
        (last_seq > after).then_some(EventSegment {
            generation_id: id,
            first_seq: after + 1,
            last_seq,
            frames,
        })
    }

    /// The position of the last event; 0 before the first.
    pub fn seq(&self) -> u64 {
        *self.tail.borrow()
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// True when the events after this position are there, or will be.
    pub fn has(&self, after: u64) -> bool {
        let state = self.lock();
        (state.base..=state.tail()).contains(&after)
    }

    pub fn is_closed(&self) -> bool {
        self.lock().end.is_some()
    }

    /// What it costs in memory: its events, the text assembled from them, and once more that text in the generation's ending.
    pub fn bytes(&self) -> usize {
        let state = self.lock();
        state.bytes + 2 * (state.transcript.text.len() + state.transcript.reasoning.len())
    }

    /// The text assembled so far and the position it stands at: attaching there continues it exactly.
    pub fn snapshot(&self) -> (Transcript, u64) {
        let Standing {
            transcript, seq, ..
        } = self.standing();
        (transcript, seq)
    }

    /// The same, and how its blocks are to be made.
    pub fn standing(&self) -> Standing {
        let state = self.lock();
        state.standing(state.tail())
    }

    /// Resolves once the terminal event is there.
    pub async fn closed(&self) {
        let mut tail = self.tail.subscribe();
        while !self.is_closed() {
            if tail.changed().await.is_err() {
                return;
            }
        }
    }

    /// A reader that has seen everything up to `after`.
    pub fn cursor(self: &Arc<Self>, after: u64) -> Cursor {
        Cursor::new(self.clone(), after)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds a log")
    }
}

impl Log for EventLog {
    fn read(&self, after: u64) -> Vec<Frame> {
        let (mut frames, made) = self.lock().read(after);
        if let Some(made) = made {
            // Before the terminal event, which nothing follows.
            let last = frames.len().saturating_sub(1);
            frames.splice(last..last, made.into_frames());
        }
        frames
    }

    fn tail(&self) -> &watch::Sender<u64> {
        &self.tail
    }

    fn ends_at(&self, after: u64) -> bool {
        let state = self.lock();
        state.end.is_some() && after == state.tail()
    }
}

impl State {
    fn append(&mut self, event: &Event, encoded: Encoded) -> Result<u64, AppendError> {
        let closes_blocks = encoded.closes_blocks();
        let seq = self.push(encoded, event.is_terminal())?;
        self.transcript.apply(event);
        self.blocks_are_told = closes_blocks.unwrap_or(self.blocks_are_told);
        Ok(seq)
    }

    fn push(&mut self, encoded: Encoded, is_end: bool) -> Result<u64, AppendError> {
        let cost = encoded.data.len() + ENTRY_BYTES;
        if self.end.is_some() {
            return Err(AppendError::Ended);
        }
        if self.bytes + cost > self.bytes_at_most && !is_end {
            return Err(AppendError::Full);
        }
        self.bytes += cost;
        if is_end {
            self.end = Some((self.last_event() + 1, encoded));
        } else {
            self.events.push(encoded);
        }
        Ok(self.tail())
    }

    /// The position of the last event that is not terminal.
    fn last_event(&self) -> u64 {
        self.base + self.events.len() as u64
    }

    fn tail(&self) -> u64 {
        self.end
            .as_ref()
            .map_or_else(|| self.last_event(), |(seq, _)| *seq)
    }

    fn read(&self, after: u64) -> (Vec<Frame>, Option<Made>) {
        if (self.base..=self.last_event()).contains(&after) {
            let seen = usize::try_from(after - self.base).unwrap_or(usize::MAX);
            return self.read_unseen(after, self.events.get(seen..).unwrap_or_default());
        }
        let frames = match &self.end {
            Some((seq, _)) if after == *seq => Vec::new(),
            // Where a snapshot stands.
            Some((seq, done)) if after.checked_add(1) == Some(*seq) => vec![frame((*seq, done))],
            // Whoever reads payloads asked before whether they are there: OpenAI has no words for a gap.
            _ if self.format == Format::OpenAi => Vec::new(),
            _ => return (Vec::new(), Some(self.start_over(after))),
        };
        (frames, None)
    }

    fn read_unseen(&self, after: u64, unseen: &[Encoded]) -> (Vec<Frame>, Option<Made>) {
        let mut bytes = 0;
        let fits = |event: &&Encoded| {
            let has_room = bytes < READ_BYTES;
            bytes += event.data.len();
            has_room
        };
        let count = unseen.iter().take(READ_AT_MOST).take_while(fits).count();
        let mut frames = Vec::with_capacity(count + 1);
        frames.extend((after + 1..).zip(&unseen[..count]).map(frame));
        let end = self.end.as_ref().filter(|_| count == unseen.len());
        let Some((seq, end)) = end else {
            return (frames, None);
        };
        frames.push(frame((*seq, end)));
        let untold = (!self.blocks_are_told).then(|| self.transcript.text.clone());
        (frames, untold.map(Made::Blocks))
    }

    /// The position is not there: `gap`, then everything in one `snapshot`. The terminal event is never part of it.
    fn start_over(&self, after: u64) -> Made {
        let seq = self.tail() - u64::from(self.end.is_some());
        let reason = if after < self.base {
            GapReason::Trimmed
        } else if after > self.tail() {
            GapReason::BeyondEnd
        } else {
            GapReason::Lost
        };
        Made::StartOver(reason, self.standing(seq))
    }

    fn standing(&self, seq: u64) -> Standing {
        Standing {
            transcript: self.transcript.clone(),
            seq,
            is_whole: self.end.is_some() || self.blocks_are_told,
        }
    }
}

fn frame((seq, event): (u64, &Encoded)) -> Frame {
    Frame {
        seq: Some(seq),
        event: event.clone(),
    }
}

impl Made {
    fn into_frames(self) -> Vec<Frame> {
        match self {
            Self::StartOver(reason, standing) => {
                let gap = Event::Gap {
                    reason,
                    seq: standing.seq,
                };
                let snapshot = if standing.is_whole {
                    Snapshot::whole(standing.transcript)
                } else {
                    Snapshot::open(standing.transcript)
                };
                vec![
                    Frame {
                        seq: None,
                        event: gap.encode(),
                    },
                    Frame {
                        seq: Some(standing.seq),
                        event: Event::Snapshot(snapshot).encode(),
                    },
                ]
            }
            // Without a position, because the log has none for it: who is cut behind it gets it again.
            Self::Blocks(text) => {
                let Rendered { blocks, tail } = Rendered::whole(&text);
                let all = NewBlocks {
                    index: 0,
                    nodes: blocks,
                    tail,
                };
                vec![Frame {
                    seq: None,
                    event: Event::Block(all).encode(),
                }]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Done, model::Outcome};
    use proptest::prelude::*;

    fn delta(text: &str) -> Event {
        Event::Delta {
            text: text.to_owned(),
        }
    }

    fn done() -> Event {
        Event::Done(Box::new(Done {
            outcome: Outcome::Completed,
            finish_reason: None,
            usage: None,
            timings: None,
            stored: true,
            problem: None,
        }))
    }

    /// What a reader does with frames: the contract of `delta`, `gap` and `snapshot`.
    #[derive(Default)]
    struct Reader {
        position: u64,
        text: String,
        done: usize,
    }

    impl Reader {
        fn take_all(&mut self, frames: &[Frame]) {
            for frame in frames {
                self.take(frame);
            }
        }

        fn take(&mut self, frame: &Frame) {
            let data: serde_json::Value = serde_json::from_str(&frame.event.data).expect("JSON");
            match frame.event.name {
                "delta" => self.text.push_str(data["text"].as_str().expect("text")),
                "gap" => self.text.clear(),
                "snapshot" => data["text"]
                    .as_str()
                    .expect("text")
                    .clone_into(&mut self.text),
                "block" => assert_eq!(frame.seq, None, "made for this reader"),
                "done" => self.done += 1,
                name => panic!("unexpected {name}"),
            }
            if let Some(seq) = frame.seq {
                assert!(
                    seq > self.position || frame.event.name == "snapshot",
                    "{seq} after {}",
                    self.position
                );
                self.position = seq;
            }
        }
    }

    #[test]
    fn nothing_is_appended_after_the_terminal_event() {
        let log = EventLog::new(1 << 20);
        assert_eq!(log.append(&delta("a")), Ok(1));
        assert_eq!(log.append(&done()), Ok(2));
        assert_eq!(log.append(&delta("b")), Err(AppendError::Ended));
        assert_eq!(log.append(&done()), Err(AppendError::Ended));
        assert_eq!(log.seq(), 2);
    }

    #[test]
    fn a_full_log_still_takes_its_end() {
        let log = EventLog::new(300);
        assert_eq!(log.append(&delta("a")), Ok(1));
        assert_eq!(log.append(&delta(&"b".repeat(300))), Err(AppendError::Full));
        assert_eq!(log.append(&done()), Ok(2));
    }

    #[test]
    fn a_position_beyond_the_end_starts_over_from_a_snapshot() {
        let log = EventLog::new(1 << 20);
        log.append(&delta("a")).expect("room");
        log.append(&delta("b")).expect("room");
        let frames = log.cursor(u64::MAX).read();
        assert_eq!(&*frames[0].event.data, r#"{"reason":"beyond_end","seq":2}"#);
        assert_eq!(frames[0].seq, None);
        assert_eq!(
            (frames[1].seq, &*frames[1].event.data),
            (
                Some(2),
                r#"{"text":"ab","reasoning":"","blocks":[],"tail":"ab"}"#
            )
        );
    }

    #[test]
    fn a_stored_log_serves_its_text_once_and_its_end() {
        let transcript = Transcript {
            text: "ab".into(),
            ..Transcript::default()
        };
        let log = EventLog::ended(4, transcript, &done());
        for (after, names) in [
            (0, vec!["gap", "snapshot", "done"]),
            (2, vec!["gap", "snapshot", "done"]),
            (3, vec!["done"]),
            (4, vec![]),
            (9, vec!["gap", "snapshot", "done"]),
        ] {
            let mut cursor = log.cursor(after);
            let mut seen = Vec::new();
            loop {
                let frames = cursor.read();
                if frames.is_empty() {
                    break;
                }
                seen.extend(frames.iter().map(|frame| frame.event.name));
            }
            assert_eq!(seen, names, "after {after}");
            assert!(cursor.is_at_end());
        }
    }

    /// What the store keeps of a log: all of it, or only the first events.
    fn recorded(log: &EventLog, events: u64, last_seq: u64) -> Arc<EventLog> {
        let mut kept = Vec::new();
        let mut transcript = Transcript::default();
        while (kept.len() as u64) < events {
            // A byte at most: an event at a time.
            let segment = log.segment(GenerationId::new(), kept.len() as u64, 1);
            kept.extend(segment.expect("an event").events().expect("readable"));
        }
        for event in &kept {
            transcript.apply_recorded(event).expect("JSON of ours");
        }
        EventLog::recorded(0, kept, last_seq, transcript, &done())
    }

    #[test]
    fn a_position_that_the_store_lost_starts_over_and_others_go_on() {
        let log = EventLog::new(1 << 20);
        for text in ["a", "b", "c", "d"] {
            log.append(&delta(text)).expect("room");
        }
        let log = recorded(&log, 2, 1_000_002);
        for (after, names) in [
            (0, vec!["delta", "delta", "block", "done"]),
            (1, vec!["delta", "block", "done"]),
            (2, vec!["block", "done"]),
            (3, vec!["gap", "snapshot", "done"]),
            (1_000_000, vec!["gap", "snapshot", "done"]),
            (1_000_001, vec!["done"]),
            (1_000_002, vec![]),
            (1_000_003, vec!["gap", "snapshot", "done"]),
        ] {
            let mut cursor = log.cursor(after);
            let mut seen = Vec::new();
            loop {
                let frames = cursor.read();
                if frames.is_empty() {
                    break;
                }
                seen.extend(frames);
            }
            let found: Vec<_> = seen.iter().map(|frame| frame.event.name).collect();
            assert_eq!(found, names, "after {after}");
            assert!(cursor.is_at_end());
            if let Some(snapshot) = seen.iter().find(|frame| frame.event.name == "snapshot") {
                assert_eq!(snapshot.seq, Some(1_000_001));
                let whole = r#"{"text":"ab","reasoning":"","blocks":[["p",{},"ab"]],"tail":""}"#;
                assert_eq!(&*snapshot.event.data, whole);
            }
        }
        let frames = log.cursor(3).read();
        assert_eq!(&*frames[0].event.data, r#"{"reason":"lost","seq":1000001}"#);
    }

    #[test]
    fn a_log_that_does_not_tell_all_blocks_has_them_told_before_its_end() {
        let blocks = |index, tail: &str| {
            Event::Block(NewBlocks {
                index,
                nodes: Rendered::whole("x").blocks,
                tail: tail.to_owned(),
            })
        };
        for (events, names) in [
            (vec![delta("a")], vec!["delta", "block", "done"]),
            (
                vec![delta("a"), blocks(0, "b")],
                vec!["delta", "block", "block", "done"],
            ),
            (
                vec![delta("a"), blocks(0, "")],
                vec!["delta", "block", "done"],
            ),
            (
                vec![blocks(0, ""), delta("a")],
                vec!["block", "delta", "block", "done"],
            ),
            (vec![], vec!["done"]),
        ] {
            let log = EventLog::new(1 << 20);
            for event in &events {
                log.append(event).expect("room");
            }
            log.append(&done()).expect("the end");
            let (seq, kept) = (log.seq(), log.seq() - 1);
            for log in [log.clone(), recorded(&log, kept, seq)] {
                let frames = log.cursor(0).read();
                let found: Vec<_> = frames.iter().map(|frame| frame.event.name).collect();
                assert_eq!(found, names);
                let made = &frames[frames.len().saturating_sub(2)];
                if made.seq.is_none() {
                    let all = r#"{"index":0,"nodes":[["p",{},"a"]],"tail":""}"#;
                    assert_eq!(&*made.event.data, all);
                }
                // Cut between the two, a reader gets both again.
                assert_eq!(
                    log.cursor(kept).read().len(),
                    1 + usize::from(made.seq.is_none())
                );
            }
        }
    }

    #[test]
    fn one_read_takes_no_more_than_a_slow_reader_may_hold() {
        let log = EventLog::new(1 << 20);
        for _ in 0..5 {
            log.append(&delta(&"x".repeat(READ_BYTES / 2)))
                .expect("room");
        }
        log.append(&done()).expect("the end");
        let mut cursor = log.cursor(0);
        let reads = std::iter::repeat_with(|| cursor.read().len());
        let reads: Vec<usize> = reads.take_while(|events| *events > 0).collect();
        // The last also brings the blocks, which nobody told, and the end.
        assert_eq!(reads, [2, 2, 3]);
    }

    #[test]
    fn two_events_appended_together_are_never_read_apart() {
        let log = EventLog::new(1 << 20);
        let before = Transcript {
            text: "before ".into(),
            ..Transcript::default()
        };
        let seq = log.append_both(&delta("x"), &Event::Snapshot(Snapshot::open(before)));
        assert_eq!(seq, Ok(2));
        log.append(&delta("after")).expect("room");
        assert_eq!(log.snapshot().0.text, "before after");
        log.append(&done()).expect("the end");
        let both = log.append_both(&delta("y"), &delta("z"));
        assert_eq!((both, log.seq()), (Err(AppendError::Ended), 4));
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_for_each_append_and_ends_with_the_log() {
        let log = EventLog::new(1 << 20);
        let mut cursor = log.cursor(0);
        #[expect(clippy::disallowed_methods, reason = "awaited below")]
        let reader = tokio::spawn(async move {
            let mut reader = Reader::default();
            while let Some(frames) = cursor.next().await {
                reader.take_all(&frames);
            }
            reader
        });
        for _ in 0..1000 {
            log.append(&delta("x")).expect("room");
            tokio::task::yield_now().await;
        }
        log.append(&done()).expect("the end");
        let reader = reader.await.expect("no panic");
        assert_eq!((reader.text.len(), reader.done), (1000, 1));
    }

    proptest! {
        /// Whoever attaches, whenever, from any position it has seen (or made up), and however often it is cut, assembles the text.
        #[test]
        fn every_reader_assembles_the_same_text(
            pieces in prop::collection::vec("\\PC{0,8}", 0..200),
            schedule in prop::collection::vec((0usize..5, 0usize..4, any::<usize>()), 0..400),
            // What the store has of it in the end: nothing but the text, all events, or those before a crash.
            stored in 0usize..4,
            lost in any::<usize>(),
        ) {
            let mut log = EventLog::new(1 << 24);
            let mut readers: Vec<(Reader, Cursor)> = Vec::new();
            let mut left = pieces.iter();
            for (action, which, number) in schedule {
                match action {
                    0 => readers.push((Reader::default(), log.cursor(0))),
                    1 => if let Some(piece) = left.next() { log.append(&delta(piece)).expect("room"); },
                    2 if !readers.is_empty() => {
                        let index = which % readers.len();
                        let (reader, cursor) = &mut readers[index];
                        reader.take_all(&cursor.read());
                    }
                    // Cut in mid-delivery: some frames arrived, the rest did not, and it resumes from what it saw.
                    3 if !readers.is_empty() => {
                        let index = which % readers.len();
                        let (reader, cursor) = &mut readers[index];
                        let frames = cursor.read();
                        let arrived = number % (frames.len() + 1);
                        reader.take_all(&frames[..arrived]);
                        *cursor = log.cursor(reader.position);
                    }
                    4 if number % 16 == 0 => readers.push((Reader::default(), log.cursor(number as u64))),
                    _ => {}
                }
            }
            for piece in left { log.append(&delta(piece)).expect("room"); }
            log.append(&done()).expect("the end");
            let mut text = pieces.concat();
            let (transcript, seq) = log.snapshot();
            match stored {
                1 => log = EventLog::ended(seq, transcript, &done()),
                2 => log = recorded(&log, pieces.len() as u64, seq),
                3 => {
                    let kept = lost % (pieces.len() + 1);
                    text = pieces[..kept].concat();
                    log = recorded(&log, kept as u64, kept as u64 + 1_000_000);
                    // Nobody has read the end of a log whose writer was killed.
                    for (reader, _) in &mut readers {
                        if std::mem::take(&mut reader.done) > 0 { reader.position -= 1; }
                    }
                }
                _ => {}
            }
            for (reader, cursor) in &mut readers { *cursor = log.cursor(reader.position); }
            readers.push((Reader::default(), log.cursor(0)));
            for (mut reader, mut cursor) in readers {
                loop {
                    let frames = cursor.read();
                    if frames.is_empty() { break; }
                    reader.take_all(&frames);
                }
                prop_assert_eq!(&reader.text, &text);
                prop_assert_eq!(reader.done, 1);
            }
        }
    }
}
