//! Conversations with what is being written in them: reading one, and deleting one that may be running.

use super::{Chat, ChatError, attach::Found};
use crate::{
    event::Transcript,
    log::Standing,
    model::{
        Conversation, ConversationId, Ending, GenerationId, Message, MessageId, Outcome, Progress,
        UserId,
    },
    store::Deleted,
};
use serde::Serialize;

/// A conversation as it is read, with the one of its running generations that a reader would follow.
#[derive(Debug, Serialize)]
pub struct ConversationRead {
    #[serde(flatten)]
    pub conversation: Conversation,
    pub messages: Vec<Message>,
    pub generation: Option<RunningAt>,
    /// Messages whose text may still grow within its last block.
    #[serde(skip)]
    pub open: Vec<MessageId>,
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
    ) -> Result<Option<ConversationRead>, ChatError> {
        // At most twice: what nobody runs any more is ended at the first look.
        for last_look in [false, true] {
            let Some((conversation, mut messages)) = self.store.conversation(user, id).await?
            else {
                return Ok(None);
            };
            let mut running = None;
            let mut open = Vec::new();
            let mut look_again = false;
            for message in messages
                .iter_mut()
                .filter(|message| self.is_open(user, message))
            {
                match self.truth(user, message).await? {
                    Truth::Running(at, is_whole) => {
                        open.extend((!is_whole).then_some(message.id));
                        if conversation.head_id == Some(message.id) || running.is_none() {
                            running = Some(at);
                        }
                    }
                    Truth::Elsewhere => open.push(message.id),
                    Truth::Ended => {}
                    Truth::InStore => look_again = true,
                }
            }
            if last_look || !look_again {
                return Ok(Some(ConversationRead {
                    conversation,
                    messages,
                    generation: running,
                    open,
                }));
            }
        }
        Ok(None)
    }

    /// True when the store does not have the last word on it: it streams, or its end waits on disk (and another node may have given it one
    /// meanwhile).
    fn is_open(&self, user: UserId, message: &Message) -> bool {
        let waits = |id| self.recorder.waiting(user, id).is_some();
        message.status == Progress::Running || message.generation_id.is_some_and(waits)
    }

    /// Mends a message that the store calls streaming, to what it really is.
    async fn truth(&self, user: UserId, message: &mut Message) -> Result<Truth, ChatError> {
        let Some(id) = message.generation_id else {
            return Ok(Truth::Ended);
        };
        if let Some(generation) = self.registry.generation(user, id) {
            return Ok(match generation.ending() {
                Some(ending) if generation.log.is_closed() => {
                    show_ended(message, ending);
                    Truth::Ended
                }
                _ => {
                    let Standing {
                        transcript,
                        seq,
                        is_whole,
                    } = generation.log.standing();
                    // Before the first event the store knows more: the text that is to be carried on.
                    if seq > 0 {
                        show(message, transcript);
                    }
                    Truth::Running(RunningAt { id, seq }, is_whole && seq > 0)
                }
            });
        }
        if let Some(waiting) = self.recorder.waiting(user, id) {
            show_ended(message, &waiting.ending);
            return Ok(Truth::Ended);
        }
        let node = self.recorder.lease().node;
        if self.store.runs_elsewhere(node, id).await? {
            return Ok(Truth::Elsewhere);
        }
        if self.recorder.recover_one(id).await? {
            message.status = Progress::Ended(Outcome::Interrupted);
        }
        // Else it has ended since, or belongs to a node whose lease has just run out, which may come back.
        Ok(Truth::InStore)
    }

    /// Ends what runs in it, waits for that, and deletes it. False when it is not there.
    pub async fn delete_conversation(
        &self,
        user: UserId,
        id: ConversationId,
    ) -> Result<bool, ChatError> {
        loop {
            match self.store.delete_conversation(user, id).await? {
                Deleted::Done => {
                    self.registry.forget_conversation(id);
                    return Ok(true);
                }
                Deleted::NotFound => return Ok(false),
                Deleted::Running(generations) => {
                    for running in generations {
                        self.end_in_store(user, running).await?;
                    }
                }
            }
        }
    }

    /// Ends a generation that the store calls running, so that the store knows it too.
    async fn end_in_store(&self, user: UserId, id: GenerationId) -> Result<(), ChatError> {
        match self.find(user, id).await? {
            Some(Found::Elsewhere(_)) => return Err(ChatError::Elsewhere),
            Some(Found::Live(generation)) => {
                self.end_one(&generation).await;
                if !generation.is_kept() {
                    return Err(ChatError::Unsettled);
                }
            }
            _ => {}
        }
        let is_waiting = || self.recorder.waiting(user, id).is_some();
        // Still there when nothing is on disk: its file was lost, see `Recorder::replay_lost`.
        if is_waiting() && (!self.recorder.settled(user).await || is_waiting()) {
            return Err(ChatError::Unsettled);
        }
        Ok(())
    }
}

/// What is behind a message that the store calls streaming.
enum Truth {
    /// Here; and whether all blocks of its text have been told.
    Running(RunningAt, bool),
    /// On another node.
    Elsewhere,
    /// It has ended; the message shows how.
    Ended,
    /// It has ended, and the store knows more about it.
    InStore,
}

/// An answer whose end is not in the store yet.
fn show_ended(message: &mut Message, ending: &Ending) {
    message.status = Progress::Ended(ending.outcome);
    if ending.leaves_message {
        return;
    }
    message.content.clone_from(&ending.content);
    message.reasoning.clone_from(&ending.reasoning);
    message.tool_calls.clone_from(&ending.tool_calls);
    message.model = ending.model.clone().or(message.model.take());
    message.finish_reason.clone_from(&ending.finish_reason);
    message.usage = ending.usage;
    message.timings = Some(ending.timings);
    message.problem.clone_from(&ending.problem);
}

/// A generation's answer as far as it got.
fn show(message: &mut Message, transcript: Transcript) {
    message.content = transcript.text;
    message.reasoning = Some(transcript.reasoning).filter(|reasoning| !reasoning.is_empty());
    message.tool_calls = Some(transcript.tool_calls).filter(|calls| !calls.is_empty());
}
