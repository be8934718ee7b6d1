//! What a request for a completion says, as the conversation that is to keep it; within the limits of any other.

use super::{RouteOptions, body::Settings};
use crate::{
    model::{ConversationId, Message, MessageId, Outcome, Progress, Role, Sampling, now},
    openai::Exchange,
    problem::ApiError,
    store::{NewConversation, WholeConversation},
};

/// The branch of a new conversation, whose last message is the one that is answered.
pub(super) fn conversation(
    exchange: Exchange,
    model: Option<&str>,
    options: &RouteOptions,
) -> Result<WholeConversation, ApiError> {
    let Exchange { system, said } = exchange;
    Settings {
        title: None,
        model,
        system: system.as_deref(),
        sampling: None,
    }
    .check()?;
    if said.len() > options.import_messages {
        return Err(ApiError::new(
            413,
            "too-many-messages",
            "The conversation is too long",
            format!(
                "messages: {} of them, a conversation that is stored whole may have {} (limits.import_messages)",
                said.len(),
                options.import_messages
            ),
        ));
    }
    let at = now();
    let mut messages: Vec<Message> = Vec::with_capacity(said.len());
    for said in said {
        if said.role != Role::Assistant && said.content.len() > options.message_bytes {
            return Err(ApiError::new(
                413,
                "message-too-large",
                "The message is too long",
                format!(
                    "messages: one has {} bytes of text, a message that is stored may have {} (limits.message_bytes)",
                    said.content.len(),
                    options.message_bytes
                ),
            ));
        }
        messages.push(Message {
            id: MessageId::new(),
            parent_id: messages.last().map(|before| before.id),
            role: said.role,
            content: said.content,
            reasoning: said.reasoning,
            tool_calls: said.tool_calls,
            model: None,
            status: Progress::Ended(Outcome::Completed),
            finish_reason: None,
            usage: None,
            timings: None,
            problem: None,
            generation_id: None,
            created_at: at,
        });
    }
    Ok(WholeConversation {
        new: NewConversation {
            id: ConversationId::new(),
            title: String::new(),
            model: model.map(ToOwned::to_owned),
            system,
            sampling: Sampling::default(),
            created_at: at,
        },
        updated_at: at,
        head_id: messages.last().map(|last| last.id),
        messages,
    })
}
