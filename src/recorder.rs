//! The recorder: brings what running generations say to the store while they say it, and their ends.
//!
//! It is one more reader of the logs: every 100 ms the new events of all running generations go to the store as one batch. What the
//! store does not take in time goes to the [`spool`] on disk and from there to the store, in order, when it is back. While anything
//! waits there everything else queues up behind it, so that nothing overtakes. A killed process loses what was said since the last
//! batch; [`recovery`](self) turns the rest into an interrupted answer.

mod batches;
mod recovery;
mod replay;
mod spool;

pub use recovery::interruption;

use crate::{
    event::Transcript,
    generation::Generation,
    model::{Ending, GenerationId, GenerationRecord, Outcome, Problem, UserId},
    registry::Registry,
    store::{Lease, Store, StoreError},
    text::with_causes,
};
use batches::segments;
use spool::{End, Entry, Spool};
use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

#[derive(Debug, Clone)]
pub struct RecorderOptions {
    /// How long the store may take for an end before it goes to disk.
    pub patience: Duration,
    /// Of the spool.
    pub spool_bytes: u64,
}

/// What happened to the end of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is in the store or on disk, and outlives this process.
    Safe,
    /// Neither took it; try again.
    NotYet,
    /// The database refuses it for good. It was set aside, and its message says so.
    Refused,
}

/// An end that waits on disk for the store; readers are told of it from here.
#[derive(Debug, Clone)]
pub struct Waiting {
    owner: UserId,
    pub record: GenerationRecord,
    pub ending: Ending,
}

impl Waiting {
    /// What its readers assembled.
    pub fn transcript(&self) -> Transcript {
        Transcript {
            text: self.ending.content.clone(),
            reasoning: self.ending.reasoning.clone().unwrap_or_default(),
            tool_calls: self.ending.tool_calls.clone().unwrap_or_default(),
        }
    }
}

/// Shared by all workers.
pub struct Recorder {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    options: RecorderOptions,
    lease: Mutex<Lease>,
    spool: Spool,
    /// Those whose end is in the spool, or was and is nowhere else.
    waiting: Mutex<HashMap<GenerationId, Arc<Waiting>>>,
    /// An end that waited is in the store.
    replayed: Notify,
    /// Neither store nor spool took what came last.
    stuck: AtomicBool,
}

impl Recorder {
    /// A recorder with what an earlier process left in its spool. The lease is the one that process held; nothing is written before
    /// [`recover`](Self::recover) has taken a new one.
    pub fn open(
        directory: &Path,
        lease: Lease,
        options: RecorderOptions,
        registry: Arc<Registry>,
        store: Arc<dyn Store>,
    ) -> io::Result<Arc<Self>> {
        let spool = Spool::open(directory, options.spool_bytes)?;
        Ok(Arc::new(Self {
            store,
            registry,
            options,
            lease: Mutex::new(lease),
            spool,
            waiting: Mutex::default(),
            replayed: Notify::new(),
            stuck: AtomicBool::new(false),
        }))
    }

    /// What this node's generations are written under.
    pub fn lease(&self) -> Lease {
        *self.lease.lock().expect("no code panics while it holds it")
    }

    /// Records, replays and keeps the lease for as long as it is polled. Never ends.
    pub async fn run(&self) {
        tokio::join!(self.record(), self.replay(), self.keep_lease());
    }

    /// Keeps the end of a generation: in the store, else on disk. Waits for the store no longer than the configured patience. Once it is
    /// [`Kept::Safe`], later calls change nothing.
    pub async fn end(&self, generation: &Generation, ending: &Ending) -> Kept {
        // Held throughout: no batch of this generation is under way meanwhile.
        let mut recorded = generation.recorded.clone().lock_owned().await;
        if generation.is_kept() {
            return Kept::Safe;
        }
        let end = End {
            generation_id: generation.id,
            ending: Box::new(ending.clone()),
            tail: segments(generation, *recorded),
        };
        let kept = match self.end_in_store(&end).await {
            Some(kept) => kept,
            None => self.end_on_disk(generation, end).await,
        };
        if kept == Kept::Safe {
            *recorded = ending.last_seq;
            generation.set_kept();
        }
        kept
    }

