//! The events of a feed, and their JSON.

use crate::{
    event::{Encoded, GapReason},
    generation::Generation,
    model::{Conversation, ConversationId, GenerationId, MessageId, Progress},
};
use serde::Serialize;
use utoipa::ToSchema;

/// One event of the HTTP contract. Readers ignore the names they do not know.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum FeedEvent<'a> {
    /// What holds at this position. Conversations are not part of it: they are listed.
    Snapshot {
        running: Vec<Running>,
        sessions: usize,
    },
    /// The position asked for is not there: something may have been missed. A `snapshot` follows.
    Gap { reason: GapReason },
    /// As it stands now, without its messages: it is new, or something about it changed.
    Conversation(&'a Conversation),
    /// It is not there any more.
    Deleted { id: ConversationId },
    /// It began, or it ended and its end is kept.
    Generation {
        id: GenerationId,
        #[schema(required)]
        conversation_id: Option<ConversationId>,
        #[schema(required)]
        message_id: Option<MessageId>,
        status: &'static str,
    },
    /// How many sessions of this user follow the feed now.
    Presence { sessions: usize },
}

/// A generation that runs at the position of a snapshot; `seq` is how far its own log is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Running {
    id: GenerationId,
    #[schema(required)]
    conversation_id: Option<ConversationId>,
    #[schema(required)]
    message_id: Option<MessageId>,
    seq: u64,
}

impl Running {
    pub fn of(generation: &Generation) -> Self {
        Self {
            id: generation.id,
            conversation_id: generation.conversation_id(),
            message_id: generation.message_id(),
            seq: generation.log.seq(),
        }
    }
}

impl FeedEvent<'_> {
    pub fn generation(generation: &Generation, progress: Progress) -> Self {
        Self::Generation {
            id: generation.id,
            conversation_id: generation.conversation_id(),
            message_id: generation.message_id(),
            status: progress.of_generation(),
        }
    }

    pub fn encode(&self) -> Encoded {
        let name = match self {
            Self::Snapshot { .. } => "snapshot",
            Self::Gap { .. } => "gap",
            Self::Conversation(_) => "conversation",
            Self::Deleted { .. } => "deleted",
            Self::Generation { .. } => "generation",
            Self::Presence { .. } => "presence",
        };
        let json = serde_json::to_string(self).expect("events have string keys");
        Encoded {
            name,
            data: json.into(),
        }
    }
}
