//! Generations: read, follow as SSE or by long poll, stop.

use super::{GenerationPath, RouteOptions};
use crate::{
    auth::CurrentUser,
    chat::{Attachment, Chat},
    emitter,
    log::Frame,
    model::GenerationId,
    problem::ApiError,
    registry::{NewEmitter, Target},
};
use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
    web::{Data, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;
use tracing_actix_web::RequestId;

/// The longest session name and the longest user agent that is kept, in characters.
const SESSION_CHARACTERS: usize = 128;
const USER_AGENT_CHARACTERS: usize = 256;

pub(super) async fn read(
    current: CurrentUser,
    chat: Data<Chat>,
    id: GenerationPath,
) -> Result<HttpResponse, ApiError> {
    let record = chat
        .generation(current.user.id, *id)
        .await?
        .ok_or_else(unknown)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(record))
}

/// 200 once the end is stored, with the generation; the same when repeated.
pub(super) async fn stop(
    current: CurrentUser,
    chat: Data<Chat>,
    id: GenerationPath,
) -> Result<HttpResponse, ApiError> {
    let record = chat.stop(current.user.id, *id).await?.ok_or_else(unknown)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(record))
}

fn unknown() -> ApiError {
    ApiError::not_found("generation")
}

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    after: Option<String>,
    /// Seconds.
    wait: Option<u64>,
}

/// The stream: SSE, or a long poll for those who ask for JSON.
pub(super) async fn events(
    current: CurrentUser,
    chat: Data<Chat>,
    options: Data<RouteOptions>,
    request: HttpRequest,
    id: GenerationPath,
    Query(query): Query<EventsQuery>,
) -> Result<HttpResponse, ApiError> {
    let after = position(&request, query.after.as_deref())?;
    match Accepts::of(&request) {
        Some(Accepts::Events { .. }) => {
            stream(&request, &chat, &options, &current, *id, after).await
        }
        Some(Accepts::Json) => {
            let attachment = chat
                .attach(current.user.id, *id, after)
                .await?
                .ok_or_else(unknown)?;
            let wait = Duration::from_secs(query.wait.unwrap_or(25)).min(options.poll);
            poll(attachment, wait).await
        }
        None => Err(ApiError::new(
            406,
            "not-acceptable",
            "No such representation",
            "events are `text/event-stream`, or `application/json` by long poll",
        )),
    }
}

/// What a client wants events as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepts {
    /// Server-sent events; `named` when it asked for exactly that.
    Events {
        named: bool,
    },
    Json,
}

impl Accepts {
    /// `*/*` and no `Accept` mean SSE; `None` when it takes neither.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        let accept: Vec<_> = request
            .headers()
            .get_all(header::ACCEPT)
            .filter_map(|value| value.to_str().ok())
            .collect();
        let accept = accept.join(",").to_ascii_lowercase();
        let mut ranges = accept
            .split(',')
            .map(|range| range.split(';').next().unwrap_or_default().trim());
        let takes = |wanted: &str| ranges.clone().any(|range| range == wanted);
        if takes("text/event-stream") {
            return Some(Self::Events { named: true });
        }
        if takes("application/json") {
            return Some(Self::Json);
        }
        let any = takes("*/*") || takes("text/*") || ranges.all(str::is_empty);
        any.then_some(Self::Events { named: false })
    }
}

/// Attaches an emitter. Refusals that pass travel inside the stream: to a browser's `EventSource` any other status is final.
pub(super) async fn stream(
    request: &HttpRequest,
    chat: &Chat,
    options: &RouteOptions,
    current: &CurrentUser,
    id: GenerationId,
    after: u64,
) -> Result<HttpResponse, ApiError> {
    match attach(request, chat, options, current, id, after).await {
        Err(error) if error.passes() => {
            let problem = error.into_problem(request.extensions().get::<RequestId>().copied());
            Ok(emitter::unavailable(request, problem, &options.emitter))
        }
        answer => answer,
    }
}

