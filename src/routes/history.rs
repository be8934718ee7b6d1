//! A conversation as it is read: the whole tree, or one branch a page at a time.

use super::{ConversationPath, conversations::etag, page_limit};
use crate::{
    auth::CurrentUser,
    chat::{BranchRead, Chat, ConversationRead, MessageRead},
    markdown::Rendered,
    model::MessageId,
    problem::ApiError,
    store::BranchQuery,
};
use actix_web::{
    HttpResponse,
    http::header,
    web::{self, Data, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadParameters {
    /// Any number but 0: with the Markdown blocks of every message.
    #[serde(default)]
    blocks: u8,
    /// So many messages of one branch, not the whole tree.
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// Those before it, with `limit`.
    before: Option<MessageId>,
    /// Those of a branch that goes through it, with `limit`.
    through: Option<MessageId>,
}

pub(super) async fn read(
    current: CurrentUser,
    chat: Data<Chat>,
    id: ConversationPath,
    Query(parameters): Query<ReadParameters>,
) -> Result<HttpResponse, ApiError> {
    let user = current.user.id;
    let read = match parameters.branch()? {
        None => chat.conversation(user, *id).await?,
        Some(query) => match chat.branch(user, *id, &query).await? {
            BranchRead::Found(read) => Some(*read),
            BranchRead::NotFound => None,
            BranchRead::UnknownMessage => return Err(ApiError::not_found("message")),
        },
    };
    let read = read.ok_or_else(|| ApiError::not_found("conversation"))?;
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::ETAG, etag(read.conversation.version)));
    if parameters.blocks == 0 {
        return Ok(response.json(read));
    }
    // Long texts take milliseconds, in which nobody's events should wait.
    let json = web::block(|| serde_json::to_vec(&in_blocks(read))).await;
    let json = json.ok().and_then(Result::ok).ok_or_else(|| {
        ApiError::new(
            500,
            "internal",
            "The server failed",
            "the blocks were not made",
        )
    })?;
    Ok(response.content_type("application/json").body(json))
}

impl ReadParameters {
    fn branch(&self) -> Result<Option<BranchQuery>, ApiError> {
        let (before, through) = (self.before, self.through);
        if self.limit.is_none() && (before.is_some() || through.is_some()) {
            return Err(ApiError::malformed(
                "`before` and `through` say which messages of one branch: say with `limit` how many",
            ));
        }
        let query = |limit| BranchQuery {
            through,
            before,
            limit,
        };
        let limit = self.limit.map(|limit| page_limit(Some(limit)));
        Ok(limit.transpose()?.map(query))
    }
}

/// A message with its Markdown blocks.
#[derive(Serialize, ToSchema)]
pub(super) struct MessageInBlocks {
    #[serde(flatten)]
    read: MessageRead,
    #[serde(flatten)]
    rendered: Rendered,
}

fn in_blocks(read: ConversationRead) -> ConversationRead<MessageInBlocks> {
    let render = |read: MessageRead, open: &[MessageId]| {
        let content = &read.message.content;
        let rendered = if open.contains(&read.message.id) {
            Rendered::open(content)
        } else {
            Rendered::whole(content)
        };
        MessageInBlocks { read, rendered }
    };
    let ConversationRead {
        conversation,
        messages,
        generation,
        ends,
        open,
    } = read;
    let messages = messages.into_iter().map(|message| render(message, &open));
    ConversationRead {
        messages: messages.collect(),
        conversation,
        generation,
        ends,
        open,
    }
}
