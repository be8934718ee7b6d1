//! Answers to OpenAI's own clients: the upstream is asked what they ask, and its payloads are the log, byte for byte.
//!
//! No conversation keeps them: they live in memory while they run and a while after. As everywhere, a task of its own owns the
//! generation; whoever asked waits for the first payload, so that a refusal of the upstream is still theirs to answer with.

use super::{
    Chat, StartError,
    ending::{Stopper, millis, outcome_of, problem_of, report},
    twins::Reused,
};
use crate::{
    generation::Generation,
    log::EventLog,
    model::{Ending, GenerationId, Outcome, Problem, Timings, Usage, UserId},
    openai,
    registry::Slot,
    store::Once,
    upstream::{Completion, Delta, Failure, Step, Upstream, UpstreamError, Words},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedMutexGuard, oneshot};

/// What the upstream is asked in a client's name.
#[derive(Debug, Clone)]
pub struct Relay {
    /// JSON in the shape of OpenAI's.
    pub request: Bytes,
    /// As the request says.
    pub streams: bool,
    /// The client wants to see the chunk that tells the usage.
    pub shows_usage: bool,
}

/// Why there is not a single payload.
#[derive(Debug)]
pub struct RelayRefused {
    pub problem: Problem,
    /// The upstream's own, when it refused.
    pub words: Option<Box<Words>>,
}

/// Resolves with the first payload. Dropping it ends nothing.
pub type Begun = oneshot::Receiver<Result<(), RelayRefused>>;

/// A place among the running generations, for an answer that has not been asked for yet.
#[derive(Debug)]
pub struct Opening {
    slot: Slot,
    once: Option<Once>,
    /// Twins wait for as long as it is there.
    turn: Option<OwnedMutexGuard<()>>,
}

impl Opening {
    pub fn generation(&self) -> &Arc<Generation> {
        &self.slot
    }
}

/// What a request gets.
#[derive(Debug)]
pub enum Opened {
    New(Opening),
    /// The answer to the same request with the same key.
    Before(Arc<Generation>),
}

impl Chat {
    /// Takes a place; dropping it gives it back. The same `once` again finds the answer that it stands for, once that has begun and while
    /// it is in memory.
    pub async fn open_relay(
        &self,
        owner: UserId,
        request_id: String,
        once: Option<Once>,
    ) -> Result<Opened, StartError> {
        let mut turn = None;
        if let Some(once) = &once {
            turn = Some(self.twins.turn(owner, once).await);
            let before = self.repeats.find(owner, once);
            if let Some(before) = before.map_err(|Reused| StartError::KeyReused)? {
                return Ok(Opened::Before(before));
            }
        }
        let log = EventLog::of_payloads(self.registry.log_bytes());
        let generation = Generation::new(GenerationId::new(), None, owner, request_id, log);
        let slot = self.registry.reserve(generation)?;
        Ok(Opened::New(Opening { slot, once, turn }))
    }

    /// Asks the upstream, on this worker.
    pub fn relay(self: &Arc<Self>, upstream: &Upstream, opening: Opening, relay: Relay) -> Begun {
        let (begun, first) = oneshot::channel();
        let Opening { slot, once, turn } = opening;
        let reply = Reply {
            to: begun,
            once,
            _turn: turn,
        };
        let task = run(self.clone(), upstream.clone(), slot, relay, reply);
        self.tasks.spawn_local(task);
        first
    }
}

/// The way back to whoever asked, until there is something to say.
struct Reply {
    to: oneshot::Sender<Result<(), RelayRefused>>,
    once: Option<Once>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Reply {
    /// The first payload is there. What failed before may be asked again under the same key.
    fn begun(self, chat: &Chat, generation: &Arc<Generation>) {
        if let Some(once) = &self.once {
            chat.repeats.keep(once, generation);
        }
        // Nobody may be waiting any more.
        let _ = self.to.send(Ok(()));
    }

    fn refused(self, refused: RelayRefused) {
        let _ = self.to.send(Err(refused));
    }
}

async fn run(chat: Arc<Chat>, upstream: Upstream, generation: Slot, relay: Relay, reply: Reply) {
    let mut reading = Reading {
        reply: Some(reply),
        ..Reading::default()
    };
    let end = tokio::select! {
        biased;
        () = generation.cancelled() => Err(Stopper::Asked),
        end = reading.read(&chat, &upstream, &generation, &relay) => end,
    };
    finish(&chat, &generation, end, reading);
}

/// What is known of an answer besides its payloads.
#[derive(Default)]
struct Reading {
    model: Option<String>,
    usage: Option<Usage>,
    first_token: Option<Duration>,
    bytes: usize,
    /// Until the first payload is there.
    reply: Option<Reply>,
}

impl Reading {
    async fn read(
        &mut self,
        chat: &Chat,
        upstream: &Upstream,
        generation: &Arc<Generation>,
        relay: &Relay,
    ) -> Result<Option<String>, Stopper> {
        let mut completion = upstream.relay(relay.request.clone()).await?;
        loop {
            let step = completion.next().await;
            self.append(chat, &mut completion, generation, relay)?;
            match step? {
                Step::End { .. } if !relay.streams && generation.log.seq() == 0 => {
                    return Err(streamed_unasked().into());
                }
                Step::End { finish_reason } => return Ok(finish_reason),
                Step::Deltas(deltas) => self.count(chat, generation, deltas)?,
            }
        }
    }

