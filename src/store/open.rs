//! Opens a store: which engine, its settings, its migrations, and one line that helps when it cannot be opened.

use super::{
    Store,
    sql::{DEADLINE, On, Sql, sqlite_code},
};
use sqlx::{
    ConnectOptions, Connection, PgConnection, Row,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{
        SqliteConnectOptions, SqliteError, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    },
};
use std::{io, path::Path, str::FromStr, sync::Arc, time::Duration};

/// How the store is used. The URL says everything else.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// At most this many connections to Postgres, or readers of SQLite; at least 1.
    pub connections: u32,
    /// How long a call waits for a connection, and `open` for the server, before the store counts as unavailable.
    pub acquire_timeout: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connections: 10,
            acquire_timeout: Duration::from_secs(3),
        }
    }
}

/// Why the store cannot be opened: one line for the operator, never with a password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(String);

static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");

/// How long Postgres works on one statement before it gives up.
const STATEMENT_TIMEOUT: &str = "10s";
/// How long it waits for what another transaction holds: a question that cannot begin says so soon.
const LOCK_TIMEOUT: &str = "4s";
/// How long a transaction of a process that hangs may keep its locks.
const IDLE_TRANSACTION_TIMEOUT: &str = "30s";
/// How long a migration may take, the wait for another process that migrates included.
const MIGRATION_TIMEOUT: &str = "30min";
/// How long SQLite waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the database at `url` and brings its schema up to date. `postgres://` and `postgresql://` name a server, `sqlite:PATH`
/// (or `sqlite://PATH`, percent-encoded) a file, which is created when missing, for this user only. Several processes may start
/// at once.
pub async fn open(url: &str, options: &StoreOptions) -> Result<Arc<dyn Store>, OpenError> {
    match url.split_once(':') {
        Some(("postgres" | "postgresql", _)) => open_postgres(url, options).await,
        Some(("sqlite", _)) => Ok(open_sqlite(url, options).await?),
        // Not the URL itself: it may hold a password.
        _ => fail("the database URL must begin with postgres:// or sqlite:"),
    }
}

async fn open_postgres(url: &str, options: &StoreOptions) -> Result<Arc<dyn Store>, OpenError> {
    let mut server = quiet(PgConnectOptions::from_str(url).map_err(|error| unreadable(&error))?)
        .application_name("continuo");
    // sqlx keeps the brackets of an IPv6 address and then looks for a host of that name.
    if let Some(address) = server.get_host().strip_prefix('[') {
        let address = address.trim_end_matches(']').to_owned();
        server = server.host(&address);
    }
    // One plain connection first: a pool would go on trying where the operator wants to know why.
    let mut connection = match tokio::time::timeout(options.acquire_timeout, connect(&server)).await
    {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return fail(why_no_connection(&server, &error)),
        Err(_) => {
            let (place, waited) = (place(&server), options.acquire_timeout.as_secs_f32());
            return fail(format!(
                "the database server at {place} did not answer within {waited} s"
            ));
        }
    };
    POSTGRES
        .run_direct(None, &mut connection, false)
        .await
        .map_err(|error| why_not_migrated(&POSTGRES, &error))?;
    let _ = connection.close().await;

    let pool = PgPoolOptions::new()
        .max_connections(options.connections.max(1))
        .acquire_timeout(options.acquire_timeout)
        .after_connect(|connection, _| {
            Box::pin(set_timeouts(connection, STATEMENT_TIMEOUT, LOCK_TIMEOUT))
        })
        // In place of the ping, at the same price: sqlx counts a transaction from the answer to BEGIN on. When a caller goes away
        // before, the connection comes back inside a transaction that nobody would commit. There, and only there, these differ
        // (in one simple query, that is; the extended protocol moves the clock between its messages).
        .test_before_acquire(false)
        .before_acquire(|connection, _| {
            Box::pin(async move {
                sqlx::raw_sql("SELECT transaction_timestamp() = statement_timestamp()")
                    .fetch_one(connection)
                    .await?
                    .try_get(0)
            })
        })
        // sqlx asks a connection that comes back whether it is well, and waits for its answer for ever. Those that died without a word
        // while they were in use would keep their places in the pool for good.
        .after_release(|connection, _| {
            Box::pin(async move {
                match tokio::time::timeout(DEADLINE, connection.ping()).await {
                    Ok(answered) => answered.map(|()| true),
                    Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                }
            })
        })
        .connect_lazy_with(server);
    Ok(Arc::new(Sql {
        read: On::Postgres(pool.clone()),
        write: On::Postgres(pool),
    }))
}

async fn connect(server: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect_with(server).await?;
    set_timeouts(&mut connection, MIGRATION_TIMEOUT, MIGRATION_TIMEOUT).await?;
    Ok(connection)
}

