//! Attaching a client: what it accepts, where it stands, which session it names, and its place in the registry.

use super::RouteOptions;
use crate::{
    auth::CurrentUser,
    chat::{Attachment, Chat},
    client::Client,
    emitter,
    model::GenerationId,
    problem::ApiError,
    registry::{Attached, NewEmitter},
};
use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest, HttpResponse,
    dev::Payload,
    http::header::{self, HeaderValue},
    web::Query,
};
use serde::Deserialize;
use std::future::{Ready, ready};
use tracing_actix_web::RequestId;

/// The longest session name and the longest user agent that is kept, in characters.
const SESSION_CHARACTERS: usize = 128;
const USER_AGENT_CHARACTERS: usize = 256;

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
        let takes = |wanted: &str| accept.split(',').any(|range| is_range(range, wanted));
        if takes("text/event-stream") {
            return Some(Self::Events { named: true });
        }
        if takes("application/json") {
            return Some(Self::Json);
        }
        let any = takes("*/*") || takes("text/*") || accept.trim().is_empty();
        any.then_some(Self::Events { named: false })
    }
}

/// Whether a media range of an `Accept` header is `wanted`, and not refused by a quality of 0 (RFC 9110, 12.4.2).
fn is_range(range: &str, wanted: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let is_refused = |parameter: &str| {
        let quality = parameter
            .strip_prefix("q=")
            .and_then(|quality| quality.parse::<f32>().ok());
        quality.is_some_and(|quality| quality <= 0.0)
    };
    parts.next() == Some(wanted) && !parts.any(is_refused)
}

/// The user, unless the store cannot tell now: a stream says so in its own way. A stranger is refused as everywhere.
pub(super) struct Caller(pub Result<CurrentUser, ApiError>);

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(
            match CurrentUser::from_request(request, payload).into_inner() {
                Err(error) if !error.passes() => Err(error),
                caller => Ok(Self(caller)),
            },
        )
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
    let session = session(request)?;
    let attachment = match attachment(chat, current, id, after).await {
        Ok(attachment) => attachment,
        Err(error) => return unavailable(request, options, error),
    };
    if attachment.cursor.is_at_end() {
        return Ok(HttpResponse::NoContent()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish());
    }
    match attach(request, chat, current, &attachment, session) {
        Ok(attached) => Ok(emitter::respond(
            request,
            attachment.cursor,
            attached,
            &options.emitter,
        )),
        Err(error) => unavailable(request, options, error),
    }
}

/// A refusal as a stream when it passes, else as it is.
pub(super) fn unavailable(
    request: &HttpRequest,
    options: &RouteOptions,
    error: ApiError,
) -> Result<HttpResponse, ApiError> {
    if !error.passes() {
        return Err(error);
    }
    let problem = error.into_problem(request.extensions().get::<RequestId>().copied());
    Ok(emitter::unavailable(request, problem, &options.emitter))
}

pub(super) async fn attachment(
    chat: &Chat,
    current: &CurrentUser,
    id: GenerationId,
    after: u64,
) -> Result<Attachment, ApiError> {
    let attachment = chat.attach(current.user.id, id, after).await?;
    attachment.ok_or_else(|| ApiError::not_found("generation"))
}

/// A place in the registry for this client.
pub(super) fn attach(
    request: &HttpRequest,
    chat: &Chat,
    current: &CurrentUser,
    attachment: &Attachment,
    session: Option<Box<str>>,
) -> Result<Attached, ApiError> {
    let client = NewEmitter {
        standing: current.standing.clone(),
        session,
        target: attachment.target,
        conversation: attachment.conversation_id,
        peer: Client::of(request).socket_address(),
        user_agent: user_agent(request).map(Into::into),
        log: attachment.cursor.log().clone(),
        after: attachment.cursor.seq(),
    };
    let attached = chat.registry.attach(client);
    attached.map_err(|full| ApiError::full(full, "live connections"))
}

/// What the client calls itself, as far as that is kept.
pub(super) fn user_agent(request: &HttpRequest) -> Option<String> {
    let agent = request.headers().get(header::USER_AGENT)?.to_str().ok()?;
    Some(agent.chars().take(USER_AGENT_CHARACTERS).collect())
}

/// The session that the client names: `X-Session-Id`, else `?session=`.
pub(super) fn session(request: &HttpRequest) -> Result<Option<Box<str>>, ApiError> {
    #[derive(Deserialize)]
    struct Named {
        session: Option<String>,
    }
    let header = request.headers().get("x-session-id");
    let header = header.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let query = Query::<Named>::from_query(request.query_string());
    let query = query.ok().and_then(|query| query.into_inner().session);
    let is_fine = |name: &String| {
        !name.is_empty()
            && name.len() <= SESSION_CHARACTERS
            && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if ![&header, &query].into_iter().flatten().all(is_fine) {
        return Err(ApiError::malformed(format!(
            "session id: 1 to {SESSION_CHARACTERS} visible ASCII characters"
        )));
    }
    Ok(header.or(query).map(Into::into))
}

/// What the client read last, if anything.
pub(super) fn last_event_id(request: &HttpRequest) -> Option<&[u8]> {
    let id = request.headers().get("last-event-id");
    id.map(HeaderValue::as_bytes).filter(|id| !id.is_empty())
}

/// `Last-Event-ID`, else `?after=`, else the beginning. Larger than any number is beyond any end.
pub(super) fn position(request: &HttpRequest, after: Option<&str>) -> Result<u64, ApiError> {
    let after = after.map(str::as_bytes).filter(|after| !after.is_empty());
    let last = last_event_id(request);
    let is_number = |position: &[u8]| position.iter().all(u8::is_ascii_digit);
    if ![last, after].into_iter().flatten().all(is_number) {
        return Err(ApiError::malformed(
            "Last-Event-ID and after: the number of the last event you have, or 0",
        ));
    }
    let position = last.or(after).unwrap_or(b"0");
    Ok(position.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}