    fn append(
        &mut self,
        chat: &Chat,
        completion: &mut Completion,
        generation: &Arc<Generation>,
        relay: &Relay,
    ) -> Result<(), Stopper> {
        for payload in completion.take_payloads() {
            let payload = match (relay.streams, completion.is_whole()) {
                (true, true) => openai::as_chunk(&payload),
                (false, false) => return Err(streamed_unasked().into()),
                _ => payload,
            };
            if relay.streams && !relay.shows_usage && openai::is_usage(&payload) {
                continue;
            }
            generation.log.append_payload(payload)?;
            if let Some(reply) = self.reply.take() {
                reply.begun(chat, generation);
            }
        }
        Ok(())
    }

    fn count(
        &mut self,
        chat: &Chat,
        generation: &Generation,
        deltas: Vec<Delta>,
    ) -> Result<(), Stopper> {
        for delta in deltas {
            match delta {
                Delta::Usage(usage) => self.usage = Some(usage),
                Delta::Model(model) => self.model = Some(model),
                delta => {
                    let bytes = size(&delta);
                    self.bytes += bytes;
                    if bytes > 0 {
                        self.first_token
                            .get_or_insert_with(|| generation.started.elapsed());
                    }
                }
            }
        }
        if self.bytes > chat.options.answer_bytes {
            return Err(Stopper::AnswerTooLarge);
        }
        Ok(())
    }
}

/// Bytes that a delta adds to the answer: its text, or the JSON of its tool calls.
fn size(delta: &Delta) -> usize {
    match delta {
        Delta::Text(text) | Delta::Reasoning(text) => text.len(),
        Delta::ToolCalls(calls) => serde_json::to_string(calls).map_or(0, |json| json.len()),
        Delta::Usage(_) | Delta::Model(_) => 0,
    }
}

/// No client that asked for a whole answer can read chunks.
fn streamed_unasked() -> UpstreamError {
    UpstreamError {
        kind: Failure::Unreadable,
        message: "the upstream streamed its answer although it was asked not to".to_owned(),
        status: None,
        retry_after: None,
        words: None,
    }
}

/// Claims the end and tells it: in the log, and to whoever still waits for the first payload.
fn finish(
    chat: &Chat,
    generation: &Arc<Generation>,
    end: Result<Option<String>, Stopper>,
    reading: Reading,
) {
    let natural = match &end {
        Ok(_) => Outcome::Completed,
        Err(stopper) => outcome_of(stopper),
    };
    let outcome = generation.claim(natural);
    let (finish_reason, stopper) = match end {
        Ok(finish_reason) => (finish_reason, None),
        Err(stopper) => (None, Some(stopper)),
    };
    let problem = match outcome {
        Outcome::Stopped => Some(stopped()),
        outcome => problem_of(outcome, stopper.as_ref(), chat),
    };
    let problem = problem.map(|problem| Problem {
        instance: Some(generation.request_id.clone()),
        ..problem
    });
    let words = match stopper {
        Some(Stopper::Upstream(error)) => error.words,
        _ => None,
    };
    let ending = generation.set_ending(Ending {
        outcome,
        content: String::new(),
        reasoning: None,
        tool_calls: None,
        model: reading.model,
        finish_reason,
        usage: reading.usage,
        timings: Timings {
            first_token_ms: reading.first_token.map(millis),
            total_ms: millis(generation.started.elapsed()),
        },
        problem: problem.clone(),
        last_seq: generation.log.seq() + 1,
        leaves_message: false,
    });
    report(generation, ending);
    let last = match &problem {
        None => openai::DONE.to_owned(),
        Some(problem) => {
            let json = words.as_ref().and_then(|words| words.json.as_deref());
            openai::error_or_ours(json, problem)
        }
    };
    generation
        .log
        .append_end(last)
        .expect("only this task ends the log, once");
    match (reading.reply, problem) {
        (None, _) => {}
        (Some(reply), None) => reply.begun(chat, generation),
        (Some(reply), Some(problem)) => reply.refused(RelayRefused { problem, words }),
    }
}

fn stopped() -> Problem {
    Problem::new(
        410,
        "stopped",
        "The answer was stopped",
        "somebody stopped this answer, or its last reader left",
    )
}
