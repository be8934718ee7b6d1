//! Exchanges of OpenAI's clients that a conversation keeps. They begin in the store when the upstream has begun to answer, so that a refusal
//! leaves nothing behind; from there on they have events beside their payloads, and are recorded, followed and ended as any other answer.

use super::{Chat, StartError, ending::Stopper, reading::Reading, run};
use crate::{
    event::{self, Event},
    feed::Announced,
    generation::Generation,
    model::ConversationId,
    store::{Effect, NewTurn, Once, Receipt, TurnOf, WholeConversation},
};
use serde_json::json;
use std::sync::Arc;

/// An exchange that is in the store, and its answer while it is read.
pub(super) struct Kept {
    conversation_id: ConversationId,
    /// It goes before the generation's slot does.
    announced: Announced,
    reading: Reading,
}

impl Kept {
    /// Stores what was said and the answer that is about to be written. The future must not be dropped: nobody would know whether it did.
    pub async fn begin(
        chat: &Arc<Chat>,
        generation: &Arc<Generation>,
        said: WholeConversation,
        once: Option<&Once>,
        model: &str,
    ) -> Result<Self, StartError> {
        let conversation_id = said.new.id;
        let message_id = generation.will_write().expect("of one that is kept");
        let new = NewTurn {
            generation_id: generation.id,
            message_id,
            lease: chat.recorder.lease(),
            model: None,
            of: TurnOf::Exchange(Box::new(said)),
        };
        let receipt = Receipt {
            location: format!("/v1/generations/{}", generation.id),
            body: json!({ "generation_id": generation.id }),
        };
        let once = once.map(|once| (once, &receipt));
        let turn = match chat.store.begin_turn(generation.owner, &new, once).await? {
            Ok(Effect::Done(turn)) => turn,
            Ok(before) => return Err(answered_before(before)),
            Err(refused) => return Err(StartError::Refused(refused)),
        };
        generation.belongs_to(conversation_id);
        let _ = generation.model.set(model.to_owned());
        let announced = chat.feeds.begun(generation);
        chat.tell(generation.owner, conversation_id);
        let started = Event::Started(event::Started {
            generation_id: generation.id,
            conversation_id,
            message_id,
            parent_id: turn.parent_id,
            model: Some(model.to_owned()),
            base: None,
        });
        let _ = generation.log.append(&started);
        let mut reading = Reading::new(None);
        reading.model = Some(model.to_owned());
        Ok(Self {
            conversation_id,
            announced,
            reading,
        })
    }

    /// What one read brought, as events.
    pub fn reading(&mut self) -> &mut Reading {
        &mut self.reading
    }

    /// Claims the end, stores it, and tells it in the log of the events.
    pub async fn finish(
        mut self,
        chat: &Arc<Chat>,
        generation: &Generation,
        mut end: Result<Option<String>, Stopper>,
    ) {
        if let Err(full) = self.reading.let_go(&generation.log) {
            end = end.and(Err(full.into()));
        }
        run::finish(chat, generation, &self.announced, end, self.reading).await;
        chat.tell(generation.owner, self.conversation_id);
    }
}

/// The same was asked under the same key, or something else was.
pub(super) fn answered_before<T>(before: Effect<T>) -> StartError {
    match before {
        Effect::Before(receipt) => StartError::AnsweredBefore(receipt.location),
        Effect::KeyReused | Effect::Done(_) => StartError::KeyReused,
    }
}
