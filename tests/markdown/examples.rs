//! The examples of the `CommonMark` specification, and what else the parser's own tests have: they come with its crate.

use super::reader::{Reader, nodes, read, whole};
use continuo::markdown::Blocks;
use pulldown_cmark::{Event, Parser};
use serde_json::Value;
use std::{fs, path::PathBuf, process::Command};

/// Where the package manager put the parser.
fn parser() -> PathBuf {
    // Of this platform only: the packages of others need not have been fetched.
    let rustc = Command::new("rustc").arg("-vV").output();
    let rustc = String::from_utf8(rustc.expect("rustc runs").stdout).expect("UTF-8");
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(["--filter-platform", host.expect("a platform")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let parser = packages
        .iter()
        .find(|package| package["name"] == "pulldown-cmark")
        .expect("the parser");
    let manifest = parser["manifest_path"].as_str().expect("a path");
    PathBuf::from(manifest).with_file_name("tests/suite")
}

/// The documents in its tests: each is a raw string.
fn documents() -> Vec<String> {
    let mut documents = Vec::new();
    for file in fs::read_dir(parser()).expect("the parser's tests") {
        let source = fs::read_to_string(file.expect("an entry").path()).expect("UTF-8");
        let examples = source.split("let original = r##\"").skip(1);
        documents.extend(examples.filter_map(|rest| Some(rest.split_once("\"##")?.0.to_owned())));
    }
    assert!(documents.len() > 1000, "all of them");
    documents
}

#[test]
fn every_example_in_pieces_is_the_example_as_a_whole() {
    let documents = documents();
    for document in &documents {
        let characters: Vec<_> = document
            .char_indices()
            .map(|(at, c)| &document[at..at + c.len_utf8()])
            .collect();
        let whole = whole(document);
        for pieces in [
            characters,
            document.split_inclusive('\n').collect(),
            vec![document],
        ] {
            let reader = read(pieces);
            assert_eq!((&reader.blocks, &*reader.tail), (&whole, ""), "{document}");
            let defines = document.contains("]:");
            assert!(defines || reader.repeated == 0, "{document}");
        }
    }
}

#[test]
fn two_examples_behind_each_other_are_not_confused() {
    let documents = documents();
    for (first, second) in documents.iter().zip(documents.iter().skip(1)) {
        for between in ["", "\n", "\n\n"] {
            let text = format!("{first}{between}{second}{between}{first}");
            let reader = read(text.split_inclusive('\n'));
            assert_eq!(reader.blocks, whole(&text), "{text}");
        }
    }
}

/// What is finished is never taken back, unless a link is defined later.
#[test]
fn nothing_finished_changes_but_for_late_definitions() {
    let documents = documents();
    let mut repeated = 0;
    for document in &documents {
        for cut in document.char_indices().map(|(at, _)| at) {
            let whole = whole(document);
            let told = Reader::joining(&document[..cut]).blocks;
            if whole.get(..told.len()) != Some(&told) {
                assert!(
                    document.contains("]:"),
                    "{document}\ncut at {cut}: {told:?}"
                );
                repeated += 1;
            }
        }
    }
    println!("{repeated} cuts before a definition");
}

#[test]
fn whoever_joins_or_carries_on_in_the_middle_has_the_same_in_the_end() {
    for document in &documents() {
        let whole = whole(document);
        let mut cut = document.len() / 3;
        while !document.is_char_boundary(cut) {
            cut += 1;
        }
        let (before, after) = document.split_at(cut);
        let mut running = Blocks::default();
        for line in before.split_inclusive('\n') {
            running.push(line);
        }
        for mut blocks in [running, Blocks::after(before)] {
            let mut reader = Reader::joining(before);
            for line in after.split_inclusive('\n') {
                reader.take(line, blocks.push(line).as_ref());
            }
            reader.take("", blocks.close().as_ref());
            assert_eq!((&reader.blocks, &*reader.tail), (&whole, ""), "{document}");
        }
    }
}

/// The examples of the dialect, and the HTML that each becomes.
fn specified() -> Vec<(String, String)> {
    let mut examples = Vec::new();
    for file in [
        "spec.rs",
        "gfm_table.rs",
        "gfm_tasklist.rs",
        "gfm_strikethrough.rs",
    ] {
        let source = fs::read_to_string(parser().join(file)).expect("the parser's tests");
        for rest in source.split("let original = r##\"").skip(1) {
            let mut strings = rest.split("\"##");
            let document = strings.next().expect("a document");
            let html = strings.next().and_then(|text| text.split_once("r##\""));
            examples.push((document.to_owned(), html.expect("its HTML").1.to_owned()));
        }
    }
    assert!(examples.len() > 650, "{}", examples.len());
    examples
}

/// Tags and words, one a line. Links are left out, because which of them there are is decided here; so are line breaks in the source, and
/// empty cells.
#[derive(Default)]
struct Outline(String);

impl Outline {
    fn tag(&mut self, name: &str) {
        if name.trim_start_matches('/') != "a" {
            self.0.extend(["\n<", name, ">\n"]);
        }
    }

    fn finish(self) -> String {
        let lines = self
            .0
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let outline = words.collect::<Vec<_>>().join("\n");
        outline
            .replace("<td>\n</td>\n", "")
            .replace("<tbody>\n</tbody>\n", "")
    }
}

fn outline_of_nodes(nodes: &Value, outline: &mut Outline) {
    for node in nodes.as_array().expect("of this shape") {
        match node {
            Value::String(text) => outline.0.push_str(text),
            Value::Array(element) => {
                let name = element[0].as_str().expect("a name");
                outline.tag(name);
                outline_of_nodes(&Value::Array(element[2..].to_vec()), outline);
                if !["br", "hr", "input"].contains(&name) {
                    outline.tag(&format!("/{name}"));
                }
            }
            _ => panic!("{node}"),
        }
    }
}

fn outline_of_html(html: &str) -> String {
    let mut outline = Outline::default();
    let mut rest = html;
    while let Some((text, tag)) = rest.split_once('<') {
        outline.0.push_str(&decoded(text));
        let (tag, behind) = tag.split_once('>').expect("a tag");
        outline.tag(tag.split([' ', '\n']).next().expect("a name"));
        rest = behind;
    }
    outline.0.push_str(&decoded(rest));
    outline.finish()
}

fn decoded(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&quot;", "\"").replace("&amp;", "&")
}

#[test]
fn every_example_has_the_elements_and_words_that_the_specification_says() {
    let mut compared = 0;
    for (document, html) in specified() {
        let nodes = nodes(&document);
        let mut outline = Outline::default();
        outline_of_nodes(&nodes, &mut outline);
        // Raw HTML is text here, and an image a link.
        let has_html = Parser::new(&document)
            .any(|event| matches!(event, Event::Html(_) | Event::InlineHtml(_)));
        if has_html || html.contains("<img") {
            continue;
        }
        compared += 1;
        assert_eq!(outline.finish(), outline_of_html(&html), "{document}");
    }
    println!("{compared} examples");
    assert!(compared > 550, "{compared}");
}
