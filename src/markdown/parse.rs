//! One parse: the top-level blocks of a text, and which of them no later text can change.

use super::{Block, definitions::Definitions, nodes::Nodes};
use pulldown_cmark::{BrokenLink, CodeBlockKind, Event, Options, Parser, Tag};
use serde_json::value::RawValue;
use std::ops::Range;

pub struct Parsed {
    pub blocks: Vec<Block>,
    /// So many of them, from the first, stay as they are whatever text follows, unless it defines a link of theirs.
    pub finished: usize,
    /// Where the text behind the finished ones begins: at the start of a line.
    pub end: usize,
    /// The definitions before that.
    pub definitions: Definitions,
}

/// The lines of a text that have ended: whatever follows, they stay what they are.
pub fn whole_lines(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |at| at + 1)]
}

/// Parses a text, with `known` for references that it does not define itself.
pub fn parse(text: &str, known: &Definitions) -> Parsed {
    let mut options = Options::ENABLE_TASKLISTS | Options::ENABLE_STRIKETHROUGH;
    options.set(Options::ENABLE_TABLES, missing_cells(text) <= text.len());
    let resolve = |reference: BrokenLink| known.resolve(&reference);
    let mut events =
        Parser::new_with_broken_link_callback(text, options, Some(resolve)).into_offset_iter();
    let mut nodes = Nodes::default();
    let mut blocks = Vec::new();
    // The last two.
    let mut before: Option<Top> = None;
    let mut last: Option<Top> = None;
    for (event, range) in events.by_ref() {
        if nodes.is_at_top() {
            before = last.replace(Top::of(&event, range));
        }
        nodes.take(event);
        if nodes.is_at_top() {
            let json = RawValue::from_string(nodes.finish());
            blocks.push(json.expect("a node is JSON"));
        }
    }

    let is_last_finished = last.as_ref().is_some_and(|last| last.is_finished(text));
    let finished = match &last {
        Some(_) if is_last_finished => blocks.len(),
        _ => blocks.len().saturating_sub(1),
    };
    let end = match (is_last_finished, &before, &last) {
        (true, _, Some(done)) => next_line(text, done.range.end, text.len()),
        (false, Some(done), Some(open)) => next_line(text, done.range.end, open.range.start),
        _ => 0,
    };
    let mut harvest: Vec<_> = events
        .reference_definitions()
        .iter()
        .filter(|(_, definition)| definition.span.start < end)
        .collect();
    harvest.sort_unstable_by_key(|(_, definition)| definition.span.start);
    let mut definitions = Definitions::default();
    for (label, definition) in harvest {
        definitions.add(label, &definition.dest, definition.title.as_deref());
    }
    Parsed {
        blocks,
        finished,
        end,
        definitions,
    }
}

/// How many cells the rows of tables miss, roughly: the parser makes each of them. Four bytes may miss thousands, so that a text that
/// misses more than it has bytes is read without tables.
fn missing_cells(text: &str) -> usize {
    let mut columns = 0;
    let mut missing = 0;
    for line in text.lines() {
        let bars = line.bytes().filter(|byte| *byte == b'|').count();
        if is_blank(line) {
            columns = 0;
        } else if bars > 0 && line.bytes().all(|byte| b"|:- \t>\r".contains(&byte)) {
            columns = bars;
        } else {
            missing += columns.saturating_sub(bars);
        }
    }
    missing
}

/// A top-level block's place, and how it ends.
struct Top {
    range: Range<usize>,
    ends: Ends,
}

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    /// With its own last line.
    Itself,
    /// With a blank line.
    Blank,
    /// When something else begins.
    Next,
}

impl Top {
    fn of(event: &Event, range: Range<usize>) -> Self {
        let ends = match event {
            Event::Rule | Event::Start(Tag::Heading { .. }) => Ends::Itself,
            // Its items, or its lines, go on behind blank lines.
            Event::Start(Tag::List(_) | Tag::CodeBlock(CodeBlockKind::Indented)) => Ends::Next,
            _ => Ends::Blank,
        };
        Self { range, ends }
    }

    fn is_finished(&self, text: &str) -> bool {
        match self.ends {
            Ends::Itself => true,
            // An open fence or comment reaches to the end of the text, blank lines and all.
            Ends::Blank => {
                let rest = &text[line_after(text, self.range.end)..];
                let line = rest.split_once('\n').map(|(line, _)| line);
                line.is_some_and(is_blank)
            }
            Ends::Next => false,
        }
    }
}

/// Where the first line that is not blank begins behind a block that ends at `end`: not beyond `limit`, the next block's beginning.
/// Between the two stand link definitions, and the last of them may still get its title from the next line.
fn next_line(text: &str, end: usize, limit: usize) -> usize {
    let limit = start_of_line(text, limit);
    let mut at = line_after(text, end).min(limit);
    while let Some((line, _)) = text[at..limit].split_once('\n')
        && is_blank(line)
    {
        at += line.len() + 1;
    }
    at
}

/// The beginning of the first line that is not before `at`.
fn line_after(text: &str, at: usize) -> usize {
    if at == start_of_line(text, at) {
        return at;
    }
    let rest = &text[at..];
    at + rest.find('\n').map_or(rest.len(), |end| end + 1)
}

fn start_of_line(text: &str, at: usize) -> usize {
    text[..at].rfind(['\n', '\r']).map_or(0, |at| at + 1)
}

fn is_blank(line: &str) -> bool {
    line.trim_end_matches([' ', '\t', '\r']).is_empty()
}
