//! What a request says before its answer, as a conversation keeps it: as much of it as is text. It refuses nothing; whether a request is
//! one is for the upstream to say.

use super::members::members;
use crate::{
    model::Role,
    text::{Wtf8, beginning, one_line, without_lone_halves},
};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

/// How much of an unknown name is shown, in characters.
const NAME_CHARACTERS: usize = 40;

/// The messages of a request.
#[derive(Debug, Default, PartialEq)]
pub struct Exchange {
    /// All that systems and developers said, in its order.
    pub system: Option<String>,
    pub said: Vec<Said>,
}

#[derive(Debug, PartialEq)]
pub struct Said {
    pub role: Role,
    pub content: String,
    pub reasoning: Option<String>,
    pub tool_calls: Option<Vec<Map<String, Value>>>,
}

/// A message as it came; a field of another shape is as if it were not there.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_call_id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
}

/// One of several parts of a content. What is no text (an image may have megabytes) is not even looked at.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
}

impl Exchange {
    /// Reads a request, a JSON object.
    pub fn read(request: &str) -> Self {
        let mut exchange = Self::default();
        let members = members(request).unwrap_or_default();
        let messages = members.iter().find(|member| member.name == "messages");
        let messages: Vec<&RawValue> = messages
            .and_then(|messages| serde_json::from_str(messages.value).ok())
            .unwrap_or_default();
        for message in messages {
            match serde_json::from_str(message.get()) {
                Ok(message) => exchange.add(&message),
                Err(_) => exchange
                    .said
                    .push(Said::by(Role::User, placeholder("unreadable"))),
            }
        }
        exchange
    }

    fn add(&mut self, message: &Message) {
        let role = text(message.role).unwrap_or_default();
        let content = content(message.content);
        match role.as_str() {
            "system" | "developer" => {
                let before = self.system.take();
                let all = [before, content].into_iter().flatten();
                let all: Vec<_> = all.filter(|text| !text.is_empty()).collect();
                self.system = (!all.is_empty()).then(|| all.join("\n\n"));
            }
            "assistant" => self.said.push(Said {
                reasoning: text(message.reasoning_content).or_else(|| text(message.reasoning)),
                tool_calls: message.tool_calls.and_then(calls),
                ..Said::by(
                    Role::Assistant,
                    content
                        .or_else(|| text(message.refusal))
                        .unwrap_or_default(),
                )
            }),
            "user" => self
                .said
                .push(Said::by(Role::User, content.unwrap_or_default())),
            // Of a tool, say. Whoever carries the conversation on tells the model what it said in a user's words.
            role => {
                let of = text(message.tool_call_id).or_else(|| text(message.name));
                let of = of.map_or_else(|| role.to_owned(), |of| format!("{role} {of}"));
                let content = content.unwrap_or_default();
                let content = format!("{}\n{content}", placeholder(&of));
                self.said.push(Said::by(Role::User, content));
            }
        }
    }
}

impl Said {
    fn by(role: Role, content: String) -> Self {
        Self {
            role,
            content,
            reasoning: None,
            tool_calls: None,
        }
    }
}

/// A text, or parts of which some are. `None` when it is neither.
fn content(content: Option<&RawValue>) -> Option<String> {
    if let Some(text) = text(content) {
        return Some(text);
    }
    let parts: Vec<&RawValue> = serde_json::from_str(content?.get()).ok()?;
    let parts: Vec<_> = parts.into_iter().map(part).collect();
    Some(parts.join("\n"))
}

fn part(part: &RawValue) -> String {
    let Ok(part) = serde_json::from_str::<Part>(part.get()) else {
        return text(Some(part)).unwrap_or_else(|| placeholder("unreadable"));
    };
    let said = text(part.text).or_else(|| text(part.refusal));
    said.unwrap_or_else(|| {
        let kind = text(part.kind).unwrap_or_default();
        let kind = kind.strip_prefix("input_").unwrap_or(&kind);
        placeholder(kind.strip_suffix("_url").unwrap_or(kind))
    })
}

/// What stands for something that is no text.
fn placeholder(of: &str) -> String {
    match beginning(&one_line(of), NAME_CHARACTERS) {
        of if of.is_empty() => "[something]".to_owned(),
        of => format!("[{of}]"),
    }
}

fn text(json: Option<&RawValue>) -> Option<String> {
    let text: Option<Wtf8> = serde_json::from_str(json?.get()).ok()?;
    text.map(Wtf8::into_text)
}

fn calls(json: &RawValue) -> Option<Vec<Map<String, Value>>> {
    let calls = serde_json::from_str(json.get())
        .or_else(|_| serde_json::from_str(&without_lone_halves(json.get())));
    calls.ok().filter(|calls: &Vec<_>| !calls.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(messages: &Value) -> Exchange {
        Exchange::read(&json!({"model": "m", "messages": messages}).to_string())
    }

    #[test]
    fn systems_and_developers_make_the_system_prompt() {
        let exchange = said(&json!([
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "hi"},
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "system", "content": ""},
        ]));
        assert_eq!(exchange.system.as_deref(), Some("Be kind.\n\nBe brief."));
        assert_eq!(exchange.said, [Said::by(Role::User, "hi".into())]);
    }

    #[test]
    fn what_is_no_text_has_its_place_in_the_text() {
        let exchange = said(&json!([
            {"role": "user", "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA"}},
                {"type": "file", "file": {"file_id": "f"}},
                {"type": "new\n\u{1b}[31m"},
                7,
            ]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "content": null, "refusal": "Never.", "reasoning": "hm"},
        ]));
        let user = "What is it?\n[image]\n[audio]\n[file]\n[new [31m]\n[unreadable]";
        assert_eq!(exchange.said[0].content, user);
        assert_eq!(exchange.said[1].content, "No.");
        assert_eq!(exchange.said[2].content, "Never.");
        assert_eq!(exchange.said[2].reasoning.as_deref(), Some("hm"));
    }

    #[test]
    fn calls_of_tools_and_their_results_are_kept() {
        let call = json!({"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}});
        let exchange = said(&json!([
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "17 degrees"},
            {"role": "function", "name": "old", "content": "x"},
            {"role": "poet"},
        ]));
        assert_eq!(json!(exchange.said[0].tool_calls), json!([call]));
        assert_eq!(exchange.said[0].content, "");
        let rest: Vec<_> = exchange.said[1..]
            .iter()
            .map(|said| (said.role, &*said.content))
            .collect();
        assert_eq!(
            rest,
            [
                (Role::User, "[tool c1]\n17 degrees"),
                (Role::User, "[function old]\nx"),
                (Role::User, "[poet]\n"),
            ]
        );
    }

    #[test]
    fn nothing_is_refused() {
        for request in ["{}", r#"{"messages": 7}"#, r#"{"messages": null}"#, "7"] {
            assert_eq!(Exchange::read(request), Exchange::default(), "{request}");
        }
        let odd = r#"{"messages": [7, {"role": 7, "content": 7}, {"role": "user", "role": "user"},
            {"role": "user", "content": "a\ud83d\u0000"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "\udc00"}]}, {"role": "assistant", "tool_calls": 7}]}"#;
        let said = Exchange::read(odd).said;
        let contents: Vec<_> = said.iter().map(|said| &*said.content).collect();
        assert_eq!(
            contents,
            [
                "[unreadable]",
                "[something]\n",
                "[unreadable]",
                "a\u{fffd}\u{fffd}",
                "",
                ""
            ]
        );
        assert_eq!(json!(said[4].tool_calls), json!([{"id": "\u{fffd}"}]));
        assert_eq!(said[5].tool_calls, None);
    }
}
