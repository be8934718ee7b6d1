//! Reading the upstream into the log: what is asked, what of the answer becomes which event, and how much of it fits.

use super::{Chat, ending::Stopper, overlap::Overlap};
use crate::{
    event::{Event, Transcript},
    generation::Generation,
    log::{AppendError, EventLog},
    markdown::{Blocks, NewBlocks},
    model::{Outcome, Role, Sampling, Usage},
    store::{PathMessage, Turn},
    upstream::{ChatRequest, Delta, PromptMessage, Step, Upstream},
};
use std::time::Duration;

/// The answer while it is read: on its way into the log, and what is known about it besides its text.
pub(super) struct Reading {
    pub model: Option<String>,
    pub usage: Option<Usage>,
    pub first_token: Option<Duration>,
    pub thinking: Thinking,
    /// It carries on an answer that is there.
    carries_on: bool,
    /// Of the answer, with what was there before.
    bytes: usize,
    overlap: Overlap,
    /// `None` once the log has had no room for some.
    blocks: Option<Blocks>,
    has_added: bool,
}

impl Reading {
    pub fn new(before: Option<&Transcript>) -> Self {
        let text = before.map_or("", |before| &before.text);
        Self {
            model: None,
            usage: None,
            first_token: None,
            thinking: Thinking::default(),
            carries_on: before.is_some(),
            bytes: before.map_or(0, |before| before.text.len() + before.reasoning.len()),
            overlap: Overlap::with(text),
            blocks: Some(Blocks::after(text)),
            has_added: false,
        }
    }

    /// An answer that was to be carried on and was not: its message stays what it was.
    pub fn leaves_message(&self, outcome: Outcome) -> bool {
        self.carries_on && !self.has_added && outcome != Outcome::Completed
    }

    /// Reads the upstream into the log until it says that it is done. Dropping the future closes its socket; what is still held back
    /// then is [let go](Self::let_go) by the caller, however the reading ended.
    pub async fn read(
        &mut self,
        chat: &Chat,
        upstream: &Upstream,
        generation: &Generation,
        request: &ChatRequest,
    ) -> Result<Option<String>, Stopper> {
        let context_bytes = request.context_bytes();
        if context_bytes > chat.options.context_bytes {
            return Err(Stopper::ContextTooLarge(context_bytes));
        }
        generation.asks(context_bytes);
        let mut completion = upstream.stream(request).await?;
        loop {
            match completion.next().await? {
                Step::End { finish_reason } => return Ok(finish_reason),
                Step::Deltas(deltas) => self.add(chat, generation, deltas)?,
            }
        }
    }

    /// Adds what one read brought.
    pub fn add(
        &mut self,
        chat: &Chat,
        generation: &Generation,
        deltas: Vec<Delta>,
    ) -> Result<(), Stopper> {
        for delta in deltas {
            let Some(event) = self.event_of(delta) else {
                continue;
            };
            let bytes = size(&event);
            if bytes > 0 {
                let now = generation.started.elapsed();
                self.first_token.get_or_insert(now);
                self.thinking.hear(&event, now);
            }
            generation.hears(bytes);
            self.bytes += bytes;
            if self.bytes > chat.options.answer_bytes {
                return Err(Stopper::AnswerTooLarge);
            }
            if self.overlap.holds() {
                let events = self.overlap.pass(event);
                self.append_all(&generation.log, events)?;
            } else {
                self.append(&generation.log, &event)?;
            }
        }
        Ok(())
    }

    /// Appends what is still held back: of the beginning, and the last blocks.
    pub fn let_go(&mut self, log: &EventLog) -> Result<(), AppendError> {
        let events = self.overlap.let_go();
        let appended = self.append_all(log, events);
        let last = self.blocks.as_mut().and_then(Blocks::close);
        self.append_blocks(log, last);
        appended
    }

    fn append_all(&mut self, log: &EventLog, events: Vec<Event>) -> Result<(), AppendError> {
        for event in events {
            self.append(log, &event)?;
        }
        Ok(())
    }

    fn append(&mut self, log: &EventLog, event: &Event) -> Result<(), AppendError> {
        log.append(event)?;
        self.has_added |= size(event) > 0;
        if let (Event::Delta { text }, Some(blocks)) = (event, &mut self.blocks) {
            let finished = blocks.push(text);
            self.append_blocks(log, finished);
        }
        Ok(())
    }

    /// A log without room for them is read as text; whoever reads its end gets all blocks there.
    fn append_blocks(&mut self, log: &EventLog, blocks: Option<NewBlocks>) {
        let Some(blocks) = blocks else { return };
        if log.append(&Event::Block(blocks)).is_err() {
            self.blocks = None;
        }
    }

    fn event_of(&mut self, delta: Delta) -> Option<Event> {
        match delta {
            Delta::Text(text) => Some(Event::Delta { text }),
            Delta::Reasoning(text) => Some(Event::Reasoning { text }),
            Delta::ToolCalls(tool_calls) => Some(Event::ToolCalls { tool_calls }),
            // Some servers count on every chunk; readers need a figure once it changes.
            Delta::Usage(usage) => {
                (self.usage.replace(usage) != Some(usage)).then_some(Event::Usage(usage))
            }
            Delta::Model(model) => {
                self.model = Some(model);
                None
            }
        }
    }
}

/// When the thinking began, and when the first text or tool call behind it came.
#[derive(Default)]
pub(super) struct Thinking {
    from: Option<Duration>,
    until: Option<Duration>,
}

impl Thinking {
    fn hear(&mut self, event: &Event, now: Duration) {
        if matches!(event, Event::Reasoning { .. }) {
            self.from.get_or_insert(now);
        } else if self.from.is_some() {
            self.until.get_or_insert(now);
        }
    }

    /// How long it took, in an answer that ended then.
    pub fn time(&self, end: Duration) -> Option<Duration> {
        let until = self.until.unwrap_or(end);
        self.from.map(|from| until.saturating_sub(from))
    }
}

/// What is asked of `model`: the path, and the answer so far where it is carried on.
pub(super) fn request(model: String, turn: &Turn, sampling: Sampling) -> ChatRequest {
    let system = turn.system.clone().map(|content| PromptMessage {
        role: Role::System,
        content,
    });
    let path = turn
        .path
        .iter()
        .cloned()
        .map(|PathMessage { role, content }| PromptMessage { role, content });
    let before = turn.before.as_ref();
    ChatRequest {
        model,
        messages: system.into_iter().chain(path).collect(),
        partial: before.map_or_else(String::new, |before| before.text.clone()),
        sampling,
    }
}

/// Bytes that an event adds to the answer: its text, or the JSON of its tool calls.
fn size(event: &Event) -> usize {
    match event {
        Event::Delta { text } | Event::Reasoning { text } => text.len(),
        Event::ToolCalls { .. } => event.encode().data.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_takes_until_the_first_text_behind_it_or_until_the_end() {
        let at = Duration::from_millis;
        let text = Event::Delta { text: "a".into() };
        let thought = Event::Reasoning { text: "b".into() };
        let mut thinking = Thinking::default();
        thinking.hear(&text, at(1));
        assert_eq!(thinking.time(at(9)), None);
        thinking.hear(&thought, at(2));
        thinking.hear(&thought, at(3));
        assert_eq!(thinking.time(at(9)), Some(at(7)));
        thinking.hear(&text, at(5));
        thinking.hear(&thought, at(6));
        thinking.hear(&text, at(7));
        assert_eq!(thinking.time(at(9)), Some(at(3)));
    }
}
