//! Answers to OpenAI's own clients: the upstream is asked what they ask, and its payloads are the log, byte for byte.
//!
//! They live in memory while they run and a while after; a conversation keeps those that ask for it (`kept`). As everywhere, a task of its
//! own owns the generation; whoever asked waits for the first payload, so that a refusal of the upstream is still theirs to answer with.

mod end;
mod opening;

pub use end::why_not_whole;
pub use opening::{Opened, Opening};

use super::{Chat, StartError, ending::Stopper, kept::Kept};
use crate::{
    generation::Generation,
    log::EventLog,
    model::{Problem, Usage},
    openai,
    registry::Slot,
    store::{Once, WholeConversation},
    upstream::{Delta, Failure, Step, Upstream, UpstreamError, Words},
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
    /// As the upstream calls it.
    pub model: String,
}

/// Why there is not a single payload.
#[derive(Debug)]
pub enum RelayRefused {
    Upstream {
        problem: Problem,
        /// The upstream's own, when it refused.
        words: Option<Box<Words>>,
    },
    /// It was to be, and could not.
    NotKept(StartError),
}

/// Resolves with the first payload. Dropping it ends nothing.
pub type Begun = oneshot::Receiver<Result<(), RelayRefused>>;

impl Chat {
    /// Asks the upstream, on this worker.
    pub fn relay(self: &Arc<Self>, upstream: &Upstream, opening: Opening, relay: Relay) -> Begun {
        let (begun, first) = oneshot::channel();
        let Opening {
            slot,
            keeps,
            once,
            turn,
        } = opening;
        let reading = Reading {
            keeps,
            reply: Some(Reply {
                to: begun,
                once,
                _turn: turn,
            }),
            ..Reading::default()
        };
        let task = run(self.clone(), upstream.clone(), slot, relay, reading);
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

async fn run(
    chat: Arc<Chat>,
    upstream: Upstream,
    generation: Slot,
    relay: Relay,
    mut reading: Reading,
) {
    let end = reading.read(&chat, &upstream, &generation, relay).await;
    end::finish(&chat, &generation, end, reading).await;
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
    /// What is to be kept, until it is.
    keeps: Option<Box<WholeConversation>>,
    kept: Option<Kept>,
}

impl Reading {
    async fn read(
        &mut self,
        chat: &Arc<Chat>,
        upstream: &Upstream,
        generation: &Arc<Generation>,
        mut relay: Relay,
    ) -> Result<Option<String>, Stopper> {
        generation.asks(openai::text_bytes(&relay.request));
        // Gone once there is an answer.
        let asked = upstream.relay(std::mem::take(&mut relay.request));
        let mut completion = unless_cancelled(generation, asked).await??;
        loop {
            let step = unless_cancelled(generation, completion.next()).await?;
            let payloads = completion.take_payloads();
            let is_whole = completion.is_whole();
            let has_begun = !payloads.is_empty() || matches!(step, Ok(Step::End { .. }));
            if has_begun && !is_whole && !relay.streams {
                return Err(streamed_unasked().into());
            }
            if has_begun {
                self.keep(chat, generation, &relay).await?;
            }
            self.append(chat, payloads, is_whole, generation, &relay)?;
            match step? {
                Step::End { finish_reason } => return Ok(finish_reason),
                Step::Deltas(deltas) => self.count(chat, generation, deltas)?,
            }
        }
    }

    /// Stores what is to be kept, unless it is. Not to be cancelled.
    async fn keep(
        &mut self,
        chat: &Arc<Chat>,
        generation: &Arc<Generation>,
        relay: &Relay,
    ) -> Result<(), Stopper> {
        let Some(said) = self.keeps.take() else {
            return Ok(());
        };
        let once = self.reply.as_ref().and_then(|reply| reply.once.as_ref());
        match Kept::begin(chat, generation, *said, once, &relay.model).await {
            Ok(kept) => {
                self.kept = Some(kept);
                Ok(())
            }
            Err(error) => {
                if let Some(reply) = self.reply.take() {
                    reply.refused(RelayRefused::NotKept(error));
                }
                Err(Stopper::NotKept)
            }
        }
    }

    fn append(
        &mut self,
        chat: &Chat,
        payloads: Vec<String>,
        is_whole: bool,
        generation: &Arc<Generation>,
        relay: &Relay,
    ) -> Result<(), Stopper> {
        for payload in payloads {
            let payload = if relay.streams && is_whole {
                openai::as_chunk(&payload)
            } else {
                payload
            };
            if relay.streams && !relay.shows_usage && openai::is_usage(&payload) {
                continue;
            }
            payload_log(generation).append_payload(payload)?;
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
        if let Some(kept) = &mut self.kept {
            return kept.reading().add(chat, generation, deltas);
        }
        for delta in deltas {
            match delta {
                Delta::Usage(usage) => self.usage = Some(usage),
                Delta::Model(model) => self.model = Some(model),
                delta => {
                    let bytes = size(&delta);
                    generation.hears(bytes);
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

/// Drops the future when somebody asks for the end.
async fn unless_cancelled<T>(
    generation: &Generation,
    future: impl Future<Output = T>,
) -> Result<T, Stopper> {
    tokio::select! {
        biased;
        () = generation.cancelled() => Err(Stopper::Asked),
        done = future => Ok(done),
    }
}

fn payload_log(generation: &Generation) -> &EventLog {
    generation
        .payload_log()
        .expect("it is there from the beginning")
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
