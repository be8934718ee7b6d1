//! Where a carried-on answer begins anew: models like to repeat the last words before they go on.
//!
//! The first characters are held back from the readers, and what they repeat of the text before is dropped. Only an exact repetition,
//! only there: anything cleverer would one day take away what was meant.

use crate::event::Event;

/// Characters (Unicode code points, as everywhere in this file) of the new text that are held back, and looked at.
const HELD: usize = 256;
/// A shorter repetition is taken for what the model wants to say: a list's bullet, a refrain, a closing tag.
const REPEATED_AT_LEAST: usize = 32;

/// The events of an answer on their way into its log, the beginning of the new text held back.
pub(super) struct Overlap {
    /// The end of the text before; `None` when nothing is held back, or not any more.
    before: Option<String>,
    text: String,
    /// What came after the held text.
    behind: Vec<Event>,
}

impl Overlap {
    /// `before` is the text that is carried on. One too short to be repeated has nothing held back for it.
    pub fn with(before: &str) -> Self {
        let end = last(before, HELD);
        Self {
            before: (end.chars().count() >= REPEATED_AT_LEAST).then(|| end.to_owned()),
            text: String::new(),
            behind: Vec::new(),
        }
    }

    /// Whether something is held back, or will be.
    pub fn holds(&self) -> bool {
        self.before.is_some()
    }

    /// What may be told now that this came. Thinking text is told at once; a tool call ends the text before it.
    pub fn pass(&mut self, event: Event) -> Vec<Event> {
        if self.before.is_none() {
            return vec![event];
        }
        match event {
            Event::Delta { text } => {
                self.text.push_str(&text);
                if self.text.chars().nth(HELD - 1).is_some() {
                    return self.let_go();
                }
                Vec::new()
            }
            Event::Reasoning { .. } => vec![event],
            Event::ToolCalls { .. } => {
                let mut events = self.let_go();
                events.push(event);
                events
            }
            _ if self.text.is_empty() => vec![event],
            _ => {
                self.behind.push(event);
                Vec::new()
            }
        }
    }

    /// What is still held, without what it repeats. Nothing is held back from now on.
    pub fn let_go(&mut self) -> Vec<Event> {
        let before = self.before.take().unwrap_or_default();
        let mut text = std::mem::take(&mut self.text);
        text.drain(..repeated(&before, &text));
        let delta = (!text.is_empty()).then_some(Event::Delta { text });
        let behind = std::mem::take(&mut self.behind);
        delta.into_iter().chain(behind).collect()
    }
}

/// Bytes at the beginning of `text` that repeat the end of `before`, in the longest way.
fn repeated(before: &str, text: &str) -> usize {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let ends = ends.take(HELD).skip(REPEATED_AT_LEAST - 1);
    ends.filter(|end| before.ends_with(&text[..*end]))
        .last()
        .unwrap_or(0)
}

fn last(text: &str, characters: usize) -> &str {
    let start = text.char_indices().rev().take(characters).last();
    &text[start.map_or(0, |(at, _)| at)..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Usage;
    use proptest::prelude::*;

    fn delta(text: &str) -> Event {
        Event::Delta {
            text: text.to_owned(),
        }
    }

    fn told(events: &[Event]) -> String {
        let text = events.iter().map(|event| match event {
            Event::Delta { text } => text.as_str(),
            _ => "",
        });
        text.collect()
    }

    /// What is told in the end of these pieces of new text.
    fn carried_on(before: &str, pieces: &[&str]) -> String {
        let mut overlap = Overlap::with(before);
        let mut events: Vec<_> = pieces
            .iter()
            .flat_map(|piece| overlap.pass(delta(piece)))
            .collect();
        events.extend(overlap.let_go());
        told(&events)
    }

    /// Characters of which no two neighbours are the same, so that a shorter repetition is none.
    fn distinct(characters: usize) -> String {
        ('\u{4e00}'..).take(characters).collect()
    }

    #[test]
    fn a_repetition_of_32_to_256_characters_is_dropped_and_no_other() {
        let before = distinct(400);
        for (repeated, dropped) in [(31, 0), (32, 32), (33, 33), (256, 256), (257, 0)] {
            let new = format!("{} and on", last(&before, repeated));
            let expected: String = new.chars().skip(dropped).collect();
            assert_eq!(carried_on(&before, &[&new]), expected, "{repeated}");
        }
    }

    #[test]
    fn of_several_repetitions_the_longest_is_dropped() {
        let before = "na ".repeat(100);
        let new = format!("{}Batman", "na ".repeat(20));
        assert_eq!(carried_on(&before, &[&new]), "Batman");
    }

    #[test]
    fn text_that_was_there_before_but_not_at_its_end_stays() {
        let before = format!("{}!", distinct(100));
        let new = distinct(100);
        assert_eq!(carried_on(&before, &[&new]), new);
    }

    #[test]
    fn nothing_is_told_before_256_characters_and_all_of_it_then() {
        let mut overlap = Overlap::with(&distinct(40));
        assert!(overlap.pass(delta(&"x".repeat(255))).is_empty());
        assert_eq!(told(&overlap.pass(delta("y"))).chars().count(), 256);
        assert_eq!(told(&overlap.pass(delta("z"))), "z");
        assert!(overlap.let_go().is_empty());
    }

    #[test]
    fn thinking_is_told_at_once_and_everything_else_in_its_order() {
        let names = |events: Vec<Event>| events.iter().map(Event::name).collect::<Vec<_>>();
        let usage = || {
            Event::Usage(Usage {
                prompt_tokens: 1,
                completion_tokens: 1,
                estimated: false,
            })
        };
        let thought = || Event::Reasoning {
            text: "hm".to_owned(),
        };
        let call = Event::ToolCalls {
            tool_calls: Vec::new(),
        };
        let mut overlap = Overlap::with(&distinct(40));
        assert_eq!(names(overlap.pass(usage())), ["usage"]);
        assert_eq!(names(overlap.pass(delta("a"))), [""; 0]);
        assert_eq!(names(overlap.pass(usage())), [""; 0]);
        assert_eq!(names(overlap.pass(thought())), ["reasoning"]);
        assert_eq!(names(overlap.pass(call)), ["delta", "usage", "tool_calls"]);
        assert_eq!(names(overlap.pass(delta("b"))), ["delta"]);
    }

    #[test]
    fn after_a_text_too_short_to_be_repeated_nothing_is_held() {
        let mut overlap = Overlap::with(&distinct(31));
        assert_eq!(told(&overlap.pass(delta("x"))), "x");
    }

    proptest! {
        /// However the new text is cut, what is told is all of it but the longest exact repetition at its beginning; none of it is
        /// told before it is known how much is repeated.
        #[test]
        fn however_it_is_cut_only_the_repetition_is_dropped(
            before in "[ab漢]{0,300}",
            repeated in 0_usize..300,
            new in "[ab漢]{0,300}",
            cuts in prop::collection::vec(1_usize..40, 1..40),
        ) {
            let new: Vec<char> = last(&before, repeated).chars().chain(new.chars()).collect();
            let text = |characters: &[char]| characters.iter().collect::<String>();
            let dropped = (32..=256.min(new.len()))
                .rev()
                .find(|length| before.ends_with(&text(&new[..*length])))
                .unwrap_or(0);
            let mut pieces = Vec::new();
            let mut rest = new.as_slice();
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                pieces.push(text(piece));
                rest = more;
            }
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(carried_on(&before, &pieces), text(&new[dropped..]));
        }
    }
}
