//! The examples of the `CommonMark` specification, and what else the parser's own tests have: they come with its crate.

use super::reader::{Reader, read, whole};
use continuo::markdown::Blocks;
use std::{fs, path::PathBuf, process::Command};

/// Where the package manager put the parser.
fn parser() -> PathBuf {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
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
