//! How a turn begins: find its place under the conversation's lock, then store question, answer and generation.

use super::{
    NewTurn, Parent, StoreError, Turn, TurnOf, TurnRefused, WholeConversation,
    carry_on::carry_on,
    import, insert,
    path::path,
    rows::{ConversationRow, LINE, conversation_columns},
    search,
    sql::{Time, Tx, execute, failed, on},
};
use crate::{
    model::{GenerationId, MessageId, Outcome, Progress, Role, UserId, now},
    text::{beginning, one_line},
};
use sqlx::FromRow;
use uuid::Uuid;

/// How long a title taken from a prompt may be.
const TITLE_CHARS: usize = 60;

/// What of a turn is computed before its transaction: on SQLite everybody who writes waits for that.
pub(super) fn rows(new: &NewTurn) -> Result<Vec<import::Row<'_>>, StoreError> {
    match &new.of {
        TurnOf::Exchange(whole) => import::rows(whole),
        _ => Ok(Vec::new()),
    }
}

/// Stores the turn in `tx`, or says why not, having changed nothing that may stay.
pub(super) async fn store_turn(
    tx: &mut Tx,
    owner: UserId,
    new: &NewTurn,
    rows: &[import::Row<'_>],
) -> Result<Result<Turn, TurnRefused>, StoreError> {
    let at = Time(now());
    if let TurnOf::Exchange(whole) = &new.of {
        return store_exchange(tx, owner, new, whole, rows, at)
            .await
            .map(Ok);
    }
    let Some(conversation) = lock_conversation(tx, owner, new, at).await? else {
        return Ok(Err(TurnRefused::NotFound));
    };
    let answer = match &new.of {
        TurnOf::Continue => return carry_on(tx, owner, conversation, new, at).await,
        TurnOf::Exchange(_) => None,
        TurnOf::Regenerate { message_id } => Some(message_id.0),
        TurnOf::Prompt { parent, .. } => match parent {
            Parent::Head => conversation.head_id,
            Parent::Message(id) => Some(id.0),
            Parent::Root => None,
        },
    };
    let answer_of = match answer {
        None => None,
        Some(id) => match finished_answer(tx, &conversation, id).await? {
            Ok(parent_id) => parent_id,
            Err(refused) => return Ok(Err(refused)),
        },
    };

    let mut title = None;
    let question = match &new.of {
        // An answer below nothing has no question.
        TurnOf::Regenerate { .. } | TurnOf::Continue | TurnOf::Exchange(_) => match answer_of {
            Some(id) => id,
            None => return Ok(Err(TurnRefused::NotAnAnswer)),
        },
        TurnOf::Prompt {
            user_message_id,
            content,
            ..
        } => {
            title = conversation.title.is_empty().then(|| first_line(content));
            insert::message(
                tx,
                &conversation,
                insert::NewMessage {
                    id: user_message_id.0,
                    parent: answer,
                    role: Role::User,
                    content,
                    model: None,
                    status: Progress::Ended(Outcome::Completed),
                    generation: None,
                    at,
                },
            )
            .await?;
            user_message_id.0
        }
    };
    let model = new.model.clone().or_else(|| conversation.model.clone());
    insert_answer(
        tx,
        owner,
        &conversation,
        new,
        Some(question),
        model.as_deref(),
        at,
    )
    .await?;
    set_head(tx, &conversation, new.message_id, title.as_deref()).await?;
    Ok(Ok(Turn {
        conversation_id: conversation.id(),
        parent_id: Some(MessageId(question)),
        path: path(tx, question).await?,
        model,
        system: conversation.system,
        sampling: conversation.sampling.0,
        is_untitled: title.is_some() || conversation.title_by == LINE,
        before: None,
    }))
}

/// The conversation with what was said in it, and the answer that is about to be written below.
async fn store_exchange(
    tx: &mut Tx,
    owner: UserId,
    new: &NewTurn,
    whole: &WholeConversation,
    rows: &[import::Row<'_>],
    at: Time,
) -> Result<Turn, StoreError> {
    let conversation = import::insert_whole(tx, owner, whole, rows).await?;
    let question = whole.head_id;
    let model = new.model.clone().or_else(|| conversation.model.clone());
    let parent = question.map(|question| question.0);
    insert_answer(tx, owner, &conversation, new, parent, model.as_deref(), at).await?;
    let mut said = whole.messages.iter();
    let asked = said.find(|message| message.role == Role::User);
    let title = asked.map(|asked| first_line(&asked.content));
    set_head(tx, &conversation, new.message_id, title.as_deref()).await?;
    Ok(Turn {
        conversation_id: conversation.id(),
        parent_id: question,
        path: Vec::new(),
        model,
        system: conversation.system,
        sampling: conversation.sampling.0,
        is_untitled: true,
        before: None,
    })
}

/// The answer that a new generation writes, and that generation.
async fn insert_answer(
    tx: &mut Tx,
    owner: UserId,
    conversation: &ConversationRow,
    new: &NewTurn,
    parent: Option<Uuid>,
    model: Option<&str>,
    at: Time,
) -> Result<(), StoreError> {
    let answer = insert::NewMessage {
        id: new.message_id.0,
        parent,
        role: Role::Assistant,
        content: "",
        model,
        status: Progress::Running,
        generation: Some(new.generation_id.0),
        at,
    };
    insert::message(tx, conversation, answer).await?;
    insert::generation(
        tx,
        owner,
        conversation,
        new,
        model,
        insert::Before::default(),
        at,
    )
    .await
}

/// The conversation, held until the transaction ends: turns of one conversation begin one after the other. By an UPDATE, because
/// SQLite knows no FOR UPDATE.
async fn lock_conversation(
    tx: &mut Tx,
    owner: UserId,
    new: &NewTurn,
    at: Time,
) -> Result<Option<ConversationRow>, StoreError> {
    const BY_ID: &str = concat!(
        "UPDATE conversations SET updated_at = $3 WHERE owner_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING ",
        conversation_columns!()
    );
    const BY_MESSAGE: &str = concat!(
        "UPDATE conversations SET updated_at = $3
         WHERE owner_id = $1 AND deleted_at IS NULL
            AND id = (SELECT conversation_id FROM messages WHERE id = $2) RETURNING ",
        conversation_columns!()
    );
    let (sql, id) = match &new.of {
        TurnOf::Prompt {
            conversation_id, ..
        } => (BY_ID, conversation_id.0),
        TurnOf::Regenerate { message_id } => (BY_MESSAGE, message_id.0),
        TurnOf::Continue => (BY_MESSAGE, new.message_id.0),
        TurnOf::Exchange(whole) => (BY_ID, whole.new.id.0),
    };
    on!(tx.on(), c => sqlx::query_as::<_, ConversationRow>(sql)
        .bind(owner.0).bind(id).bind(at).fetch_optional(c))
}

#[derive(FromRow)]
struct AnswerRow {
    role: String,
    status: String,
    parent_id: Option<Uuid>,
    generation_id: Option<Uuid>,
}

/// What stands above a message that must be a finished answer of this conversation.
async fn finished_answer(
    tx: &mut Tx,
    conversation: &ConversationRow,
    id: Uuid,
) -> Result<Result<Option<Uuid>, TurnRefused>, StoreError> {
    const SQL: &str = "SELECT role, status, parent_id, generation_id FROM messages
        WHERE id = $1 AND conversation_id = $2";
    let row = on!(tx.on(), c => sqlx::query_as::<_, AnswerRow>(SQL)
        .bind(id).bind(conversation.id().0).fetch_optional(c))?;
    let Some(row) = row else {
        return Ok(Err(TurnRefused::UnknownParent));
    };
    let role: Role = row.role.parse().map_err(failed)?;
    if role != Role::Assistant {
        return Ok(Err(TurnRefused::NotAnAnswer));
    }
    let status: Progress = row.status.parse().map_err(failed)?;
    match (status, row.generation_id) {
        (Progress::Running, Some(id)) => Ok(Err(TurnRefused::Streaming(GenerationId(id)))),
        _ => Ok(Ok(row.parent_id)),
    }
}

async fn set_head(
    tx: &mut Tx,
    conversation: &ConversationRow,
    head: MessageId,
    title: Option<&str>,
) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE conversations SET head_id = $2, title = COALESCE($3, title), folded = COALESCE($4, folded),
            title_by = CASE WHEN $3 IS NULL THEN title_by ELSE $5 END
        WHERE id = $1";
    execute!(
        tx.on(),
        sqlx::query(SQL)
            .bind(conversation.id().0)
            .bind(head.0)
            .bind(title)
            .bind(title.map(search::folded))
            .bind(LINE)
    )
    .map(|_| ())
}

/// A title for a conversation that has none: the first line with text in it.
fn first_line(prompt: &str) -> String {
    let line = prompt.lines().map(one_line).find(|line| !line.is_empty());
    beginning(&line.unwrap_or_default(), TITLE_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_first_line_cut_between_characters() {
        assert_eq!(first_line(" \n Hello 🙂 \r\nworld"), "Hello 🙂");
        assert_eq!(first_line(" \n"), "");
        assert_eq!(
            first_line("\u{1b}\u{7}\n\tring\u{7} \t the\u{1b}[1m\rbell\0\u{85}now\nx"),
            "ring the[1m bell now"
        );
        let exact = "é".repeat(60);
        assert_eq!(first_line(&exact), exact);
        assert_eq!(first_line(&"é".repeat(61)), format!("{}…", "é".repeat(59)));
    }
}
