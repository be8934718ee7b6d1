//! Asking: a new message, another answer, or the rest of one.

use super::{
    Asking, ConversationPath, attach,
    body::{Json, NAME_CHARACTERS, check_length, made, nullable_text, optional_text},
};
use crate::{
    auth::CurrentUser,
    chat::{Ask, Start, Started},
    model::{MessageId, Sampling},
    problem::ApiError,
    store::Parent,
};
use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web::Path,
};
use serde::Deserialize;
use utoipa::ToSchema;

/// What is asked, and how to answer; regenerating and continuing have no content. Flat: a flattened part would refuse the whole body for a lone
/// surrogate in a field that nobody reads.
#[derive(Deserialize, ToSchema)]
pub(super) struct Asked {
    #[serde(default, deserialize_with = "optional_text")]
    #[schema(ignore)]
    content: Option<String>,
    /// Absent: below the conversation's head. `null`: a new beginning.
    #[serde(default, deserialize_with = "nullable_text")]
    #[schema(ignore)]
    parent_id: Option<Option<String>>,
    #[serde(default, deserialize_with = "optional_text")]
    #[schema(max_length = 500)]
    model: Option<String>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    max_tokens: Option<u32>,
    stop: Option<Vec<String>>,
    seed: Option<i64>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
}

impl Asked {
    fn sampling(self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: self.max_tokens,
            stop: self.stop,
            seed: self.seed,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
        }
    }
}

pub(super) async fn prompt(
    current: CurrentUser,
    asking: Asking,
    conversation_id: ConversationPath,
    mut body: Json<Asked>,
) -> Result<HttpResponse, ApiError> {
    let content = body.value.content.take().unwrap_or_default();
    if content.trim().is_empty() {
        return Err(ApiError::invalid(
            "content: the message is empty or missing",
        ));
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
    let parent = match body.value.parent_id.take() {
        None => Parent::Head,
        Some(None) => Parent::Root,
        Some(Some(id)) => Parent::Message(
            id.parse()
                .map_err(|_| ApiError::invalid("parent_id: not a message's id"))?,
        ),
    };
    let ask = Ask::Prompt {
        conversation_id: *conversation_id,
        parent,
        content,
    };
    asking.start(&current, ask, body).await
}

pub(super) async fn regenerate(
    current: CurrentUser,
    asking: Asking,
    message_id: Path<MessageId>,
    body: Json<Asked>,
) -> Result<HttpResponse, ApiError> {
    let ask = Ask::Regenerate {
        message_id: *message_id,
    };
    asking.start(&current, ask, body).await
}

pub(super) async fn carry_on(
    current: CurrentUser,
    asking: Asking,
    message_id: Path<MessageId>,
    body: Json<Asked>,
) -> Result<HttpResponse, ApiError> {
    let ask = Ask::Continue {
        message_id: *message_id,
    };
    asking.start(&current, ask, body).await
}

impl Asking {
    /// 202 with the ids, or the stream itself for a client that asks for one by name.
    async fn start(
        self,
        current: &CurrentUser,
        ask: Ask,
        body: Json<Asked>,
    ) -> Result<HttpResponse, ApiError> {
        let wants_stream =
            attach::Accepts::of(&self.request) == Some(attach::Accepts::Events { named: true });
        // Whatever could refuse the stream alone is asked before the answer starts.
        attach::session(&self.request)?;
        let once = body.once();
        let model = body.value.model.clone();
        check_length("model", model.as_deref(), NAME_CHARACTERS)?;
        let start = Start {
            standing: current.standing.clone(),
            request_id: self.request_id.to_string(),
            ask,
            model: model.filter(|model| !model.trim().is_empty()),
            sampling: body.value.sampling(),
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
        let stream = attach::stream(
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
