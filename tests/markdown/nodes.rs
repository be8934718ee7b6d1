//! What becomes of what.

use super::reader::{nodes, read, whole};
use serde_json::{Value, json};

/// Every element, attribute and target is one of the contract.
pub fn assert_allowed(node: &Value) {
    const NAMES: [&str; 26] = [
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "hr",
        "br",
        "ul",
        "ol",
        "li",
        "em",
        "strong",
        "del",
        "code",
        "pre",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "a",
        "input",
    ];
    let Value::Array(node) = node else {
        return assert!(node.is_string(), "{node}");
    };
    let name = node[0].as_str().expect("of this shape");
    assert!(NAMES.contains(&name), "{name}");
    for (attribute, value) in node[1].as_object().expect("of this shape") {
        match (name, attribute.as_str()) {
            ("a", "href") => {
                let target = value.as_str().expect("of this shape").to_ascii_lowercase();
                let is_fine = ["http://", "https://", "mailto:"]
                    .iter()
                    .any(|start| target.starts_with(start));
                assert!(is_fine && !target.contains(char::is_control), "{target:?}");
            }
            ("a", "title") | ("pre", "language") => assert!(value.is_string()),
            ("ol", "start") => assert!(value.is_u64()),
            ("th" | "td", "align") => {
                assert!(
                    ["left", "center", "right"].contains(&value.as_str().expect("of this shape"))
                );
            }
            ("input", "type") => assert_eq!(value, "checkbox"),
            ("input", "disabled" | "checked") => assert!(value.is_boolean()),
            _ => panic!("{name} {attribute}"),
        }
    }
    node[2..].iter().for_each(assert_allowed);
}

