//! A start or a command that cannot be: exit code 1, and one line that says what to do and gives nothing away.

use crate::support::process::{Ended, Process, Running, continuo, run};
use std::{fs, path::Path};

const PASSWORD: &str = "hunter2";

/// The line.
pub fn refused(ended: &Ended, words: &[&str]) {
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(1), ""),
        "{ended:?}"
    );
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    assert!(lines[0].starts_with("continuo: "), "{}", lines[0]);
    assert!(!lines[0].contains(PASSWORD), "{}", lines[0]);
    for word in words {
        assert!(
            lines[0].contains(word),
            "{word:?} is missing in {}",
            lines[0]
        );
    }
}

async fn start(data: &Path, arguments: &[&str]) -> Ended {
    let mut all = vec!["--bind", "127.0.0.1:0"];
    all.extend(arguments);
    run(data, &all).await
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let data = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = run(data.path(), &["--bind", &address]).await;
    refused(&ended, &[&address, "--bind"]);
    let ended = run(data.path(), &["demo-upstream", "--bind", &address]).await;
    refused(&ended, &[&address, "--bind"]);
}

#[tokio::test]
async fn a_data_directory_that_is_in_use() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Running::start(data.path(), &[]).await;
    let ended = start(data.path(), &[]).await;
    refused(&ended, &["in use", "--data-dir"]);
    assert_eq!(
        server.owner.get_json("/api/session").await["by"],
        "key",
        "the first serves on"
    );
    assert_eq!(server.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_data_directory_that_cannot_be() {
    let data = tempfile::tempdir().expect("a directory");
    let file = data.path().join("file");
    fs::write(&file, "").expect("written");
    let below = file.join("data");
    let ended = start(data.path(), &["--data-dir", below.to_str().expect("UTF-8")]).await;
    refused(&ended, &["data directory", "--data-dir"]);
    let mut command = continuo(data.path(), &["--bind", "127.0.0.1:0"]);
    let ended = Process::start(command.env_clear()).ended().await;
    refused(&ended, &["HOME", "--data-dir"]);
}

#[tokio::test]
async fn databases_that_are_none() {
    let data = tempfile::tempdir().expect("a directory");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address").to_string();
    drop(closed);
    let garbage = data.path().join("garbage.db");
    fs::write(&garbage, "this is a letter, not a database. ".repeat(100)).expect("written");
    let garbage = format!("sqlite://{}", garbage.display());
    let missing = format!("sqlite://{}/missing/chat.db", data.path().display());
    let directory = format!("sqlite://{}", data.path().display());
    for (url, words) in [
        (
            format!("mysql://u:{PASSWORD}@h/d"),
            &["store.url", "postgres://"][..],
        ),
        (PASSWORD.to_owned(), &["store.url", "sqlite:"]),
        (
            format!("postgres://u:{PASSWORD}@{address}/d"),
            &["cannot reach", &address],
        ),
        (format!("postgres://u:{PASSWORD}@:nonsense:/d"), &["URL"]),
        ("sqlite::memory:".to_owned(), &["memory"]),
        (missing, &["missing/chat.db", "directory"]),
        (garbage, &["garbage.db", "not a database"]),
        (directory, &["directory"]),
    ] {
        println!("{url}");
        refused(&start(data.path(), &["--database-url", &url]).await, words);
        // Commands beside the server say the same.
        refused(
            &run(data.path(), &["login", "--database-url", &url]).await,
            words,
        );
    }
}

#[tokio::test]
async fn a_configuration_with_errors_tells_all_of_them_at_once() {
    let data = tempfile::tempdir().expect("a directory");
    let file = data.path().join("own.toml");
    fs::write(&file, "[limits]\nemitters = \"many\"\n[nothing]\nx = 1\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let mut command = continuo(
        data.path(),
        &[
            "--bind",
            "nowhere",
            "--config",
            file,
            "--upstream-url",
            "ftp://u",
            "--database-url",
            "x:hunter2",
        ],
    );
    let command = command
        .env("CONTINUO__LIMITS__EMITTER", "5")
        .env("CONTINUO__DRAIN__GRACE_SECONDS", "-1")
        .env("OPENAI_API_KEY", PASSWORD);
    let ended = Process::start(command).ended().await;
    refused(
        &ended,
        &[
            "limits.emitters",
            file,
            "nothing.x",
            "limits.emitter:",
            "CONTINUO__LIMITS__EMITTER",
            "drain.grace_seconds",
            "server.bind",
            "--bind",
            "upstream.url",
            "store.url",
        ],
    );
}

#[tokio::test]
async fn a_configuration_file_that_cannot_be_read() {
    let data = tempfile::tempdir().expect("a directory");
    let ended = start(data.path(), &["--config", "/nonexistent.toml"]).await;
    refused(&ended, &["/nonexistent.toml"]);
    let file = data.path().join("broken.toml");
    fs::write(&file, "[server]\nbind = \"x\"\n\nthis is = = no TOML\n").expect("written");
    let ended = start(data.path(), &["--config", file.to_str().expect("UTF-8")]).await;
    refused(&ended, &["broken.toml", "line 4"]);
    fs::write(&file, b"\xff\xfe").expect("written");
    let ended = start(data.path(), &["--config", file.to_str().expect("UTF-8")]).await;
    refused(&ended, &["broken.toml"]);
}

#[tokio::test]
async fn commands_about_what_there_is_not() {
    let data = tempfile::tempdir().expect("a directory");
    let id = "0190a0c4-7c3d-7cc0-8000-000000000000";
    run(data.path(), &["user", "add", "ada"]).await;
    let long = "x".repeat(201);
    for (arguments, words) in [
        (
            &["login", "nobody"][..],
            &["nobody", "continuo user list"][..],
        ),
        (&["key", "add", "--user", "nobody"], &["nobody"]),
        (&["key", "revoke", id], &[id, "continuo key list"]),
        (&["user", "disable", "nobody"], &["nobody"]),
        (&["user", "add", "ada"], &["ada", "already"]),
        (&["user", "add", ""], &["name"]),
        (&["user", "add", " x"], &["name"]),
        (&["user", "add", "a\nb"], &["name"]),
        (&["user", "add", &long], &["name"]),
    ] {
        println!("{arguments:?}");
        refused(&run(data.path(), arguments).await, words);
    }
    let ended = run(data.path(), &["key", "revoke", "no-id"]).await;
    assert_eq!(
        ended.code,
        Some(2),
        "the command line itself is wrong: {ended:?}"
    );
    assert!(ended.stderr.contains("no-id"));
}
