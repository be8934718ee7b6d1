//! A generation: one completion being read from the upstream, its log, and who may say how it ends.
//!
//! Owned by the task that reads the upstream (`chat`), shared with whoever attaches or stops. It outlives its request and its
//! readers. How it ends is claimed once: the first claim wins, and every later one is told so.

mod audience;

pub use audience::Audience;

use crate::{
    event::Transcript,
    log::EventLog,
    model::{
        ConversationId, Ending, GenerationId, GenerationRecord, MessageId, Outcome, Progress,
        Usage, UserId, now,
    },
    standing::Standing,
};
use std::{
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub struct Generation {
    pub id: GenerationId,
    pub owner: UserId,
    /// What it was asked for with, and ends with.
    pub standing: Arc<Standing>,
    /// The id of the request that asked for it.
    pub request_id: String,
    /// Its events; its payloads when no conversation keeps it.
    pub log: Arc<EventLog>,
    pub created_at: OffsetDateTime,
    pub started: Instant,
    /// What is asked, once that is known.
    pub model: OnceLock<String>,
    /// Up to which position its events are safe in the store or on disk. Held while some are on their way there.
    pub recorded: Arc<tokio::sync::Mutex<u64>>,
    message_id: Option<MessageId>,
    conversation_id: OnceLock<ConversationId>,
    /// The upstream's own, of an answer for a client of `/v1`.
    payloads: Option<Arc<EventLog>>,
    audience: Mutex<Weak<Audience>>,
    /// Sent to the upstream, and come from it: what it cost when that is not told.
    prompt_bytes: AtomicU64,
    answer_bytes: AtomicU64,
    claim: OnceLock<Outcome>,
    ending: OnceLock<Ending>,
    kept: AtomicBool,
    forgotten: AtomicBool,
    cancelled: CancellationToken,
}

impl Generation {
    /// `message_id` is the answer it writes; `None` when no conversation keeps it.
    pub fn new(
        id: GenerationId,
        message_id: Option<MessageId>,
        standing: Arc<Standing>,
        request_id: String,
        log: Arc<EventLog>,
    ) -> Self {
        Self {
            id,
            owner: standing.user,
            request_id,
            log,
            created_at: now(),
            started: Instant::now(),
            model: OnceLock::new(),
            recorded: Arc::default(),
            message_id,
            conversation_id: OnceLock::new(),
            payloads: None,
            audience: Mutex::default(),
            prompt_bytes: AtomicU64::new(0),
            answer_bytes: AtomicU64::new(0),
            claim: OnceLock::new(),
            ending: OnceLock::new(),
            kept: AtomicBool::new(false),
            forgotten: AtomicBool::new(false),
            cancelled: standing.while_it_holds(),
            standing,
        }
    }

    /// With a log of the upstream's payloads, which may be the one that it has.
    #[must_use]
    pub fn relaying(self, payloads: Arc<EventLog>) -> Self {
        Self {
            payloads: Some(payloads),
            ..self
        }
    }

    /// `None` when it is not for a client of `/v1`.
    pub fn payload_log(&self) -> Option<&Arc<EventLog>> {
        self.payloads.as_ref()
    }

    /// What its logs cost in memory.
    pub fn log_bytes(&self) -> usize {
        let beside = self.payloads.iter();
        let beside = beside.filter(|payloads| !Arc::ptr_eq(payloads, &self.log));
        self.log.bytes() + beside.map(|payloads| payloads.bytes()).sum::<usize>()
    }

    /// The answer that it writes, or will when its turn is stored; `None` when no conversation keeps it.
    pub fn will_write(&self) -> Option<MessageId> {
        self.message_id
    }

    /// The answer it writes, once its turn is stored.
    pub fn message_id(&self) -> Option<MessageId> {
        self.message_id
            .filter(|_| self.conversation_id.get().is_some())
    }

    /// Known once the turn is stored; a regenerated answer's conversation is the store's to tell.
    pub fn conversation_id(&self) -> Option<ConversationId> {
        self.conversation_id.get().copied()
    }

    /// Set once, by its task, before the first event.
    pub fn belongs_to(&self, conversation: ConversationId) {
        let _ = self.conversation_id.set(conversation);
    }

    /// False while its turn is still being stored, or was refused: nobody finds it then. Of `/v1` it is found by its payloads.
    pub fn is_there(&self) -> bool {
        self.payloads.is_some() || self.conversation_id().is_some()
    }

    /// The upstream is about to be asked with so many bytes of text.
    pub fn asks(&self, bytes: usize) {
        self.prompt_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many bytes of text, thinking text or tool calls came.
    pub fn hears(&self, bytes: usize) {
        self.answer_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What it cost: as the upstream told, else about. Nothing when the upstream was not asked, or refused.
    pub fn cost(&self, told: Option<Usage>, outcome: Outcome) -> Option<Usage> {
        let prompt = self.prompt_bytes.load(Ordering::Relaxed);
        let answer = self.answer_bytes.load(Ordering::Relaxed);
        let is_refused = answer == 0 && outcome == Outcome::Failed;
        let about = || (prompt > 0 && !is_refused).then(|| Usage::estimated(prompt, answer));
        told.or_else(about)
    }

    /// Somebody asked for its end, or nobody read it any more.
    pub fn is_stopped(&self) -> bool {
        self.claim.get() == Some(&Outcome::Stopped)
    }

    /// Claims how it ends and answers how it really does: with `outcome` when this is the first claim, else as claimed before.
    pub fn claim(&self, outcome: Outcome) -> Outcome {
        *self.claim.get_or_init(|| outcome)
    }

    /// Asks for its end, as `stopped` or `interrupted`, unless it has been claimed already. Returns at once; [`EventLog::closed`]
    /// tells when the end is there.
    pub fn end(&self, outcome: Outcome) {
        self.claim(outcome);
        self.cancelled.cancel();
    }

    /// Resolves when somebody asked for its end, or what it was asked for with does not hold any more: it is `stopped` then.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
        // Whoever asked has claimed how.
        self.claim(Outcome::Stopped);
    }

    /// Everything about its end, set by its task just before the terminal event.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }

    /// The first ending stays.
    pub fn set_ending(&self, ending: Ending) -> &Ending {
        self.ending.get_or_init(|| ending)
    }

    /// True once its end outlives this process, in the store or on disk.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }

    /// True once its conversation was deleted: nobody finds it by its id any more.
    pub fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Set by the registry.
    pub fn forget(&self) {
        self.forgotten.store(true, Ordering::Release);
    }

    /// Set by the recorder.
    pub fn set_kept(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// As a client may read it; `None` while its turn is still being stored.
    pub fn record(&self) -> Option<GenerationRecord> {
        // The end is set before its event is appended: it counts from the event on.
        let ending = self.ending().filter(|_| self.log.is_closed());
        self.record_with(ending, self.log.seq())
    }

    /// As a client will read it once it has ended like this.
    pub fn record_ended(&self, ending: &Ending) -> Option<GenerationRecord> {
        self.record_with(Some(ending), ending.last_seq)
    }

    fn record_with(&self, ending: Option<&Ending>, seq: u64) -> Option<GenerationRecord> {
        self.is_there().then(|| GenerationRecord {
            id: self.id,
            conversation_id: self.conversation_id(),
            message_id: self.message_id(),
            status: ending.map_or(Progress::Running, |ending| Progress::Ended(ending.outcome)),
            seq,
            model: ending.and_then(|ending| ending.model.clone()),
            finish_reason: ending.and_then(|ending| ending.finish_reason.clone()),
            usage: ending.and_then(|ending| ending.usage),
            timings: ending.map(|ending| ending.timings),
            problem: ending.and_then(|ending| ending.problem.clone()),
            created_at: self.created_at,
        })
    }

    /// The text so far and its position.
    pub fn snapshot(&self) -> (Transcript, u64) {
        self.log.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{sync::Barrier, thread};

    #[test]
    fn of_many_claims_at_once_one_wins_and_all_are_told_the_same() {
        for _ in 0..200 {
            let generation = Arc::new(Generation::new(
                GenerationId::new(),
                Some(MessageId::new()),
                Standing::of(UserId::new()),
                String::new(),
                EventLog::new(1024),
            ));
            let barrier = Arc::new(Barrier::new(4));
            let claims = [
                Outcome::Completed,
                Outcome::Stopped,
                Outcome::Failed,
                Outcome::Interrupted,
            ]
            .map(|outcome| {
                let (generation, barrier) = (generation.clone(), barrier.clone());
                thread::spawn(move || {
                    barrier.wait();
                    generation.claim(outcome)
                })
            })
            .map(|thread| thread.join().expect("no panic"));
            assert!(claims.iter().all(|claim| *claim == claims[0]), "{claims:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whoever ends it, in whatever order and from however many threads: all are told one outcome, it is one of those that were
        /// asked for, and who comes later is told the same.
        #[test]
        fn a_schedule_of_claims_and_stops_has_one_outcome(
            threads in prop::collection::vec(prop::collection::vec((any::<bool>(), 0usize..4, 0u32..200), 1..5), 1..5),
        ) {
            const OUTCOMES: [Outcome; 4] = [Outcome::Completed, Outcome::Stopped, Outcome::Failed, Outcome::Interrupted];
            let generation = Arc::new(Generation::new(
                GenerationId::new(),
                Some(MessageId::new()),
                Standing::of(UserId::new()),
                String::new(),
                EventLog::new(1024),
            ));
            let asked: Vec<Outcome> = threads.iter().flatten().map(|(_, which, _)| OUTCOMES[*which]).collect();
            let barrier = Arc::new(Barrier::new(threads.len()));
            let running: Vec<_> = threads
                .into_iter()
                .map(|steps| {
                    let (generation, barrier) = (generation.clone(), barrier.clone());
                    thread::spawn(move || {
                        barrier.wait();
                        let mut told = Vec::new();
                        for (ends, which, spins) in steps {
                            (0..spins).for_each(|_| std::hint::spin_loop());
                            if ends {
                                generation.end(OUTCOMES[which]);
                            }
                            told.push(generation.claim(OUTCOMES[which]));
                        }
                        told
                    })
                })
                .collect();
            let told: Vec<Outcome> = running.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
            let outcome = generation.claim(Outcome::Truncated);
            prop_assert!(told.iter().all(|told| *told == outcome), "{:?}", told);
            prop_assert!(asked.contains(&outcome));
        }
    }
}
