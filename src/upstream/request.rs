//! What a request says: the JSON of a question, and of an answer that is to be carried on.

use crate::model::{Role, Sampling};
use serde::{Deserialize, Serialize};

/// The last user message when the model server is told in words to go on.
pub const GO_ON: &str = "Your answer above was cut off. Go on exactly where its text ends, in the middle of the word if need be. \
    Repeat nothing of it, and write nothing about having been cut off.";

/// What is asked of the model.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    pub model: String,
    pub messages: Vec<PromptMessage>,
    /// The beginning of the answer, which the model is to carry on; nothing of it is sent when it is empty. A streamed answer has only
    /// what follows; one that is not streamed begins with it once more where llama.cpp answers.
    pub partial: String,
    pub sampling: Sampling,
}

#[derive(Debug, Clone)]
pub struct PromptMessage {
    pub role: Role,
    pub content: String,
}

/// How the model server is asked to carry an answer on. The partial answer is sent as the last assistant message either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Continuation {
    /// The server writes on in that message. The two fields say so where servers would begin another one (vLLM); llama.cpp does it
    /// without them and takes them too.
    Prefill,
    /// A user message after it asks for the rest, for servers that refuse the two fields or that always begin another message
    /// (OpenAI's own).
    Instruct,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Said<'a>>,
    #[serde(flatten)]
    sampling: &'a Sampling,
    #[serde(flatten)]
    prefill: Option<Prefill>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct Said<'a> {
    role: Role,
    content: &'a str,
}

/// As vLLM's reference has them.
#[derive(Serialize)]
struct Prefill {
    continue_final_message: bool,
    add_generation_prompt: bool,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl ChatRequest {
    /// Bytes of text that the model is to read.
    pub fn context_bytes(&self) -> usize {
        let said = self.messages.iter().map(|message| message.content.len());
        said.sum::<usize>() + self.partial.len()
    }

    /// Whether the two fields of [`Continuation::Prefill`] are sent.
    pub(super) fn is_prefill(&self, continuation: Continuation) -> bool {
        !self.partial.is_empty() && continuation == Continuation::Prefill
    }

    /// As JSON. A streamed answer comes with its usage.
    pub(super) fn json(
        &self,
        continuation: Continuation,
        stream: bool,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let mut messages: Vec<_> = self
            .messages
            .iter()
            .map(|PromptMessage { role, content }| Said {
                role: *role,
                content,
            })
            .collect();
        if !self.partial.is_empty() {
            messages.push(Said {
                role: Role::Assistant,
                content: &self.partial,
            });
            if continuation == Continuation::Instruct {
                messages.push(Said {
                    role: Role::User,
                    content: GO_ON,
                });
            }
        }
        serde_json::to_vec(&Body {
            model: &self.model,
            messages,
            sampling: &self.sampling,
            prefill: self.is_prefill(continuation).then_some(Prefill {
                continue_final_message: true,
                add_generation_prompt: false,
            }),
            stream,
            stream_options: stream.then_some(StreamOptions {
                include_usage: true,
            }),
        })
    }
}
