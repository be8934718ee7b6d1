//! What is known of the spool's files: which there are, how large, and whether the last push failed. No I/O.

use super::SpoolError;
use std::{collections::BTreeMap, io::ErrorKind};

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Number and size, oldest first.
    entries: BTreeMap<u64, u64>,
    /// Of the entries together.
    pub(super) bytes: u64,
    pub(super) set_aside_bytes: u64,
    /// The last push failed, and nothing was removed since.
    pub(super) refused: bool,
    /// What the log has been told and not taken back.
    said: Option<Trouble>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Full,
    Io(ErrorKind),
}

impl Queue {
    /// Numbers and sizes, as they were found.
    pub(super) fn of(entries: Vec<(u64, u64)>, set_aside: &[(u64, u64)]) -> Self {
        Self {
            bytes: entries.iter().map(|(_, size)| size).sum(),
            entries: entries.into_iter().collect(),
            set_aside_bytes: set_aside.iter().map(|(_, size)| size).sum(),
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number and size of the oldest.
    pub(super) fn front(&self) -> Option<(u64, u64)> {
        self.entries
            .first_key_value()
            .map(|(number, size)| (*number, *size))
    }

    /// A push succeeded. True when the log should say so. A full spool that takes small entries and refuses large ones would have news
    /// with each: it is well again at half.
    pub(super) fn pushed(&mut self, number: u64, size: u64, bytes_at_most: u64) -> bool {
        self.entries.insert(number, size);
        self.bytes += size;
        self.refused = false;
        let well = match self.said {
            None => false,
            Some(Trouble::Full) => self.bytes <= bytes_at_most / 2,
            Some(Trouble::Io(_)) => true,
        };
        if well {
            self.said = None;
        }
        well
    }

    /// A push failed. True when the log has not been told.
    pub(super) fn refused(&mut self, error: &SpoolError) -> bool {
        let trouble = match error {
            SpoolError::Full => Trouble::Full,
            SpoolError::Io(error) => Trouble::Io(error.kind()),
        };
        self.refused = true;
        self.said.replace(trouble) != Some(trouble)
    }

    /// False when it was not there.
    pub(super) fn take(&mut self, number: u64) -> bool {
        let size = self.entries.remove(&number);
        self.bytes -= size.unwrap_or_default();
        self.refused &= size.is_none();
        size.is_some()
    }

    pub(super) fn move_aside(&mut self, number: u64) {
        self.set_aside_bytes += self.entries.get(&number).copied().unwrap_or_default();
        self.take(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn trouble_is_news_once() {
        let mut queue = Queue::default();
        let no_space = || SpoolError::Io(ErrorKind::StorageFull.into());
        assert!(!queue.pushed(1, 30, 100), "nothing was wrong");
        assert!(queue.refused(&no_space()));
        assert!(!queue.refused(&no_space()), "known");
        assert!(queue.refused(&SpoolError::Io(io::Error::other("another"))));
        assert!(queue.pushed(2, 50, 100), "well again");
        assert!(queue.refused(&SpoolError::Full));
        assert!(!queue.pushed(3, 1, 100), "a small one fits, a large one");
        assert!(!queue.refused(&SpoolError::Full), "does not: no news");
        assert!(queue.take(2));
        assert!(queue.pushed(4, 1, 100), "half of it is free");
    }
}
