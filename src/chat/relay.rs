//! Answers to OpenAI's own clients: the upstream is asked what they ask, and its payloads are the log, byte for byte.
//!
//! No conversation keeps them: they live in memory while they run and a while after. As everywhere, a task of its own owns the
//! generation; whoever asked waits for the first payload, so that a refusal of the upstream is still theirs to answer with.

use super::{
    Chat, StartError,
    ending::{Stopper, millis, outcome_of, problem_of, report},
};
use crate::{
    generation::Generation,
    log::EventLog,
    model::{Ending, GenerationId, Outcome, Problem, Timings, Usage, UserId},
    openai,
    registry::Slot,
    upstream::{Completion, Delta, Failure, Step, Upstream, UpstreamError, Words},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

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
pub struct Opening(Slot);

impl Opening {
    pub fn generation(&self) -> &Arc<Generation> {
        &self.0
    }
}

impl Chat {
    /// Takes a place; dropping it gives it back.
    pub fn open_relay(&self, owner: UserId, request_id: String) -> Result<Opening, StartError> {
        let log = EventLog::of_payloads(self.registry.log_bytes());
        let generation = Generation::new(GenerationId::new(), None, owner, request_id, log);
        Ok(Opening(self.registry.reserve(generation)?))
    }

    /// Asks the upstream, on this worker.
    pub fn relay(self: &Arc<Self>, upstream: &Upstream, opening: Opening, relay: Relay) -> Begun {
        let (begun, first) = oneshot::channel();
        let task = run(self.clone(), upstream.clone(), opening.0, relay, begun);
        self.tasks.spawn_local(task);
        first
    }
}

async fn run(
    chat: Arc<Chat>,
    upstream: Upstream,
    generation: Slot,
    relay: Relay,
    begun: oneshot::Sender<Result<(), RelayRefused>>,
) {
    let mut reading = Reading {
        begun: Some(begun),
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
    begun: Option<oneshot::Sender<Result<(), RelayRefused>>>,
}

impl Reading {
    async fn read(
        &mut self,
        chat: &Chat,
        upstream: &Upstream,
        generation: &Generation,
        relay: &Relay,
    ) -> Result<Option<String>, Stopper> {
        let mut completion = upstream.relay(relay.request.clone()).await?;
        loop {
            let step = completion.next().await;
            self.append(&mut completion, generation, relay)?;
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
        completion: &mut Completion,
        generation: &Generation,
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
            if let Some(begun) = self.begun.take() {
                // Nobody may be waiting any more.
                let _ = begun.send(Ok(()));
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
    generation: &Generation,
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
    if let Some(begun) = reading.begun {
        let refused = problem.map(|problem| RelayRefused { problem, words });
        let _ = begun.send(refused.map_or(Ok(()), Err));
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
