//! A database that is filled behind the store's back: through the store each message would be several transactions.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a measuring tool"
)]

use crate::texts::Writer;
use continuo::model::{ConversationId, MessageId, UserId};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

enum Engine {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

pub struct Database {
    engine: Engine,
    conversations: Vec<(uuid::Uuid, uuid::Uuid, String, i64)>,
    messages: Vec<(uuid::Uuid, uuid::Uuid, i64, &'static str, String, i64)>,
}

impl Database {
    pub async fn connect(url: &str) -> Self {
        let engine = if url.starts_with("postgres") {
            Engine::Postgres(PgConnection::connect(url).await.unwrap())
        } else {
            let mut file = SqliteConnection::connect(url).await.unwrap();
            file.execute("PRAGMA synchronous = NORMAL").await.unwrap();
            Engine::Sqlite(file)
        };
        Self {
            engine,
            conversations: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// A conversation with so many messages; how many characters they have.
    pub async fn add(
        &mut self,
        writer: &mut Writer,
        owner: UserId,
        n: usize,
        messages: usize,
    ) -> usize {
        let id = ConversationId::new().0;
        let at = 1_700_000_000_000 + n as i64 * 60_000;
        let mut title = writer.text(30);
        if n % 1000 == 7 {
            title.push_str(" titleonly7");
        } else if n % 50 == 8 {
            title.push_str(" TitleOnly");
        }
        let mut characters = 0;
        for position in 1..=messages {
            let role = if position % 2 == 1 {
                "user"
            } else {
                "assistant"
            };
            // Most are short, some very long.
            let spread = (1.0 - writer.random.share()).powf(-0.6).min(25.0);
            let length = if role == "user" { 80.0 } else { 900.0 } * spread;
            let mut text = writer.text(length as usize);
            if position == 2 {
                match n % 10 {
                    0..3 => text.push_str(" leftword"),
                    3..6 => text.push_str(" rightword"),
                    _ => {}
                }
                if n.is_multiple_of(1100) {
                    text.push_str(" zyzzoboth");
                }
                if n % 2000 == 1 {
                    text.push_str(" Zyzzogeton");
                }
                if n % 40 == 9 {
                    text.push_str(" foo_bar C++ 你好，世界 🙂");
                }
                if n % 900 == 13 {
                    text.push_str(" 🦀");
                }
                if n == 0 {
                    text.push_str(" oldestword");
                }
            }
            characters += text.chars().count();
            self.messages
                .push((MessageId::new().0, id, position as i64, role, text, at));
        }
        self.conversations.push((id, owner.0, title, at));
        if self.messages.len() > 1000 {
            self.flush().await;
        }
        characters
    }

    pub async fn flush(&mut self) {
        let folded = |text: &str| -> String { text.chars().flat_map(char::to_lowercase).collect() };
        let (conversations, messages) = (
            std::mem::take(&mut self.conversations),
            std::mem::take(&mut self.messages),
        );
        let rows = |rows: usize, columns: usize| -> String {
            let row = |row: usize| {
                let columns: Vec<String> = (1..=columns)
                    .map(|n| format!("${}", row * columns + n))
                    .collect();
                format!("({})", columns.join(", "))
            };
            (0..rows).map(row).collect::<Vec<_>>().join(", ")
        };
        let to_time = match &self.engine {
            Engine::Postgres(_) => "to_timestamp(v.at / 1000.0)",
            Engine::Sqlite(_) => "v.at",
        };
        let (uuid, big) = match &self.engine {
            Engine::Postgres(_) => ("uuid", "bigint"),
            Engine::Sqlite(_) => ("blob", "integer"),
        };
        let cast = |column: &str, kind: &str| {
            if matches!(kind, "blob") {
                column.to_owned()
            } else {
                format!("CAST({column} AS {kind})")
            }
        };
        let sql_conversations = format!(
            "WITH v (id, owner, title, folded, at) AS (VALUES {}) INSERT INTO conversations (id, owner_id, title, folded, created_at, updated_at)
             SELECT {}, {}, v.title, v.folded, {to_time}, {to_time} FROM v",
            rows(conversations.len(), 5), cast("v.id", uuid), cast("v.owner", uuid)
        );
        macro_rules! run {
            ($connection:expr) => {{
                let mut query = sqlx::query(AssertSqlSafe(&*sql_conversations)).persistent(false);
                for (id, owner, title, at) in &conversations {
                    query = query.bind(id).bind(owner).bind(title).bind(folded(title)).bind(at);
                }
                let mut tx = $connection.begin().await.unwrap();
                query.execute(&mut *tx).await.unwrap();
                for messages in messages.chunks(1000) {
                    let sql = format!(
                        "WITH v (id, conversation, position, role, folded, content, at) AS (VALUES {})
                         INSERT INTO messages (id, conversation_id, position, role, status, created_at, folded, content)
                         SELECT {}, {}, {}, v.role, 'completed', {to_time}, v.folded, v.content FROM v",
                        rows(messages.len(), 7), cast("v.id", uuid), cast("v.conversation", uuid), cast("v.position", big)
                    );
                    let mut query = sqlx::query(AssertSqlSafe(&*sql)).persistent(false);
                    for (id, conversation, position, role, text, at) in messages {
                        query = query.bind(id).bind(conversation).bind(position).bind(*role).bind(folded(text)).bind(text).bind(at);
                    }
                    query.execute(&mut *tx).await.unwrap();
                }
                tx.commit().await.unwrap();
            }};
        }
        if conversations.is_empty() {
            return;
        }
        match &mut self.engine {
            Engine::Postgres(connection) => run!(connection),
            Engine::Sqlite(connection) => run!(connection),
        }
    }

    pub async fn sizes(&mut self) {
        const TEXT: &str = "SELECT CAST(SUM(octet_length(folded)) AS bigint) FROM messages";
        const SEGMENTS: &str = "SELECT COUNT(*) FROM search_segments WHERE state = 'live'";
        let (text, segments, tables, index): (i64, i64, i64, i64) = match &mut self.engine {
            Engine::Postgres(c) => {
                const TABLES: &str =
                    "SELECT CAST(SUM(pg_total_relation_size(oid)) AS bigint) FROM pg_class
                    WHERE relkind = 'r' AND relname IN ('conversations', 'messages')";
                const INDEX: &str =
                    "SELECT CAST(SUM(pg_total_relation_size(oid)) AS bigint) FROM pg_class
                    WHERE relkind = 'r' AND relname LIKE 'search%'";
                c.execute("VACUUM ANALYZE").await.unwrap();
                (
                    sqlx::query_scalar(TEXT).fetch_one(&mut *c).await.unwrap(),
                    sqlx::query_scalar(SEGMENTS)
                        .fetch_one(&mut *c)
                        .await
                        .unwrap(),
                    sqlx::query_scalar(TABLES).fetch_one(&mut *c).await.unwrap(),
                    sqlx::query_scalar(INDEX).fetch_one(&mut *c).await.unwrap(),
                )
            }
            Engine::Sqlite(c) => {
                const TABLES: &str =
                    "SELECT SUM(pgsize) FROM dbstat WHERE name NOT LIKE '%search%'";
                const INDEX: &str = "SELECT SUM(pgsize) FROM dbstat WHERE name LIKE '%search%'";
                (
                    sqlx::query_scalar(TEXT).fetch_one(&mut *c).await.unwrap(),
                    sqlx::query_scalar(SEGMENTS)
                        .fetch_one(&mut *c)
                        .await
                        .unwrap(),
                    sqlx::query_scalar(TABLES).fetch_one(&mut *c).await.unwrap(),
                    sqlx::query_scalar(INDEX).fetch_one(&mut *c).await.unwrap(),
                )
            }
        };
        println!(
            "text {} MB, tables {} MB, index {} MB ({:.2} x the text) in {segments} segments",
            text / 1_000_000,
            tables / 1_000_000,
            index / 1_000_000,
            index as f64 / text as f64
        );
        let pages = "SELECT CAST(SUM(bytes) AS bigint) FROM search_segments WHERE state = 'live'";
        let pages: i64 = match &mut self.engine {
            Engine::Postgres(c) => sqlx::query_scalar(pages).fetch_one(c).await.unwrap(),
            Engine::Sqlite(c) => sqlx::query_scalar(pages).fetch_one(c).await.unwrap(),
        };
        println!(
            "of that in pages of live segments: {} MB",
            pages / 1_000_000
        );
    }
}
