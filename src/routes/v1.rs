//! The API that OpenAI's clients speak. Errors become OpenAI's at the edge (`problem`).

use super::{
    Asking, GenerationPath, RouteOptions,
    attach::{attach, position, session},
    body::{RawJson, explain},
    generations::EventsQuery,
    kept,
};
use crate::{
    auth::CurrentUser,
    chat::{Attachment, Begun, Chat, Opened, Payloads, Relay, StartError, why_not_whole},
    cursor::Cursor,
    emitter,
    generation::Generation,
    model::Outcome,
    openai::{Asked, Exchange, Invalid},
    problem::ApiError,
    registry::{Attached, Full, Reason, Target},
    upstream::Upstream,
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
    web::{Data, Path, Query},
};
use serde::Serialize;
use utoipa::ToSchema;

/// `true`: the answer goes on when nobody reads it any more.
const DETACH: &str = "x-continuo-detach";

/// A chat completion, streamed or whole. No head is sent before the upstream's first payload: until then its refusal is ours.
pub(super) async fn complete(
    current: CurrentUser,
    asking: Asking,
    body: RawJson,
) -> Result<HttpResponse, ApiError> {
    let RawJson { text, once } = body;
    let asked = Asked::read(&text).map_err(invalid)?;
    let session = session(&asking.request)?;
    let chat = asking.chat.clone().into_inner();
    let model = asked.model.clone().filter(|model| !model.is_empty());
    let keeps = if asked.stores {
        let exchange = Exchange::read(&text);
        let conversation = kept::conversation(exchange, model.as_deref(), &asking.options)?;
        Some(Box::new(conversation))
    } else {
        None
    };
    let model = chat.model(&asking.upstream, model).await;
    let relay = Relay {
        request: asked.rewritten(&model, asking.options.passes_store).into(),
        streams: asked.streams,
        shows_usage: asked.shows_usage,
        model,
    };
    // Megabytes, perhaps, and there may be minutes to wait.
    let streams = asked.streams;
    drop(asked);
    drop(text);
    let request_id = asking.request_id.to_string();
    let opened = chat.open_relay(&current.standing, request_id, keeps, once);
    let (generation, opening) = match opened.await? {
        Opened::New(opening) => (opening.generation().clone(), Some(opening)),
        Opened::Before(generation) => (generation, None),
    };
    // Held by this reader from here on: who leaves before the first byte has left, too.
    let log = if opening.is_none() || asking.is_detached() {
        generation.payloads().expect("it was opened for them")
    } else {
        generation.audience()
    };
    let attachment = Attachment {
        target: Target::Generation(generation.id),
        cursor: Cursor::new(log, 0),
        conversation_id: None,
    };
    let attached = attach(&asking.request, &chat, &current, &attachment, session)?;
    if let Some(opening) = opening {
        first(chat.relay(&asking.upstream, opening, relay), &attached).await?;
    }
    let mut response = if streams {
        emitter::respond_payloads(attachment.cursor, attached, &asking.options.emitter)
    } else {
        whole(&generation, attachment.cursor, &attached).await?
    };
    let location = format!("/v1/generations/{}/events", generation.id);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

impl Asking {
    fn is_detached(&self) -> bool {
        let detach = self.request.headers().get(DETACH);
        detach.is_some_and(|detach| detach.as_bytes().eq_ignore_ascii_case(b"true"))
    }
}

fn invalid(error: Invalid) -> ApiError {
    match error {
        Invalid::Json(error) => explain(&error),
        invalid @ Invalid::Value(..) => ApiError::invalid(invalid.to_string()),
    }
}

/// Waits for the first payload.
async fn first(begun: Begun, attached: &Attached) -> Result<(), ApiError> {
    tokio::select! {
        biased;
        begun = begun => match begun {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => {
                attached.leave(Reason::Finished);
                Err(refused.into())
            }
            Err(_) => Err(StartError::Died.into()),
        },
        () = attached.asked_to_end() => Err(cut(attached.reason())),
    }
}

/// The one payload of an answer that is not streamed, once it has ended well.
async fn whole(
    generation: &Generation,
    mut cursor: Cursor,
    attached: &Attached,
) -> Result<HttpResponse, ApiError> {
    let mut payloads = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = attached.asked_to_end() => return Err(cut(attached.reason())),
            frames = cursor.next() => match frames {
                Some(frames) => payloads.extend(frames),
                None => break,
            }
        }
    }
    attached.leave(Reason::Finished);
    // It came whole, and yet it is not to be had: too large, or stopped at the last moment.
    if let Some(problem) = generation.ending().and_then(why_not_whole) {
        return Err(problem.into());
    }
    let payload = payloads.swap_remove(0).event.data;
    attached.sent(None, payload.len());
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(payload.to_string()))
}