/// By statement, not in the start-up packet, where connection poolers refuse what they do not know.
async fn set_timeouts(
    connection: &mut PgConnection,
    statement: &str,
    lock: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('statement_timeout', $1, false), set_config('idle_in_transaction_session_timeout', $2, false),
            set_config('lock_timeout', $3, false)",
    )
    .bind(statement)
    .bind(IDLE_TRANSACTION_TIMEOUT)
    .bind(lock)
    .execute(connection)
    .await
    .map(|_| ())
}

/// sqlx logs statements without their values; here below every usual level, and slow ones (a second) as warnings.
fn quiet<O: ConnectOptions>(options: O) -> O {
    options.log_statements("trace".parse().expect("a level of the log crate"))
}

fn place(server: &PgConnectOptions) -> String {
    match server.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", server.get_host(), server.get_port()),
    }
}

fn why_no_connection(server: &PgConnectOptions, error: &sqlx::Error) -> String {
    let place = place(server);
    let user = server.get_username();
    match error {
        sqlx::Error::Io(error) => format!("cannot reach the database server at {place}: {error}"),
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("3D000") => {
                let name = server.get_database().unwrap_or(user);
                format!("there is no database {name:?} at {place}: create it, or correct the URL")
            }
            Some(code) if code.starts_with("28") => format!(
                "the database server at {place} does not let user {user:?} in, check name and password: {error}"
            ),
            _ => format!("the database server at {place} refused the connection: {error}"),
        },
        error => format!("cannot connect to the database server at {place}: {error}"),
    }
}

async fn open_sqlite(url: &str, options: &StoreOptions) -> Result<Arc<Sql>, OpenError> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return fail("a database in memory would keep nothing: name a file, as in sqlite:chat.db");
    }
    let file = quiet(SqliteConnectOptions::from_str(url).map_err(|error| unreadable(&error))?)
        .journal_mode(SqliteJournalMode::Wal)
        // Safe in WAL mode: a crash of the machine may undo the latest commits, but corrupts nothing.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    let path = file.get_filename().to_owned();
    if path.as_os_str().is_empty() {
        return fail("the database URL names no file, as sqlite:chat.db would");
    }
    create_private(&path).await?;

    let pool = SqlitePoolOptions::new()
        .acquire_timeout(options.acquire_timeout.max(BUSY_TIMEOUT))
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None);
    let write = match pool
        .clone()
        .max_connections(1)
        // On a full disk, an I/O error or too little memory SQLite may undo the transaction itself. The ROLLBACK that follows fails,
        // and sqlx counts a transaction for ever that is none: this one connection would begin no other.
        .before_acquire(|connection, _| {
            let usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        })
        // Or each batch of events would open, write and delete a file, in case it has to be undone halfway.
        .connect_with(file.clone().pragma("temp_store", "MEMORY"))
        .await
    {
        Ok(pool) => pool,
        Err(error) => return fail(why_not_opened(&path, &error)),
    };
    migrate_sqlite(&write, &path).await?;
    let read = pool
        .max_connections(options.connections.max(1))
        .connect_lazy_with(file.pragma("query_only", "ON"));
    Ok(Arc::new(Sql {
        read: On::Sqlite(read),
        write: On::Sqlite(write),
    }))
}

/// Creates the file when it is missing. One that is there is not opened: closing it again would drop the locks which this process
/// may hold on it (<https://www.sqlite.org/howtocorrupt.html>, 2.2). SQLite gives its side files the same mode.
async fn create_private(path: &Path) -> Result<(), OpenError> {
    let mut create = tokio::fs::OpenOptions::new();
    create.write(true).create_new(true);
    #[cfg(unix)]
    create.mode(0o600);
    match create.open(path).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            let path = path.display();
            fail(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    format!("cannot create the database {path}: its directory does not exist")
                }
                _ => format!("cannot create the database {path}: {error}"),
            })
        }
    }
}

/// sqlx has no migration lock for SQLite, so that of two processes that start at once one would fail. Holding the write lock
/// outside, the later one finds everything done.
async fn migrate_sqlite(pool: &sqlx::SqlitePool, path: &Path) -> Result<(), OpenError> {
    let mut lock = match pool.begin_with("BEGIN IMMEDIATE").await {
        Ok(lock) => lock,
        Err(error) => return fail(why_not_opened(path, &error)),
    };
    SQLITE
        .run_direct(None, &mut *lock, false)
        .await
        .map_err(|error| why_not_migrated(&SQLITE, &error))?;
    match lock.commit().await {
        Ok(()) => Ok(()),
        Err(error) => fail(why_not_opened(path, &error)),
    }
}

fn why_not_opened(path: &Path, error: &sqlx::Error) -> String {
    let shown = path.display();
    let code = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<SqliteError>())
        .and_then(sqlite_code);
    match code {
        Some(26) => format!("{shown} is not a database: name another file, or move it away"),
        Some(14) if path.is_dir() => format!("{shown} is a directory: name a file in it"),
        Some(14) => {
            format!("cannot open the database {shown}: check that this user may read and write it")
        }
        Some(8) => format!(
            "the database {shown} is read-only: this user must be able to write it and its directory"
        ),
        Some(5) => format!("the database {shown} is locked by another program"),
        _ => format!("cannot open the database {shown}: {error}"),
    }
}