    /// `None` when the store takes nothing now, and the end has to wait for it.
    async fn end_in_store(&self, end: &End) -> Option<Kept> {
        if !self.spool.is_empty() {
            return None;
        }
        let ended = self
            .store
            .end_generation(end.generation_id, &end.ending, &end.tail);
        match timeout(self.options.patience, ended).await {
            Ok(Ok(true)) => {
                self.set_stuck(false);
                Some(Kept::Safe)
            }
            Ok(Ok(false)) => match self.store.has_end(end.generation_id, &end.ending).await {
                Ok(true) => Some(Kept::Safe),
                Ok(false) => {
                    self.set_late_aside(end).await;
                    Some(Kept::Refused)
                }
                Err(_) => None,
            },
            Ok(Err(error @ StoreError::Failed(_))) => {
                self.set_aside(end, &error).await;
                Some(Kept::Refused)
            }
            // Perhaps it happened all the same: then the replay changes nothing.
            Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn end_on_disk(&self, generation: &Generation, end: End) -> Kept {
        let Some(record) = generation.record_ended(&end.ending) else {
            return Kept::NotYet;
        };
        // Before the push: the replay may be done with it before this task runs on.
        self.wait(Waiting {
            owner: generation.owner,
            record,
            ending: (*end.ending).clone(),
        });
        if self.spool_up(Entry::End(end)).await {
            Kept::Safe
        } else {
            self.wait_no_more(generation.id);
            Kept::NotYet
        }
    }

    /// The end of this user's generation, while it waits for the store.
    pub fn waiting(&self, user: UserId, id: GenerationId) -> Option<Arc<Waiting>> {
        let waiting = self.lock_waiting().get(&id).cloned();
        waiting.filter(|waiting| waiting.owner == user)
    }

    /// Waits until the ends of this user's answers that wait now are in the store, so that what it says of them is the truth. False when
    /// it takes too long.
    pub async fn settled(&self, user: UserId) -> bool {
        let mut ends: Vec<_> = self.lock_waiting().values().cloned().collect();
        ends.retain(|end| end.owner == user);
        let is_settled = || {
            let waiting = self.lock_waiting();
            !ends.iter().any(|end| waiting.contains_key(&end.record.id))
        };
        let deadline = Instant::now() + self.options.patience;
        loop {
            let replayed = self.replayed.notified();
            if is_settled() {
                return true;
            }
            if tokio::time::timeout_at(deadline, replayed).await.is_err() {
                return is_settled();
            }
        }
    }

    /// True while neither store nor disk takes anything: nothing new should begin.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// How many batches and ends wait for the store, and how many bytes of disk they take.
    pub fn backlog(&self) -> (usize, u64) {
        (self.spool.len(), self.spool.bytes())
    }

    async fn spool_up(&self, entry: Entry) -> bool {
        // The spool logs why not, once.
        let is_taken = self.spool.push(&entry).await.is_ok();
        self.set_stuck(!is_taken);
        is_taken
    }

    fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Relaxed);
    }

    /// What the database refuses once it refuses for ever. The message must not seem to be running all the same.
    async fn set_aside(&self, end: &End, error: &StoreError) {
        let (id, why) = (end.generation_id, with_causes(error));
        tracing::error!(generation.id = %id, error = &*why, "the database refuses an answer; it is set aside in the spool");
        self.spool.set_aside(&Entry::End(end.clone()), &why).await;
        let refused = refused(&end.ending);
        if let Err(error) = self.store.end_generation(id, &refused, &[]).await {
            let error = with_causes(&error);
            tracing::error!(generation.id = %id, error, "its message could not be marked as failed");
        }
    }

    /// The end of an answer that another node took for left over and somebody carried on since.
    async fn set_late_aside(&self, end: &End) {
        let why = "it came too late: the answer was taken for left over, and carried on";
        self.spool.set_aside(&Entry::End(end.clone()), why).await;
    }

    fn wait(&self, waiting: Waiting) {
        let waiting = Arc::new(waiting);
        self.lock_waiting().insert(waiting.record.id, waiting);
    }

    fn wait_no_more(&self, id: GenerationId) {
        self.lock_waiting().remove(&id);
        self.replayed.notify_waiters();
    }

    fn lock_waiting(&self) -> std::sync::MutexGuard<'_, HashMap<GenerationId, Arc<Waiting>>> {
        self.waiting
            .lock()
            .expect("no code panics while it holds it")
    }
}

/// What is stored of an answer that the database would not take: that it failed. One that was to be carried on keeps the text it had.
fn refused(ending: &Ending) -> Ending {
    Ending {
        outcome: Outcome::Failed,
        content: String::new(),
        reasoning: None,
        tool_calls: None,
        model: None,
        finish_reason: None,
        problem: Some(refusal()),
        leaves_message: true,
        ..ending.clone()
    }
}

/// The problem of an answer that the database would not take.
fn refusal() -> Problem {
    Problem::new(
        500,
        "not-stored",
        "The answer could not be stored",
        "the database refuses it; the log of the server says where the operator finds its text",
    )
}
