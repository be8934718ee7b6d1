//! One answer of the demo model: its tokens and what happens between them.

use super::{
    MODEL,
    behaviour::Behaviour,
    prompt::Prompt,
    titles::title,
    topics::{PROMPT, Recital, anything},
};
use bytes::Bytes;
use futures_util::{Stream, future, stream};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    time::Duration,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// Characters of the prompt that an answer repeats.
const ECHO: usize = 80;
/// Tokens before an answer that goes wrong does.
const BEFORE_FAILURE: usize = 24;
/// How many times slower `slow` is than the usual pace.
const SLOWNESS: u32 = 40;
/// An answer that is not streamed is not delayed more than this.
const WHOLE_DELAY: Duration = Duration::from_secs(2);
/// Between the last token and the end of a connection that is cut.
const CUT_DELAY: Duration = Duration::from_millis(50);

const FAILURE: &str = "the demo model failed, as you wished";

pub(super) struct Script {
    id: String,
    created: i64,
    reasoning: Vec<String>,
    tokens: Vec<String>,
    finish_reason: &'static str,
    mishap: Option<Mishap>,
    pause: Duration,
    prompt_tokens: usize,
    include_usage: bool,
}

/// What happens instead of an end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mishap {
    Error,
    Cut,
    Silence,
}

enum Frame {
    /// After the pause.
    Token(Bytes),
    /// At once.
    Now(Bytes),
    Cut,
    Silence,
}

impl Script {
    /// `turn` counts the answers so far.
    pub fn new(prompt: &Prompt, turn: usize, pause: Duration) -> Self {
        // What goes wrong went wrong before an answer that is carried on, and it was thought about then.
        let is_carried_on = !prompt.partial.is_empty();
        let mishap = match prompt.behaviour {
            _ if is_carried_on => None,
            Behaviour::Fail => Some(Mishap::Error),
            Behaviour::Cut => Some(Mishap::Cut),
            Behaviour::Silent => Some(Mishap::Silence),
            _ => None,
        };
        let (thoughts, mut text) = recite(prompt, turn);
        let stop = prompt.stop.iter().filter(|stop| !stop.is_empty());
        if let Some(end) = stop.filter_map(|stop| text.find(stop)).min() {
            text.truncate(end);
        }
        let mut tokens = tokens(&text);
        let mut finish_reason = "stop";
        if let Some(limit) = prompt.limit.filter(|limit| *limit < tokens.len()) {
            tokens.truncate(limit);
            finish_reason = "length";
        }
        if mishap.is_some() {
            tokens.truncate(BEFORE_FAILURE);
        }
        Self {
            id: format!("chatcmpl-{}", Uuid::now_v7().simple()),
            created: OffsetDateTime::now_utc().unix_timestamp(),
            reasoning: self::tokens(&thoughts),
            tokens,
            finish_reason,
            mishap,
            pause: if prompt.behaviour == Behaviour::Slow {
                pause * SLOWNESS
            } else {
                pause
            },
            prompt_tokens: prompt.tokens,
            include_usage: prompt.include_usage,
        }
    }

    /// The answer as an event stream.
    pub fn play(self) -> impl Stream<Item = io::Result<Bytes>> {
        let pause = self.pause;
        stream::unfold(self.frames(), move |mut frames| async move {
            let bytes = match frames.pop_front()? {
                Frame::Token(bytes) => {
                    // A timer takes a millisecond for nothing.
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                    Ok(bytes)
                }
                Frame::Now(bytes) => Ok(bytes),
                Frame::Cut => {
                    // actix sends what it holds when it has to wait, and drops it on an error.
                    tokio::time::sleep(CUT_DELAY).await;
                    Err(io::Error::other("cut, as the prompt asked"))
                }
                Frame::Silence => future::pending().await,
            };
            Some((bytes, frames))
        })
    }

