//! The events of a generation, their JSON, and the transcript that a reader assembles from them.
//!
//! An event is encoded once, when it enters the log; every reader sends the same bytes.

use crate::{
    markdown::{NewBlocks, Rendered},
    model::{
        ConversationId, GenerationId, MessageId, Outcome, Problem, Timings, ToolCallFragment, Usage,
    },
};
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// One event of the HTTP contract. Readers ignore the names they do not know.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Event {
    Started(Started),
    Delta {
        text: String,
    },
    Reasoning {
        text: String,
    },
    ToolCalls {
        tool_calls: Vec<ToolCallFragment>,
    },
    /// Markdown blocks of the text that are finished now; before the end all are told.
    Block(NewBlocks),
    Usage(Usage),
    /// The terminal event: a log has exactly one, the last.
    Done(Box<Done>),
    /// The position asked for is not there: throw away what you assembled. `seq` is where the snapshot stands.
    Gap {
        reason: GapReason,
        seq: u64,
    },
    /// The whole message up to its position, instead of the events before: those that are gone, or those of the answer that this
    /// generation carries on.
    Snapshot(Snapshot),
    /// The heartbeat; never in a log, without an id. `seq` is the reader's position.
    Ping {
        seq: u64,
    },
    /// The stream cannot be served now; the client comes back after `retry:`.
    Unavailable(Problem),
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = EventStarted)]
pub struct Started {
    pub generation_id: GenerationId,
    pub conversation_id: ConversationId,
    pub message_id: MessageId,
    #[schema(required)]
    pub parent_id: Option<MessageId>,
    #[schema(required)]
    pub model: Option<String>,
    /// Of a continued answer: how many characters (Unicode code points) of its message were there before and are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Done {
    pub outcome: Outcome,
    #[schema(required)]
    pub finish_reason: Option<String>,
    #[schema(required)]
    pub usage: Option<Usage>,
    #[schema(required)]
    pub timings: Option<Timings>,
    /// False when the store could not take the answer: it lives in memory only.
    pub stored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// The content of a `snapshot`: what a reader has assembled, in text and in blocks.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Snapshot {
    #[serde(flatten)]
    transcript: Transcript,
    #[serde(flatten)]
    rendered: Rendered,
}

impl Snapshot {
    /// Of a text that may still grow.
    pub fn open(transcript: Transcript) -> Self {
        Self {
            rendered: Rendered::open(&transcript.text),
            transcript,
        }
    }

    /// Of a text that is complete.
    pub fn whole(transcript: Transcript) -> Self {
        Self {
            rendered: Rendered::whole(&transcript.text),
            transcript,
        }
    }
}

/// Why a position is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The events after it are no longer kept one by one.
    Trimmed,
    /// No event has that position.
    BeyondEnd,
    /// The event was lost when the server ended without warning.
    Lost,
}

/// An event as it stands in a log: its name and its JSON, encoded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub name: &'static str,
    pub data: ByteString,
}

impl Event {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::Delta { .. } => "delta",
            Self::Reasoning { .. } => "reasoning",
            Self::ToolCalls { .. } => "tool_calls",
            Self::Block(_) => "block",
            Self::Usage(_) => "usage",
            Self::Done(_) => "done",
            Self::Gap { .. } => "gap",
            Self::Snapshot(_) => "snapshot",
            Self::Ping { .. } => "ping",
            Self::Unavailable(_) => "unavailable",
        }
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    pub fn encode(&self) -> Encoded {
        let json = serde_json::to_string(self).expect("events have string keys and finite numbers");
        Encoded {
            name: self.name(),
            data: json.into(),
        }
    }
}

impl Encoded {
    /// As a line of an [`EventSegment`].
    pub fn write_line(&self, frames: &mut String) {
        frames.extend([self.name, " ", &self.data, "\n"]);
    }

