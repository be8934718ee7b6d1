//! The task that reads one answer: stores its turn, has the upstream read into the log, stores the end, and only then tells it.

use super::{
    Chat, Start, StartError, Started,
    ending::{Claimed, Stopper, claim, millis, report},
    reading::{self, Reading},
};
use crate::{
    event::{self, Done, Event, Snapshot},
    feed::Announced,
    generation::Generation,
    model::{Ending, Timings},
    recorder::Kept,
    registry::Slot,
    store::{Effect, Turn},
    upstream::Upstream,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedMutexGuard, oneshot},
    time::sleep,
};

/// Between two tries to keep an end while nothing takes it.
const STORE_AGAIN: Duration = Duration::from_millis(250);

/// The way back to whoever asked. Its twins wait for as long as it is there.
pub(super) struct Reply {
    pub to: oneshot::Sender<Result<Started, StartError>>,
    pub _turn: Option<OwnedMutexGuard<()>>,
}

impl Reply {
    fn send(self, answer: Result<Started, StartError>) {
        // Nobody may be waiting any more; the answer is the server's all the same.
        let _ = self.to.send(answer);
    }
}

pub(super) async fn run(
    chat: Arc<Chat>,
    upstream: Upstream,
    generation: Slot,
    start: Start,
    started: Started,
    reply: Reply,
) {
    let turn = match begin(&chat, &start, &started).await {
        Ok(Begun::Now(turn)) => turn,
        Ok(Begun::Before(earlier)) => return reply.send(Ok(earlier)),
        Err(error) => return reply.send(Err(error)),
    };
    generation.belongs_to(turn.conversation_id);
    // It goes before the slot does, whatever happens in between.
    let announced = chat.feeds.begun(&generation);
    reply.send(Ok(started.clone()));
    chat.tell(start.standing.user, turn.conversation_id);

    let before = turn.before.as_ref();
    let first = |model| {
        let started = Event::Started(event::Started {
            generation_id: generation.id,
            conversation_id: turn.conversation_id,
            message_id: started.message_id,
            parent_id: turn.parent_id,
            model,
            base: before.map(|before| before.text.chars().count() as u64),
        });
        match before {
            None => generation.log.append(&started),
            // Whoever reads one without the other assembles less than the message has.
            Some(before) => {
                let before = Event::Snapshot(Snapshot::open(before.clone()));
                generation.log.append_both(&started, &before)
            }
        }
    };
    let mut reading = Reading::new(before);
    let mut end = tokio::select! {
        biased;
        () = generation.cancelled() => Err(Stopper::Asked),
        end = async {
            let model = chat.model(&upstream, turn.model.clone()).await;
            let _ = generation.model.set(model.clone());
            first(Some(model.clone()))?;
            reading.model = Some(model.clone());
            let request = reading::request(model, &turn, start.sampling.or(turn.sampling.clone()));
            reading.read(&chat, &upstream, &generation, &request).await
        } => end,
    };
    if generation.log.seq() == 0 {
        // Stopped before the model's name was known; a log begins with `started` all the same.
        let _ = first(None);
    }
    if let Err(full) = reading.let_go(&generation.log) {
        end = end.and(Err(full.into()));
    }
    finish(&chat, &generation, &announced, end, reading).await;
    // Its end made it the latest of the list.
    chat.tell(generation.owner, turn.conversation_id);
    chat.ask_for_title(upstream, &generation, &turn);
}

enum Begun {
    Now(Box<Turn>),
    /// A concurrent twin with the same idempotency key came first.
    Before(Started),
}

async fn begin(chat: &Chat, start: &Start, started: &Started) -> Result<Begun, StartError> {
    let new = start.new_turn(started, chat.recorder.lease());
    let receipt = start.receipt(started);
    let once = receipt.as_ref().map(|(once, receipt)| (*once, receipt));
    match chat
        .store
        .begin_turn(start.standing.user, &new, once)
        .await?
    {
        Ok(Effect::Done(turn)) => Ok(Begun::Now(Box::new(turn))),
        Ok(before) => replayed(before).map(Begun::Before),
        Err(refused) => Err(StartError::Refused(refused)),
    }
}

/// What was answered when this was asked before.
pub(super) fn replayed<T>(before: Effect<T>) -> Result<Started, StartError> {
    let Effect::Before(receipt) = before else {
        return Err(StartError::KeyReused);
    };
    serde_json::from_value(receipt.body).map_err(|_| StartError::KeyReused)
}

/// Claims the end, stores it, and only then appends the terminal event.
pub(super) async fn finish(
    chat: &Chat,
    generation: &Generation,
    announced: &Announced,
    end: Result<Option<String>, Stopper>,
    reading: Reading,
) {
    let Claimed {
        outcome,
        finish_reason,
        problem,
    } = claim(chat, generation, end);
    let leaves_message = reading.leaves_message(outcome);
    let total = generation.started.elapsed();
    let thinking = reading.thinking.time(total);
    let (transcript, seq) = generation.snapshot();
    let ending = generation.set_ending(Ending {
        outcome,
        content: transcript.text,
        reasoning: Some(transcript.reasoning).filter(|reasoning| !reasoning.is_empty()),
        tool_calls: Some(transcript.tool_calls).filter(|calls| !calls.is_empty()),
        model: reading.model,
        finish_reason,
        usage: generation.cost(reading.usage, outcome),
        timings: Timings {
            first_token_ms: reading.first_token.map(millis),
            thinking_ms: thinking.map(millis),
            total_ms: millis(total),
        },
        problem,
        last_seq: seq + 1,
        leaves_message,
    });
    report(generation, ending);
    keep(chat, generation, announced, ending).await;
}

/// Keeps the end and announces it. When neither database nor disk takes it, it is announced as not stored, and tried for as long as
/// the process lives.
async fn keep(chat: &Chat, generation: &Generation, announced: &Announced, ending: &Ending) {
    loop {
        match chat.recorder.end(generation, ending).await {
            Kept::Safe if generation.log.is_closed() => {
                break tracing::info!(generation.id = %generation.id, "an answer was stored late");
            }
            Kept::Safe => break announce(generation, announced, ending, true),
            Kept::Refused if generation.log.is_closed() => break,
            Kept::Refused => break announce(generation, announced, ending, false),
            Kept::NotYet => {}
        }
        if !generation.log.is_closed() {
            tracing::error!(generation.id = %generation.id, "an answer is neither in the database nor on disk yet");
            announce(generation, announced, ending, false);
        }
        sleep(STORE_AGAIN).await;
    }
}

fn announce(generation: &Generation, announced: &Announced, ending: &Ending, stored: bool) {
    let done = Done {
        outcome: ending.outcome,
        finish_reason: ending.finish_reason.clone(),
        usage: ending.usage,
        timings: Some(ending.timings),
        stored,
        problem: ending.problem.clone(),
    };
    generation
        .log
        .append(&Event::Done(Box::new(done)))
        .expect("only this task ends the log, once");
    // Whoever reads the generation because of this finds its end.
    announced.ended(ending.outcome);
}
