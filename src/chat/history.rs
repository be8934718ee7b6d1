//! Conversations with what is being written in them: reading one, and deleting one that may be running.

use super::{Chat, ending};
use crate::{
    event::Transcript,
    model::{Conversation, ConversationId, GenerationId, Message, Outcome, Progress, UserId},
    store::{Deleted, StoreError},
};
use serde::Serialize;

/// A conversation as it is read, with the one of its running generations that a reader would follow.
#[derive(Debug, Serialize)]
pub struct ConversationRead {
    #[serde(flatten)]
    pub conversation: Conversation,
    pub messages: Vec<Message>,
    pub generation: Option<RunningAt>,
}

/// Attaching to this generation at this position continues the text of its message exactly.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RunningAt {
    pub id: GenerationId,
    pub seq: u64,
}

impl Chat {
    /// A conversation with what its running generations have written so far.
    pub async fn conversation(
        &self,
        user: UserId,
        id: ConversationId,
    ) -> Result<Option<ConversationRead>, StoreError> {
        // At most twice: an answer that ended after the first look is in the store at the second.
        for last_look in [false, true] {
            let Some((conversation, mut messages)) = self.store.conversation(user, id).await?
            else {
                return Ok(None);
            };
            let mut running = None;
            let mut ended_meanwhile = false;
            for message in messages
                .iter_mut()
                .filter(|message| message.status == Progress::Running)
            {
                let generation = message
                    .generation_id
                    .and_then(|id| self.registry.generation(user, id));
                match generation {
                    Some(generation) if !generation.log.is_closed() => {
                        let (transcript, seq) = generation.snapshot();
                        show(message, transcript);
                        let is_head = conversation.head_id == Some(message.id);
                        if is_head || running.is_none() {
                            running = Some(RunningAt {
                                id: generation.id,
                                seq,
                            });
                        }
                    }
                    Some(generation) => {
                        ended_meanwhile = true;
                        // Still not stored: the store is down, and memory is all there is.
                        if let Some(ending) = generation.ending() {
                            show(message, generation.snapshot().0);
                            message.status = Progress::Ended(ending.outcome);
                            message.problem.clone_from(&ending.problem);
                        }
                    }
                    None => {
                        ended_meanwhile = true;
                        message.status = Progress::Ended(Outcome::Interrupted);
                    }
                }
            }
            if last_look || !ended_meanwhile {
                return Ok(Some(ConversationRead {
                    conversation,
                    messages,
                    generation: running,
                }));
            }
        }
        Ok(None)
    }

    /// Ends what runs in it, waits for that, and deletes it. False when it is not there.
    pub async fn delete_conversation(
        &self,
        user: UserId,
        id: ConversationId,
    ) -> Result<bool, StoreError> {
        loop {
            match self.store.delete_conversation(user, id).await? {
                Deleted::Done => {
                    self.registry.forget_conversation(id);
                    return Ok(true);
                }
                Deleted::NotFound => return Ok(false),
                Deleted::Running(generations) => {
                    for running in generations {
                        match self.registry.generation(user, running) {
                            Some(generation) => {
                                self.end_one(&generation).await;
                                // While the store does not take its end, this fails and says so, instead of going round.
                                if let Some(ending) = generation.ending() {
                                    self.store.end_generation(running, ending, &[]).await?;
                                }
                            }
                            None => self.write_off(running).await?,
                        }
                    }
                }
            }
        }
    }

    /// The store says that it runs, but no task does: its end was never stored, or it was another node's that is no more.
    pub(super) async fn write_off(&self, id: GenerationId) -> Result<(), StoreError> {
        self.store
            .end_generation(id, &ending::lost(), &[])
            .await
            .map(drop)
    }
}

/// A generation's answer as far as it got.
fn show(message: &mut Message, transcript: Transcript) {
    message.content = transcript.text;
    message.reasoning = Some(transcript.reasoning).filter(|reasoning| !reasoning.is_empty());
    message.tool_calls = Some(transcript.tool_calls).filter(|calls| !calls.is_empty());
}
