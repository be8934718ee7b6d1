//! What a search compares, and the text shown around what it found.
//!
//! Texts are kept a second time with every character lower-cased, and the words of a query are lower-cased the same way, so that
//! case is ignored in every script and equally on both engines (SQLite's own `LIKE` knows ASCII only). A word is found anywhere,
//! inside another word too: Chinese and Japanese have no spaces.

#![expect(
    clippy::cast_possible_wrap,
    reason = "what is counted here is in memory"
)]

mod find;
mod grams;
mod index;
mod merge;
mod pages;
mod suspects;

pub(super) use find::find;

/// More words than these are not looked for.
const MAX_WORDS: usize = 16;
/// More of a word than this is not looked for. SQLite refuses patterns beyond 50,000 bytes. What is indexed depends on it.
const MAX_WORD_CHARS: usize = 200;
/// How long a snippet is, about, and how much of it stands before the hit.
const SNIPPET_CHARS: usize = 160;
const BEFORE_HIT_CHARS: usize = 50;

/// Character by character, so that a word is folded alike wherever it stands (`str::to_lowercase` knows a final sigma).
pub(super) fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// The distinct words of a query, folded. U+0000 separates like a space: no stored text has one.
pub(super) fn words(query: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in query.split(|c: char| c.is_whitespace() || c == '\0') {
        let word: String = folded(word).chars().take(MAX_WORD_CHARS).collect();
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
        if words.len() == MAX_WORDS {
            break;
        }
    }
    words
}

/// A pattern for `LIKE … ESCAPE '\'` that finds `word` anywhere.
fn pattern(word: &str) -> String {
    let mut pattern = String::with_capacity(word.len() + 2);
    pattern.push('%');
    for c in word.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// The place of a text: a conversation's number and a message's position in it, in one number. They are ordered as they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(i64);

impl Place {
    /// The position that stands for the title. It is the last: what is shown of a conversation is a message first.
    pub const TITLE: i64 = 0xff_ffff;
    /// How many bits a position has.
    const BITS: u32 = 24;

    fn new(number: i64, position: i64) -> Self {
        Self(number << Self::BITS | position)
    }

    fn number(self) -> i64 {
        self.0 >> Self::BITS
    }

    fn position(self) -> i64 {
        self.0 & Self::TITLE
    }

    /// As one whole number.
    pub fn packed(self) -> i64 {
        self.0
    }
}

/// About [`SNIPPET_CHARS`] characters around the first of `words` (folded) in `text`, white space folded to single spaces, with `…`
/// where text was left out.
pub(super) fn snippet(text: &str, words: &[String]) -> String {
    let hit = text
        .char_indices()
        .find(|(at, c)| {
            let first = c.to_lowercase().next();
            words
                .iter()
                .any(|word| word.chars().next() == first && begins_with(&text[*at..], word))
        })
        .map_or(0, |(at, _)| at);
    let start = text[..hit]
        .char_indices()
        .rev()
        .take(BEFORE_HIT_CHARS)
        .last()
        .map_or(hit, |(at, _)| at);
    let end = text[start..]
        .char_indices()
        .nth(SNIPPET_CHARS)
        .map_or(text.len(), |(at, _)| start + at);

    let mut snippet = String::new();
    if !text[..start].trim().is_empty() {
        snippet.push('…');
    }
    for (n, word) in text[start..end].split_whitespace().enumerate() {
        if n > 0 {
            snippet.push(' ');
        }
        snippet.push_str(word);
    }
    if !text[end..].trim().is_empty() {
        snippet.push('…');
    }
    snippet
}

fn begins_with(text: &str, folded_word: &str) -> bool {
    let mut folded = text.chars().flat_map(char::to_lowercase);
    folded_word.chars().all(|c| folded.next() == Some(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_distinct_and_few() {
        assert_eq!(words("  Äpfel ÄPFEL\t\0birnen "), ["äpfel", "birnen"]);
        let many: Vec<String> = (0..5000).map(|n| format!("w{n}")).collect();
        assert_eq!(words(&many.join(" ")).len(), MAX_WORDS);
        assert_eq!(words(&"x".repeat(1_000_000))[0].len(), MAX_WORD_CHARS);
        assert!(words(" \n ").is_empty());
    }

    #[test]
    fn a_pattern_means_its_characters_literally() {
        assert_eq!(pattern(r"50%_\"), r"%50\%\_\\%");
    }

    #[test]
    fn a_snippet_shows_the_first_hit_and_says_what_it_left_out() {
        let text = format!(
            "{} the\n\n  NEEDLE 🙂 {}",
            "你好 ".repeat(100),
            "b".repeat(500)
        );
        let snippet = snippet(&text, &words("missing needle"));
        assert!(
            snippet.starts_with("…") && snippet.ends_with("b…"),
            "{snippet}"
        );
        assert!(snippet.contains("the NEEDLE 🙂"), "{snippet}");
        assert!(
            (130..=SNIPPET_CHARS + 2).contains(&snippet.chars().count()),
            "{snippet}"
        );
    }

    #[test]
    fn a_short_text_is_its_own_snippet() {
        assert_eq!(snippet("  Hello\nworld ", &words("WORLD")), "Hello world");
        assert_eq!(snippet("", &words("x")), "");
        // Lower-cased, one character may become two: nothing is cut inside.
        assert_eq!(snippet("İstanbul", &words("i\u{307}s")), "İstanbul");
    }
}
