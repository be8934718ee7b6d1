//! The position that is all a reader has, and what a log must be to be read by one.
//!
//! Two things are logs: the events of one generation ([`EventLog`](crate::log::EventLog)) and what happens to one user's conversations
//! ([`Listener`](crate::feed::Listener)). Replay, live tail, resume and slow readers are one operation on both: *the events after n*.

use crate::event::Encoded;
use std::{fmt, sync::Arc};
use tokio::sync::watch;

/// An event on its way to a reader. `seq` becomes the SSE id; without one, a reader that is cut keeps its old position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub seq: Option<u64>,
    pub event: Encoded,
}

/// Events at positions that only rise.
pub trait Log: fmt::Debug + Send + Sync {
    /// Some of the events after `after` that are there now, in order; none at the tail. For a position that is not there, what takes
    /// its place.
    fn read(&self, after: u64) -> Vec<Frame>;
    /// The position of the last event, 0 before the first; its changes wake the readers.
    fn tail(&self) -> &watch::Sender<u64>;
    /// True when nothing comes after `after`, now or ever.
    fn ends_at(&self, after: u64) -> bool;

    /// The SSE id of a position.
    fn id(&self, seq: u64) -> String {
        seq.to_string()
    }
}

/// A position in a log. Cheap to hold; a slow reader costs no more than a fast one.
#[derive(Debug)]
pub struct Cursor {
    log: Arc<dyn Log>,
    after: u64,
    tail: watch::Receiver<u64>,
}

impl Cursor {
    /// A reader that has seen everything up to `after`.
    pub fn new(log: Arc<dyn Log>, after: u64) -> Self {
        let tail = log.tail().subscribe();
        Self { log, after, tail }
    }

    /// The events up to here have been read.
    pub fn seq(&self) -> u64 {
        self.after
    }

    /// What it reads.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// True when the log has ended and this reader has seen all of it.
    pub fn is_at_end(&self) -> bool {
        self.log.ends_at(self.after)
    }

    /// The next events in order, waiting for some; `None` after the terminal event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Vec<Frame>> {
        loop {
            // Marked as seen before reading: an append in between wakes the wait below at once.
            self.tail.borrow_and_update();
            let frames = self.read();
            if !frames.is_empty() {
                return Some(frames);
            }
            if self.is_at_end() || self.tail.changed().await.is_err() {
                return None;
            }
        }
    }

    /// The next events that are there now; none at the tail.
    pub fn read(&mut self) -> Vec<Frame> {
        let frames = self.log.read(self.after);
        if let Some(seq) = frames.iter().rev().find_map(|frame| frame.seq) {
            self.after = seq;
        }
        frames
    }
}
