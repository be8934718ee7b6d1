//! What is spooled, and an entry as bytes: a first line with the format's version and the SHA-256 of the rest, then JSON.
//!
//! ```text
//! continuo-spool 1 <64 hexadecimal digits>
//! {"events":[…]}
//! ```

use crate::{
    event::EventSegment,
    model::{Ending, GenerationId},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// What the store is still to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// New events of running generations: one batch.
    Events(Vec<EventSegment>),
    End(End),
}

/// The end of a generation, with the events that were not recorded before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    pub generation_id: GenerationId,
    pub ending: Box<Ending>,
    pub tail: Vec<EventSegment>,
}

const FORMAT: &str = "continuo-spool";
const VERSION: &str = "1";

/// Why bytes are not an entry. Never says what they are: they may be somebody's text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAnEntry {
    #[error("it is empty")]
    Empty,
    #[error("it is not of this program")]
    Foreign,
    #[error("it is of another version of this program")]
    OtherVersion,
    #[error("it is cut short or damaged")]
    Damaged,
    #[error("it is whole, but says what this program does not know")]
    Unknown,
}

impl Entry {
    pub(super) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("entries have string keys and finite numbers");
        let mut bytes = format!("{FORMAT} {VERSION} {}\n", digest(&json)).into_bytes();
        bytes.extend(json);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, NotAnEntry> {
        if bytes.is_empty() {
            return Err(NotAnEntry::Empty);
        }
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return Err(if FORMAT.as_bytes().starts_with(first_word(bytes)) {
                NotAnEntry::Damaged
            } else {
                NotAnEntry::Foreign
            });
        };
        let (line, json) = (&bytes[..end], &bytes[end + 1..]);
        let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
        match words.as_slice() {
            [format, version, sum]
                if *format == FORMAT.as_bytes() && *version == VERSION.as_bytes() =>
            {
                if *sum != digest(json).as_bytes() {
                    return Err(NotAnEntry::Damaged);
                }
                serde_json::from_slice(json).map_err(|_| NotAnEntry::Unknown)
            }
            [format, ..] if *format == FORMAT.as_bytes() => Err(NotAnEntry::OtherVersion),
            _ => Err(NotAnEntry::Foreign),
        }
    }
}

fn first_word(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b' ').next().unwrap_or_default()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_line_with_its_digest_and_json() {
        let bytes = Entry::Events(Vec::new()).encode();
        let text = String::from_utf8(bytes.clone()).expect("UTF-8");
        assert_eq!(
            text,
            "continuo-spool 1 24de1c4a19c43ad41b013f13dcd858c17b0daa7f33a53f19913e5b11366d1c2e\n{\"events\":[]}"
        );
        assert_eq!(Entry::decode(&bytes), Ok(Entry::Events(Vec::new())));
    }

    #[test]
    fn what_is_no_entry_says_what_is_wrong_with_it() {
        let whole = Entry::Events(Vec::new()).encode();
        let head = format!("{FORMAT} {VERSION} ");
        for (bytes, wrong) in [
            (Vec::new(), NotAnEntry::Empty),
            (b"continuo-sp".to_vec(), NotAnEntry::Damaged),
            (whole[..whole.len() - 1].to_vec(), NotAnEntry::Damaged),
            ([&whole[..], b" "].concat(), NotAnEntry::Damaged),
            (b"dear diary\n".to_vec(), NotAnEntry::Foreign),
            (vec![0; 4096], NotAnEntry::Foreign),
            (
                b"continuo-spool 2 abc\n{}".to_vec(),
                NotAnEntry::OtherVersion,
            ),
            (
                format!("{head}{}\n{{\"sung\":1}}", digest(b"{\"sung\":1}")).into_bytes(),
                NotAnEntry::Unknown,
            ),
        ] {
            assert_eq!(Entry::decode(&bytes), Err(wrong), "{bytes:?}");
        }
    }
}
