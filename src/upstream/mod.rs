//! The upstream: any OpenAI-compatible model server, read over HTTP.
//!
//! The only module that names `awc`. It turns bytes into [`Step`]s and every way to fail into an [`UpstreamError`]; what to do with
//! either is `chat`'s business. `awc::Client` is `!Send`, so each worker has an [`Upstream`] of its own.

mod body;
mod chunk;
mod client;
mod completion;
mod connect;
mod deadline;
mod failure;
mod login;
mod request;
mod response;
mod sse;
mod tool_calls;
mod usage;

pub use client::Upstream;
pub use completion::Completion;
pub use login::Login;
pub use request::{ChatRequest, Continuation, GO_ON, PromptMessage};

use crate::model::{ToolCallFragment, Usage};
use std::time::Duration;

/// Where the model server is and how long it may take.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// Includes `/v1`, without a slash at the end; without a login, see [`Login::taken_from`].
    pub base_url: String,
    pub api_key: Option<Secret>,
    /// Sent when there is no key.
    pub login: Option<Login>,
    /// To open a connection, name look-up included; and as much again for TLS.
    pub connect: Duration,
    /// From the request to the response head, and from there to the first byte of the body.
    pub first_byte: Duration,
    /// Between two reads of the body; comments count as life.
    pub silence: Duration,
    /// The whole answer.
    pub total: Duration,
    /// The largest single event, and the largest body that is read as a whole.
    pub event_bytes: usize,
    pub continuation: Continuation,
}

/// A string that no log, error or debug output shows.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What one read of the body brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// In order, neighbouring texts joined; may be empty (comments, role-only chunks).
    Deltas(Vec<Delta>),
    /// The upstream said that it was done, by a finish reason or `[DONE]`.
    End { finish_reason: Option<String> },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    Text(String),
    Reasoning(String),
    ToolCalls(Vec<ToolCallFragment>),
    /// Replaces what was said before; never to be added up.
    Usage(Usage),
    /// The model's name as the upstream gives it; once.
    Model(String),
}

/// Adds `delta` to `deltas`, as a part of the last one where it carries it on.
fn push(deltas: &mut Vec<Delta>, delta: Delta) {
    match (deltas.last_mut(), delta) {
        (_, Delta::Text(more) | Delta::Reasoning(more)) if more.is_empty() => {}
        (Some(Delta::Text(text)), Delta::Text(more))
        | (Some(Delta::Reasoning(text)), Delta::Reasoning(more)) => text.push_str(&more),
        (Some(Delta::ToolCalls(calls)), Delta::ToolCalls(more)) => calls.extend(more),
        (_, delta) => deltas.push(delta),
    }
}

/// A whole answer, of a completion that was not streamed.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub deltas: Vec<Delta>,
    pub finish_reason: Option<String>,
}

/// How the upstream failed. `message` is what to tell the user: the provider's own words where it gave some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamError {
    pub kind: Failure,
    pub message: String,
    /// The upstream's HTTP status when it refused, or the one that a reported error names.
    pub status: Option<u16>,
    /// When it asked to be left alone for a while.
    pub retry_after: Option<Duration>,
    /// What it said itself, for clients that speak its language.
    pub words: Option<Box<Words>>,
}

/// An upstream's refusal as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// The body, or the payload of an event, when it is a JSON object. Without what the upstream is asked with, should that be in it.
    pub json: Option<String>,
    /// When to try again and what is left of which budget; names in lower case.
    pub headers: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, unknown name, TLS, or the connect deadline.
    Unreachable,
    /// Answered with another status than 200.
    Refused,
    /// Nothing came within the first-byte deadline.
    Late,
    /// An error object inside the answer, or instead of it.
    Reported,
    /// The body ended without a finish reason or `[DONE]`.
    Truncated,
    /// Nothing came for the silence deadline.
    Silent,
    /// The deadline for the whole answer passed.
    TooLong,
    /// An event or body over the limit.
    TooLarge,
    /// Not what an OpenAI-compatible server sends.
    Unreadable,
}
