//! Titles: once its first answer is complete, the model is asked what to call a conversation, in the background.
//!
//! Until then, and when nothing usable comes, the title is the beginning of the question. What a person called it stays.

use super::Chat;
use crate::{
    generation::Generation,
    markdown,
    model::{ConversationId, Outcome, Role, Sampling, UserId},
    store::Turn,
    text::{beginning, one_line, with_causes},
    upstream::{ChatRequest, Delta, PromptMessage, Upstream, UpstreamError},
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// The demo model knows it by the words `title` and `conversation`.
const INSTRUCTION: &str = "Write a title for this conversation: at most six words, in the language of the first message. \
    Answer with the title alone, on one line, without quotation marks, formatting or a full stop.";
/// Of the answer: a title, and a model that begins to chat is not waited for.
const MAX_TOKENS: u32 = 48;
/// How much of the question and of the answer the model is shown, in characters.
const QUESTION_CHARACTERS: usize = 2000;
const ANSWER_CHARACTERS: usize = 1000;
/// The longest title, in characters; and what is so long that it is none.
const TITLE_CHARACTERS: usize = 80;
const NO_TITLE_CHARACTERS: usize = 200;

/// What the first turn of a conversation said.
struct Talk {
    owner: UserId,
    id: ConversationId,
    model: Option<String>,
    question: String,
    answer: String,
}

impl Chat {
    /// Asks for a title when this turn is the first of its conversation, completed, and nobody has named it. Returns at once: it is no
    /// part of the answer, counts nowhere, and a drain does not wait for it.
    pub(super) fn ask_for_title(
        self: &Arc<Self>,
        upstream: Upstream,
        generation: &Generation,
        turn: &Turn,
    ) {
        let (Some(patience), Some(ending)) = (self.options.titles, generation.ending()) else {
            return;
        };
        let [question] = turn.path.as_slice() else {
            return;
        };
        if !turn.is_untitled || ending.outcome != Outcome::Completed {
            return;
        }
        let talk = Talk {
            owner: generation.owner,
            id: turn.conversation_id,
            model: turn.model.clone(),
            question: question.content.chars().take(QUESTION_CHARACTERS).collect(),
            answer: ending.content.chars().take(ANSWER_CHARACTERS).collect(),
        };
        let chat = self.clone();
        self.tasks.spawn_local(async move {
            tokio::select! {
                biased;
                () = chat.no_more_titles.cancelled() => {}
                () = chat.find_title(&upstream, talk, patience) => {}
            }
        });
    }

    async fn find_title(self: &Arc<Self>, upstream: &Upstream, talk: Talk, patience: Duration) {
        let (owner, id) = (talk.owner, talk.id);
        let said = match timeout(patience, self.asked_for(upstream, talk)).await {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => {
                return tracing::debug!(conversation.id = %id, error = with_causes(&error), "no title came");
            }
            Err(_) => return tracing::debug!(conversation.id = %id, "no title came in time"),
        };
        let Some(title) = title(&said) else {
            return tracing::debug!(conversation.id = %id, "what came is no title");
        };
        match self.store.give_title(owner, id, &title).await {
            Ok(true) => self.tell(owner, id),
            // Somebody named it meanwhile, or deleted it.
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(conversation.id = %id, error = with_causes(&error), "a title was not stored");
            }
        }
    }

    /// What the model says to the question for a title.
    async fn asked_for(&self, upstream: &Upstream, talk: Talk) -> Result<String, UpstreamError> {
        let said = [
            (Role::User, talk.question),
            (Role::Assistant, talk.answer),
            (Role::User, INSTRUCTION.to_owned()),
        ];
        let request = ChatRequest {
            model: self.model(upstream, talk.model).await,
            messages: said
                .into_iter()
                .filter(|(_, content)| !content.is_empty())
                .map(|(role, content)| PromptMessage { role, content })
                .collect(),
            partial: String::new(),
            sampling: Sampling {
                max_tokens: Some(MAX_TOKENS),
                ..Sampling::default()
            },
        };
        let answer = upstream.complete(&request).await?;
        let text = |delta| match delta {
            Delta::Text(text) => Some(text),
            _ => None,
        };
        Ok(answer.deltas.into_iter().filter_map(text).collect())
    }
}

