//! What blocks cost: bytes told, bytes parsed, events, and time that grows as the text does.

use super::reader::{read, whole};
use continuo::markdown::Blocks;
use std::time::{Duration, Instant};

fn pieces(text: &str, bytes: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.ceil_char_boundary(bytes);
        pieces.push(&rest[..end]);
        rest = &rest[end..];
    }
    pieces
}

fn repeated(text: &str, bytes: usize) -> String {
    text.repeat(bytes / text.len() + 1)
}

const PROSE: &str = "An answer of several sentences, as models write them: some of it **strong**, some `code`.\nIt has two lines.\n\n";

/// Texts as models write them, each about so long.
fn usual(bytes: usize) -> Vec<(&'static str, String)> {
    let code = repeated(
        "    let x = call(\"argument\", 1 + 2);\n\n    if x { return; }\n",
        bytes,
    );
    let row = repeated("| a cell | another cell | 123 |\n", bytes);
    vec![
        ("prose", repeated(PROSE, bytes)),
        (
            "headings",
            repeated(&format!("## A heading\n\n{PROSE}"), bytes),
        ),
        ("one fence", format!("Look:\n\n```rust\n{code}```\n")),
        (
            "fences",
            repeated(
                &format!(
                    "So it is done:\n\n```js\n{}\nreturn b;\n```\n\n",
                    "let a = call(1, 2);\n".repeat(5)
                ),
                bytes,
            ),
        ),
        (
            "one table",
            format!("Look:\n\n| a | b | c |\n|---|---|---|\n{row}\n"),
        ),
        (
            "one list",
            repeated("- an item with some **words** in it\n", bytes),
        ),
        (
            "a loose list",
            repeated(
                "1. an item with some words in it\n\n   and a paragraph\n\n",
                bytes,
            ),
        ),
        ("one paragraph", repeated("words and words and ", bytes)),
        ("lines", repeated("words and words and\n", bytes)),
    ]
}

#[test]
fn what_is_told_stays_near_the_text_itself() {
    for (name, text) in usual(100_000) {
        for size in [4, 50, 1_000_000] {
            let reader = read(pieces(&text, size));
            let (bytes, events) = (reader.bytes, reader.events);
            println!(
                "{name} in {size}: {bytes} of {}, {events} events",
                text.len()
            );
            assert!(
                bytes < 3 * text.len(),
                "{name} in pieces of {size}: {bytes} of {}",
                text.len()
            );
            assert!(
                events < text.len() / 40,
                "{name} in pieces of {size}: {events} events"
            );
            assert_eq!(reader.blocks, whole(&text), "{name}");
        }
    }
}

/// However a text comes, each of its bytes is parsed a few times: the open part is parsed again when it has grown by a sixteenth.
const PARSED_TIMES: usize = 18;

#[test]
fn each_byte_is_parsed_a_few_times_however_the_text_comes() {
    for (name, text) in usual(200_000).into_iter().chain(hostile(50_000)) {
        for size in [5, 1000] {
            let mut blocks = Blocks::default();
            for piece in pieces(&text, size) {
                blocks.push(piece);
            }
            let parsed = blocks.parsed_bytes();
            println!("{name} in {size}: {parsed} of {}", text.len());
            assert!(
                parsed <= PARSED_TIMES * text.len(),
                "{name} in pieces of {size}: {parsed} of {}",
                text.len()
            );
        }
    }
}

#[test]
fn what_comes_at_once_is_parsed_at_once_and_told_in_two_events() {
    for (name, text) in usual(200_000).into_iter().chain(hostile(200_000)) {
        let reader = read([&*text]);
        let parsed = reader.parsed;
        assert!(
            parsed <= 2 * text.len(),
            "{name}: {parsed} of {}",
            text.len()
        );
        assert!(reader.events <= 2, "{name}: {} events", reader.events);
    }
}

/// The text before is parsed to know its blocks and its definitions, and for the last blocks.
#[test]
fn carrying_on_parses_the_text_before_a_few_times() {
    for (name, text) in usual(50_000) {
        let (before, after) = text.split_at(text.floor_char_boundary(40_000));
        let mut blocks = Blocks::after(before);
        let parsed = blocks.parsed_bytes();
        assert!(parsed <= 2 * before.len(), "{name}: {parsed}");
        for piece in pieces(after, 5) {
            blocks.push(piece);
        }
        blocks.close();
        let parsed = blocks.parsed_bytes();
        assert!(parsed <= PARSED_TIMES * text.len(), "{name}: {parsed}");
    }
}

