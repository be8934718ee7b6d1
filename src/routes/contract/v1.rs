//! What OpenAI's clients ask.

use super::{
    answers::generation,
    op::{Op, text},
};
use crate::{
    model::GenerationRecord,
    routes::v1::{ModelObject, ModelObjects},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// As in OpenAI's reference; what is not named here passes to the model server untouched.
#[derive(Serialize, ToSchema)]
pub struct CompletionRequest {
    /// A name of `upstream.aliases` or of the model server; else the default.
    model: Option<String>,
    messages: Vec<Map<String, Value>>,
    stream: Option<bool>,
    /// `include_usage` shows the chunk that tells the usage.
    stream_options: Option<Map<String, Value>>,
    /// The exchange is kept as a conversation.
    store: Option<bool>,
}

/// As in OpenAI's reference, byte for byte as the model server gave it.
#[derive(Serialize, ToSchema)]
#[schema(value_type = Object)]
pub struct Completion(Map<String, Value>);

const PAYLOADS: &str = "With `stream`: the model server's chunks byte for byte, with `id:` lines added and comments as heartbeats; `[DONE]` \
    after a real end only, else `data: {\"error\": …}`.";

fn chunk() -> Value {
    json!({ "id": "1", "data": "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}" })
}

pub fn completions() -> Op {
    Op::user("createChatCompletion", "A chat completion, streamed or whole")
        .says("No head is sent before the model server's first payload: its refusal is passed on as it is.")
        .once_only("One key stands for one request of yours while its answer is in memory (`log.retain_seconds` after its end): repeated, it gets the same answer, unless that was stopped.")
        .session()
        .header("x-continuo-detach", "`true`: the answer goes on when nobody reads it any more.", text())
        .body::<CompletionRequest>(true, json!({ "model": "demo", "messages": [{ "role": "user", "content": "Hello" }] }))
        .gives::<Completion>(200, PAYLOADS, json!({ "id": "chatcmpl-1", "object": "chat.completion", "choices": [] }))
        .streams(200, PAYLOADS, Vec::new(), chunk())
        .with(200, "Location", "Where its payloads are read again, from any position.")
        .refuses(410, "`answered_before`, `stopped`")
        .refuses(413, "`too_many_messages`, `message_too_large`")
        .refuses(429, "`token_limit_exceeded`")
        .refuses(502, "`upstream_unreachable` and others")
        .refuses(503, "`draining`, `node_full`, `spool_full`, `not_kept`")
        .refuses(504, "`upstream_late`, `upstream_silent`")
        .passes_refusals()
}

pub fn payloads() -> Op {
    Op::user("readPayloads", "The same bytes again, from any position")
        .resumes()
        .streams(200, PAYLOADS, Vec::new(), chunk())
        .refuses(410, "`position_gone`")
}

pub fn generation_read_v1() -> Op {
    Op::user("readOpenAiGeneration", "How far it is, or how it ended").gives::<GenerationRecord>(
        200,
        "It.",
        generation(),
    )
}

pub fn cancel() -> Op {
    Op::user("cancelGeneration", "Stop it; the same when repeated").gives::<GenerationRecord>(
        200,
        "Once its end is stored.",
        generation(),
    )
}

fn model() -> Value {
    json!({ "id": "demo", "object": "model", "created": 0, "owned_by": "upstream" })
}

pub fn openai_models() -> Op {
    Op::user("listOpenAiModels", "The models that can be asked for")
        .gives::<ModelObjects>(200, "They.", json!({ "object": "list", "data": [model()] }))
        .passes_refusals()
}

pub fn openai_model() -> Op {
    Op::user("readOpenAiModel", "One of them")
        .gives::<ModelObject>(200, "It.", model())
        .passes_refusals()
}
