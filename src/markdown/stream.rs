//! Blocks of a text that grows, each told when it is finished.

use super::{Block, NewBlocks, Rendered, definitions::Definitions, parse};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A parse is worth it when the open text has grown by so much, in bytes, or by so much of itself; then each byte is parsed a few
/// times, however the text comes.
const GROWN_BYTES: usize = 256;
const GROWN_PART: usize = 8;
/// At a blank line less will do, because there most blocks end. Not nothing: code has many blank lines, and is one block.
const GROWN_PART_AT_BLANK: usize = 16;
/// What may be told beyond three times the text, in bytes of JSON: what exceeds it waits for the end. Only text made to explode
/// (references to a long definition, rows of a table with a thousand columns) does.
const TOLD_AT_MOST: (usize, usize) = (3, 64 * 1024);

/// About what an event costs besides.
const EVENT_BYTES: usize = 48;

/// The blocks of one text. What it returns is to be told in the order in which it comes.
#[derive(Debug, Default)]
pub struct Blocks {
    text: String,
    /// Where the open text begins, behind the finished blocks.
    start: usize,
    /// How long the open text was when it was parsed last.
    parsed: usize,
    definitions: Definitions,
    /// A hash of each block that was told.
    told: Vec<u64>,
    told_bytes: usize,
    /// The reader's tail is empty.
    is_closed: bool,
    parsed_bytes: usize,
}

impl Blocks {
    /// Of a text that is carried on; the reader has [`Rendered::open`] of it.
    pub fn after(text: &str) -> Self {
        let Rendered { blocks, tail } = Rendered::open(text);
        let start = text.len() - tail.len();
        Self {
            definitions: parse::parse(&text[..start], &Definitions::default()).definitions,
            text: text.to_owned(),
            start,
            parsed: parse::whole_lines(&tail).len(),
            told: blocks.iter().map(hash).collect(),
            told_bytes: 0,
            is_closed: tail.is_empty(),
            parsed_bytes: text.len() + start,
        }
    }

    /// What it cost: bytes that were given to the parser. They are at most so many times the text, however it came.
    pub fn parsed_bytes(&self) -> usize {
        self.parsed_bytes
    }

    /// Adds text, and says which blocks are finished now.
    pub fn push(&mut self, text: &str) -> Option<NewBlocks> {
        if text.is_empty() {
            return None;
        }
        self.text.push_str(text);
        self.is_closed = false;
        if !text.contains('\n') {
            return None;
        }
        let lines = parse::whole_lines(&self.text[self.start..]);
        let grown = lines.len() - self.parsed;
        let is_at_blank = lines.ends_with("\n\n") || lines.ends_with("\n\r\n");
        let is_due = grown >= (lines.len() / GROWN_PART).max(GROWN_BYTES)
            || is_at_blank && grown >= lines.len() / GROWN_PART_AT_BLANK;
        if !is_due {
            return None;
        }
        self.parse_open()
    }

    /// The last blocks, and whatever a late definition made different: afterwards everything has been told.
    pub fn close(&mut self) -> Option<NewBlocks> {
        let whole = Rendered::whole(&self.text);
        self.parsed_bytes += self.text.len();
        let hashes: Vec<_> = whole.blocks.iter().map(hash).collect();
        let same = self.told.iter().zip(&hashes);
        let index = same.take_while(|(told, is)| told == is).count();
        let is_same = index == hashes.len() && index == self.told.len();
        if is_same && (self.is_closed || self.text.is_empty()) {
            return None;
        }
        self.told = hashes;
        self.start = self.text.len();
        self.is_closed = true;
        let nodes = whole.blocks.into_iter().skip(index).collect();
        Some(NewBlocks {
            index,
            nodes,
            tail: String::new(),
        })
    }

    fn parse_open(&mut self) -> Option<NewBlocks> {
        let open = &self.text[self.start..];
        let lines = parse::whole_lines(open);
        self.parsed = lines.len();
        self.parsed_bytes += lines.len();
        let parsed = parse::parse(lines, &self.definitions);
        if parsed.finished == 0 {
            return None;
        }
        let tail = &open[parsed.end..];
        let nodes: Vec<Block> = parsed.blocks.into_iter().take(parsed.finished).collect();
        let bytes =
            EVENT_BYTES + tail.len() + nodes.iter().map(|node| node.get().len()).sum::<usize>();
        let (times, beyond) = TOLD_AT_MOST;
        if self.told_bytes + bytes > times * self.text.len() + beyond {
            return None;
        }
        let new = NewBlocks {
            index: self.told.len(),
            tail: tail.to_owned(),
            nodes,
        };
        self.told_bytes += bytes;
        self.told.extend(new.nodes.iter().map(hash));
        self.definitions.extend(parsed.definitions);
        self.start += parsed.end;
        self.parsed -= parsed.end;
        self.is_closed = new.tail.is_empty();
        Some(new)
    }
}

fn hash(block: &Block) -> u64 {
    let mut hasher = DefaultHasher::new();
    block.get().hash(&mut hasher);
    hasher.finish()
}