/// Somebody ended the connection before there was an answer.
fn cut(reason: Reason) -> ApiError {
    if reason == Reason::Shutdown {
        return ApiError::full(Full::Draining, "");
    }
    let outcome = Outcome::Stopped.as_str();
    ApiError::new(
        410,
        outcome,
        "The answer was stopped",
        "the connection was ended by an operator, or with its login",
    )
}

/// The payloads of a generation from a position on: the same bytes as the response to its request.
pub(super) async fn events(
    current: CurrentUser,
    chat: Data<Chat>,
    options: Data<RouteOptions>,
    request: HttpRequest,
    id: GenerationPath,
    Query(query): Query<EventsQuery>,
) -> Result<HttpResponse, ApiError> {
    let after = position(&request, query.after.as_deref())?;
    let session = session(&request)?;
    let payloads = chat.attach_payloads(current.user.id, *id, after).await?;
    let attachment = match payloads.ok_or_else(|| ApiError::not_found("generation"))? {
        Payloads::Here(attachment) => attachment,
        Payloads::Gone => {
            return Err(ApiError::new(
                410,
                "position-gone",
                "These bytes are gone",
                "what came after this position is not in memory; ask again",
            ));
        }
    };
    if attachment.cursor.is_at_end() {
        return Ok(HttpResponse::NoContent()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish());
    }
    let attached = attach(&request, &chat, &current, &attachment, session)?;
    Ok(emitter::respond_payloads(
        attachment.cursor,
        attached,
        &options.emitter,
    ))
}

/// What can be asked for.
pub(super) async fn models(
    _: CurrentUser,
    chat: Data<Chat>,
    upstream: Data<Upstream>,
) -> Result<HttpResponse, ApiError> {
    let list = chat.models(&upstream).await;
    if let (true, Some(problem)) = (list.ids.is_empty(), list.problem) {
        return Err(problem.into());
    }
    let data = list.ids.iter().map(|id| model_object(id)).collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(ModelObjects {
            object: "list",
            data,
        }))
}

pub(super) async fn model(
    _: CurrentUser,
    chat: Data<Chat>,
    upstream: Data<Upstream>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let list = chat.models(&upstream).await;
    if list.ids.contains(&id) {
        return Ok(HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(model_object(&id)));
    }
    Err(match list.problem {
        Some(problem) => problem.into(),
        None => ApiError::new(
            404,
            "model-not-found",
            "Not found",
            "the model server lists no such model",
        ),
    })
}

/// The model server knows since when; nobody asks.
fn model_object(id: &str) -> ModelObject<'_> {
    ModelObject {
        id,
        object: "model",
        created: 0,
        owned_by: "upstream",
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct ModelObjects<'a> {
    #[schema(value_type = String)]
    object: &'static str,
    #[schema(value_type = Vec<ModelObject>)]
    data: Vec<ModelObject<'a>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ModelObject<'a> {
    #[schema(value_type = String)]
    id: &'a str,
    #[schema(value_type = String)]
    object: &'static str,
    created: u64,
    #[schema(value_type = String)]
    owned_by: &'static str,
}