async fn attach(
    request: &HttpRequest,
    chat: &Chat,
    options: &RouteOptions,
    current: &CurrentUser,
    id: GenerationId,
    after: u64,
) -> Result<HttpResponse, ApiError> {
    let session = session(request)?;
    let Attachment {
        cursor,
        conversation_id,
    } = chat
        .attach(current.user.id, id, after)
        .await?
        .ok_or_else(unknown)?;
    if cursor.is_at_end() {
        return Ok(HttpResponse::NoContent()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish());
    }
    let user_agent = request
        .headers()
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let client = NewEmitter {
        user: current.user.id,
        credential: current.credential,
        session,
        target: Target::Generation(id),
        conversation: conversation_id,
        peer: request.peer_addr(),
        user_agent: user_agent.map(|agent| agent.chars().take(USER_AGENT_CHARACTERS).collect()),
        log: cursor.log().clone(),
        after,
    };
    let attached = chat
        .registry
        .attach(client)
        .map_err(|full| ApiError::full(full, "live connections"))?;
    Ok(emitter::respond(
        request,
        cursor,
        attached,
        &options.emitter,
    ))
}

/// The session that the client names: `X-Session-Id`, else `?session=`.
pub(super) fn session(request: &HttpRequest) -> Result<Option<Box<str>>, ApiError> {
    #[derive(Deserialize)]
    struct Named {
        session: Option<String>,
    }
    let name = match request.headers().get("x-session-id") {
        Some(name) => Some(String::from_utf8_lossy(name.as_bytes()).into_owned()),
        None => Query::<Named>::from_query(request.query_string())
            .ok()
            .and_then(|query| query.into_inner().session),
    };
    let is_fine = |name: &str| {
        !name.is_empty()
            && name.len() <= SESSION_CHARACTERS
            && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match name {
        Some(name) if !is_fine(&name) => Err(ApiError::malformed(format!(
            "session id: 1 to {SESSION_CHARACTERS} visible ASCII characters"
        ))),
        name => Ok(name.map(Into::into)),
    }
}

/// `Last-Event-ID`, else `?after=`, else the beginning. Larger than any number is beyond any end.
fn position(request: &HttpRequest, after: Option<&str>) -> Result<u64, ApiError> {
    let last_event_id = request
        .headers()
        .get("last-event-id")
        .map(HeaderValue::as_bytes)
        .filter(|id| !id.is_empty());
    let position = last_event_id.or(after.map(str::as_bytes)).unwrap_or(b"0");
    if position.is_empty() || !position.iter().all(u8::is_ascii_digit) {
        return Err(ApiError::malformed(
            "Last-Event-ID and after: the number of the last event you have, or 0",
        ));
    }
    Ok(position.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

#[derive(Serialize)]
struct Polled {
    events: Vec<PolledEvent>,
    /// Where the next poll goes on.
    next: u64,
    /// True when there is nothing more to come.
    closed: bool,
}

#[derive(Serialize)]
struct PolledEvent {
    /// Its position; a `gap` has that of the snapshot after it.
    seq: u64,
    event: &'static str,
    data: Box<RawValue>,
}

async fn poll(attachment: Attachment, wait: Duration) -> Result<HttpResponse, ApiError> {
    let mut cursor = attachment.cursor;
    // On a timeout nothing was taken: the future loses no events when dropped.
    let mut frames = tokio::time::timeout(wait, cursor.next())
        .await
        .ok()
        .flatten()
        .unwrap_or_default();
    frames.extend(cursor.read());
    let next = cursor.seq();
    let events = frames
        .into_iter()
        .map(|frame| polled(frame, next))
        .collect::<Result<_, _>>();
    let events = events
        .map_err(|_| ApiError::new(500, "internal", "The server failed", "an event is no JSON"))?;
    let polled = Polled {
        events,
        next,
        closed: cursor.is_at_end(),
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(polled))
}

fn polled(Frame { seq, event }: Frame, next: u64) -> Result<PolledEvent, serde_json::Error> {
    let data = RawValue::from_string(event.data.to_string())?;
    Ok(PolledEvent {
        seq: seq.unwrap_or(next),
        event: event.name,
        data,
    })
}