    /// The answer in one piece, after a while.
    pub async fn whole(self) -> Result<Value, String> {
        let count = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
        tokio::time::sleep(self.pause.saturating_mul(count).min(WHOLE_DELAY)).await;
        match self.mishap {
            Some(Mishap::Silence) => future::pending().await,
            Some(_) => return Err(FAILURE.to_owned()),
            None => {}
        }
        let mut message = json!({"role": "assistant", "content": self.tokens.concat()});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.concat().into();
        }
        let choice = json!({"index": 0, "message": message, "finish_reason": self.finish_reason});
        Ok(
            json!({"id": self.id, "object": "chat.completion", "created": self.created, "model": MODEL,
            "choices": [choice], "usage": self.usage()}),
        )
    }

    fn frames(&self) -> VecDeque<Frame> {
        let delta = |delta: Value| self.chunk(&delta, None);
        let mut frames = VecDeque::new();
        frames.push_back(Frame::Now(delta(
            json!({"role": "assistant", "content": ""}),
        )));
        let thoughts = self.reasoning.iter();
        frames
            .extend(thoughts.map(|token| Frame::Token(delta(json!({"reasoning_content": token})))));
        let tokens = self.tokens.iter();
        frames.extend(tokens.map(|token| Frame::Token(delta(json!({"content": token})))));
        match self.mishap {
            Some(Mishap::Silence) => frames.push_back(Frame::Silence),
            Some(Mishap::Cut) => frames.push_back(Frame::Cut),
            Some(Mishap::Error) => {
                let error = json!({"error": {"message": FAILURE, "type": "server_error", "param": null, "code": null}});
                frames.push_back(Frame::Token(event(&error)));
            }
            None => {
                frames.push_back(Frame::Now(self.chunk(&json!({}), Some(self.finish_reason))));
                if self.include_usage {
                    let mut chunk = self.envelope(&json!([]));
                    chunk["usage"] = self.usage();
                    frames.push_back(Frame::Now(event(&chunk)));
                }
                frames.push_back(Frame::Now(Bytes::from_static(b"data: [DONE]\n\n")));
            }
        }
        frames
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Bytes {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
        event(&self.envelope(&json!([choice])))
    }

    fn envelope(&self, choices: &Value) -> Value {
        json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": MODEL, "choices": choices})
    }

    fn usage(&self) -> Value {
        let completion_tokens = self.reasoning.len() + self.tokens.len();
        json!({"prompt_tokens": self.prompt_tokens, "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "completion_tokens_details": {"reasoning_tokens": self.reasoning.len()}})
    }
}

fn event(data: &Value) -> Bytes {
    format!("data: {data}\n\n").into()
}

/// Thoughts and answer. Of one that is carried on the rest, from where its partial text ends: of the answers to this prompt the one that
/// begins so; when none does, another one.
fn recite(prompt: &Prompt, turn: usize) -> (String, String) {
    if prompt.behaviour == Behaviour::Title {
        return (String::new(), title(&prompt.text));
    }
    let recitals = match prompt.topic {
        Some(topic) => topic.recitals,
        None => anything(&prompt.text),
    };
    let mut hasher = DefaultHasher::new();
    prompt.text.hash(&mut hasher);
    let start = usize::try_from(hasher.finish() % recitals.len() as u64).unwrap_or_default();
    let nth = |n: usize| &recitals[(start + turn + n) % recitals.len()];
    let echo = echo(&prompt.text);
    let say = |text: &str| text.replace(PROMPT, &echo);
    let rest = |recital: &Recital| {
        say(recital.text)
            .strip_prefix(&*prompt.partial)
            .map(str::to_owned)
    };
    let rest = (0..recitals.len()).find_map(|n| rest(nth(n)));
    let thoughts = if prompt.partial.is_empty() {
        say(nth(0).thoughts)
    } else {
        String::new()
    };
    (thoughts, rest.unwrap_or_else(|| say(nth(0).text)))
}

/// The beginning of the prompt, on one line.
fn echo(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(ECHO) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.is_empty() => "…".to_owned(),
        None => line,
    }
}

/// Pieces as a tokenizer makes them: words with the blank before them, long words in parts, other scripts character by character.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut last = ' ';
    for character in text.chars() {
        let goes_on = character.is_ascii()
            && last.is_ascii()
            && (last.is_ascii_whitespace() || !character.is_ascii_whitespace())
            && (character.is_ascii_alphanumeric() || last == character);
        match tokens.last_mut() {
            Some(token) if goes_on && token.len() < 10 => token.push(character),
            _ => tokens.push(character.to_string()),
        }
        last = character;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::{super::topics::tests::all, *};

    #[test]
    fn tokens_are_small_and_lose_nothing() {
        assert_eq!(
            tokens("Hello, my world!\n\n漢字"),
            ["Hello", ",", " my", " world", "!", "\n\n", "漢", "字"]
        );
        for Recital { text, .. } in all() {
            let tokens = tokens(text);
            assert_eq!(tokens.concat(), *text);
            assert!(tokens.iter().all(|token| token.len() <= 10));
        }
    }

    #[test]
    fn an_echo_is_one_short_line() {
        assert_eq!(echo(" a\n\nb "), "a b");
        assert_eq!(echo(&"漢".repeat(100)).chars().count(), ECHO + 1);
        assert_eq!(echo(" "), "…");
    }
}
