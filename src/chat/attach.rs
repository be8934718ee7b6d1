//! Where a generation is read from: its log while it runs and a while after, else what is kept of it.

use super::{Chat, ChatError};
use crate::{
    cursor::Cursor,
    event::{Done, Encoded, Event, EventSegment, Transcript},
    generation::Generation,
    log::{EventLog, Format},
    model::{
        ConversationId, GenerationId, GenerationRecord, LOST_POSITIONS, Message, Outcome, Progress,
        UserId,
    },
    recorder::Waiting,
    registry::Target,
    store::{StoreError, StoredGeneration},
};
use std::sync::Arc;

/// A reader's cursor and what it reads from.
#[derive(Debug)]
pub struct Attachment {
    pub target: Target,
    pub cursor: Cursor,
    pub conversation_id: Option<ConversationId>,
}

/// What there is of a generation's payloads.
#[derive(Debug)]
pub enum Payloads {
    Here(Attachment),
    /// There are none after this position: they left memory, or never were.
    Gone,
}

/// What there is of a generation.
pub(super) enum Found {
    /// It runs here, or ended a moment ago.
    Live(Arc<Generation>),
    /// It has ended, and waits on disk for the store.
    Waiting(Arc<Waiting>),
    /// It has ended.
    Stored(StoredGeneration),
    /// Another node runs it.
    Elsewhere(StoredGeneration),
}

impl Chat {
    /// A reader of this user's generation from position `after`; `None` when there is no such generation of theirs.
    pub async fn attach(
        &self,
        user: UserId,
        id: GenerationId,
        after: u64,
    ) -> Result<Option<Attachment>, ChatError> {
        let (log, conversation_id) = match self.find(user, id).await? {
            None => return Ok(None),
            Some(Found::Elsewhere(_)) => return Err(ChatError::Elsewhere),
            Some(Found::Live(generation)) if generation.log.format() == Format::OpenAi => {
                return Err(ChatError::Relayed);
            }
            Some(Found::Live(generation)) => (generation.log.clone(), generation.conversation_id()),
            Some(Found::Waiting(waiting)) => {
                let log = in_one_piece(&waiting.record, waiting.transcript());
                (log, waiting.record.conversation_id)
            }
            Some(Found::Stored(StoredGeneration { record, message })) => {
                let log = self.stored_log(&record, transcript(message), after).await?;
                (log, record.conversation_id)
            }
        };
        Ok(Some(Attachment {
            target: Target::Generation(id),
            cursor: log.cursor(after),
            conversation_id,
        }))
    }

    /// A reader of the payloads of this user's generation from position `after`; `None` when there is no such generation of theirs.
    pub async fn attach_payloads(
        &self,
        user: UserId,
        id: GenerationId,
        after: u64,
    ) -> Result<Option<Payloads>, ChatError> {
        let generation = match self.find(user, id).await? {
            None => return Ok(None),
            Some(Found::Live(generation)) => generation,
            Some(_) => return Ok(Some(Payloads::Gone)),
        };
        let log = generation.payload_log().filter(|log| log.has(after));
        Ok(Some(match log.and(generation.payloads()) {
            None => Payloads::Gone,
            Some(payloads) => Payloads::Here(Attachment {
                target: Target::Generation(id),
                cursor: Cursor::new(payloads, after),
                conversation_id: generation.conversation_id(),
            }),
        }))
    }

    /// With the events after `after`, as far as they are kept one by one.
    async fn stored_log(
        &self,
        record: &GenerationRecord,
        transcript: Transcript,
        after: u64,
    ) -> Result<Arc<EventLog>, StoreError> {
        // A reader who has it all needs nothing to be read.
        if after >= record.seq {
            return Ok(in_one_piece(record, transcript));
        }
        // From the one before: what follows the last that is kept is known from it.
        let mut segments = self
            .store
            .events(record.id, after.saturating_sub(1))
            .await?;
        if segments.is_empty() && after > 0 {
            // In the hole that a kill left, perhaps.
            segments = self.store.events(record.id, 0).await?;
        }
        Ok(match recorded(record, &segments) {
            Some((base, events)) => {
                EventLog::recorded(base, events, record.seq, transcript, &done(record))
            }
            None => in_one_piece(record, transcript),
        })
    }

    /// `None` when there is no such generation of this user.
    pub async fn generation(
        &self,
        user: UserId,
        id: GenerationId,
    ) -> Result<Option<GenerationRecord>, ChatError> {
        Ok(match self.find(user, id).await? {
            None => None,
            Some(Found::Live(generation)) => generation.record(),
            Some(Found::Waiting(waiting)) => Some(waiting.record.clone()),
            Some(Found::Stored(stored) | Found::Elsewhere(stored)) => Some(stored.record),
        })
    }

    /// What the store calls running and nobody runs is ended here, so that no look ever finds a generation without a life of its own.
    pub(super) async fn find(
        &self,
        user: UserId,
        id: GenerationId,
    ) -> Result<Option<Found>, ChatError> {
        let mut looks = 0;
        loop {
            looks += 1;
            if let Some(generation) = self.registry.generation(user, id) {
                // One whose turn is still being stored, or was refused, is not there for anybody.
                return Ok(generation.is_there().then_some(Found::Live(generation)));
            }
            if let Some(waiting) = self.recorder.waiting(user, id) {
                return Ok(Some(Found::Waiting(waiting)));
            }
            let Some(stored) = self.store.generation(user, id).await? else {
                return Ok(None);
            };
            if stored.record.status != Progress::Running {
                return Ok(Some(Found::Stored(stored)));
            }
            // It may have begun since the first look.
            if self.registry.is_running(id) {
                continue;
            }
            let node = self.recorder.lease().node;
            if looks > 2 || self.store.runs_elsewhere(node, id).await? {
                return Ok(Some(Found::Elsewhere(stored)));
            }
            // Or ended since: then this changes nothing, and the next look sees how. One of a node whose lease has just run out is left to
            // the sweep, which takes that lease.
            self.recorder.recover_one(id).await?;
        }
    }
}

/// The events one by one, as far as any reader may have read them, and the position before them; `None` when some are gone.
fn recorded(record: &GenerationRecord, segments: &[EventSegment]) -> Option<(u64, Vec<Encoded>)> {
    let base = segments.first()?.first_seq - 1;
    let mut events = Vec::new();
    let mut last = base;
    for segment in segments {
        if segment.first_seq != last + 1 {
            return None;
        }
        events.extend(segment.events()?);
        last = segment.last_seq;
    }
    let is_whole = [last + 1, last + LOST_POSITIONS].contains(&record.seq);
    is_whole.then_some((base, events))
}

/// All text in one piece, and the end.
fn in_one_piece(record: &GenerationRecord, transcript: Transcript) -> Arc<EventLog> {
    EventLog::ended(record.seq, transcript, &done(record))
}

fn done(record: &GenerationRecord) -> Event {
    let outcome = match record.status {
        Progress::Ended(outcome) => outcome,
        Progress::Running => Outcome::Interrupted,
    };
    Event::Done(Box::new(Done {
        outcome,
        finish_reason: record.finish_reason.clone(),
        usage: record.usage,
        timings: record.timings,
        stored: true,
        problem: record.problem.clone(),
    }))
}

fn transcript(message: Message) -> Transcript {
    Transcript {
        text: message.content,
        reasoning: message.reasoning.unwrap_or_default(),
        tool_calls: message.tool_calls.unwrap_or_default(),
    }
}
