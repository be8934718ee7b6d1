//! Asking: a new message, or another answer.

use super::{
    ConversationPath, RouteOptions,
    body::{FromUser, made, nullable_text, optional_text, text},
    generations,
};
use crate::{
    auth::CurrentUser,
    chat::{Ask, Chat, Start, Started},
    model::{MessageId, Sampling},
    problem::ApiError,
    store::{Once, Parent},
    upstream::Upstream,
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web::{Data, Path},
};
use serde::Deserialize;
use tracing_actix_web::RequestId;

#[derive(Deserialize)]
pub(super) struct Prompt {
    #[serde(deserialize_with = "text")]
    content: String,
    /// Absent: below the conversation's head. `null`: a new beginning.
    #[serde(default, deserialize_with = "nullable_text")]
    parent_id: Option<Option<String>>,
    #[serde(flatten)]
    settings: Settings,
}

/// How to answer, of both ways to ask.
#[derive(Deserialize)]
pub(super) struct Settings {
    #[serde(default, deserialize_with = "optional_text")]
    model: Option<String>,
    #[serde(flatten)]
    sampling: Sampling,
}

pub(super) async fn prompt(
    asking: Asking,
    conversation_id: ConversationPath,
    asked: FromUser<Prompt>,
) -> Result<HttpResponse, ApiError> {
    let FromUser {
        current,
        value,
        once,
    } = asked;
    let Prompt {
        content,
        parent_id,
        settings,
    } = value;
    if content.trim().is_empty() {
        return Err(ApiError::invalid("content: the message is empty"));
    }
    let limit = asking.options.message_bytes;
    if content.len() > limit {
        let detail = format!(
            "content: {} bytes of text, a message may have {limit}",
            content.len()
        );
        return Err(ApiError::new(
            413,
            "message-too-large",
            "The message is too long",
            detail,
        ));
    }
    let parent = match parent_id {
        None => Parent::Head,
        Some(None) => Parent::Root,
        Some(Some(id)) => Parent::Message(
            id.parse()
                .map_err(|_| ApiError::invalid("parent_id: not a message's id"))?,
        ),
    };
    asking
        .start(
            &current,
            Ask::Prompt {
                conversation_id: *conversation_id,
                parent,
                content,
            },
            settings,
            once,
        )
        .await
}

pub(super) async fn regenerate(
    asking: Asking,
    message_id: Path<MessageId>,
    asked: FromUser<Settings>,
) -> Result<HttpResponse, ApiError> {
    asking
        .start(
            &asked.current,
            Ask::Regenerate {
                message_id: *message_id,
            },
            asked.value,
            asked.once,
        )
        .await
}

/// What a handler needs to start a generation.
#[derive(actix_web_lab::FromRequest)]
pub(super) struct Asking {
    chat: Data<Chat>,
    upstream: Data<Upstream>,
    options: Data<RouteOptions>,
    request: HttpRequest,
    request_id: RequestId,
}

impl Asking {
    /// 202 with the ids, or the stream itself for a client that asks for one by name and may have it.
    async fn start(
        self,
        current: &CurrentUser,
        ask: Ask,
        settings: Settings,
        once: Option<Once>,
    ) -> Result<HttpResponse, ApiError> {
        let wants_stream = generations::Accepts::of(&self.request)
            == Some(generations::Accepts::Events { named: true });
        // Whatever could refuse the stream alone is asked before the answer starts.
        generations::session(&self.request)?;
        let start = Start {
            owner: current.user.id,
            request_id: self.request_id.to_string(),
            ask,
            model: settings.model.filter(|model| !model.trim().is_empty()),
            sampling: settings.sampling,
            once,
        };
        let started: Started = self
            .chat
            .clone()
            .into_inner()
            .start(&self.upstream, start)
            .await?;
        let location = started.location();
        let ids = || made(StatusCode::ACCEPTED, &location).json(&started);
        if !wants_stream {
            return Ok(ids());
        }
        let stream = generations::stream(
            &self.request,
            &self.chat,
            &self.options,
            current,
            started.generation_id,
            0,
        );
        // The answer has started: a reader too many gets its ids, not a refusal that would make the client ask twice.
        let mut response = stream.await.unwrap_or_else(|_| ids());
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }
}
