//! From the parser's events to the JSON of a node, written as it goes: no tree is built, so none can be too deep.

use super::links;
use pulldown_cmark::{Alignment, CodeBlockKind, Event, HeadingLevel, LinkType, Tag, TagEnd};
use serde_json::json;
use std::fmt::Write;

/// Elements deeper than this are not made, their text stands in the last one that was. (Readers of JSON often stop at 128.)
const DEPTH: usize = 64;

/// The node of one top-level block while it is written.
#[derive(Debug, Default)]
pub struct Nodes {
    json: String,
    /// Text that is not written yet, because more may join it.
    text: String,
    /// For each tag that is open, how many elements were made for it.
    open: Vec<usize>,
    depth: usize,
    /// Of the table that is open; there is never one in another.
    alignments: Vec<Alignment>,
    column: usize,
    cell: &'static str,
    has_body: bool,
    /// Where the cell's content begins, and where the last cell ends that has some. Empty ones behind it are left out: a row of four
    /// bytes may miss thousands.
    content: usize,
    filled: usize,
    /// Tags that are open within a link and the link itself: there is no link in a link.
    in_link: usize,
    /// Where an image's text would begin, and its target.
    image: Option<(usize, String)>,
}

impl Nodes {
    pub fn is_at_top(&self) -> bool {
        self.open.is_empty()
    }

    /// The node, once it is whole. The next one can begin.
    pub fn finish(&mut self) -> String {
        self.write_text();
        std::mem::take(&mut self.json)
    }

