//! Markdown as somebody reads it who has one line and no markup.

use pulldown_cmark::{Event, Parser, TagEnd};

/// The first line that has text, without its markup: of a heading, a paragraph, an item of a list.
pub fn first_line(source: &str) -> String {
    let mut line = String::new();
    for event in Parser::new(source) {
        match event {
            Event::Text(text) | Event::Code(text) | Event::Html(text) | Event::InlineHtml(text) => {
                line.push_str(&text);
            }
            Event::SoftBreak
            | Event::HardBreak
            | Event::End(
                TagEnd::Paragraph
                | TagEnd::Heading(_)
                | TagEnd::Item
                | TagEnd::CodeBlock
                | TagEnd::HtmlBlock,
            ) if !line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut lines = line.lines().map(str::trim);
    lines
        .find(|line| !line.is_empty())
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_read_without_its_markup() {
        for (source, line) in [
            ("Tides", "Tides"),
            ("**The *tides* of `Mars`**", "The tides of Mars"),
            ("# Tides\n\nand more", "Tides"),
            ("\n\n  \n- Tides\n- Moons", "Tides"),
            ("> Tides", "Tides"),
            ("```text\nTides\nMoons\n```", "Tides"),
            ("[Tides](https://example.org)", "Tides"),
            ("Tides\nand moons", "Tides"),
            ("---\n\nTides", "Tides"),
            (
                "snake_case_names and C# and 2 * 3 * 4",
                "snake_case_names and C# and 2 * 3 * 4",
            ),
            ("潮汐", "潮汐"),
            ("", ""),
            ("***", ""),
        ] {
            assert_eq!(first_line(source), line, "{source:?}");
        }
    }
}
