//! How an answer is carried on: the same message streams again, below a new generation, and its text stays until the end.

use super::{
    NewTurn, StoreError, Turn, TurnRefused,
    insert::{self, Before},
    path::path,
    rows::{ConversationRow, LINE},
    sql::{Time, Tx, execute, failed, on},
};
use crate::{
    event::Transcript,
    model::{GenerationId, MessageId, Outcome, Progress, Role, UserId},
};
use serde_json::{Map, Value};
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

/// Makes the answer `new.message_id` stream again, in the conversation that `tx` holds.
pub(super) async fn carry_on(
    tx: &mut Tx,
    owner: UserId,
    conversation: ConversationRow,
    new: &NewTurn,
    at: Time,
) -> Result<Result<Turn, TurnRefused>, StoreError> {
    const ANSWER: &str = "SELECT role, status, finish_reason, tool_calls, parent_id, generation_id, model, content, reasoning
        FROM messages WHERE id = $1";
    // The conversation was found by this message.
    let answer = on!(tx.on(), c => sqlx::query_as::<_, AnswerRow>(ANSWER)
        .bind(new.message_id.0).fetch_one(c))?;
    let question = match answer.question()? {
        Ok(question) => question,
        Err(refused) => return Ok(Err(refused)),
    };
    let model = new.model.clone().or(answer.model);
    let model = model.or_else(|| conversation.model.clone());
    let before = Before {
        base: i64::try_from(answer.content.chars().count()).map_err(failed)?,
        generation: answer.generation_id,
    };

    stream_again(tx, new).await?;
    let model_of = model.as_deref();
    insert::generation(tx, owner, &conversation, new, model_of, before, at).await?;
    move_head(tx, &conversation, new.message_id).await?;
    Ok(Ok(Turn {
        conversation_id: conversation.id(),
        parent_id: Some(MessageId(question)),
        model,
        system: conversation.system,
        sampling: conversation.sampling.0,
        is_untitled: conversation.title_by == LINE,
        path: path(tx, question).await?,
        before: Some(Transcript {
            text: answer.content,
            reasoning: answer.reasoning.unwrap_or_default(),
            tool_calls: Vec::new(),
        }),
    }))
}

#[derive(FromRow)]
struct AnswerRow {
    role: String,
    status: String,
    finish_reason: Option<String>,
    tool_calls: Option<Json<Vec<Map<String, Value>>>>,
    parent_id: Option<Uuid>,
    generation_id: Option<Uuid>,
    model: Option<String>,
    content: String,
    reasoning: Option<String>,
}

impl AnswerRow {
    /// What it answers, if it ended before it was complete.
    fn question(&self) -> Result<Result<Uuid, TurnRefused>, StoreError> {
        let role: Role = self.role.parse().map_err(failed)?;
        let status: Progress = self.status.parse().map_err(failed)?;
        // An answer below nothing has no question.
        let (Role::Assistant, Some(question)) = (role, self.parent_id) else {
            return Ok(Err(TurnRefused::NotAnAnswer));
        };
        if let (Progress::Running, Some(id)) = (status, self.generation_id) {
            return Ok(Err(TurnRefused::Streaming(GenerationId(id))));
        }
        if self
            .tool_calls
            .as_ref()
            .is_some_and(|Json(c)| !c.is_empty())
        {
            return Ok(Err(TurnRefused::EndsInToolCalls));
        }
        let is_complete = status == Progress::Ended(Outcome::Completed)
            && self.finish_reason.as_deref() != Some("length");
        if is_complete {
            return Ok(Err(TurnRefused::Complete));
        }
        Ok(Ok(question))
    }
}

async fn stream_again(tx: &mut Tx, new: &NewTurn) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE messages SET status = $2, generation_id = $3,
            finish_reason = NULL, usage = NULL, timings = NULL, problem = NULL
        WHERE id = $1";
    execute!(
        tx.on(),
        sqlx::query(SQL)
            .bind(new.message_id.0)
            .bind(Progress::Running.of_message())
            .bind(new.generation_id.0)
    )
    .map(|_| ())
}

/// Only when nothing was said after it: who went on below another answer stays there, and so does who went on below this one.
async fn move_head(
    tx: &mut Tx,
    conversation: &ConversationRow,
    answer: MessageId,
) -> Result<(), StoreError> {
    const SQL: &str = "UPDATE conversations SET head_id = $2
        WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM messages WHERE parent_id = $2)";
    execute!(
        tx.on(),
        sqlx::query(SQL).bind(conversation.id().0).bind(answer.0)
    )
    .map(|_| ())
}
