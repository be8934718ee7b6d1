//! One SQL text for two engines: the pools, transactions, how values are kept that the engines keep differently, and what a database
//! error means to a caller.

use super::StoreError;
use crate::text::without_nul;
use serde::Serialize;
use serde_json::Value;
use sqlx::{
    Decode, Encode, PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool,
    Transaction, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgDatabaseError, PgTypeInfo, PgValueRef},
    sqlite::{SqliteArgumentsBuffer, SqliteError, SqliteTypeInfo, SqliteValueRef},
    types::Json,
};
use std::{
    fmt::{Display, Write as _},
    io,
    time::Duration,
};
use time::{OffsetDateTime, UtcOffset};

/// The same thing of either engine.
pub(super) enum On<P, S> {
    Postgres(P),
    Sqlite(S),
}

pub(super) type Pool = On<PgPool, SqlitePool>;
pub(super) type Tx = On<Transaction<'static, Postgres>, Transaction<'static, Sqlite>>;

impl<P, S> On<P, S> {
    /// A table `list` of the whole numbers that are bound as `$1`, as one text with commas between them; its column is `value`.
    pub fn list(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "unnest(string_to_array($1, ',')::bigint[]) AS list (value)",
            Self::Sqlite(_) => "json_each('[' || $1 || ']') AS list",
        }
    }

    /// The same of ids, each as 32 hexadecimal digits; not of none.
    pub fn list_of_ids(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "unnest(string_to_array($1, ',')::uuid[]) AS list (value)",
            Self::Sqlite(_) => {
                r#"(SELECT unhex(value) AS value FROM json_each('["' || replace($1, ',', '","') || '"]')) AS list"#
            }
        }
    }

    /// A join that looks up each row by its index, however many the engine expects.
    pub fn look_up(&self, table: &str, name: &str, condition: &str) -> String {
        match self {
            Self::Postgres(_) => format!(
                "CROSS JOIN LATERAL (SELECT * FROM {table} {name} WHERE {condition} OFFSET 0) {name}"
            ),
            Self::Sqlite(_) => format!("CROSS JOIN {table} {name} ON {condition}"),
        }
    }

    /// The same, with nulls where there is none.
    pub fn look_up_if_there(&self, table: &str, name: &str, condition: &str) -> String {
        match self {
            Self::Postgres(_) => format!(
                "LEFT JOIN LATERAL (SELECT * FROM {table} {name} WHERE {condition} OFFSET 0) {name} ON true"
            ),
            Self::Sqlite(_) => format!("LEFT JOIN {table} {name} ON {condition}"),
        }
    }
}

/// What [`On::list`] and [`On::list_of_ids`] take.
pub(super) fn with_commas(items: impl IntoIterator<Item = impl Display>) -> String {
    let mut list = String::new();
    for item in items {
        let comma = if list.is_empty() { "" } else { "," };
        let _ = write!(list, "{comma}{item}");
    }
    list
}

/// The other way round, of what `string_agg` made of a column: thousands of rows as one, because each row costs more than its number.
pub(super) fn numbers(list: Option<&str>) -> Vec<i64> {
    let numbers = list.unwrap_or_default().split(',');
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Builds a query for the engine at hand and awaits it: `on!(pool, c => sqlx::query(SQL).bind(id).fetch_all(c))`. The body is
/// expanded once per engine, so that one text serves both.
macro_rules! on {
    ($db:expr, $connection:ident => $query:expr) => {
        match $db {
            $crate::store::sql::On::Postgres($connection) => {
                $crate::store::sql::in_time($query).await
            }
            $crate::store::sql::On::Sqlite($connection) => {
                $query.await.map_err($crate::store::StoreError::from)
            }
        }
    };
}

/// Executes a statement that returns no rows; gives the number of rows it touched.
macro_rules! execute {
    ($db:expr, $query:expr) => {
        $crate::store::sql::on!($db, c => async {
            $query.execute(c).await.map(|done| done.rows_affected())
        })
    };
}
pub(super) use {execute, on};

/// The store of either engine.
pub(super) struct Sql {
    /// For single statements that only read.
    pub read: Pool,
    /// On SQLite a single connection: writers wait in line here instead of failing as busy.
    pub write: Pool,
}

impl Sql {
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        match &self.write {
            On::Postgres(pool) => in_time(pool.begin()).await.map(On::Postgres),
            // The write lock first: a transaction that begins by reading cannot always become a writer.
            On::Sqlite(pool) => Ok(On::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?)),
        }
    }
}

impl Tx {
    pub fn on(&mut self) -> On<&mut PgConnection, &mut SqliteConnection> {
        match self {
            Self::Postgres(tx) => On::Postgres(&mut **tx),
            Self::Sqlite(tx) => On::Sqlite(&mut **tx),
        }
    }

    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(tx) => in_time(tx.commit()).await,
            Self::Sqlite(tx) => Ok(tx.commit().await?),
        }
    }

    /// Dropping does the same, but later: the next writer need not wait for it.
    pub async fn rollback(self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(tx) => in_time(tx.rollback()).await,
            Self::Sqlite(tx) => Ok(tx.rollback().await?),
        }
    }
}

