//! The spool: a bounded, durable, ordered queue on disk, for the time in which the store takes nothing.
//!
//! One file an entry, named by a number that rises; only numbers and sizes are in memory. The recorder pushes, and takes from the
//! front once the store is back. What cannot be read, and what the store refuses for good, is kept below `set-aside/`, in the same
//! format: a file moved back up from there is an entry again at the next start.
//!
//! Work on a file goes on when the future that asked for it is dropped: an effect on the disk and what is known of it never part.

mod entry;
mod files;
mod queue;

pub use entry::{End, Entry};

use crate::text::with_causes;
use queue::Queue;
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Mutex, watch},
    task::spawn_blocking,
};

/// Where files go that are no entries (any more), below the spool's own directory.
const SET_ASIDE: &str = "set-aside";
/// No entry is larger: it is read in one piece.
const ENTRY_BYTES_AT_MOST: u64 = 256 * 1024 * 1024;
/// How long the front waits before it reads again when the machine lacked descriptors or memory.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Cheap to clone; all clones are one queue. One directory is for one process: whoever opens it holds the data directory's lock.
#[derive(Debug, Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

/// The place of an entry in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// Why an entry was not taken. It is not on disk; logged here, once for each time that it begins.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("the spool has as many bytes as it may have")]
    Full,
    #[error("cannot write to the spool")]
    Io(#[source] io::Error),
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    bytes_at_most: u64,
    /// The number of the next file. Whoever writes holds it, so that the order of calls is the order of entries.
    next: Arc<Mutex<u64>>,
    queue: watch::Sender<Queue>,
}

impl Spool {
    /// Creates the directory, for the owner alone, when it is missing. What an earlier process left is the beginning of the queue, also
    /// when it is more than `bytes_at_most`; files that it did not finish are removed. Blocks.
    pub fn open(directory: &Path, bytes_at_most: u64) -> io::Result<Self> {
        files::create_directory(directory)?;
        let aside = directory.join(SET_ASIDE);
        let before = files::list(directory)?;
        // A file in its place is found out, and said, when something is to be set aside.
        let aside_before = if aside.is_dir() {
            files::list(&aside)?
        } else {
            Vec::new()
        };
        let last = before
            .iter()
            .chain(&aside_before)
            .map(|(number, _)| *number);
        let next = last.max().map_or(1, |last| last + 1);
        let queue = Queue::of(before, &aside_before);
        if queue.len() > 0 {
            let (entries, bytes) = (queue.len(), queue.bytes);
            tracing::info!(entries, bytes, "the spool has what the store was not told");
        }
        Ok(Self {
            shared: Arc::new(Shared {
                directory: directory.to_owned(),
                bytes_at_most,
                next: Arc::new(Mutex::new(next)),
                queue: watch::Sender::new(queue),
            }),
        })
    }

    /// Durable when it returns `Ok`. When its future is dropped, the entry is wholly there or not at all.
    pub async fn push(&self, entry: &Entry) -> Result<(), SpoolError> {
        let bytes = entry.encode();
        let mut next = self.shared.next.clone().lock_owned().await;
        let shared = self.shared.clone();
        let written = blocking(move || Ok(shared.write(&mut next, &bytes)));
        written
            .await
            .unwrap_or_else(|error| Err(SpoolError::Io(error)))
    }

