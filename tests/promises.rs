//! Each test that README's list of guarantees names is there.

use std::{fs, path::Path};

/// The text of all sources below.
fn read_all(directory: &Path, all: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("node_modules") {
            read_all(&path, all);
        } else if path.extension().is_some_and(|it| it == "rs" || it == "js") {
            all.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn every_test_that_the_guarantees_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("README.md");
    let (_, rest) = readme.split_once("\n## Guarantees\n").expect("guarantees");
    let (section, _) = rest.split_once("\n## ").expect("a section behind them");
    let mut sources = String::new();
    read_all(&root.join("tests"), &mut sources);
    read_all(&root.join("src"), &mut sources);

    let cells = section.lines().filter_map(|line| {
        let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
        Some(row.rsplit_once(" | ")?.1)
    });
    let mut missing = Vec::new();
    let mut named = 0;
    for name in cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        let is_there = if name.contains('…') || name.starts_with("./") {
            true // It shares its name with the one before, or is a command.
        } else if name.starts_with("tests/") {
            root.join(name).exists()
        } else if name.contains('_') {
            sources.contains(&format!("fn {name}("))
        } else {
            sources.contains(&format!("visit('{name}'"))
        };
        named += 1;
        if !is_there {
            missing.push(name);
        }
    }
    assert!(named > 50, "only {named} are named: is the table read?");
    assert!(missing.is_empty(), "not there: {missing:#?}");
}