/// How long a caller waits for Postgres. The server ends a statement earlier (see `open`); this is for a server that vanished.
pub(super) const DEADLINE: Duration = Duration::from_secs(15);

pub(super) async fn in_time<T>(
    query: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(DEADLINE, query).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()).into()),
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let passes = match &error {
            // A server, or a proxy before it, that closes a connection in mid-word counts as a protocol error.
            E::Io(_)
            | E::Tls(_)
            | E::Protocol(_)
            | E::PoolTimedOut
            | E::PoolClosed
            | E::WorkerCrashed => true,
            E::Database(error) => {
                if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                    passes_on_postgres(error.code())
                } else {
                    error
                        .try_downcast_ref::<SqliteError>()
                        .is_some_and(passes_on_sqlite)
                }
            }
            _ => false,
        };
        if passes {
            Self::Unavailable(Box::new(error))
        } else {
            // Only the message: the rest of a Postgres error may quote the row, and so what somebody wrote.
            Self::Failed(error.to_string().into())
        }
    }
}

/// By class (PostgreSQL, appendix A): connection, log-in, idle transaction ended, read-only (a replica), unknown database, conflict
/// with another transaction, no resources, object in use, operator's intervention or a timeout, the machine under it (I/O).
fn passes_on_postgres(code: &str) -> bool {
    ["08", "28", "25", "3D", "40", "53", "55", "57", "58"]
        .iter()
        .any(|class| code.starts_with(class))
}

/// Busy, locked, out of memory, read-only, I/O, full, cannot open (<https://www.sqlite.org/rescode.html>).
fn passes_on_sqlite(error: &SqliteError) -> bool {
    sqlite_code(error).is_some_and(|code| [5, 6, 7, 8, 10, 13, 14].contains(&code))
}

/// The primary result code.
pub(super) fn sqlite_code(error: &SqliteError) -> Option<u32> {
    let extended: u32 = sqlx::error::DatabaseError::code(error)?.parse().ok()?;
    Some(extended & 0xff)
}

pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Failed(Box::new(error))
}

/// A time, to the millisecond: `timestamptz` on Postgres, milliseconds since 1970 on SQLite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub OffsetDateTime);

impl Time {
    /// Later than every time that is stored.
    pub const LAST: Self = Self(time::macros::datetime!(9999-12-31 23:59:59 UTC));

    /// Earlier than every time that is stored.
    pub const FIRST: Self = Self(time::macros::datetime!(1970-01-01 00:00:00 UTC));

    fn milliseconds(self) -> i64 {
        let time = self.0.to_offset(UtcOffset::UTC);
        time.unix_timestamp() * 1000 + i64::from(time.millisecond())
    }

    fn of_milliseconds(milliseconds: i64) -> Result<Self, time::error::ComponentRange> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).map(Self)
    }
}

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Self(cut) = Self::of_milliseconds(self.milliseconds())?;
        Encode::<Postgres>::encode(cut, buffer)
    }
}

impl Decode<'_, Postgres> for Time {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        <OffsetDateTime as Decode<Postgres>>::decode(value).map(Self)
    }
}

impl Type<Sqlite> for Time {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(kept: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(kept)
    }
}

impl Encode<'_, Sqlite> for Time {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(self.milliseconds(), buffer)
    }
}

impl Decode<'_, Sqlite> for Time {
    fn decode(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self::of_milliseconds(<i64 as Decode<Sqlite>>::decode(
            value,
        )?)?)
    }
}

/// `sql` with the database's own clock for `{now}` and what its times count for `{millisecond}`: the clocks of nodes differ.
pub(super) fn by_its_clock(database: &Pool, sql: &str) -> String {
    let (now, millisecond) = match database {
        On::Postgres(_) => ("clock_timestamp()", "interval '1 millisecond'"),
        On::Sqlite(_) => ("CAST(unixepoch('subsec') * 1000 AS INTEGER)", "1"),
    };
    sql.replace("{now}", now)
        .replace("{millisecond}", millisecond)
}

/// As SQL takes a duration.
pub(super) fn milliseconds(lasts: Duration) -> Result<i64, StoreError> {
    i64::try_from(lasts.as_millis()).map_err(failed)
}

/// `value` as JSON that both engines take: Postgres refuses U+0000 even in escapes, so it becomes U+FFFD.
pub(super) fn json(value: &impl Serialize) -> Result<Json<Value>, StoreError> {
    serde_json::to_value(value)
        .map(|value| Json(cleaned(value)))
        .map_err(failed)
}

fn cleaned(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_nul(text)),
        Value::Array(items) => items.into_iter().map(cleaned).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (without_nul(name), cleaned(value)))
            .collect(),
        other => other,
    }
}

#[async_trait::async_trait]
impl super::Store for Sql {
    async fn close(&self) {
        for pool in [&self.read, &self.write] {
            match pool {
                On::Postgres(pool) => pool.close().await,
                On::Sqlite(pool) => pool.close().await,
            }
        }
    }
}