/// Texts made to be slow, or to explode, each about so long.
#[expect(clippy::too_many_lines, reason = "a table")]
fn hostile(bytes: usize) -> Vec<(&'static str, String)> {
    let half = bytes / 2;
    let wide = repeated("|a", 2000);
    let columns = repeated("|a", bytes / 3);
    vec![
        ("brackets", repeated("[", bytes)),
        ("images", repeated("![", bytes)),
        ("bracket lines", repeated("[a\n", bytes)),
        ("stars", repeated("*a ", bytes)),
        ("stars and underscores", repeated("*a_", bytes)),
        ("tildes", repeated("~~a ~", bytes)),
        (
            "lines of emphasis",
            repeated("*a_ **b\n", half) + &repeated("\n", half),
        ),
        ("star pairs", repeated("**a *b ", bytes)),
        ("mixed", repeated("*a_ [b](c ~~", bytes)),
        (
            "backticks",
            (1..)
                .map(|n| format!("{} ", "`".repeat(n % 300 + 1)))
                .take(bytes / 150)
                .collect(),
        ),
        ("entities", repeated("&amp", bytes)),
        ("html", repeated("<a ", bytes)),
        ("comments", repeated("<!-- a\n\n", bytes)),
        ("quotes", repeated("> ", bytes)),
        (
            "lines of quotes",
            repeated(&format!("{}x\n", "> ".repeat(200)), bytes),
        ),
        (
            "lists that deepen",
            (0..)
                .map(|level| format!("{}- x\n", " ".repeat(2 * level % 600)))
                .take(bytes / 300)
                .collect(),
        ),
        ("list line", repeated("- ", bytes)),
        (
            "lists then blank lines",
            repeated("- ", half) + &"\n".repeat(half),
        ),
        (
            "definitions",
            (0..bytes / 30)
                .map(|n| format!("[a{n}]: https://a.example/{n}\n"))
                .collect::<Vec<_>>()
                .concat(),
        ),
        (
            "definitions and words",
            (0..bytes / 30)
                .map(|n| format!("[a{n}]: https://a.example/{n}\n\nw [a{n}]\n\n"))
                .collect::<Vec<_>>()
                .concat(),
        ),
        (
            "a long target",
            format!(
                "[a]: https://{}\n\n{}",
                "x".repeat(half),
                repeated("[a]\n\n", half)
            ),
        ),
        (
            "a target often",
            format!(
                "[a]: https://{}\n\n{}",
                "x".repeat(2000),
                repeated("[a]\n\n", half)
            ),
        ),
        (
            "late target",
            format!(
                "{}\n[a]: https://{}\n",
                repeated("[a]\n\n", half),
                "x".repeat(2000)
            ),
        ),
        (
            "wide table",
            format!(
                "{wide}|\n{}|\n{}",
                "|-".repeat(wide.len() / 2),
                repeated("|x|\n", half)
            ),
        ),
        (
            "wide tables",
            repeated(
                &format!(
                    "{wide}|\n{}|\n{}\n",
                    "|-".repeat(wide.len() / 2),
                    "|x|\n".repeat(100)
                ),
                bytes,
            ),
        ),
        (
            "ten thousand columns",
            format!(
                "{columns}|\n{}|\n{columns}|\n",
                "|-".repeat(columns.len() / 2)
            ),
        ),
        (
            "references to many definitions",
            (0..bytes / 40)
                .map(|n| format!("[a{n}]: https://a.example/{n}\n"))
                .chain((0..bytes / 40).map(|n| format!("\nsee [a{n}]\n")))
                .collect(),
        ),
        (
            "right to left",
            repeated("שלום *עולם* `code` \u{202e}\u{2067}‏\n", bytes),
        ),
        (
            "images",
            repeated("![](https://a.example/?spy=1 \"t\")\n\n", bytes),
        ),
        (
            "scripts",
            repeated("<script>\nalert(1)\n</script>\n", bytes),
        ),
        ("blank fence", format!("```\n{}", "\n".repeat(bytes))),
        ("open parentheses", format!("[a]({}", "(".repeat(bytes))),
        (
            "emphasis nested",
            format!("{}x{}", repeated("*a **b ", half), repeated("** *", half)),
        ),
    ]
}

#[test]
fn no_text_makes_it_slow_or_large() {
    for (name, text) in hostile(40_000) {
        for size in [40, 1_000_000] {
            let start = Instant::now();
            let reader = read(pieces(&text, size));
            let took = start.elapsed();
            let (bytes, events) = (reader.bytes, reader.events);
            println!(
                "{name} in {size}: {took:?}, {bytes} of {}, {events} events",
                text.len()
            );
            // What exceeds three times the text waits for the end, and then there are the targets that references repeat.
            assert!(
                bytes < 4 * text.len() + 400_000,
                "{name} in pieces of {size}: {bytes} of {}",
                text.len()
            );
            assert!(
                took < Duration::from_secs(5),
                "{name} in pieces of {size}: {took:?}"
            );
            assert_eq!(reader.blocks, whole(&text), "{name}");
        }
    }
}

/// Run it alone and optimised: `cargo test --release --test markdown -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn time_by_length() {
    let best = |text: &str, size: usize| {
        let pieces = pieces(text, size);
        let once = || {
            let start = Instant::now();
            std::hint::black_box(read(pieces.iter().copied()));
            start.elapsed()
        };
        (0..5).map(|_| once()).min().unwrap_or_default()
    };
    for ((name, short), (_, long)) in usual(65_536).into_iter().zip(usual(200_000)) {
        println!(
            "{name}: 64 KiB in pieces of 4 {:?}, 200 kB at once {:?}, 50 kB at once {:?}",
            best(&short, 4),
            best(&long, 1_000_000),
            best(&short[..short.floor_char_boundary(50_000)], 1_000_000)
        );
    }
    for ((name, short), (_, long)) in hostile(16_000).into_iter().zip(hostile(64_000)) {
        println!(
            "{name}: 16 kB in pieces of 40 {:?}, 64 kB {:?}; at once {:?}, {:?}",
            best(&short, 40),
            best(&long, 40),
            best(&short, 1_000_000),
            best(&long, 1_000_000)
        );
    }
}
