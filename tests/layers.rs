//! Who may import whom: the rows of ARCHITECTURE.md, read from the sources.

use std::{fs, path::Path};

/// Top to bottom. A module imports from rows above its own and, within a row, only from modules named before it.
const ROWS: [&[&str]; 6] = [
    &["model", "clock", "text", "markdown", "event", "openai"],
    &["standing", "cursor", "log", "generation", "feed"],
    &["upstream", "store", "bus"],
    &["limits", "registry", "recorder", "chat"],
    &[
        "connection",
        "client",
        "head",
        "problem",
        "auth",
        "emitter",
        "routes",
    ],
    &[
        "config",
        "telemetry",
        "data_dir",
        "tls",
        "demo",
        "server",
        "lib",
        "main",
    ],
];

/// Crates that only these modules may name.
const ADAPTERS: [(&str, &[&str]); 4] = [
    ("awc", &["upstream"]),
    ("sqlx", &["store"]),
    (
        "actix_web",
        &[
            "connection",
            "client",
            "head",
            "problem",
            "auth",
            "emitter",
            "routes",
            "telemetry",
            "demo",
            "server",
        ],
    ),
    ("actix_web_lab", &["problem", "auth", "emitter", "routes"]),
];

/// The place of a module in the table.
fn place(module: &str) -> Option<(usize, usize)> {
    ROWS.iter().enumerate().find_map(|(row, names)| {
        let column = names.iter().position(|name| *name == module)?;
        Some((row, column))
    })
}

/// The words and signs of a source, without its comments, strings and unit tests.
fn tokens(source: &str) -> Vec<String> {
    let source = source
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => {
                rest.by_ref().find(|c| *c == '\n');
            }
            '"' => {
                while let Some(c) = rest.next()
                    && c != '"'
                {
                    if c == '\\' {
                        rest.next();
                    }
                }
            }
            // A character, not the beginning of a lifetime.
            '\'' => {
                let ahead: Vec<_> = rest.clone().take(3).collect();
                match ahead.as_slice() {
                    ['\\', ..] => {
                        rest.next();
                        rest.next();
                        rest.find(|c| *c == '\'');
                    }
                    [_, '\'', ..] => {
                        rest.nth(1);
                    }
                    _ => {}
                }
            }
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = c.to_string();
                while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                tokens.push(word);
            }
            ':' if rest.next_if_eq(&':').is_some() => tokens.push("::".to_owned()),
            c if c.is_whitespace() => {}
            c => tokens.push(c.to_string()),
        }
    }
    tokens
}

/// The modules after `root::`, one or several in braces.
fn imports(tokens: &[String], root: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, two) in tokens.windows(2).enumerate() {
        if two[0] != root || two[1] != "::" || at > 0 && tokens[at - 1] == "::" {
            continue;
        }
        let rest = &tokens[at + 2..];
        if rest.first().is_none_or(|token| token != "{") {
            found.extend(rest.first().cloned());
            continue;
        }
        let mut depth = 0;
        for (at, token) in rest.iter().enumerate() {
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                name if depth == 1 && ["{", ","].contains(&rest[at - 1].as_str()) => {
                    found.push(name.to_owned());
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// What is wrong with a file of `module`; `depth` is 0 for a file directly in `src`.
fn violations(module: &str, depth: usize, source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let Some(own) = place(module) else {
        return vec![format!("{module} has no row")];
    };
    let mut wrong = Vec::new();
    // The program is a user of the library.
    let root = if module == "main" {
        "continuo"
    } else {
        "crate"
    };
    for import in imports(&tokens, root) {
        if import == module || module == "lib" {
            continue;
        }
        match place(&import) {
            Some(other) if other < own => {}
            Some(_) => wrong.push(format!("{module} imports {import}")),
            None => wrong.push(format!("{module} imports {import}, which has no row")),
        }
    }
    let path = |words: &[&str]| tokens.windows(words.len()).any(|seen| seen == words);
    if depth == 0 && path(&["super", "::"]) || path(&["super", "::", "super", "::"]) {
        wrong.push(format!(
            "{module} climbs by `super` to where `crate` leads openly"
        ));
    }
    for (name, modules) in ADAPTERS {
        if path(&[name, "::"]) && !modules.contains(&module) {
            wrong.push(format!("{module} names {name}"));
        }
    }
    for (at, token) in tokens.iter().enumerate() {
        let tracked = module == "chat" && at > 1 && tokens[at - 2..at] == ["tasks", "."];
        // Work on a file of the spool, or on a text for the search index: short, and awaited.
        let is_awaited = ["recorder", "store"].contains(&module) && token == "spawn_blocking";
        let spawns = ["spawn", "spawn_local", "spawn_blocking"].contains(&token.as_str());
        if spawns && !tracked && !is_awaited {
            wrong.push(format!("{module} spawns a task that nobody tracks"));
        }
    }
    wrong
}

/// Every source file with its module and depth.
fn sources(directory: &Path, module: Option<&str>) -> Vec<(String, usize, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).expect("the sources") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned();
        let owner = module.unwrap_or(&name);
        if path.is_dir() {
            all.extend(sources(&path, Some(owner)));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            all.push((owner.to_owned(), usize::from(module.is_some()), text));
        }
    }
    all
}

#[test]
fn every_module_keeps_to_its_row() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None);
    assert!(sources.len() > 40, "all of them");
    let wrong: Vec<_> = sources
        .iter()
        .flat_map(|(module, depth, text)| violations(module, *depth, text))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_climbs_is_caught() {
    for (module, source) in [
        ("log", "use crate::chat::Chat;"),
        ("event", "use crate::{model::{Role, User}, log::EventLog};"),
        (
            "store",
            "fn f() { let x = crate::upstream::X; let y = crate::chat::Y; }",
        ),
        ("auth", "use crate::emitter::respond;"),
        ("chat", "use crate::nothing::X;"),
        ("chat", "fn f(e: awc::Error) {}"),
        ("upstream", "use sqlx::Row as _;"),
        ("registry", "fn f(r: actix_web::HttpRequest) {}"),
        ("chat", "fn f() { tokio::spawn(async {}); }"),
        ("recorder", "fn f() { tokio::spawn(async {}); }"),
        ("server", "use tokio::task::spawn_local;"),
        ("text", "use super::model::Role;"),
        ("newcomer", ""),
    ] {
        assert_eq!(violations(module, 0, source).len(), 1, "{module}: {source}");
    }
    for (module, source) in [
        (
            "chat",
            "use crate::{registry::{Full, Registry}, store, upstream::Upstream};",
        ),
        (
            "chat",
            "// crate::routes\nconst X: &str = \"crate::server::run \\\" crate::main\";",
        ),
        ("chat", "fn f(&self) { self.tasks.spawn_local(async {}); }"),
        (
            "log",
            "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }",
        ),
        (
            "log",
            "use crate::event::Event;\n#[cfg(test)]\nmod tests { use crate::server::X; }",
        ),
        ("problem", "fn f(full: crate::registry::Full) {}"),
    ] {
        assert_eq!(
            violations(module, 0, source),
            [] as [String; 0],
            "{module}: {source}"
        );
    }
}