    /// The oldest entry, which stays. Files that are none are set aside on the way. Waits while the machine lacks what it takes to
    /// read a file. For one consumer.
    pub async fn front(&self) -> Option<(Ticket, Entry)> {
        loop {
            let (number, size) = self.shared.queue.borrow().front()?;
            let shared = self.shared.clone();
            match blocking(move || shared.read(number, size)).await {
                Ok(Some(entry)) => return Some((Ticket(number), entry)),
                Ok(None) => {}
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::error!(error, "the spool cannot be read now, trying again");
                    tokio::time::sleep(READ_AGAIN).await;
                }
            }
        }
    }

    /// The store has it. After an error the entry is out of this queue all the same, but comes again at the next start: the store
    /// takes an entry once, so replaying it does no harm, and trying for ever would hold up the others. For the same reason the
    /// removal need not be durable.
    pub async fn remove(&self, ticket: Ticket) -> io::Result<()> {
        let shared = self.shared.clone();
        blocking(move || {
            let known = shared.forget(ticket.0);
            match fs::remove_file(shared.path(ticket.0)) {
                Err(error) if known && error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Keeps, durably, what the store refuses for good. These files count against nothing but themselves: they may have as many bytes
    /// as the spool; what comes then is not kept. The log says both, and `why`, which must not hold anybody's text.
    pub async fn set_aside(&self, entry: &Entry, why: &str) {
        let bytes = entry.encode();
        let mut next = self.shared.next.clone().lock_owned().await;
        let (shared, why) = (self.shared.clone(), why.to_owned());
        let written = blocking(move || {
            shared.set_aside(&mut next, &bytes, &why);
            Ok(())
        });
        if let Err(error) = written.await {
            let error = with_causes(&error);
            tracing::error!(error, "an entry that the store refuses is lost");
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        self.shared.queue.borrow().len()
    }

    pub fn bytes(&self) -> u64 {
        self.shared.queue.borrow().bytes
    }

    /// The last push was refused, and nothing was removed or written since: the log has said so.
    #[cfg(test)]
    fn is_full(&self) -> bool {
        self.shared.queue.borrow().refused
    }

    /// Resolves when the queue is not empty.
    pub async fn filled(&self) {
        let mut queue = self.shared.queue.subscribe();
        let filled = queue.wait_for(|queue| queue.len() > 0).await;
        filled.expect("the sender lives as long as self");
    }
}

/// Everything below blocks.
impl Shared {
    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(files::name_of(number))
    }

    fn write(&self, next: &mut u64, bytes: &[u8]) -> Result<(), SpoolError> {
        let size = bytes.len() as u64;
        let used = self.queue.borrow().bytes;
        let written = if used + size > self.bytes_at_most || size > ENTRY_BYTES_AT_MOST {
            Err(SpoolError::Full)
        } else {
            // A number is used once, also when this fails: what is left of it must not become part of another entry.
            let number = *next;
            *next += 1;
            self.write_file(number, bytes).map_err(SpoolError::Io)
        };
        let mut news = false;
        self.queue.send_modify(|queue| {
            news = match &written {
                Ok(()) => queue.pushed(*next - 1, size, self.bytes_at_most),
                Err(error) => queue.refused(error),
            };
        });
        match &written {
            Ok(()) if news => tracing::info!("the spool takes entries again"),
            Err(error) if news => tracing::error!(
                error = with_causes(error),
                bytes = used,
                "the spool takes nothing"
            ),
            _ => {}
        }
        written
    }

    fn write_file(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        match files::write(&self.directory, number, bytes) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                files::create_directory(&self.directory)?;
                tracing::warn!(
                    "the spool's directory was gone; it is there again, without what it had"
                );
                files::write(&self.directory, number, bytes)
            }
            written => written,
        }
    }

    /// `None` when it is not in the queue any more; an error when it may be read later.
    fn read(&self, number: u64, size: u64) -> io::Result<Option<Entry>> {
        if size > ENTRY_BYTES_AT_MOST {
            self.move_aside(number, "it is too large");
            return Ok(None);
        }
        let bytes = match files::read(&self.path(number), ENTRY_BYTES_AT_MOST) {
            Ok(bytes) => bytes,
            Err(error) if files::passes(&error) => return Err(error),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if self.forget(number) {
                    let file = files::name_of(number);
                    tracing::error!(file, "a spooled entry is gone from the disk");
                }
                return Ok(None);
            }
            Err(error) => {
                self.move_aside(number, &with_causes(&error));
                return Ok(None);
            }
        };
        match Entry::decode(&bytes) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) => {
                self.move_aside(number, &error.to_string());
                Ok(None)
            }
        }
    }

    /// Takes a file that is no entry out of the way. Moving costs no space, so there is no limit.
    fn move_aside(&self, number: u64, why: &str) {
        let aside = self.directory.join(SET_ASIDE);
        let file = files::name_of(number);
        let moved = files::create_directory(&aside)
            .and_then(|()| fs::rename(self.path(number), aside.join(&file)));
        match moved {
            Ok(()) => {
                self.queue.send_modify(|queue| queue.move_aside(number));
                tracing::error!(file, why, "a spooled file is set aside");
            }
            Err(error) => {
                self.forget(number);
                tracing::error!(
                    file,
                    why,
                    error = with_causes(&error),
                    "a spooled file cannot be set aside; it stays and is looked at again at the next start"
                );
            }
        }
    }

    fn set_aside(&self, next: &mut u64, bytes: &[u8], why: &str) {
        let size = bytes.len() as u64;
        if self.queue.borrow().set_aside_bytes + size > self.bytes_at_most {
            tracing::error!(
                why,
                bytes = size,
                "an entry that the store refuses is lost: too much is set aside already"
            );
            return;
        }
        let number = *next;
        *next += 1;
        let aside = self.directory.join(SET_ASIDE);
        let file = files::name_of(number);
        match files::create_directory(&aside).and_then(|()| files::write(&aside, number, bytes)) {
            Ok(()) => {
                self.queue
                    .send_modify(|queue| queue.set_aside_bytes += size);
                tracing::error!(
                    file,
                    why,
                    "an entry is set aside: the store refuses it for good"
                );
            }
            Err(error) => tracing::error!(
                why,
                bytes = size,
                error = with_causes(&error),
                "an entry that the store refuses is lost: it cannot be set aside"
            ),
        }
    }

    /// False when it was not in the queue.
    fn forget(&self, number: u64) -> bool {
        self.queue.send_if_modified(|queue| queue.take(number))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::EventSegment, model::GenerationId};
    use proptest::prelude::*;
    use std::{collections::VecDeque, fs::File, future::Future};
    use tempfile::TempDir;

    const ROOMY: u64 = 1 << 20;

    fn entry(text: impl Into<String>) -> Entry {
        Entry::Events(vec![EventSegment {
            generation_id: GenerationId(uuid::Uuid::nil()),
            first_seq: 1,
            last_seq: 1,
            frames: text.into(),
        }])
    }

    fn size_of(entry: &Entry) -> u64 {
        entry.encode().len() as u64
    }

    fn file(directory: &TempDir, number: u64) -> PathBuf {
        directory.path().join(files::name_of(number))
    }

    fn set_aside(directory: &TempDir, number: u64) -> PathBuf {
        let aside = directory.path().join(SET_ASIDE);
        aside.join(files::name_of(number))
    }

    fn open(directory: &TempDir) -> Spool {
        Spool::open(directory.path(), ROOMY).expect("opened")
    }

    /// A spool of these entries, numbered from 1.
    async fn spool_of(texts: &[&str]) -> (TempDir, Spool) {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = open(&directory);
        for text in texts {
            spool.push(&entry(*text)).await.expect("pushed");
        }
        (directory, spool)
    }

    /// Takes everything out.
    async fn drained(spool: &Spool) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Some((ticket, entry)) = spool.front().await {
            spool.remove(ticket).await.expect("removed");
            entries.push(entry);
        }
        assert_eq!((spool.len(), spool.bytes()), (0, 0));
        entries
    }

    /// Polls a future once and drops it.
    async fn begin(future: impl Future) {
        tokio::select! {
            biased;
            _ = future => {}
            () = std::future::ready(()) => {}
        }
    }

    #[tokio::test]
    async fn the_directory_and_its_files_are_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("spool");
        let spool = Spool::open(&path, ROOMY).expect("opened");
        spool.push(&entry("a")).await.expect("pushed");
        spool.set_aside(&entry("b"), "a test").await;
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(files::name_of(1))), 0o600);
        assert_eq!(mode(&path.join(SET_ASIDE)), 0o700);
        assert_eq!(mode(&path.join(SET_ASIDE).join(files::name_of(2))), 0o600);
    }

    #[tokio::test]
    async fn what_an_earlier_process_did_not_finish_is_removed() {
        let (directory, spool) = spool_of(&["a"]).await;
        let unfinished = directory.path().join(format!("{}.new", files::name_of(2)));
        fs::write(&unfinished, "half of it").expect("written");
        fs::write(directory.path().join("README"), "of somebody").expect("written");
        drop(spool);
        let spool = open(&directory);
        assert!(!unfinished.exists());
        assert!(directory.path().join("README").exists());
        assert_eq!(drained(&spool).await, [entry("a")]);
    }

    #[tokio::test]
    async fn a_push_whose_future_is_dropped_keeps_queue_and_disk_one() {
        let (directory, spool) = spool_of(&[]).await;
        begin(spool.push(&entry("begun"))).await;
        // Still waiting for its turn behind the first: never begun.
        begin(spool.push(&entry("never"))).await;
        spool.push(&entry("after")).await.expect("pushed");
        assert_eq!(spool.len(), 2);
        drop(spool);
        let left = drained(&open(&directory)).await;
        assert_eq!(left, [entry("begun"), entry("after")]);
    }

    #[tokio::test]
    async fn the_limit_is_reached_exactly() {
        let directory = tempfile::tempdir().expect("a directory");
        let size = size_of(&entry("a"));
        let spool = Spool::open(directory.path(), 2 * size).expect("opened");
        spool.push(&entry("a")).await.expect("one");
        spool.push(&entry("b")).await.expect("the last byte");
        assert_eq!(spool.bytes(), 2 * size);
        assert!(!spool.is_full(), "nothing was refused");
        let refused = spool.push(&entry("c")).await;
        assert!(matches!(refused, Err(SpoolError::Full)), "{refused:?}");
        assert!(spool.is_full());
        let (ticket, _) = spool.front().await.expect("two");
        spool.remove(ticket).await.expect("removed");
        assert!(!spool.is_full());
        let refused = spool.push(&entry("cc")).await;
        assert!(matches!(refused, Err(SpoolError::Full)), "a byte too many");
        spool.push(&entry("c")).await.expect("it fits");
        assert!(!spool.is_full());
        assert_eq!(drained(&spool).await, [entry("b"), entry("c")]);
    }

    #[tokio::test]
    async fn a_smaller_limit_loses_nothing_of_before() {
        let (directory, spool) = spool_of(&["a", "b"]).await;
        drop(spool);
        let spool = Spool::open(directory.path(), 1).expect("opened");
        spool.push(&entry("c")).await.expect_err("full");
        assert_eq!(drained(&spool).await, [entry("a"), entry("b")]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_an_error_and_loses_nothing_else() {
        let (directory, spool) = spool_of(&["a"]).await;
        let new = directory.path().join(format!("{}.new", files::name_of(2)));
        std::os::unix::fs::symlink("/dev/full", &new).expect("a link");
        let refused = spool.push(&entry("b")).await;
        let Err(SpoolError::Io(error)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(spool.is_full());
        assert_eq!((spool.len(), new.exists()), (1, false));
        spool.push(&entry("b")).await.expect("there is space again");
        assert!(!spool.is_full());
        assert_eq!(drained(&spool).await, [entry("a"), entry("b")]);
    }

    #[tokio::test]
    async fn a_directory_that_takes_nothing_is_an_error_until_it_does_again() {
        let (directory, spool) = spool_of(&["a"]).await;
        let elsewhere = directory.path().with_extension("elsewhere");
        fs::rename(directory.path(), &elsewhere).expect("moved");
        fs::write(directory.path(), "a file").expect("written");
        let refused = spool.push(&entry("b")).await;
        assert!(matches!(refused, Err(SpoolError::Io(_))), "{refused:?}");
        assert!(spool.is_full());
        fs::remove_file(directory.path()).expect("removed");
        fs::rename(&elsewhere, directory.path()).expect("moved back");
        spool.push(&entry("c")).await.expect("pushed");
        assert!(!spool.is_full());
        assert_eq!(drained(&spool).await, [entry("a"), entry("c")]);
    }

    #[tokio::test]
    async fn a_directory_that_vanished_is_created_again() {
        let (directory, spool) = spool_of(&["a", "b"]).await;
        fs::remove_dir_all(directory.path()).expect("removed");
        spool.push(&entry("c")).await.expect("pushed");
        assert_eq!(drained(&spool).await, [entry("c")], "the others are gone");
    }

    #[tokio::test]
    async fn what_is_no_entry_is_set_aside_and_the_rest_is_read() {
        let (directory, spool) = spool_of(&["a", "b", "c", "d", "e", "f", "g"]).await;
        fs::write(file(&directory, 1), "").expect("emptied");
        fs::write(file(&directory, 3), "dear diary\n").expect("foreign");
        let other = fs::read_to_string(file(&directory, 4)).expect("text");
        let other = other.replacen("spool 1", "spool 2", 1);
        fs::write(file(&directory, 4), &other).expect("of another version");
        fs::remove_file(file(&directory, 6)).expect("removed");
        fs::create_dir(file(&directory, 6)).expect("a directory in its place");
        assert_eq!(drained(&spool).await, [entry("b"), entry("e"), entry("g")]);
        for number in [1, 3, 4, 6] {
            assert!(set_aside(&directory, number).exists(), "{number}");
        }
        let kept = fs::read_to_string(set_aside(&directory, 4)).expect("text");
        assert_eq!(kept, other, "never changed");
        assert_eq!(open(&directory).len(), 0, "nor read again");
    }

    #[tokio::test]
    async fn a_huge_file_is_set_aside() {
        let (directory, spool) = spool_of(&["a", "b"]).await;
        drop(spool);
        let huge = File::options().write(true).open(file(&directory, 1));
        let huge = huge.expect("opened");
        huge.set_len(ENTRY_BYTES_AT_MOST * 1024).expect("sparse");
        let spool = open(&directory);
        assert_eq!(drained(&spool).await, [entry("b")]);
        assert!(set_aside(&directory, 1).exists());
    }

    #[tokio::test]
    async fn what_cannot_be_set_aside_stays_and_holds_up_nothing() {
        let (directory, spool) = spool_of(&["a", "b"]).await;
        fs::write(directory.path().join(SET_ASIDE), "a file in its place").expect("written");
        fs::write(file(&directory, 1), "damaged").expect("written");
        spool.set_aside(&entry("refused"), "a test").await;
        assert_eq!(drained(&spool).await, [entry("b")]);
        assert!(file(&directory, 1).exists());
        assert_eq!(open(&directory).len(), 1, "looked at again");
    }

    #[tokio::test]
    async fn what_the_store_refuses_is_kept_and_can_be_brought_back() {
        let (directory, spool) = spool_of(&["a"]).await;
        spool.set_aside(&entry("refused"), "a test").await;
        assert_eq!((spool.len(), spool.bytes()), (1, size_of(&entry("a"))));
        drop(spool);
        let spool = open(&directory);
        spool.push(&entry("b")).await.expect("pushed");
        assert!(set_aside(&directory, 2).exists(), "its number is its own");
        drop(spool);
        fs::rename(set_aside(&directory, 2), file(&directory, 2)).expect("moved back");
        let spool = open(&directory);
        let all = [entry("a"), entry("refused"), entry("b")];
        assert_eq!(drained(&spool).await, all);
    }

    #[tokio::test]
    async fn what_is_set_aside_is_bounded() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::open(directory.path(), 2 * size_of(&entry("a"))).expect("opened");
        for _ in 0..3 {
            spool.set_aside(&entry("a"), "a test").await;
        }
        drop(spool);
        let spool = Spool::open(directory.path(), 2 * size_of(&entry("a"))).expect("opened");
        spool.set_aside(&entry("a"), "a test").await;
        let kept = files::list(&directory.path().join(SET_ASIDE)).expect("there");
        assert_eq!(kept.len(), 2);
        spool.push(&entry("a")).await.expect("it counts apart");
    }

    #[tokio::test]
    async fn whoever_waits_is_told_that_it_filled() {
        let (_directory, spool) = spool_of(&[]).await;
        assert!(spool.is_empty());
        let pushing = async { spool.push(&entry("a")).await.expect("pushed") };
        tokio::join!(spool.filled(), pushing);
        assert_eq!(spool.len(), 1);
        spool.filled().await;
    }

    #[tokio::test]
    async fn a_file_cut_at_any_byte_is_set_aside_and_the_rest_is_intact() {
        let (directory, spool) = spool_of(&["one", "two", "three"]).await;
        drop(spool);
        let whole: Vec<_> = (1..=3)
            .map(|number| fs::read(file(&directory, number)).expect("read"))
            .collect();
        for cut in 0..whole[1].len() {
            for (number, bytes) in (1..).zip(&whole) {
                fs::write(file(&directory, number), bytes).expect("written");
            }
            fs::write(file(&directory, 2), &whole[1][..cut]).expect("cut");
            let left = drained(&open(&directory)).await;
            assert_eq!(left, [entry("one"), entry("three")], "cut at {cut}");
            let kept = fs::read(set_aside(&directory, 2)).expect("kept");
            assert_eq!(kept, whole[1][..cut]);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(String),
        /// Begun and dropped, then another.
        Drop(String),
        Remove,
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => ".{0,40}".prop_map(Step::Push),
            1 => ".{0,40}".prop_map(Step::Drop),
            3 => Just(Step::Remove),
            2 => Just(Step::Reopen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

        #[test]
        fn pushes_removals_and_restarts_keep_the_queue(steps in prop::collection::vec(step(), 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let directory = tempfile::tempdir().expect("a directory");
                let bytes_at_most = 8 * size_of(&entry("a".repeat(20)));
                let reopen = || Spool::open(directory.path(), bytes_at_most).expect("opened");
                let mut spool = reopen();
                let mut expected = VecDeque::new();
                for step in steps {
                    let used: u64 = expected.iter().map(size_of).sum();
                    let fits = |entry| used + size_of(entry) <= bytes_at_most;
                    match step {
                        Step::Push(text) => {
                            let entry = entry(text);
                            assert_eq!(spool.push(&entry).await.is_ok(), fits(&entry));
                            assert_eq!(spool.is_full(), !fits(&entry));
                            if fits(&entry) {
                                expected.push_back(entry);
                            }
                        }
                        Step::Drop(text) => {
                            let entry = entry(text);
                            begin(spool.push(&entry)).await;
                            // The next writer has its turn when that work is done.
                            drop(spool.shared.next.lock().await);
                            if fits(&entry) {
                                expected.push_back(entry);
                            }
                        }
                        Step::Remove => {
                            if let Some((ticket, _)) = spool.front().await {
                                spool.remove(ticket).await.expect("removed");
                                spool.remove(ticket).await.expect("twice is once");
                            }
                            expected.pop_front();
                        }
                        Step::Reopen => spool = reopen(),
                    }
                    assert_eq!(spool.front().await.map(|(_, entry)| entry).as_ref(), expected.front());
                    assert_eq!(spool.len(), expected.len());
                    assert_eq!(spool.bytes(), expected.iter().map(size_of).sum::<u64>());
                }
                assert_eq!(drained(&spool).await, Vec::from(expected));
            });
        }
    }
}
