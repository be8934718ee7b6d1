//! Random documents in random pieces.

use super::reader::{Reader, read, whole};
use continuo::markdown::Blocks;
use proptest::prelude::*;

/// Lines of everything, and what stands before them.
fn document() -> impl Strategy<Value = String> {
    let start = prop::sample::select(vec![
        "", "", "", "", "    ", "  ", "\t", "> ", "- ", "* ", "1. ", "12) ", "  - ", "> - ",
        "- > ", "   1. ", "- [ ] ", "- [x] ", "      ",
    ]);
    let content = prop::sample::select(vec![
        "",
        "",
        "",
        "",
        "word",
        "two words",
        "# title",
        "## *t*",
        "===",
        "---",
        "***",
        "```",
        "```rust",
        "~~~",
        "````",
        "| a | b |",
        "|:-|-:|",
        "|---|---|",
        "a|b",
        "*em*",
        "**漢字。**字",
        "_a",
        "b_",
        "~~x~~",
        "`code`",
        "`` a",
        "[a]",
        "[b][a]",
        "[a]: https://a.example",
        "[A]: <https://b.example> 'title'",
        "[a]:",
        "'title",
        "title'",
        "https://c.example",
        "[x](https://a.example)",
        "![p](http://p.example \"t\")",
        "<div>",
        "</div>",
        "<!-- c",
        "-->",
        "<pre>",
        "</pre>",
        "<b>x</b>",
        "a  ",
        "a\\",
        "\\*a",
        "&amp;",
        "שלום",
        "\u{202e}rtl",
        "\u{0}",
        "\u{fffd}",
        "[^1]",
        "[^1]: note",
        "- ",
        "+ x",
        "fn main() {}",
        "\r",
        "a\rb",
        "\u{a0}",
        "😀",
    ]);
    let end = prop::sample::select(vec!["\n", "\n", "\n", "\n", "\n\n", "\r\n", "", " "]);
    prop::collection::vec((start, content, end), 0..40).prop_map(|lines| {
        let lines = lines.into_iter();
        lines
            .map(|(start, content, end)| [start, content, end].concat())
            .collect()
    })
}

/// Signs that mean something, in any order.
fn noise() -> impl Strategy<Value = String> {
    "[\\[\\]()*_`~<>#|:!+=\\\\ \t\n\r&;.1ab漢\u{202e}-]{0,200}"
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![document(), noise()]
}

fn pieces<'a>(mut text: &'a str, sizes: &[usize]) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if text.is_empty() {
            break;
        }
        let end = text
            .char_indices()
            .nth(*size)
            .map_or(text.len(), |(at, _)| at);
        let (piece, rest) = text.split_at(end);
        pieces.push(piece);
        text = rest;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn in_pieces_or_as_a_whole_the_blocks_are_the_same(
        text in text(),
        sizes in prop::collection::vec(1_usize..30, 1..20),
    ) {
        let reader = read(pieces(&text, &sizes));
        prop_assert_eq!(&reader.blocks, &whole(&text));
        prop_assert_eq!(&*reader.tail, "");
    }

    /// A reader who starts over at any position gets what is finished there, and the rest from the events that everybody gets.
    #[test]
    fn a_reader_who_joins_anywhere_has_the_same_in_the_end(
        text in text(),
        sizes in prop::collection::vec(1_usize..30, 1..20),
    ) {
        let mut blocks = Blocks::default();
        let mut readers = vec![Reader::default()];
        let mut so_far = String::new();
        for piece in pieces(&text, &sizes) {
            so_far.push_str(piece);
            let new = blocks.push(piece);
            for reader in &mut readers {
                reader.take(piece, None);
            }
            // Between the text and its blocks, and behind them.
            readers.push(Reader::joining(&so_far));
            for reader in &mut readers {
                reader.take("", new.as_ref());
            }
            readers.push(Reader::joining(&so_far));
        }
        let new = blocks.close();
        let whole = whole(&text);
        for mut reader in readers {
            reader.take("", new.as_ref());
            prop_assert_eq!(&reader.blocks, &whole);
            prop_assert_eq!(&*reader.tail, "");
        }
    }

    #[test]
    fn a_text_that_is_carried_on_keeps_its_blocks_and_goes_on(
        text in text(),
        cut in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1_usize..30, 1..20),
    ) {
        let cuts: Vec<_> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (before, after) = text.split_at(*cut.get(&cuts));
        let mut reader = Reader::joining(before);
        let mut blocks = Blocks::after(before);
        for piece in pieces(after, &sizes) {
            reader.take(piece, blocks.push(piece).as_ref());
        }
        reader.take("", blocks.close().as_ref());
        prop_assert_eq!(&reader.blocks, &whole(&text));
        prop_assert_eq!(&*reader.tail, "");
    }

    #[test]
    fn no_text_has_an_element_or_a_target_that_is_not_in_the_contract(text in "\\PC{0,200}", document in text()) {
        for text in [text, document] {
            for node in super::reader::nodes(&text).as_array().expect("of this shape") {
                super::nodes::assert_allowed(node);
            }
        }
    }
}
