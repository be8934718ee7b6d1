//! What a message asks of the demo model: to fail in some way, or an answer to something.

use super::topics::{self, Topic};

/// How to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    Answer,
    Slow,
    Fail,
    Cut,
    Silent,
    /// With this status, at once.
    Refuse(u16),
    /// With nothing but the title of a conversation that begins with the message.
    Title,
}

/// A word counts when it is the whole message, give or take a “please”, or stands first behind `demo:`. What goes wrong is never asked
/// for within a sentence; what to talk about may be.
pub(super) fn wish(text: &str) -> (Behaviour, Option<&'static Topic>) {
    let text = text.trim().to_lowercase();
    let (wish, rest) = match text.strip_prefix("demo:") {
        Some(rest) => behind_demo(rest.trim_start()),
        None => (alone(&text), &*text),
    };
    let topic = topics::named(&wish).or_else(|| topics::asked(rest));
    let behaviour = match &*wish {
        "slow" => Behaviour::Slow,
        "fail" | "failing" => Behaviour::Fail,
        "cut" => Behaviour::Cut,
        "silent" => Behaviour::Silent,
        "error" => Behaviour::Refuse(500),
        wish => wish
            .strip_prefix("error ")
            .and_then(|status| status.parse().ok())
            .filter(|status| (400..600).contains(status))
            .map_or(Behaviour::Answer, Behaviour::Refuse),
    };
    (behaviour, topic)
}

/// The first word, and what follows it; the two of `error 429` are one.
fn behind_demo(text: &str) -> (String, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match rest.split_whitespace().next() {
        Some(status) if word == "error" => (format!("error {status}"), rest),
        _ => (word.to_owned(), rest),
    }
}

fn alone(text: &str) -> String {
    let text = text.trim_end_matches(['.', '!', '?', '。', '！', '？']);
    let text = text.strip_suffix(" please").unwrap_or(text);
    let text = text.trim_end_matches(',');
    let text = text.strip_suffix(" answer").unwrap_or(text);
    text.strip_prefix("a ").unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_alone_or_behind_demo_changes_the_behaviour() {
        for (text, expected) in [
            ("  Slow!\n", Behaviour::Slow),
            ("silent please", Behaviour::Silent),
            ("demo:cut and then some", Behaviour::Cut),
            ("demo: slow, think about tea", Behaviour::Answer),
            ("error 429", Behaviour::Refuse(429)),
            ("demo:error 503", Behaviour::Refuse(503)),
            ("demo:error 503 at once", Behaviour::Refuse(503)),
            ("error", Behaviour::Refuse(500)),
            ("error 200", Behaviour::Answer),
            ("error 429 in my log, what is it?", Behaviour::Answer),
            ("cut the cake in eight", Behaviour::Answer),
            ("Please help me fail gracefully", Behaviour::Answer),
            ("", Behaviour::Answer),
        ] {
            assert_eq!(wish(text).0, expected, "{text:?}");
        }
    }

    #[test]
    fn a_topic_is_asked_for_by_its_word_or_in_a_sentence() {
        for (text, title) in [
            ("long", Some("The keeper of letters")),
            ("a long answer, please", Some("The keeper of letters")),
            ("Help", Some("What the demo model can do")),
            ("help?", Some("What the demo model can do")),
            ("demo: think about tea", Some("A riddle, thought over")),
            ("demo:slow tell me a story", Some("The keeper of letters")),
            ("Show me a table!", Some("A table of teas")),
            ("中文", Some("演示模型的自我介绍")),
            ("您好！", Some("你好")),
            ("long live the king", None),
            ("How long is the Nile?", None),
            ("think of a number", None),
            ("Please help me fail gracefully", None),
            ("demo:cut zebra", None),
            ("slow", None),
            ("", None),
        ] {
            assert_eq!(wish(text).1.map(|topic| topic.title), title, "{text:?}");
        }
        assert_eq!(wish("demo:slow tell me a story").0, Behaviour::Slow);
    }
}