fn why_not_migrated(known: &Migrator, error: &MigrateError) -> OpenError {
    OpenError(one_line(&match error {
        MigrateError::VersionMissing(version) => {
            let latest = known.iter().map(|step| step.version).max().unwrap_or(0);
            format!(
                "the database was written by a newer version of this program (its schema is at {version}, this program knows {latest}): start that version"
            )
        }
        MigrateError::VersionMismatch(version) => format!(
            "step {version} of the database's schema is not the one of this program: it belongs to another build"
        ),
        error => format!("cannot bring the database's schema up to date: {error}"),
    }))
}

fn unreadable(error: &sqlx::Error) -> OpenError {
    OpenError(one_line(&format!(
        "the database URL cannot be read: {error}"
    )))
}

fn fail<T>(message: impl AsRef<str>) -> Result<T, OpenError> {
    Err(OpenError(one_line(message.as_ref())))
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{ConversationId, GenerationId, MessageId, NodeId, Sampling, UserId, now},
        store::{
            Accounts as _, Conversations as _, Effect, NewConversation, NewTurn, Parent,
            Recordings as _, StoreError, TurnOf, Turns as _,
        },
    };

    /// Runs a pragma on the one connection that writes.
    async fn limit(store: &Sql, pragma: &'static str) {
        let On::Sqlite(pool) = &store.write else {
            unreachable!("it was opened as SQLite")
        };
        let limited = sqlx::raw_sql(pragma).execute(pool).await;
        limited.expect("a pragma of SQLite");
    }

    async fn create(store: &Sql, owner: UserId) -> ConversationId {
        let new = NewConversation {
            id: ConversationId::new(),
            title: String::new(),
            model: None,
            system: None,
            sampling: Sampling::default(),
            created_at: now(),
        };
        let created = store.create_conversation(owner, &new, None).await;
        assert!(matches!(created, Ok(Effect::Done(_))), "{created:?}");
        new.id
    }

    #[tokio::test]
    async fn after_a_full_disk_it_writes_again() {
        const FULL: &str = "PRAGMA max_page_count = 1";
        const FULL_WITHOUT_TRIGGER: &str =
            "DROP TRIGGER search_new_message; PRAGMA max_page_count = 1";
        // SQLite undoes the statement, and leaves the transaction to who began it.
        writes_again_after(FULL, "PRAGMA max_page_count = 1000000").await;
        // It ends the transaction itself. The limit is the connection's, so it ends with it.
        writes_again_after(FULL_WITHOUT_TRIGGER, "").await;
    }

    /// Full as a disk is: `SQLITE_FULL`.
    async fn writes_again_after(full: &'static str, empty: &'static str) {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", directory.path().join("chat.db").display());
        let store = open_sqlite(&url, &StoreOptions::default()).await;
        let store = store.expect("a fresh database");
        let owner = store.ensure_owner("owner").await.expect("stored").id;
        let conversation_id = create(&store, owner).await;
        let lease = store
            .take_lease(NodeId::new(), Duration::from_mins(1))
            .await;
        limit(&store, full).await;
        let new = NewTurn {
            generation_id: GenerationId::new(),
            message_id: MessageId::new(),
            lease: lease.expect("a lease"),
            model: None,
            of: TurnOf::Prompt {
                conversation_id,
                user_message_id: MessageId::new(),
                parent: Parent::Head,
                content: "x".repeat(600_000),
            },
        };
        let refused = store.begin_turn(owner, &new, None).await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable(_))),
            "{refused:?}"
        );
        store.check().await.expect("ready again");
        limit(&store, empty).await;
        let read = store.conversation(owner, conversation_id).await;
        let (_, messages) = read.expect("read").expect("it is there");
        assert!(messages.is_empty(), "all or nothing");
        create(&store, owner).await;
        let begun = store.begin_turn(owner, &new, None).await;
        assert!(matches!(begun, Ok(Ok(_))), "{begun:?}");
    }

    #[tokio::test]
    async fn a_store_that_cannot_write_is_not_ready() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", directory.path().join("chat.db").display());
        let store = open_sqlite(&url, &StoreOptions::default()).await;
        let store = store.expect("a fresh database");
        store.check().await.expect("ready");
        limit(&store, "PRAGMA query_only = ON").await;
        store.users().await.expect("reading still works");
        let checked = store.check().await;
        assert!(
            matches!(checked, Err(StoreError::Unavailable(_))),
            "{checked:?}"
        );
        limit(&store, "PRAGMA query_only = OFF").await;
        store.check().await.expect("ready again");
    }
}
