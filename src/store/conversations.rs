//! Conversations: create, list, search, read, change, delete.

use super::{
    BranchFound, BranchQuery, Changed, ConversationChange, Conversations, Deleted, Effect,
    ListQuery, Listed, NewConversation, Once, Receipt, StoreError, WholeConversation, branch,
    deletion, import, insert,
    receipts::claim,
    rows::{
        ConversationRow, LINE, ListedRow, MessageRow, READ, conversation_columns, message_columns,
    },
    search::{self, Place},
    sql::{Sql, Time, execute, json, on, with_commas},
};
use crate::model::{Conversation, ConversationId, Message, UserId, now};
use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use std::time::Duration;
use uuid::Uuid;

#[async_trait]
impl Conversations for Sql {
    async fn create_conversation(
        &self,
        owner: UserId,
        new: &NewConversation,
        once: Option<(&Once, &Receipt)>,
    ) -> Result<Effect<Conversation>, StoreError> {
        let mut tx = self.begin().await?;
        if let Some(before) = claim(&mut tx, owner, once).await? {
            tx.rollback().await?;
            return Ok(before);
        }
        let row = insert::conversation(&mut tx, owner, new).await?;
        tx.commit().await?;
        Ok(Effect::Done(row.into()))
    }

    async fn import_conversation(
        &self,
        owner: UserId,
        whole: &WholeConversation,
        once: Option<(&Once, &Receipt)>,
    ) -> Result<Effect<Conversation>, StoreError> {
        import::store(self, owner, whole, once).await
    }

    async fn list_conversations(
        &self,
        owner: UserId,
        query: &ListQuery,
    ) -> Result<Vec<Listed>, StoreError> {
        let words = query.text.as_deref().map_or_else(Vec::new, search::words);
        if words.is_empty() {
            return list(self, owner, query).await;
        }
        let (mut found, mut rows);
        loop {
            found = search::find(self, owner, &words, query).await?;
            rows = found_rows(self, owner, &found).await?;
            // A page that is not full is the last one: not because something was deleted just now.
            if rows.len() == found.len() || found.len() < query.limit as usize {
                break;
            }
        }
        Ok(rows
            .into_iter()
            .map(|row| {
                // Not in a message, so in the title.
                let text = row.hit.as_deref().unwrap_or(&row.conversation.title);
                Listed {
                    snippet: Some(search::snippet(text, &words)),
                    conversation: row.conversation.into(),
                }
            })
            .collect())
    }

    async fn conversation(
        &self,
        owner: UserId,
        id: ConversationId,
    ) -> Result<Option<(Conversation, Vec<Message>)>, StoreError> {
        const MESSAGES: &str = concat!(
            "SELECT ",
            message_columns!(),
            " FROM messages m WHERE m.conversation_id = $1 ORDER BY m.position"
        );
        // In this order the head is among the messages, whatever is stored in between.
        let Some(conversation) = self.conversation_alone(owner, id).await? else {
            return Ok(None);
        };
        let messages = on!(&self.read, c => sqlx::query_as::<_, MessageRow>(MESSAGES)
            .bind(id.0).fetch_all(c))?;
        let messages = messages.into_iter().map(Message::try_from);
        Ok(Some((conversation, messages.collect::<Result<_, _>>()?)))
    }

    async fn conversation_alone(
        &self,
        owner: UserId,
        id: ConversationId,
    ) -> Result<Option<Conversation>, StoreError> {
        let row = on!(&self.read, c => sqlx::query_as::<_, ConversationRow>(READ)
            .bind(owner.0).bind(id.0).fetch_optional(c))?;
        Ok(row.map(Into::into))
    }

    async fn branch(
        &self,
        owner: UserId,
        id: ConversationId,
        query: &BranchQuery,
    ) -> Result<BranchFound, StoreError> {
        branch::read(self, owner, id, query).await
    }

