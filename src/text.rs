//! Text as every store and every reader takes it: valid Unicode without U+0000.
//!
//! Postgres refuses U+0000 in `text` and `jsonb`, and JSON from the wire may carry surrogate halves, alone or split over two
//! chunks. Both are mended here, once, before text enters a log or the store, so that what is streamed equals what is stored.

use serde::{Deserialize, Deserializer, de};

/// U+0000 becomes U+FFFD; everything else is kept.
pub fn without_nul(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

/// JSON in which every escape of a lone surrogate half is one of U+FFFD: as `serde_json` takes it.
pub fn without_lone_halves(json: &str) -> String {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut mended = String::with_capacity(json.len());
    let mut rest = 0;
    while let Some(found) = json[rest..].find('\\') {
        let at = rest + found;
        mended.push_str(&json[rest..at]);
        let length = match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                mended.push_str("\\ufffd");
                rest = at + 6;
                continue;
            }
            // The escaped character may be another backslash, which begins nothing.
            _ => 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
        mended.push_str(&json[at..at + length]);
        rest = at + length;
    }
    mended.push_str(&json[rest..]);
    mended
}

/// An error with what caused it, in one line, for a log: JSON logs keep no causes of their own.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether lists can show it as it is, in one line: the name of a user or of a key. What separates lines, or turns the direction of what
/// stands around it, would not be.
pub fn is_name(text: &str) -> bool {
    text.trim() == text
        && (1..=200).contains(&text.chars().count())
        && !text.contains(|c: char| {
            c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
}

/// As it may stand in a list or a terminal: white space folded to single spaces, other control characters dropped.
pub fn one_line(text: &str) -> String {
    let plain = text.replace(|c: char| c.is_control() && !c.is_whitespace(), "");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A line as it is, or its beginning and `…`: so many characters at most.
pub fn beginning(line: &str, characters: usize) -> String {
    if line.chars().nth(characters).is_none() {
        return line.to_owned();
    }
    let cut: String = line.chars().take(characters - 1).collect();
    format!("{}…", cut.trim_end())
}

/// A JSON string as it came: WTF-8, that is UTF-8 in which surrogate halves may stand alone.
///
/// `serde_json` refuses lone halves in a `String` but hands them out as bytes; [`Joiner`] makes text of them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Wtf8(pub Vec<u8>);

impl Wtf8 {
    /// The whole string as text: split pairs joined, lone halves and U+0000 replaced by U+FFFD.
    pub fn into_text(self) -> String {
        let mut joiner = Joiner::default();
        let mut text = joiner.push(self.0);
        text.push_str(&joiner.finish());
        text
    }
}

impl<'de> Deserialize<'de> for Wtf8 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Wtf8;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Wtf8, E> {
                Ok(Wtf8(bytes.to_vec()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Wtf8, E> {
                Ok(Wtf8(text.as_bytes().to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// Makes text of WTF-8 pieces: a high half at the end of one piece waits for its low half in the next.
#[derive(Debug, Default)]
pub struct Joiner {
    high: Option<u16>,
}

impl Joiner {
    /// The text of `piece`, which may begin with a character whose first half came before.
    pub fn push(&mut self, piece: Vec<u8>) -> String {
        if self.high.is_some() && !piece.is_empty() {
            return self.mend(&piece);
        }
        // Nearly always it is text as it is.
        match String::from_utf8(piece) {
            Ok(text) => without_nul(text),
            Err(error) => self.mend(error.as_bytes()),
        }
    }

    fn mend(&mut self, piece: &[u8]) -> String {
        let mut text = String::with_capacity(piece.len());
        let mut rest = piece;
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    self.flush_into(&mut text);
                    text.push_str(valid);
                    break;
                }
                Err(error) => {
                    let (valid, bad) = rest.split_at(error.valid_up_to());
                    if !valid.is_empty() {
                        self.flush_into(&mut text);
                        text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    }
                    if let Some(half) = surrogate(bad) {
                        self.take_half(half, &mut text);
                        rest = &bad[3..];
                    } else {
                        self.flush_into(&mut text);
                        text.push('\u{fffd}');
                        rest = &bad[error.error_len().unwrap_or(bad.len())..];
                    }
                }
            }
        }
        without_nul(text)
    }

    /// What is left at the end: U+FFFD for a half that never met its other, else nothing.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        self.flush_into(&mut text);
        text
    }

    fn take_half(&mut self, half: u16, text: &mut String) {
        match (self.high, half) {
            (Some(high), 0xDC00..=0xDFFF) => {
                self.high = None;
                text.extend(char::decode_utf16([high, half]).map(|c| c.unwrap_or('\u{fffd}')));
            }
            (_, 0xD800..=0xDBFF) => {
                self.flush_into(text);
                self.high = Some(half);
            }
            _ => text.push('\u{fffd}'),
        }
    }

    fn flush_into(&mut self, text: &mut String) {
        if self.high.take().is_some() {
            text.push('\u{fffd}');
        }
    }
}

/// The surrogate half that `bytes` begin with, in its three-byte WTF-8 form.
fn surrogate(bytes: &[u8]) -> Option<u16> {
    match *bytes {
        [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ..] => {
            Some(0xD000 | (u16::from(second & 0x3F) << 6) | u16::from(third & 0x3F))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Wtf8 {
        serde_json::from_str(json).expect("a JSON string")
    }

    #[test]
    fn surrogate_halves_split_over_two_pieces_are_joined() {
        let mut joiner = Joiner::default();
        let mut text = joiner.push(parse(r#""a\ud83d""#).0);
        text += &joiner.push(parse(r#""\ude00b""#).0);
        text += &joiner.finish();
        assert_eq!(text, "a😀b");
    }

    #[test]
    fn a_lone_half_becomes_the_replacement_character() {
        for (json, text) in [
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\ude00b""#, "\u{fffd}b"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ud83dx""#, "\u{fffd}x"),
            (r#""\u0000""#, "\u{fffd}"),
            (r#""plain 漢字""#, "plain 漢字"),
        ] {
            assert_eq!(parse(json).into_text(), text, "{json}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_the_rest_kept() {
        assert_eq!(
            Wtf8(b"a\xffb\xe4\xbd".to_vec()).into_text(),
            "a\u{fffd}b\u{fffd}"
        );
    }
}