/// The title in what a model said: one line of text. `None` when there is none.
fn title(said: &str) -> Option<String> {
    // What is longer than that is no title, nor worth being read as Markdown.
    let said = without_thinking(said).chars();
    let said: String = said.take(4 * NO_TITLE_CHARACTERS).collect();
    let line = one_line(&markdown::first_line(&said));
    let title = unquoted(unlabelled(&line));
    let is_one = title.chars().any(char::is_alphanumeric);
    let is_short = title.chars().count() <= NO_TITLE_CHARACTERS;
    (is_one && is_short).then(|| beginning(title, TITLE_CHARACTERS))
}

/// What follows the thinking of a model whose server leaves it in the text.
fn without_thinking(said: &str) -> &str {
    let mut rest = said;
    for (open, close) in [("<think>", "</think>"), ("<thinking>", "</thinking>")] {
        // A template may have opened it.
        if let Some((_, after)) = rest.rsplit_once(close) {
            rest = after;
        } else if let Some((before, _)) = rest.split_once(open) {
            rest = before;
        }
    }
    rest.trim()
}

fn unlabelled(line: &str) -> &str {
    let Some((label, rest)) = line.split_once([':', '：']) else {
        return line;
    };
    let is_label = ["title", "标题", "標題"].contains(&&*label.trim().to_lowercase());
    if is_label { rest.trim() } else { line }
}

/// Without the quotation marks around it, and the full stop at its end.
fn unquoted(title: &str) -> &str {
    const MARKS: [(char, char); 9] = [
        ('"', '"'),
        ('\'', '\''),
        ('“', '”'),
        ('„', '“'),
        ('‘', '’'),
        ('«', '»'),
        ('「', '」'),
        ('『', '』'),
        ('《', '》'),
    ];
    let mut title = title.trim();
    loop {
        let inner = MARKS.iter().find_map(|(open, close)| {
            let inner = title.strip_prefix(*open)?.strip_suffix(*close)?;
            // Else the marks are around words in it.
            (!inner.contains([*open, *close])).then_some(inner)
        });
        let is_sentence = !title.ends_with("..");
        let unended = title.strip_suffix(['.', '。']).filter(|_| is_sentence);
        match inner.or(unended) {
            Some(less) => title = less.trim(),
            None => return title,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_found_in_what_models_say() {
        for (said, expected) in [
            ("Tides of Mars", "Tides of Mars"),
            ("  \"Tides of Mars.\"\n", "Tides of Mars"),
            ("“Tides of Mars”.", "Tides of Mars"),
            ("**Title:** *Tides* of Mars", "Tides of Mars"),
            (
                "# Title: \"Tides\"\n\nThis title says what it is about.",
                "Tides",
            ),
            (
                "<think>\nThe user asks…\n\"Moons\"?\n</think>\n\nTides",
                "Tides",
            ),
            ("The user asks…</think>Tides", "Tides"),
            ("- Tides\n- Moons", "Tides"),
            ("标题：《火星的潮汐》", "火星的潮汐"),
            ("「火星の潮」。", "火星の潮"),
            ("\"To be\" or \"not to be\"", "\"To be\" or \"not to be\""),
            (
                "Rust: ownership and borrowing",
                "Rust: ownership and borrowing",
            ),
            ("What is a tide?", "What is a tide?"),
            ("And so on...", "And so on..."),
            ("Why `x += 1` works in C#", "Why x += 1 works in C#"),
            ("Tides\u{0}\u{7}\tof\u{1b}Mars", "Tides ofMars"),
            ("🌊🌊 Tides", "🌊🌊 Tides"),
        ] {
            assert_eq!(title(said).as_deref(), Some(expected), "{said:?}");
        }
    }

    #[test]
    fn what_is_no_title_is_none() {
        let long = "x".repeat(10_000);
        for said in [
            "",
            " \n\n ",
            "\"\"",
            "***",
            "<think>I wonder what",
            "<think>Tides</think>",
            "…",
            "```\n```",
            &long,
            &"many words ".repeat(1000),
        ] {
            assert_eq!(title(said), None, "{said:?}");
        }
    }

    #[test]
    fn a_long_title_is_cut_between_characters() {
        let words = title(&"潮".repeat(150)).expect("one");
        assert_eq!(words, format!("{}…", "潮".repeat(79)));
        assert_eq!(title(&"é".repeat(80)), Some("é".repeat(80)));
    }
}