fn text_of(node: &Value) -> String {
    match node {
        Value::String(text) => text.clone(),
        node => node.as_array().expect("of this shape")[2..]
            .iter()
            .map(text_of)
            .collect(),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_construct_has_its_node() {
    for (text, node) in [
        (
            "one *two* **three** ~~four~~ `five`",
            json!([
                "p",
                {},
                "one ",
                ["em", {}, "two"],
                " ",
                ["strong", {}, "three"],
                " ",
                ["del", {}, "four"],
                " ",
                ["code", {}, "five"]
            ]),
        ),
        ("### a", json!(["h3", {}, "a"])),
        ("a\n===", json!(["h1", {}, "a"])),
        ("***", json!(["hr", {}])),
        ("a  \nb\nc", json!(["p", {}, "a", ["br", {}], "b\nc"])),
        ("> a", json!(["blockquote", {}, ["p", {}, "a"]])),
        (
            "- a\n- b",
            json!(["ul", {}, ["li", {}, "a"], ["li", {}, "b"]]),
        ),
        (
            "- a\n\n- b",
            json!([
                "ul",
                {},
                ["li", {}, ["p", {}, "a"]],
                ["li", {}, ["p", {}, "b"]]
            ]),
        ),
        (
            "1. a\n   - b\n     1. c",
            json!([
                "ol",
                {},
                [
                    "li",
                    {},
                    "a",
                    ["ul", {}, ["li", {}, "b", ["ol", {}, ["li", {}, "c"]]]]
                ]
            ]),
        ),
        ("7. a", json!(["ol", {"start": 7}, ["li", {}, "a"]])),
        (
            "- [x] a\n- [ ] b",
            json!(["ul", {},
            ["li", {}, ["input", {"type": "checkbox", "disabled": true, "checked": true}], "a"],
            ["li", {}, ["input", {"type": "checkbox", "disabled": true, "checked": false}], "b"]]),
        ),
        (
            "```rust,ignore x\nfn a() {}\n\n```",
            json!(["pre", {"language": "rust"}, ["code", {}, "fn a() {}\n\n"]]),
        ),
        ("    a\n    b", json!(["pre", {}, ["code", {}, "a\nb"]])),
        ("```\n<b>\n", json!(["pre", {}, ["code", {}, "<b>\n"]])),
        (
            "|a|b|c|\n|-|:-:|-:|\n|1|2|",
            json!(["table", {},
            ["thead", {}, ["tr", {}, ["th", {}, "a"], ["th", {"align": "center"}, "b"], ["th", {"align": "right"}, "c"]]],
            ["tbody", {}, ["tr", {}, ["td", {}, "1"], ["td", {"align": "center"}, "2"]]]]),
        ),
        (
            "|a|b|c|\n|-|-|-|\n||2|",
            json!([
                "table",
                {},
                [
                    "thead",
                    {},
                    ["tr", {}, ["th", {}, "a"], ["th", {}, "b"], ["th", {}, "c"]]
                ],
                ["tbody", {}, ["tr", {}, ["td", {}], ["td", {}, "2"]]]
            ]),
        ),
        (
            "|a|\n|:-|",
            json!(["table", {}, ["thead", {}, ["tr", {}, ["th", {"align": "left"}, "a"]]]]),
        ),
        (
            "[a *b*](https://c.example \"t\")",
            json!(["p", {}, ["a", {"href": "https://c.example", "title": "t"}, "a ", ["em", {}, "b"]]]),
        ),
        (
            "<https://a.example> <x@a.example>",
            json!(["p", {}, ["a", {"href": "https://a.example"}, "https://a.example"], " ", ["a", {"href": "mailto:x@a.example"}, "x@a.example"]]),
        ),
        (
            "[a]\n\n[a]: http://b.example",
            json!(["p", {}, ["a", {"href": "http://b.example"}, "a"]]),
        ),
        ("a[^1]", json!(["p", {}, "a[^1]"])),
        (
            "**漢字**字 *あ*。",
            json!([
                "p",
                {},
                ["strong", {}, "漢字"],
                "字 ",
                ["em", {}, "あ"],
                "。"
            ]),
        ),
        ("שלום *עולם*", json!(["p", {}, "שלום ", ["em", {}, "עולם"]])),
        ("&lt;b&gt; \\*", json!(["p", {}, "<b> *"])),
        ("a\u{0}b", json!(["p", {}, "a\u{fffd}b"])),
        ("a\r\nb\r\n", json!(["p", {}, "a\nb"])),
    ] {
        assert_eq!(nodes(text)[0], node, "{text}");
        assert_allowed(&node);
    }
}

#[test]
fn an_image_is_a_link_and_loads_nothing() {
    for (text, node) in [
        (
            "![a *b*](https://p.example/x.png)",
            json!(["p", {}, ["a", {"href": "https://p.example/x.png"}, "a ", ["em", {}, "b"]]]),
        ),
        (
            "![](https://p.example/x.png)",
            json!(["p", {}, ["a", {"href": "https://p.example/x.png"}, "https://p.example/x.png"]]),
        ),
        (
            "[![a](https://p.example)](https://b.example)",
            json!(["p", {}, ["a", {"href": "https://b.example"}, "a"]]),
        ),
        (
            "![a [b](https://b.example) c](https://p.example)",
            json!(["p", {}, ["a", {"href": "https://p.example"}, "a b c"]]),
        ),
        (
            "![a](data:image/png;base64,x) ![b][c]\n\n[c]: /relative",
            json!(["p", {}, "a b"]),
        ),
    ] {
        assert_eq!(nodes(text)[0], node, "{text}");
    }
}

#[test]
fn html_is_text() {
    for (text, node) in [
        (
            "<script>alert(1)</script>",
            json!(["p", {}, "<script>alert(1)</script>"]),
        ),
        (
            "<div style='x'>\n<b>\n</div>\n",
            json!(["p", {}, "<div style='x'>\n<b>\n</div>"]),
        ),
        (
            "a <img src=x onerror=alert(1)> b",
            json!(["p", {}, "a <img src=x onerror=alert(1)> b"]),
        ),
        ("- <b>x</b>", json!(["ul", {}, ["li", {}, "<b>x</b>"]])),
    ] {
        assert_eq!(nodes(text)[0], node, "{text}");
    }
}

#[test]
fn no_way_of_writing_it_makes_a_link_that_runs_or_reads_something() {
    for target in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "&#106;avascript:alert(1)",
        "&#x6A;avascript&colon;alert(1)",
        "javascript&#58;alert(1)",
        "&Tab;javascript:alert(1)",
        "java&#9;script:alert(1)",
        "java&NewLine;script:alert(1)",
        "&#1;javascript:alert(1)",
        "java&#0;script:alert(1)",
        "%6Aavascript:alert(1)",
        "\\javascript:alert(1)",
        "data:text/html;base64,PHNjcmlwdD4=",
        "DATA:image/svg+xml,<svg>",
        "vbscript:msgbox(1)",
        "file:///etc/passwd",
        "//a.example",
        "/api/session",
        "view-source:http://a",
        "blob:http://a",
        "http&#10;://a",
        "ht&Tab;tp://a",
        "http&#58;alert",
    ] {
        for text in [
            format!("[x]({target})"),
            format!("[x](<{target}>)"),
            format!("![x]({target})"),
            format!("<{target}>"),
            format!("[x]\n\n[x]: {target}\n"),
            format!("[x]\n\n[x]: <{target}>\n"),
            format!("[x]({target} \"onclick=alert(1)\")"),
            format!("[![x]({target})]({target})"),
            format!("| a |\n|---|\n| [x]({target}) |\n"),
            format!("# [x]({target})"),
        ] {
            let nodes = nodes(&text);
            assert!(!nodes.to_string().contains("\"href\""), "{text}: {nodes}");
            nodes
                .as_array()
                .expect("of this shape")
                .iter()
                .for_each(assert_allowed);
        }
    }
    for target in [
        "https://a.example/&#10;x",
        "mailto:a@b&#13;x",
        "http://a&#127;b",
    ] {
        let nodes = nodes(&format!("[x]({target})"));
        assert!(!nodes.to_string().contains("\"href\""), "{nodes}");
    }
    let broken = nodes("[x](<java\nscript:alert(1)>)\n");
    assert!(!broken.to_string().contains("\"href\""), "{broken}");
}

#[test]
fn depth_ends_and_the_words_stay() {
    let deep = 10_000;
    for text in [
        format!("{}x", "> ".repeat(deep)),
        format!("{}x", "- ".repeat(deep)),
        format!("{}x", "1. ".repeat(deep)),
        format!("{}x{}", "*a ".repeat(deep), "*".repeat(deep)),
        format!(
            "{}x{}",
            "[".repeat(deep),
            "](https://a.example)".repeat(deep)
        ),
        format!(
            "{}x{}",
            "![".repeat(deep),
            "](https://a.example)".repeat(deep)
        ),
        (0..500)
            .map(|level| format!("{}- x\n", "  ".repeat(level)))
            .collect::<Vec<_>>()
            .concat(),
    ] {
        let json = whole(&text).concat();
        assert!(
            json.len() < 3 * text.len() + 4096,
            "{} of {}",
            json.len(),
            text.len()
        );
        let node: Value = serde_json::from_str(&json).expect("not too deep for a reader");
        assert!(text_of(&node).contains('x'));
        assert_allowed(&node);
        let reader = read([&*text, "\n", "\n", "after\n", "\n"]);
        assert_eq!(reader.blocks, whole(&format!("{text}\n\nafter\n\n")));
    }
}

#[test]
fn what_grows_late_is_told_once_it_is_known() {
    // A paragraph becomes a heading, a paragraph a table, a definition gets its title.
    for text in [
        "a\nb\n===\nc\n\n",
        "x\n\n| a |\n|---|\n| b |\n\nc\n",
        "x [a]\n\n[a]: https://a.example\n'ti\ntle'\n\nc\n",
    ] {
        let reader = read(text.split_inclusive('\n'));
        assert_eq!(reader.blocks, whole(text), "{text}");
    }
    let words = "word ".repeat(60);
    let title = format!("{words}\n\n[a]: https://a.example\n'ti\n");
    let split = read([&*title, "tle'\n\n", "[a]\n\n"]);
    assert_eq!((split.blocks.len(), split.repeated), (2, 0), "{split:?}");
    let early = read(["[a]: https://a.example\n\nsee\n\n", "[A]\n\n"]);
    assert_eq!((early.blocks.len(), early.repeated), (2, 0), "{early:?}");
    let late = read(["see [a]\n\n", "more\n\n", "[a]: https://a.example\n"]);
    assert_eq!(
        late.blocks,
        [
            "[\"p\",{},\"see \",[\"a\",{\"href\":\"https://a.example\"},\"a\"]]",
            "[\"p\",{},\"more\"]"
        ]
    );
}
