//! What a request asks of the demo model.

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
    pub stream: bool,
    pub include_usage: bool,
    /// Tokens.
    pub limit: Option<usize>,
    pub stop: Vec<String>,
    /// Characters in all messages.
    pub characters: usize,
}

/// How to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    Answer,
    Help,
    Long,
    Slow,
    Think,
    Fail,
    Cut,
    Silent,
    /// With this status, at once.
    Refuse(u16),
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
        let text = last.map_or("", |(_, text)| text).to_owned();
        Ok(Self {
            behaviour: behaviour(&text),
            text,
            partial: partial.to_owned(),
            stream: request.stream.unwrap_or(false),
            include_usage: request
                .stream_options
                .and_then(|options| options.include_usage)
                .unwrap_or(false),
            limit: request.max_completion_tokens.or(request.max_tokens),
            stop: match request.stop {
                Some(Value::String(stop)) => vec![stop],
                Some(Value::Array(stops)) => stops
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                _ => Vec::new(),
            },
            characters: texts.iter().map(|text| text.chars().count()).sum(),
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

/// A word counts when it is the whole message, give or take a “please”, or stands first behind `demo:`; never within a sentence.
fn behaviour(text: &str) -> Behaviour {
    let text = text.trim().to_lowercase();
    let wish = if let Some(rest) = text.strip_prefix("demo:") {
        let mut words = rest.split_whitespace();
        let word = words.next().unwrap_or_default();
        match words.next() {
            Some(status) if word == "error" => format!("error {status}"),
            _ => word.to_owned(),
        }
    } else {
        let text = text.trim_end_matches(['.', '!', '?']);
        let text = text.strip_suffix(" please").unwrap_or(text);
        let text = text.trim_end_matches(',');
        let text = text.strip_suffix(" answer").unwrap_or(text);
        text.strip_prefix("a ").unwrap_or(text).to_owned()
    };
    match &*wish {
        "help" => Behaviour::Help,
        "long" => Behaviour::Long,
        "slow" => Behaviour::Slow,
        "think" => Behaviour::Think,
        "fail" | "failing" => Behaviour::Fail,
        "cut" => Behaviour::Cut,
        "silent" => Behaviour::Silent,
        "error" => Behaviour::Refuse(500),
        wish => wish
            .strip_prefix("error ")
            .and_then(|status| status.parse().ok())
            .filter(|status| (400..600).contains(status))
            .map_or(Behaviour::Answer, Behaviour::Refuse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_alone_or_behind_demo_changes_the_behaviour() {
        for (text, expected) in [
            ("long", Behaviour::Long),
            ("  Slow!\n", Behaviour::Slow),
            ("a long answer, please", Behaviour::Long),
            ("silent please", Behaviour::Silent),
            ("Help", Behaviour::Help),
            ("help?", Behaviour::Help),
            ("demo:cut and then some", Behaviour::Cut),
            ("demo: think about tea", Behaviour::Think),
            ("error 429", Behaviour::Refuse(429)),
            ("demo:error 503", Behaviour::Refuse(503)),
            ("error", Behaviour::Refuse(500)),
            ("error 200", Behaviour::Answer),
            ("error 429 in my log, what is it?", Behaviour::Answer),
            ("long live the king", Behaviour::Answer),
            ("How long is the Nile?", Behaviour::Answer),
            ("cut the cake in eight", Behaviour::Answer),
            ("Please help me fail gracefully", Behaviour::Answer),
            ("think of a number", Behaviour::Answer),
            ("", Behaviour::Answer),
        ] {
            assert_eq!(behaviour(text), expected, "{text:?}");
        }
    }

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
