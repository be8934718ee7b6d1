//! A place for an answer, before the upstream is asked for it.

use crate::{
    chat::{Chat, StartError, kept::answered_before, twins::Reused},
    generation::Generation,
    log::EventLog,
    model::{GenerationId, MessageId},
    registry::Slot,
    standing::Standing,
    store::{Once, WholeConversation},
};
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// A place among the running generations, for an answer that has not been asked for yet.
#[derive(Debug)]
pub struct Opening {
    pub(super) slot: Slot,
    pub(super) keeps: Option<Box<WholeConversation>>,
    pub(super) once: Option<Once>,
    /// Twins wait for as long as it is there.
    pub(super) turn: Option<OwnedMutexGuard<()>>,
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
    /// Takes a place; dropping it gives it back. What was said is given when a conversation is to keep it.
    ///
    /// The same `once` again finds the answer that it stands for, once that has begun and while it is in memory, unless it was stopped;
    /// of one that is kept there is no second.
    pub async fn open_relay(
        &self,
        standing: &Arc<Standing>,
        request_id: String,
        keeps: Option<Box<WholeConversation>>,
        once: Option<Once>,
    ) -> Result<Opened, StartError> {
        let mut turn = None;
        if let Some(once) = &once {
            turn = Some(self.twins.turn(standing.user, once).await);
            let before = self.repeats.find(standing.user, once);
            if let Some(before) = before.map_err(|Reused| StartError::KeyReused)? {
                return Ok(Opened::Before(before));
            }
            if keeps.is_some()
                && let Some(before) = self.store.receipt(standing.user, once).await?
            {
                return Err(answered_before(before));
            }
        }
        if keeps.is_some() && self.recorder.is_stuck() {
            return Err(StartError::SpoolFull);
        }
        self.admit(standing).await?;
        let payloads = EventLog::of_payloads(self.registry.log_bytes());
        let (message_id, log) = match &keeps {
            None => (None, payloads.clone()),
            Some(_) => (
                Some(MessageId::new()),
                EventLog::new(self.registry.log_bytes()),
            ),
        };
        let generation = Generation::new(
            GenerationId::new(),
            message_id,
            standing.clone(),
            request_id,
            log,
        );
        let slot = self.registry.reserve(generation.relaying(payloads))?;
        Ok(Opened::New(Opening {
            slot,
            keeps,
            once,
            turn,
        }))
    }
}
