//! Conversations with what is being written in them: reading one, and deleting one that may be running.

use super::{Chat, ChatError, attach::Found};
use crate::{
    event::Transcript,
    generation::Generation,
    log::Standing,
    model::{
        Conversation, ConversationId, Ending, GenerationId, Message, MessageId, Outcome, Progress,
        UserId,
    },
    store::{BranchFound, BranchMessage, BranchQuery, Deleted, ListQuery, Listed},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A conversation as it is read, with the one of its running generations that a reader would follow.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConversationRead<M = MessageRead> {
    #[serde(flatten)]
    pub conversation: Conversation,
    pub messages: Vec<M>,
    #[schema(required)]
    pub generation: Option<RunningAt>,
    /// Of one branch, not of the whole tree.
    #[serde(flatten)]
    #[schema(value_type = BranchEnds)]
    pub ends: Option<BranchEnds>,
    /// Messages whose text may still grow within its last block.
    #[serde(skip)]
    pub open: Vec<MessageId>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MessageRead {
    #[serde(flatten)]
    pub message: Message,
    /// Where it belongs among the others below the same parent; told of messages of a branch, and only when there are others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub siblings: Vec<MessageId>,
}

/// Where a branch leads, and whether there is more of it above.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct BranchEnds {
    pub leaf_id: Option<MessageId>,
    #[schema(required = false)]
    pub earlier: bool,
}

/// Attaching to this generation at this position continues the text of its message exactly.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct RunningAt {
    pub id: GenerationId,
    pub seq: u64,
}

/// What a look at one branch found.
#[derive(Debug)]
pub enum BranchRead {
    Found(Box<ConversationRead>),
    NotFound,
    /// A message that was named is not in the conversation.
    UnknownMessage,
}

/// A row of a list, with the generation that a reader would follow.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedRead {
    #[serde(flatten)]
    pub listed: Listed,
    #[schema(required)]
    pub generation: Option<RunningAt>,
}

impl Chat {
    /// At most `query.limit` rows, newest change first.
    pub async fn conversations(
        &self,
        user: UserId,
        query: &ListQuery,
    ) -> Result<Vec<ListedRead>, ChatError> {
        let rows = self.store.list_conversations(user, query).await?;
        let running = self.registry.running_of(user);
        let read = |listed: Listed| ListedRead {
            generation: followed(&running, &listed.conversation),
            listed,
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// The generation that a reader of this conversation of the user would follow, if any runs here.
    pub fn running_in(&self, user: UserId, conversation: &Conversation) -> Option<RunningAt> {
        followed(&self.registry.running_of(user), conversation)
    }

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
            let live = self.mend(user, messages.iter_mut()).await?;
            if last_look || !live.look_again {
                let generation = live.of(conversation.head_id).or(live.first());
                let message = |message| MessageRead {
                    message,
                    siblings: Vec::new(),
                };
                return Ok(Some(ConversationRead {
                    conversation,
                    messages: messages.into_iter().map(message).collect(),
                    generation,
                    ends: None,
                    open: live.open,
                }));
            }
        }
        Ok(None)
    }

    /// The same for a page of one branch. The generation is one that writes on the page where there is such.
    pub async fn branch(
        &self,
        user: UserId,
        id: ConversationId,
        query: &BranchQuery,
    ) -> Result<BranchRead, ChatError> {
        for last_look in [false, true] {
            let mut branch = match self.store.branch(user, id, query).await? {
                BranchFound::Found(branch) => *branch,
                BranchFound::NotFound => break,
                BranchFound::UnknownMessage => return Ok(BranchRead::UnknownMessage),
            };
            let messages = branch.messages.iter_mut().map(|read| &mut read.message);
            let live = self.mend(user, messages).await?;
            if last_look || !live.look_again {
                let on_page = live.of(branch.leaf_id).or(live.first());
                let message = |read: BranchMessage| MessageRead {
                    message: read.message,
                    siblings: read.siblings,
                };
                return Ok(BranchRead::Found(Box::new(ConversationRead {
                    generation: on_page.or_else(|| self.running_in(user, &branch.conversation)),
                    conversation: branch.conversation,
                    messages: branch.messages.into_iter().map(message).collect(),
                    ends: Some(BranchEnds {
                        leaf_id: branch.leaf_id,
                        earlier: branch.earlier,
                    }),
                    open: live.open,
                })));
            }
        }
        Ok(BranchRead::NotFound)
    }

    /// Mends those messages on which the store does not have the last word.
    async fn mend(
        &self,
        user: UserId,
        messages: impl Iterator<Item = &mut Message>,
    ) -> Result<Live, ChatError> {
        let mut live = Live::default();
        for message in messages.filter(|message| self.is_open(user, message)) {
            match self.truth(user, message).await? {
                Truth::Running(at, is_whole) => {
                    live.open.extend((!is_whole).then_some(message.id));
                    live.running.push((message.id, at));
                }
                Truth::Elsewhere => live.open.push(message.id),
                Truth::Ended => {}
                Truth::InStore => live.look_again = true,
            }
        }
        Ok(live)
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
                    message.model = generation.model.get().cloned().or(message.model.take());
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

    /// Deletes it once nothing runs in it any more. False when it is not there.
    pub(super) async fn end_and_delete(
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

/// What is being written in the messages that were looked at.
#[derive(Default)]
struct Live {
    running: Vec<(MessageId, RunningAt)>,
    open: Vec<MessageId>,
    /// The store knows more about one than it did.
    look_again: bool,
}

impl Live {
    fn of(&self, message: Option<MessageId>) -> Option<RunningAt> {
        let of = |(id, at): &(MessageId, _)| (Some(*id) == message).then_some(*at);
        self.running.iter().find_map(of)
    }

    fn first(&self) -> Option<RunningAt> {
        self.running.first().map(|(_, at)| *at)
    }
}

/// The one that writes the head, else the oldest.
fn followed(running: &[Arc<Generation>], conversation: &Conversation) -> Option<RunningAt> {
    let is_here =
        |generation: &&Arc<Generation>| generation.conversation_id() == Some(conversation.id);
    let head = conversation.head_id;
    let mut here = running.iter().filter(is_here);
    let first = here.clone().next();
    let generation = here
        .find(|generation| generation.message_id() == head)
        .or(first)?;
    Some(RunningAt {
        id: generation.id,
        seq: generation.log.seq(),
    })
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
