//! The payload of one event, or a whole answer, and what it adds to the answer.
//!
//! Providers agree on where things are, not on their types: what is not understood is left out, and the rest of the chunk counts.

use super::{Delta, Failure, UpstreamError, failure, push, tool_calls::ToolCalls, usage};
use crate::text::{Joiner, Wtf8, without_lone_halves};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// What an event said besides what it added.
#[derive(Debug)]
pub(super) enum Verdict {
    GoOn,
    /// Nothing, because nothing could be read.
    Skipped,
    /// `[DONE]`, or the whole answer.
    Done,
    Failed(UpstreamError),
}

/// Reads one answer, event by event.
#[derive(Debug, Default)]
pub(super) struct ChunkReader {
    text: Joiner,
    reasoning: Joiner,
    tool_calls: ToolCalls,
    model_told: bool,
    finish_reason: Option<String>,
    skipped: u64,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    x_groq: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<i64>,
    #[serde(borrow)]
    delta: Option<Fields<'a>>,
    /// In the place of `delta` when the answer is whole.
    #[serde(borrow)]
    message: Option<Fields<'a>>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

impl ChunkReader {
    /// Adds what the data of one event says to `deltas`.
    pub fn read(&mut self, data: &[u8], is_error: bool, deltas: &mut Vec<Delta>) -> Verdict {
        let data = String::from_utf8_lossy(data);
        let data = data.trim();
        if data.is_empty() {
            return Verdict::GoOn;
        }
        if data == "[DONE]" {
            return Verdict::Done;
        }
        if is_error {
            let error = match value_of(data) {
                Some(error) => error,
                None if data.starts_with('{') => Value::Null,
                None => Value::String(data.to_owned()),
            };
            return Verdict::Failed(failure::reported(&error));
        }
        let Ok(chunk) = serde_json::from_str::<Chunk>(data) else {
            self.skipped += 1;
            return Verdict::Skipped;
        };
        self.add(&chunk, data, deltas)
    }

    /// Like [`Self::read`], of data that the end of the body may have cut: to be unreadable is no fault then.
    pub fn read_last(&mut self, data: &[u8], is_error: bool, deltas: &mut Vec<Delta>) -> Verdict {
        let skipped = self.skipped;
        let verdict = self.read(data, is_error, deltas);
        self.skipped = skipped;
        verdict
    }

    /// A body that is one JSON text: an answer that was not streamed, or an error.
    pub fn read_whole(&mut self, body: &[u8], deltas: &mut Vec<Delta>) -> Verdict {
        let body = String::from_utf8_lossy(body);
        let body = body.trim();
        match serde_json::from_str::<Chunk>(body) {
            Ok(chunk) if chunk.choices.as_ref().is_some_and(|all| !all.is_empty()) => {
                match self.add(&chunk, body, deltas) {
                    Verdict::GoOn => Verdict::Done,
                    verdict => verdict,
                }
            }
            Err(error) if error.is_eof() => Verdict::Failed(UpstreamError::new(
                Failure::Truncated,
                "the upstream broke its answer off",
            )),
            _ => match value_of(body).filter(failure::is_error) {
                Some(error) => Verdict::Failed(failure::reported(&error)),
                None => Verdict::Failed(UpstreamError::new(
                    Failure::Unreadable,
                    "the upstream's answer is not a chat completion",
                )),
            },
        }
    }

    /// The last finish reason so far. A server may send one with every chunk: it means the end only when nothing follows.
    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_deref()
    }

    /// How many events, or parts of them, could not be read.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Hands out what waited for its other half.
    pub fn finish(&mut self, deltas: &mut Vec<Delta>) {
        push(deltas, Delta::Reasoning(self.reasoning.finish()));
        push(deltas, Delta::Text(self.text.finish()));
    }

    fn add(&mut self, chunk: &Chunk, json: &str, deltas: &mut Vec<Delta>) -> Verdict {
        if !self.model_told
            && let Some(model) = chunk.model.and_then(text_of).filter(|m| !m.is_empty())
        {
            self.model_told = true;
            deltas.push(Delta::Model(model));
        }
        let mut usage = chunk.usage.and_then(usage::of);
        for choice in chunk.choices.iter().flatten() {
            if choice.index.unwrap_or(0) == 0 {
                self.add_choice(choice, deltas);
                usage = usage.or_else(|| choice.usage.and_then(usage::of));
            }
        }
        usage = usage.or_else(|| usage::of_groq(chunk.x_groq?));
        deltas.extend(usage.map(Delta::Usage));
        match chunk.error.and_then(|error| value_of(error.get())) {
            Some(Value::String(text)) if text.is_empty() => {}
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(error) => return Verdict::Failed(failure::reported(&error)),
        }
        // The shape of older vLLM and FastChat servers.
        if chunk
            .object
            .is_some_and(|object| object.get() == r#""error""#)
        {
            let error = value_of(json).unwrap_or_default();
            return Verdict::Failed(failure::reported(&error));
        }
        Verdict::GoOn
    }

    fn add_choice(&mut self, choice: &Choice, deltas: &mut Vec<Delta>) {
        for (fields, whole) in [(&choice.delta, false), (&choice.message, true)] {
            if let Some(fields) = fields {
                self.add_fields(fields, whole, deltas);
            }
        }
        let finish_reason = choice.finish_reason.and_then(text_of);
        if let Some(reason) = finish_reason.filter(|reason| !reason.is_empty()) {
            self.finish_reason = Some(reason);
        }
    }

    fn add_fields(&mut self, fields: &Fields, whole: bool, deltas: &mut Vec<Delta>) {
        let mut pieces = Pieces::default();
        // Some servers send the same thinking under both names.
        pieces.add_reasoning(fields.reasoning_content);
        if pieces.reasoning.is_empty() {
            pieces.add_reasoning(fields.reasoning);
        }
        pieces.add_content(fields.content);
        pieces.add_content(fields.refusal);
        push(
            deltas,
            Delta::Reasoning(self.reasoning.push(pieces.reasoning)),
        );
        push(deltas, Delta::Text(self.text.push(pieces.text)));
        if let Some(json) = fields.tool_calls {
            let (fragments, skipped) = self.tool_calls.read(json.get(), whole);
            self.skipped += skipped;
            if !fragments.is_empty() {
                push(deltas, Delta::ToolCalls(fragments));
            }
        }
    }
}

/// The content of a delta: a string, or a list of typed parts (Mistral).
#[derive(Default)]
struct Pieces {
    text: Vec<u8>,
    reasoning: Vec<u8>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
}

impl Pieces {
    fn add_content(&mut self, content: Option<&RawValue>) {
        let Some(json) = content.map(RawValue::get) else {
            return;
        };
        if let Ok(text) = serde_json::from_str::<Wtf8>(json) {
            if self.text.is_empty() {
                self.text = text.0;
            } else {
                self.text.extend(text.0);
            }
        } else if let Ok(parts) = serde_json::from_str::<Vec<Part>>(json) {
            for part in parts {
                self.add_reasoning(part.thinking);
                self.add_content(part.text);
            }
        }
    }

    fn add_reasoning(&mut self, content: Option<&RawValue>) {
        if content.is_some() {
            let mut inner = Self::default();
            inner.add_content(content);
            self.reasoning.extend(inner.text);
        }
    }
}

fn text_of(json: &RawValue) -> Option<String> {
    let text: Wtf8 = serde_json::from_str(json.get()).ok()?;
    Some(text.into_text())
}

fn value_of(json: &str) -> Option<Value> {
    serde_json::from_str(json)
        .or_else(|_| serde_json::from_str(&without_lone_halves(json)))
        .ok()
}
