//! Markdown as node trees, finished block by finished block while the text still grows. No I/O, no HTML.
//!
//! A node is a string of text, or an element: `[name, attributes, child, …]`. A reader who builds exactly the elements below and puts
//! text where text is can be made to load or run nothing.
//!
//! ```text
//! # Hi **you**     ["h1", {}, "Hi ", ["strong", {}, "you"]]
//! ```
//!
//! | elements | attributes |
//! |---|---|
//! | `p` `h1` … `h6` `blockquote` `hr` `br` `ul` `li` `em` `strong` `del` `code` `table` `thead` `tbody` `tr` | |
//! | `ol` | `start`, when it is not 1 |
//! | `th` `td` | `align`: `left`, `center` or `right`, when it is said |
//! | `pre`, with one `code` in it | `language`, the first word behind the fence, when there is one |
//! | `a` | `href`: `http:`, `https:` or `mailto:`; `title`, when there is one |
//! | `input` | `type`: `checkbox`, `disabled`, `checked` |
//!
//! The dialect is `CommonMark` with tables, task lists and strikethrough. Raw HTML is text, a link to anywhere else is its text, and an
//! image is a link to it. Empty cells at the end of a row are left out.
//!
//! A reader holds a list of blocks, one node each, and the tail: the source text behind them. `block {index, nodes, tail}` says that
//! the blocks from `index` on are `nodes`, whatever was there before, and that `tail` is the tail now; `delta` adds its text to the
//! tail. In the end the blocks are those of the whole text, and the tail is empty.
//!
//! ```text
//! delta {"text":"# Hi\n\nthe"}
//! block {"index":0,"nodes":[["h1",{},"Hi"]],"tail":"the"}
//! delta {"text":"re"}
//! block {"index":1,"nodes":[["p",{},"there"]],"tail":""}
//! ```

mod definitions;
mod links;
mod nodes;
mod parse;
mod plain;
mod stream;

pub use plain::first_line;
pub use stream::Blocks;

use definitions::Definitions;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A top-level block: its node as JSON.
pub type Block = Box<RawValue>;

/// A text as a reader is shown it: the blocks that are finished, and the source text behind them.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Rendered {
    // Of a message only where they were asked for.
    #[schema(value_type = Vec<Value>, required = false)]
    pub blocks: Vec<Block>,
    #[schema(required = false)]
    pub tail: String,
}

impl Rendered {
    /// Of a text that is complete.
    pub fn whole(text: &str) -> Self {
        Self {
            blocks: parse::parse(text, &Definitions::default()).blocks,
            tail: String::new(),
        }
    }

    /// Of a text that may still grow. Whatever [`Blocks`] has told of the same text is among its blocks.
    pub fn open(text: &str) -> Self {
        let parsed = parse::parse(parse::whole_lines(text), &Definitions::default());
        let mut blocks = parsed.blocks;
        blocks.truncate(parsed.finished);
        Self {
            blocks,
            tail: text[parsed.end..].to_owned(),
        }
    }
}

/// What a `block` event says.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NewBlocks {
    /// The blocks from here on are replaced.
    pub index: usize,
    #[schema(value_type = Vec<Value>)]
    pub nodes: Vec<Block>,
    pub tail: String,
}
