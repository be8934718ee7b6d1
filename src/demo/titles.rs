//! Titles of conversations, when the demo model is asked for one.

use super::{
    behaviour::{Behaviour, wish},
    topics::is_chinese,
};

/// An answer to a request for more tokens is no title.
const TOKENS: usize = 1024;
/// Of a title that is taken from the question.
const WORDS: usize = 6;
const CHARACTERS: usize = 40;
const CHINESE_CHARACTERS: usize = 14;

/// What the conversation begins with, when its title is asked for: by a system message, or by the last message.
pub(super) fn question(said: &[(&str, &str)], limit: Option<usize>) -> Option<String> {
    if limit.is_none_or(|limit| limit > TOKENS) {
        return None;
    }
    let is_system = |role: &str| matches!(role, "system" | "developer");
    let (last_role, last) = *said.last()?;
    let is_asked = said
        .iter()
        .any(|(role, text)| is_system(role) && asks(text))
        || last_role == "user" && asks(last);
    let (_, first) = said.iter().find(|(role, _)| *role == "user")?;
    is_asked.then(|| quoted(first))
}

/// What a text quotes behind the instruction, if it has one, without its label.
fn quoted(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(str::trim);
    let quoted = paragraphs.filter(|paragraph| !paragraph.is_empty() && !asks(paragraph));
    let text = quoted.into_iter().next().unwrap_or(text);
    let mut lines = text.lines().map(str::trim).filter(|line| !asks(line));
    let label = |line: &&str| !line.is_empty() && !line.ends_with(':');
    let line = lines.find(label).unwrap_or_default();
    let labels = ["user:", "question:", "q:", ">"];
    let lower = line.to_lowercase();
    let label = labels.iter().find(|label| lower.starts_with(**label));
    label
        .map_or(line, |label| line[label.len()..].trim())
        .to_owned()
}

fn asks(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("title") && text.contains("conversation")
}

/// A short title for a conversation that begins with this question.
pub(super) fn title(question: &str) -> String {
    match wish(question) {
        (_, Some(topic)) => topic.title.to_owned(),
        (Behaviour::Slow, _) => "One word a second".to_owned(),
        (Behaviour::Fail, _) => "An answer that fails".to_owned(),
        (Behaviour::Cut, _) => "An answer that breaks off".to_owned(),
        (Behaviour::Silent, _) => "An answer that falls silent".to_owned(),
        _ if is_chinese(question) => in_chinese(question),
        _ => in_words(question),
    }
}

fn in_chinese(question: &str) -> String {
    let mut rest = question.trim();
    for polite in ["请问", "请", "帮我", "给我", "用中文"] {
        rest = rest.strip_prefix(polite).unwrap_or(rest);
    }
    let end = rest.find(['，', '。', '？', '！', '；', '\n']);
    rest[..end.unwrap_or(rest.len())]
        .chars()
        .take(CHINESE_CHARACTERS)
        .collect()
}

fn in_words(question: &str) -> String {
    let mut words = question.split_whitespace().peekable();
    let polite = [
        "please", "can", "could", "would", "you", "tell", "me", "hi", "hello", "hey", "so",
    ];
    let is_polite = |word: &&str| {
        let word = word
            .trim_matches(|c: char| !c.is_alphanumeric())
            .to_lowercase();
        polite.contains(&&*word)
    };
    while words.next_if(is_polite).is_some() {}
    let mut title = String::new();
    for word in words.take(WORDS) {
        if title.chars().count() + word.chars().count() > CHARACTERS {
            break;
        }
        title.push_str(word);
        title.push(' ');
    }
    let title = title.trim_end_matches(|c: char| !c.is_alphanumeric());
    let mut characters = title.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => "A conversation".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTRUCTION: &str =
        "Write a short title for this conversation. Answer with nothing else.";

    #[test]
    fn a_title_is_asked_for_by_an_instruction_and_few_tokens() {
        let quoting = format!("{INSTRUCTION}\n\nUser: What is a river?\n\nAssistant: Water.");
        let talk = [("user", "What is a river?"), ("assistant", "Water.")];
        let by_system = [("system", INSTRUCTION), talk[0], talk[1]];
        let by_last = [talk[0], talk[1], ("user", INSTRUCTION)];
        let wrapped = [
            ("system", INSTRUCTION),
            ("user", "Question:\nWhat is a river?\n\nAnswer:\nWater."),
        ];
        for said in [&by_system[..], &by_last, &wrapped, &[("user", &*quoting)]] {
            let asked = question(said, Some(32));
            assert_eq!(asked.as_deref(), Some("What is a river?"), "{said:?}");
            assert_eq!(
                question(said, None),
                None,
                "an answer of any length is no title"
            );
            assert_eq!(question(said, Some(4096)), None);
        }
        assert_eq!(question(&talk, Some(32)), None);
        assert_eq!(question(&[], Some(32)), None);
        let talked_about = [
            ("user", INSTRUCTION),
            ("assistant", "No."),
            ("user", "Why?"),
        ];
        assert_eq!(question(&talked_about, Some(32)), None);
    }

    #[test]
    fn a_title_is_short_and_about_the_question() {
        for (question, expected) in [
            ("help", "What the demo model can do"),
            ("demo:slow", "One word a second"),
            ("demo:slow tell me a story", "The keeper of letters"),
            ("cut", "An answer that breaks off"),
            ("用中文介绍一下你自己", "演示模型的自我介绍"),
            ("What is a river?", "What is a river"),
            (
                "Hi, can you please tell me what to cook tonight, with rice?",
                "What to cook tonight, with rice",
            ),
            (
                "how\nmany   moons has Mars, and which of them is nearer?",
                "How many moons has Mars, and",
            ),
            ("请问北京明天天气怎么样？谢谢", "北京明天天气怎么样"),
            ("", "A conversation"),
            ("?!", "A conversation"),
            ("please", "A conversation"),
        ] {
            assert_eq!(title(question), expected, "{question}");
        }
        for question in ["x".repeat(10_000), "茶叶".repeat(5_000), "東".repeat(9)] {
            assert!(title(&question).chars().count() <= CHARACTERS);
        }
    }
}
