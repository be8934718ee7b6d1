//! A reader of blocks, as the contract says.

use continuo::markdown::{Block, Blocks, NewBlocks, Rendered};
use serde_json::Value;

/// What a reader has: the blocks, and the source text behind them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reader {
    pub blocks: Vec<String>,
    pub tail: String,
    /// All of the source text.
    text: String,
    /// What it was sent besides the text, in bytes.
    pub bytes: usize,
    /// In how many events.
    pub events: usize,
    /// Blocks that were told and replaced.
    pub repeated: usize,
    /// What the parser was given for it, in bytes.
    pub parsed: usize,
}

impl Reader {
    /// One who joins by a snapshot of the text so far.
    pub fn joining(text: &str) -> Self {
        let rendered = Rendered::open(text);
        Self {
            blocks: json(&rendered.blocks),
            tail: rendered.tail,
            text: text.to_owned(),
            ..Self::default()
        }
    }

    pub fn take(&mut self, text: &str, new: Option<&NewBlocks>) {
        self.tail.push_str(text);
        self.text.push_str(text);
        let Some(new) = new else {
            return;
        };
        assert!(new.index <= self.blocks.len(), "a hole before {new:?}");
        assert!(self.text.ends_with(&new.tail), "not a tail: {new:?}");
        self.bytes += serde_json::to_string(new).expect("of this shape").len();
        self.events += 1;
        self.repeated += self.blocks.len() - new.index;
        self.blocks.truncate(new.index);
        self.blocks.extend(json(&new.nodes));
        self.tail.clone_from(&new.tail);
    }
}

/// A reader of these pieces, from the first to the end.
pub fn read<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Reader {
    let mut blocks = Blocks::default();
    let mut reader = Reader::default();
    for piece in pieces {
        reader.take(piece, blocks.push(piece).as_ref());
    }
    reader.take("", blocks.close().as_ref());
    reader.parsed = blocks.parsed_bytes();
    reader
}

/// The blocks of a whole text, as JSON.
pub fn whole(text: &str) -> Vec<String> {
    json(&Rendered::whole(text).blocks)
}

/// The blocks of a whole text.
pub fn nodes(text: &str) -> Value {
    serde_json::to_value(Rendered::whole(text).blocks).expect("of this shape")
}

fn json(blocks: &[Block]) -> Vec<String> {
    blocks.iter().map(|block| block.get().to_owned()).collect()
}
