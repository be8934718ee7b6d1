//! What a request asks of the demo model.

use super::{
    behaviour::{Behaviour, wish},
    titles,
    topics::Topic,
};
use crate::upstream::GO_ON;
use serde::Deserialize;
use serde_json::Value;

/// A valid request.
pub(super) struct Prompt {
    /// The last user message, the one that asks to go on aside.
    pub text: String,
    /// The answer so far, which is to be carried on.
    pub partial: String,
    pub behaviour: Behaviour,
    /// What it is about, when that can be told.
    pub topic: Option<&'static Topic>,
    pub stream: bool,
    pub include_usage: bool,
    /// Tokens.
    pub limit: Option<usize>,
    pub stop: Vec<String>,
    /// In all messages.
    pub tokens: usize,
}

/// Why a request is malformed, and which part of it.
#[derive(Debug)]
pub(super) struct Fault {
    pub message: String,
    pub param: Option<&'static str>,
}

#[derive(Deserialize)]
struct Request {
    model: Option<Value>,
    messages: Option<Vec<Message>>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    stop: Option<Value>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Option<Value>,
}

impl Prompt {
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        let fault = |message: &str, param| Fault {
            message: message.to_owned(),
            param: Some(param),
        };
        let request: Request = serde_json::from_slice(body).map_err(|error| Fault {
            message: format!("the body is not a valid request: {error}"),
            param: None,
        })?;
        let has_name = |model: &Value| model.as_str().is_some_and(|name| !name.is_empty());
        if !request.model.as_ref().is_some_and(has_name) {
            return Err(fault("you must provide a model", "model"));
        }
        let messages = request.messages.unwrap_or_default();
        if messages.is_empty() {
            return Err(fault("you must provide at least one message", "messages"));
        }
        let roles = ["system", "developer", "user", "assistant", "tool"];
        if messages
            .iter()
            .any(|message| !roles.contains(&&*message.role))
        {
            return Err(fault("a message has a role that is not known", "messages"));
        }
        let texts: Vec<String> = messages.iter().map(text_of).collect();
        let said: Vec<(&str, &str)> = messages
            .iter()
            .zip(&texts)
            .map(|(message, text)| (&*message.role, &**text))
            .collect();
        let (said, partial) = match said.as_slice() {
            [said @ .., ("assistant", partial)]
            | [said @ .., ("assistant", partial), ("user", GO_ON)] => (said, *partial),
            said => (said, ""),
        };
        let last = said.iter().rfind(|(role, _)| *role == "user");
        let last = last.map_or("", |(_, text)| text);
        let limit = request.max_completion_tokens.or(request.max_tokens);
        let (text, (behaviour, topic)) = match titles::question(said, limit) {
            Some(question) => (question, (Behaviour::Title, None)),
            None => (last.to_owned(), wish(last)),
        };
        Ok(Self {
            text,
            behaviour,
            topic,
            partial: partial.to_owned(),
            stream: request.stream.unwrap_or(false),
            include_usage: request
                .stream_options
                .and_then(|options| options.include_usage)
                .unwrap_or(false),
            limit,
            stop: match request.stop {
                Some(Value::String(stop)) => vec![stop],
                Some(Value::Array(stops)) => stops
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                _ => Vec::new(),
            },
            tokens: texts.iter().map(|text| tokens_in(text)).sum(),
        })
    }
}

/// A string, or the text parts of a list.
fn text_of(message: &Message) -> String {
    match &message.content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

/// About four ASCII characters make a token, or one of another script; each message has four besides.
fn tokens_in(text: &str) -> usize {
    let quarters = |character: char| if character.is_ascii() { 1 } else { 4 };
    text.chars().map(quarters).sum::<usize>().div_ceil(4) + 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_user_message_decides() {
        let prompt = Prompt::read(
            br#"{"model": "m", "messages": [{"role": "system", "content": "long"}, {"role": "user", "content": "slow"},
                {"role": "assistant", "content": "cut"}, {"role": "user", "content": [{"type": "text", "text": "fail"}]}]}"#,
        );
        assert_eq!(prompt.unwrap().behaviour, Behaviour::Fail);
    }

    #[test]
    fn an_answer_at_the_end_or_before_the_wish_to_go_on_is_the_beginning_of_this_one() {
        let read = |tail: serde_json::Value| {
            let mut messages = vec![
                serde_json::json!({"role": "user", "content": "slow"}),
                serde_json::json!({"role": "assistant", "content": "One"}),
            ];
            messages.extend(tail.as_array().unwrap().iter().cloned());
            let body = serde_json::json!({"model": "m", "messages": messages}).to_string();
            let prompt = Prompt::read(body.as_bytes()).unwrap();
            (prompt.text, prompt.partial)
        };
        let strings = |text: &str, partial: &str| (text.to_owned(), partial.to_owned());
        let user = |text: &str| serde_json::json!([{"role": "user", "content": text}]);
        assert_eq!(read(serde_json::json!([])), strings("slow", "One"));
        assert_eq!(read(user(GO_ON)), strings("slow", "One"));
        assert_eq!(read(user("cut")), strings("cut", ""));
    }
}
