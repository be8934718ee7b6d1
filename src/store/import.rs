//! A whole conversation in one transaction, many messages in one statement.

use super::{
    Effect, Once, Receipt, StoreError, WholeConversation, insert,
    receipts::claim,
    rows::{ConversationRow, conversation_columns},
    search,
    sql::{On, Sql, Time, Tx, execute, failed, json, on},
};
use crate::model::{Conversation, ConversationId, Message, UserId};
use serde_json::Value;
use sqlx::{AssertSqlSafe, types::Json};

/// Messages in one statement: SQLite takes 32,766 parameters, Postgres twice as many.
const AT_ONCE: usize = 500;
const COLUMNS: &str = "id, conversation_id, position, parent_id, role, model, status, finish_reason, usage, timings, tool_calls, \
    created_at, folded, content, reasoning";
const COLUMN_COUNT: usize = 15;

pub(super) async fn store(
    sql: &Sql,
    owner: UserId,
    whole: &WholeConversation,
    once: Option<(&Once, &Receipt)>,
) -> Result<Effect<Conversation>, StoreError> {
    // Before the transaction: on SQLite everybody who writes waits for it.
    let rows = rows(whole)?;
    let mut tx = sql.begin().await?;
    if let Some(before) = claim(&mut tx, owner, once).await? {
        tx.rollback().await?;
        return Ok(before);
    }
    let row = insert_whole(&mut tx, owner, whole, &rows).await?;
    tx.commit().await?;
    Ok(Effect::Done(row.into()))
}

/// The conversation with these messages of it, of which the head is one.
pub(super) async fn insert_whole(
    tx: &mut Tx,
    owner: UserId,
    whole: &WholeConversation,
    rows: &[Row<'_>],
) -> Result<ConversationRow, StoreError> {
    const LAST: &str = concat!(
        "UPDATE conversations SET head_id = $2, updated_at = $3 WHERE id = $1 RETURNING ",
        conversation_columns!()
    );
    let id = whole.new.id;
    insert::conversation(tx, owner, &whole.new).await?;
    let mut position = 0;
    for rows in rows.chunks(AT_ONCE) {
        insert_messages(tx, id, position, rows).await?;
        position += i64::try_from(rows.len()).map_err(failed)?;
    }
    on!(tx.on(), c => sqlx::query_as::<_, ConversationRow>(LAST)
        .bind(id.0)
        .bind(whole.head_id.map(|head| head.0))
        .bind(Time(whole.updated_at))
        .fetch_one(c))
}

/// What is computed of a message.
pub(super) struct Row<'a> {
    message: &'a Message,
    folded: String,
    usage: Option<Json<Value>>,
    timings: Option<Json<Value>>,
    tool_calls: Option<Json<Value>>,
}

/// Of all messages, in their order.
pub(super) fn rows(whole: &WholeConversation) -> Result<Vec<Row<'_>>, StoreError> {
    whole.messages.iter().map(row).collect()
}

fn row(message: &Message) -> Result<Row<'_>, StoreError> {
    Ok(Row {
        folded: search::folded(&message.content),
        usage: message.usage.as_ref().map(json).transpose()?,
        timings: message.timings.as_ref().map(json).transpose()?,
        tool_calls: message.tool_calls.as_ref().map(json).transpose()?,
        message,
    })
}

/// Adds messages behind those that there are.
async fn insert_messages(
    tx: &mut Tx,
    conversation: ConversationId,
    after: i64,
    rows: &[Row<'_>],
) -> Result<(), StoreError> {
    let text = format!(
        "INSERT INTO messages ({COLUMNS}) VALUES {}",
        places(matches!(tx, On::Sqlite(_)), rows.len())
    );
    execute!(tx.on(), {
        let mut query = sqlx::query(AssertSqlSafe(&*text)).persistent(false);
        for (position, row) in (after + 1..).zip(rows) {
            let message = row.message;
            query = query
                .bind(message.id.0)
                .bind(conversation.0)
                .bind(position)
                .bind(message.parent_id.map(|parent| parent.0))
                .bind(message.role.as_str())
                .bind(message.model.as_deref())
                .bind(message.status.of_message())
                .bind(message.finish_reason.as_deref())
                .bind(&row.usage)
                .bind(&row.timings)
                .bind(&row.tool_calls)
                .bind(Time(message.created_at))
                .bind(&*row.folded)
                .bind(&*message.content)
                .bind(message.reasoning.as_deref());
        }
        query
    })
    .map(|_| ())
}

/// `(?, …), …`: SQLite would look for a parameter's name, or number, among all those before it. Postgres knows numbers only.
fn places(without_numbers: bool, rows: usize) -> String {
    let place = |n: usize| {
        if without_numbers {
            "?".to_owned()
        } else {
            format!("${n}")
        }
    };
    let row = |row: usize| {
        let first = row * COLUMN_COUNT + 1;
        let row: Vec<_> = (first..first + COLUMN_COUNT).map(place).collect();
        format!("({})", row.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}
