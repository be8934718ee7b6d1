//! Opening and closing, and what is said when a store cannot be opened.

use crate::{database::database_url, scratch::*};
use continuo::store::*;
use futures_util::future::join_all;
use std::time::Duration;

pub async fn what_was_stored_is_there_after_reopening(db: &Scratch) {
    let owner = user(&*db.store, "ann").await;
    let id = conversation(&*db.store, owner, "t").await;
    exchange(&*db.store, owner, id, "q", "a").await;
    let before = db.store.conversation(owner, id).await.unwrap();
    db.store.close().await;
    let again = db.open_again().await;
    let after = again.conversation(owner, id).await.unwrap();
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    again.check().await.unwrap();
}

pub async fn several_processes_open_a_fresh_database_at_once(db: &Scratch) {
    // Back to an empty database, without waiting for anybody who may still hold the file.
    let directory = tempfile::tempdir().unwrap();
    let url = if db.is_postgres() {
        db.tamper("DROP SCHEMA public CASCADE; CREATE SCHEMA public", "")
            .await;
        db.url.clone()
    } else {
        format!("sqlite:{}", directory.path().join("fresh.db").display())
    };
    let options = StoreOptions::default();
    let opened = join_all((0..8).map(|_| open(&url, &options))).await;
    let stores: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    let owners = join_all(stores.iter().map(|store| store.ensure_owner("owner"))).await;
    let owners: Vec<_> = owners.into_iter().map(|owner| owner.unwrap().id).collect();
    assert!(owners.iter().all(|id| *id == owners[0]));
}

pub async fn a_closed_store_is_unavailable(db: &Scratch) {
    let owner = user(&*db.store, "ann").await;
    let id = conversation(&*db.store, owner, "t").await;
    db.store.check().await.unwrap();
    db.store.close().await;
    let checked = db.store.check().await;
    assert!(
        matches!(checked, Err(StoreError::Unavailable(_))),
        "{checked:?}"
    );
    let new = prompt(id, Parent::Head, "q");
    let begun = db.store.begin_turn(owner, &new, None).await;
    assert!(
        matches!(begun, Err(StoreError::Unavailable(_))),
        "{begun:?}"
    );
}

pub async fn a_newer_schema_is_refused_in_one_line(db: &Scratch) {
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'of the future', true, '', 0)";
    let newer_sqlite =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'of the future', true, x'', 0)";
    db.tamper(newer, newer_sqlite).await;
    let said = refused(&db.url).await;
    assert!(said.contains("newer version"), "{said}");
    assert!(said.contains("9999"), "{said}");
}

/// What `open` says, which is one line.
async fn refused(url: &str) -> String {
    let options = StoreOptions {
        acquire_timeout: Duration::from_secs(2),
        ..StoreOptions::default()
    };
    let said = match open(url, &options).await {
        Ok(_) => panic!("{url} opened"),
        Err(error) => error.to_string(),
    };
    assert!(!said.contains('\n') && !said.contains("s3cret"), "{said}");
    said
}

#[tokio::test]
async fn another_kind_of_url_is_refused_without_repeating_it() {
    for url in ["mysql://root:s3cret@host/db", "chat.db", "", "/tmp/x:y"] {
        let said = refused(url).await;
        assert!(
            said.contains("postgres://") && said.contains("sqlite:"),
            "{said}"
        );
    }
    let said = refused("postgres://user:s3cret@host:port/db").await;
    assert!(said.contains("cannot be read"), "{said}");
}

#[tokio::test]
async fn a_file_that_cannot_be_a_database_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let said = refused(&format!("sqlite:{}", path("missing/chat.db"))).await;
    assert!(
        said.contains("missing/chat.db") && said.contains("directory does not exist"),
        "{said}"
    );
    let said = refused(&format!("sqlite://{}", directory.path().display())).await;
    assert!(said.contains("is a directory"), "{said}");
    std::fs::write(path("notes.txt"), "nothing but a few words\n".repeat(100)).unwrap();
    let said = refused(&format!("sqlite:{}", path("notes.txt"))).await;
    assert!(said.contains("notes.txt is not a database"), "{said}");
    let text = std::fs::read_to_string(path("notes.txt")).unwrap();
    assert_eq!(text, "nothing but a few words\n".repeat(100));
    for url in [
        "sqlite::memory:",
        "sqlite://x?mode=memory",
        "sqlite:",
        "sqlite://",
    ] {
        let said = refused(url).await;
        assert!(said.contains("file"), "{said}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.db");
    let url = format!("sqlite:{}", path.display());
    let store = open(&url, &StoreOptions::default()).await.unwrap();
    store.ensure_owner("owner").await.unwrap();
    let files: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(files.len() > 1, "the log stands beside the file");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
    }
    store.close().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_host_and_port() {
    // Bound and dropped: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let said = refused(&format!("postgres://user:s3cret@127.0.0.1:{port}/chat")).await;
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    assert!(said.contains("refused"), "{said}");
    let said = refused("postgres://user:s3cret@no-such-host.invalid:5433/chat").await;
    assert!(said.contains("no-such-host.invalid:5433"), "{said}");
    // An address, not a name to look up.
    let said = refused(&format!("postgres://user:s3cret@[::1]:{port}/chat")).await;
    assert!(said.contains("::1") && !said.contains("lookup"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_silent_does_not_hang_the_start() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let said = refused(&format!("postgres://user:s3cret@127.0.0.1:{port}/chat")).await;
    assert!(said.contains("did not answer within 2 s"), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
}

#[tokio::test]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn a_wrong_password_or_database_is_told_apart() {
    let server = std::env::var("CONTINUO_TEST_POSTGRES_URL").unwrap();
    let said = refused(&database_url(&server, "no_such_database")).await;
    assert!(
        said.contains("no_such_database") && said.contains("create it"),
        "{said}"
    );
    let place = server.split('@').nth(1).unwrap();
    let said = refused(&format!("postgres://nobody_here:s3cret@{place}")).await;
    assert!(
        said.contains("nobody_here") && said.contains("password"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn connections_that_the_server_ended_are_replaced() {
    on_postgres(async |db| {
        let owner = user(&*db.store, "ann").await;
        db.tamper(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "",
        )
        .await;
        conversation(&*db.store, owner, "after").await;
        db.store.check().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
async fn a_database_that_became_read_only_is_unavailable() {
    on_postgres(async |db| {
        db.store.check().await.unwrap();
        db.tamper(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$",
            "",
        )
        .await;
        db.tamper(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "",
        )
        .await;
        let checked = db.store.check().await;
        assert!(
            matches!(checked, Err(StoreError::Unavailable(_))),
            "{checked:?}"
        );
    })
    .await;
}
