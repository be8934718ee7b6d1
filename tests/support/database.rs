//! Postgres databases of a test's own, on the server that `CONTINUO_TEST_POSTGRES_URL` names.
#![allow(dead_code, reason = "no test binary uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use futures_util::FutureExt;
use sqlx::{Connection, Executor, PgConnection};
use std::panic::AssertUnwindSafe;

/// Runs `fact` with the URL of a fresh database, which is dropped at the end, however that comes.
pub async fn with_database(fact: impl AsyncFnOnce(String)) {
    let server = std::env::var("CONTINUO_TEST_POSTGRES_URL")
        .expect("CONTINUO_TEST_POSTGRES_URL names a server to test on");
    let name = format!("continuo_test_{}", uuid::Uuid::now_v7().simple());
    administer(&server, format!("CREATE DATABASE {name}")).await;
    let outcome = AssertUnwindSafe(fact(database_url(&server, &name)))
        .catch_unwind()
        .await;
    administer(&server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn administer(server: &str, sql: String) {
    let mut server = PgConnection::connect(server).await.unwrap();
    server.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
}

/// `server` with another database.
pub fn database_url(server: &str, database: &str) -> String {
    let (place, _) = server.split_once('?').unwrap_or((server, ""));
    let authority = place
        .split("://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    format!("postgres://{authority}/{database}")
}