    /// Whether it leaves no text open that is not in a block; `None` when it says nothing about text.
    pub fn closes_blocks(&self) -> Option<bool> {
        match self.name {
            "block" => Some(self.data.ends_with(r#","tail":""}"#)),
            "snapshot" => Some(self.data.ends_with(r#""tail":""}"#)),
            "delta" => Some(false),
            _ => None,
        }
    }

    fn of_line(line: &str) -> Option<Self> {
        const RECORDED: [&str; 7] = [
            "started",
            "delta",
            "reasoning",
            "tool_calls",
            "block",
            "usage",
            "snapshot",
        ];
        let (name, data) = line.split_once(' ')?;
        let name = RECORDED.into_iter().find(|known| *known == name)?;
        Some(Self {
            name,
            data: data.into(),
        })
    }
}

/// Consecutive events of one generation, as the store and the spool keep them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSegment {
    pub generation_id: GenerationId,
    pub first_seq: u64,
    pub last_seq: u64,
    /// A line an event: its name, a space, its JSON, which has no line break.
    pub frames: String,
}

impl EventSegment {
    /// Its events; `None` when they are not what its positions say, or of a kind that this program does not know.
    pub fn events(&self) -> Option<Vec<Encoded>> {
        let events: Option<Vec<_>> = self.frames.lines().map(Encoded::of_line).collect();
        let expected = self.last_seq.checked_sub(self.first_seq)?.checked_add(1)?;
        events.filter(|events| events.len() as u64 == expected)
    }
}

/// More tool calls than this in one answer are not kept: an index is a number that the upstream chose.
const MAX_TOOL_CALLS: usize = 1024;

/// What a reader has assembled after some event, blocks aside: they follow from the text. In the end, the stored message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transcript {
    pub text: String,
    pub reasoning: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub tool_calls: Vec<Map<String, Value>>,
}

impl Transcript {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Delta { text } => self.text.push_str(text),
            Event::Reasoning { text } => self.reasoning.push_str(text),
            Event::ToolCalls { tool_calls } => tool_calls.iter().for_each(|f| self.add_fragment(f)),
            Event::Snapshot(before) => self.clone_from(&before.transcript),
            _ => {}
        }
    }

    /// The same with an event that was recorded.
    pub fn apply_recorded(&mut self, event: &Encoded) -> Result<(), serde_json::Error> {
        #[derive(Deserialize)]
        struct Text {
            text: String,
        }
        #[derive(Deserialize)]
        struct ToolCalls {
            tool_calls: Vec<ToolCallFragment>,
        }
        match event.name {
            "delta" => {
                let Text { text } = serde_json::from_str(&event.data)?;
                self.text.push_str(&text);
            }
            "reasoning" => {
                let Text { text } = serde_json::from_str(&event.data)?;
                self.reasoning.push_str(&text);
            }
            "tool_calls" => {
                let ToolCalls { tool_calls } = serde_json::from_str(&event.data)?;
                for fragment in &tool_calls {
                    self.add_fragment(fragment);
                }
            }
            "snapshot" => *self = serde_json::from_str(&event.data)?,
            _ => {}
        }
        Ok(())
    }

    /// Strings inside `function` are concatenated; any other field keeps its first value that is not null.
    fn add_fragment(&mut self, fragment: &ToolCallFragment) {
        if fragment.index >= MAX_TOOL_CALLS {
            return;
        }
        if self.tool_calls.len() <= fragment.index {
            self.tool_calls.resize_with(fragment.index + 1, Map::new);
        }
        let call = &mut self.tool_calls[fragment.index];
        for (name, value) in &fragment.fields {
            match (call.get_mut(name), value) {
                (Some(Value::Object(known)), Value::Object(new)) if name == "function" => {
                    for (name, value) in new {
                        match (known.get_mut(name), value) {
                            (Some(Value::String(known)), Value::String(new)) => known.push_str(new),
                            (None | Some(Value::Null), new) => {
                                known.insert(name.clone(), new.clone());
                            }
                            _ => {}
                        }
                    }
                }
                (None | Some(Value::Null), value) => {
                    call.insert(name.clone(), value.clone());
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fragments(value: Value) -> Event {
        Event::ToolCalls {
            tool_calls: serde_json::from_value(value).expect("fragments"),
        }
    }

    #[test]
    fn events_have_the_bytes_of_the_contract() {
        let delta = Event::Delta {
            text: "a\n\"漢\"".into(),
        }
        .encode();
        assert_eq!(
            (delta.name, &*delta.data),
            ("delta", r#"{"text":"a\n\"漢\""}"#)
        );
        let gap = Event::Gap {
            reason: GapReason::BeyondEnd,
            seq: 7,
        }
        .encode();
        assert_eq!(
            (gap.name, &*gap.data),
            ("gap", r#"{"reason":"beyond_end","seq":7}"#)
        );
        let done = Event::Done(Box::new(Done {
            outcome: Outcome::Truncated,
            finish_reason: None,
            usage: None,
            timings: None,
            stored: true,
            problem: None,
        }))
        .encode();
        assert_eq!(
            &*done.data,
            r#"{"outcome":"truncated","finish_reason":null,"usage":null,"timings":null,"stored":true}"#
        );
    }

    #[test]
    fn interleaved_tool_calls_are_assembled_by_index() {
        let mut transcript = Transcript::default();
        for event in [
            fragments(
                json!([{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{"}}]),
            ),
            fragments(
                json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]),
            ),
            fragments(
                json!([{"index": 0, "function": {"arguments": "{}"}}, {"index": 1, "function": {"arguments": "}"}, "extra": 1}]),
            ),
        ] {
            transcript.apply(&event);
        }
        assert_eq!(
            json!(transcript.tool_calls),
            json!([
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "function": {"name": "g", "arguments": "{}"}, "extra": 1}
            ])
        );
    }
}