    async fn change_conversation(
        &self,
        owner: UserId,
        id: ConversationId,
        change: &ConversationChange,
        if_version: Option<i64>,
    ) -> Result<Changed, StoreError> {
        const SQL: &str = concat!(
            "UPDATE conversations SET title = COALESCE($3, title), folded = COALESCE($4, folded),
                title_by = CASE WHEN $3 IS NULL THEN title_by ELSE 'person' END,
                pinned = COALESCE($5, pinned), archived = COALESCE($6, archived),
                model = CASE WHEN $7 THEN $8 ELSE model END,
                system = CASE WHEN $9 THEN $10 ELSE system END,
                sampling = COALESCE($15, sampling), head_id = COALESCE($11, head_id),
                version = CASE WHEN $12 THEN version + 1 ELSE version END,
                updated_at = CASE WHEN $12 THEN $13 ELSE updated_at END
             WHERE owner_id = $1 AND id = $2 AND deleted_at IS NULL AND version = COALESCE($14, version) AND ($11 IS NULL OR EXISTS
                (SELECT 1 FROM messages m WHERE m.id = $11 AND m.conversation_id = conversations.id)) RETURNING ",
            conversation_columns!()
        );
        let sampling = change.sampling.as_ref().map(json).transpose()?;
        if !change.is_empty() {
            let changed = on!(&self.write, c => sqlx::query_as::<_, ConversationRow>(SQL)
                .bind(owner.0)
                .bind(id.0)
                .bind(change.title.as_deref())
                .bind(change.title.as_deref().map(search::folded))
                .bind(change.pinned)
                .bind(change.archived)
                .bind(change.model.is_some())
                .bind(change.model.as_ref().and_then(Option::as_deref))
                .bind(change.system.is_some())
                .bind(change.system.as_ref().and_then(Option::as_deref))
                .bind(change.head_id.map(|head| head.0))
                .bind(change.counts())
                .bind(Time(now()))
                .bind(if_version)
                .bind(&sampling)
                .fetch_optional(c))?;
            if let Some(row) = changed {
                return Ok(Changed::Done(Box::new(row.into())));
            }
        }
        let present = on!(&self.write, c => sqlx::query_as::<_, ConversationRow>(READ)
            .bind(owner.0).bind(id.0).fetch_optional(c))?;
        let Some(row) = present else {
            return Ok(Changed::NotFound);
        };
        let present = Conversation::from(row);
        Ok(match if_version {
            Some(version) if version != present.version => Changed::VersionIs(present.version),
            _ if change.is_empty() => Changed::Done(Box::new(present)),
            // Nothing else keeps a change from being made; except that the version it names has become the present one since.
            _ if change.head_id.is_some() => Changed::UnknownHead,
            _ => Changed::VersionIs(present.version),
        })
    }

    async fn give_title(
        &self,
        owner: UserId,
        id: ConversationId,
        title: &str,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE conversations SET title = $3, folded = $4, title_by = 'model'
            WHERE owner_id = $1 AND id = $2 AND deleted_at IS NULL AND title_by = $5";
        let given = execute!(
            &self.write,
            sqlx::query(SQL)
                .bind(owner.0)
                .bind(id.0)
                .bind(title)
                .bind(search::folded(title))
                .bind(LINE)
        )?;
        Ok(given > 0)
    }

    async fn delete_conversation(
        &self,
        owner: UserId,
        id: ConversationId,
    ) -> Result<Deleted, StoreError> {
        deletion::hide(self, owner, id).await
    }

    async fn restore_conversation(
        &self,
        owner: UserId,
        id: ConversationId,
    ) -> Result<Option<Conversation>, StoreError> {
        deletion::restore(self, owner, id).await
    }

    async fn purge_conversations(&self, hidden_for: Duration) -> Result<u64, StoreError> {
        deletion::purge(self, hidden_for).await
    }
}

impl ConversationChange {
    /// True when nothing is asked.
    fn is_empty(&self) -> bool {
        self.head_id.is_none() && !self.counts()
    }

    /// True when it makes another version.
    fn counts(&self) -> bool {
        let Self {
            title,
            pinned,
            archived,
            model,
            system,
            sampling,
            head_id: _,
        } = self;
        title.is_some()
            || pinned.is_some()
            || archived.is_some()
            || model.is_some()
            || system.is_some()
            || sampling.is_some()
    }
}

async fn list(sql: &Sql, owner: UserId, query: &ListQuery) -> Result<Vec<Listed>, StoreError> {
    const SQL: &str = concat!(
        "SELECT ",
        conversation_columns!(),
        " FROM conversations WHERE owner_id = $1 AND deleted_at IS NULL AND (pinned, updated_at, id) < ($2, $3, $4)
         ORDER BY pinned DESC, updated_at DESC, id DESC LIMIT $5"
    );
    let (pinned, time, id) = query
        .after
        .map_or((true, Time::LAST, Uuid::max()), |after| {
            (after.pinned, Time(after.updated_at), after.id.0)
        });
    let rows = on!(&sql.read, c => sqlx::query_as::<_, ConversationRow>(SQL)
        .bind(owner.0)
        .bind(pinned)
        .bind(time)
        .bind(id)
        .bind(i64::from(query.limit.max(1)))
        .fetch_all(c))?;
    let listed = |row: ConversationRow| Listed {
        conversation: row.into(),
        snippet: None,
    };
    Ok(rows.into_iter().map(listed).collect())
}

/// The conversations in which something was found, newest change first, each with the text it was found in.
async fn found_rows(
    sql: &Sql,
    owner: UserId,
    found: &[Place],
) -> Result<Vec<ListedRow>, StoreError> {
    let statement = format!(
        "SELECT {columns}, (SELECT m.content FROM messages m WHERE m.conversation_id = page.id
            AND m.position = page.value & {position}) AS hit
         FROM (SELECT list.value, c.* FROM {list} {look_up} WHERE c.owner_id = $2 AND c.deleted_at IS NULL) page
         ORDER BY updated_at DESC, id DESC",
        columns = conversation_columns!(),
        position = Place::TITLE,
        list = sql.read.list(),
        look_up = sql
            .read
            .look_up("conversations", "c", "c.number = list.value >> 24")
    );
    let found = with_commas(found.iter().map(|place| place.packed()));
    on!(&sql.read, c => sqlx::query_as::<_, ListedRow>(AssertSqlSafe(&*statement))
        .bind(&found).bind(owner.0).fetch_all(c))
}