    pub fn take(&mut self, event: Event) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            // The last three are not of this dialect.
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => {
                self.text.push_str(&text);
            }
            Event::Code(text) => {
                let is_made = self.element("code", "");
                self.text.push_str(&text);
                self.close(is_made);
            }
            Event::SoftBreak => self.text.push('\n'),
            Event::HardBreak => self.empty("br", "", "\n"),
            Event::Rule => self.empty("hr", "", ""),
            Event::TaskListMarker(is_done) => self.empty(
                "input",
                if is_done {
                    r#""type":"checkbox","disabled":true,"checked":true"#
                } else {
                    r#""type":"checkbox","disabled":true,"checked":false"#
                },
                if is_done { "[x] " } else { "[ ] " },
            ),
        }
    }

    fn start(&mut self, tag: Tag) {
        if self.in_link > 0 {
            self.in_link += 1;
        }
        let made = match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.element("p", ""),
            Tag::Heading { level, .. } => self.element(heading(level), ""),
            Tag::BlockQuote(_) => self.element("blockquote", ""),
            Tag::List(None) => self.element("ul", ""),
            Tag::List(Some(1)) => self.element("ol", ""),
            Tag::List(Some(start)) => self.element("ol", &format!(r#""start":{start}"#)),
            Tag::Item => self.element("li", ""),
            Tag::CodeBlock(kind) => {
                self.element("pre", &language(&kind)) + self.element("code", "")
            }
            Tag::Table(alignments) => {
                self.alignments = alignments;
                self.has_body = false;
                self.element("table", "")
            }
            Tag::TableHead => {
                self.cell = "th";
                self.column = 0;
                self.element("thead", "") + self.element("tr", "")
            }
            Tag::TableRow => {
                self.cell = "td";
                self.column = 0;
                if !self.has_body {
                    self.has_body = true;
                    // Closed with the table.
                    let body = self.element("tbody", "");
                    if let Some(table) = self.open.last_mut() {
                        *table += body;
                    }
                }
                let made = self.element("tr", "");
                self.filled = self.json.len();
                made
            }
            Tag::TableCell => {
                let align = match self.alignments.get(self.column) {
                    Some(Alignment::Left) => r#""align":"left""#,
                    Some(Alignment::Center) => r#""align":"center""#,
                    Some(Alignment::Right) => r#""align":"right""#,
                    _ => "",
                };
                self.column += 1;
                let made = self.element(self.cell, align);
                self.content = self.json.len();
                made
            }
            Tag::Emphasis => self.element("em", ""),
            Tag::Strong => self.element("strong", ""),
            Tag::Strikethrough => self.element("del", ""),
            Tag::Link {
                link_type,
                dest_url,
                title,
                ..
            } => self.link(link_type, &dest_url, &title),
            Tag::Image {
                link_type,
                dest_url,
                title,
                ..
            } => {
                let made = self.link(link_type, &dest_url, &title);
                self.image = (made > 0).then(|| (self.json.len(), dest_url.into_string()));
                made
            }
            // Not of this dialect.
            _ => 0,
        };
        self.open.push(made);
    }

    fn end(&mut self, tag: TagEnd) {
        if tag == TagEnd::Image
            && let Some((start, target)) = self.image.take()
            && self.json.len() == start
            && self.text.trim().is_empty()
        {
            // Without words for it, its address tells what it is.
            self.text = target;
        }
        if tag == TagEnd::HtmlBlock {
            self.text.truncate(self.text.trim_end().len());
        }
        if tag == TagEnd::TableRow && self.text.is_empty() {
            self.json.truncate(self.filled);
        }
        let is_filled = self.json.len() > self.content || !self.text.is_empty();
        let made = self.open.pop().unwrap_or_default();
        self.close(made);
        if tag == TagEnd::TableCell && is_filled {
            self.filled = self.json.len();
        }
        self.in_link = self.in_link.saturating_sub(1);
        let is_line = matches!(
            tag,
            TagEnd::Paragraph
                | TagEnd::Heading(_)
                | TagEnd::Item
                | TagEnd::CodeBlock
                | TagEnd::TableRow
        );
        if made == 0 && is_line && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    /// No element within another link, nor for a target that may not be one.
    fn link(&mut self, link_type: LinkType, target: &str, title: &str) -> usize {
        if self.in_link > 0 {
            return 0;
        }
        let Some(href) = links::href(link_type, target) else {
            return 0;
        };
        let mut attributes = format!(r#""href":{}"#, json!(href));
        if let Some(title) = links::title(title) {
            let _ = write!(attributes, r#","title":{}"#, json!(title));
        }
        let made = self.element("a", &attributes);
        self.in_link = made;
        made
    }

    fn empty(&mut self, name: &str, attributes: &str, instead: &str) {
        match self.element(name, attributes) {
            0 => self.text.push_str(instead),
            made => self.close(made),
        }
    }

    /// Begins an element; returns how many were made, 0 when it would be too deep.
    fn element(&mut self, name: &str, attributes: &str) -> usize {
        if self.depth >= DEPTH {
            return 0;
        }
        self.write_text();
        if self.depth > 0 {
            self.json.push(',');
        }
        self.json.extend(["[\"", name, "\",{", attributes, "}"]);
        self.depth += 1;
        1
    }

    /// Ends the innermost elements.
    fn close(&mut self, made: usize) {
        for _ in 0..made {
            self.write_text();
            self.json.push(']');
            self.depth -= 1;
        }
    }

    fn write_text(&mut self) {
        if self.text.is_empty() {
            return;
        }
        self.json.push(',');
        // CommonMark 2.3.
        let text = self.text.replace('\0', "\u{fffd}");
        self.json.push_str(&json!(text).to_string());
        self.text.clear();
    }
}

fn heading(level: HeadingLevel) -> &'static str {
    ["h1", "h2", "h3", "h4", "h5", "h6"][level as usize - 1]
}

/// The first word behind the fence, of those that begin with a name: `rust,ignore`, `js {1,3}`.
fn language(kind: &CodeBlockKind) -> String {
    let CodeBlockKind::Fenced(words) = kind else {
        return String::new();
    };
    let word = words.split(|c: char| c.is_whitespace() || [',', '{'].contains(&c));
    match word.into_iter().next() {
        Some(word) if !word.is_empty() => format!(r#""language":{}"#, json!(word)),
        _ => String::new(),
    }
}
