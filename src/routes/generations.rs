//! Generations: read, follow as SSE or by long poll, stop.

use super::{
    GenerationPath, RouteOptions,
    attach::{Accepts, Caller, attach, attachment, position, session, stream, unavailable},
};
use crate::{
    auth::CurrentUser,
    chat::{Attachment, Chat},
    cursor::Frame,
    problem::ApiError,
    registry::{Attached, Reason},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{Data, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

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

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// A position.
    #[param(pattern = "^[0-9]*$")]
    pub after: Option<String>,
    /// Seconds.
    wait: Option<u64>,
}

/// The stream: SSE, or a long poll for those who ask for JSON.
pub(super) async fn events(
    Caller(current): Caller,
    chat: Data<Chat>,
    options: Data<RouteOptions>,
    request: HttpRequest,
    id: GenerationPath,
    Query(query): Query<EventsQuery>,
) -> Result<HttpResponse, ApiError> {
    let accepts = Accepts::of(&request);
    let current = match current {
        Ok(current) => current,
        Err(error) if matches!(accepts, Some(Accepts::Events { .. })) => {
            return unavailable(&request, &options, error);
        }
        Err(error) => return Err(error),
    };
    let after = position(&request, query.after.as_deref())?;
    match accepts {
        Some(Accepts::Events { .. }) => {
            stream(&request, &chat, &options, &current, *id, after).await
        }
        Some(Accepts::Json) => {
            let wait = Duration::from_secs(query.wait.unwrap_or(25)).min(options.poll);
            let attachment = attachment(&chat, &current, *id, after).await?;
            session(&request)?;
            // Not by the session's name: a poll beside a stream is no reconnect.
            let attached = attach(&request, &chat, &current, &attachment, None)?;
            poll(attachment, attached, wait).await
        }
        None => Err(ApiError::new(
            406,
            "not-acceptable",
            "No such representation",
            "events are `text/event-stream`, or `application/json` by long poll",
        )),
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Polled {
    events: Vec<PolledEvent>,
    /// Where the next poll goes on.
    next: u64,
    /// True when there is nothing more to come.
    closed: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PolledEvent {
    /// Its position; a `gap` has that of the snapshot after it.
    seq: u64,
    #[schema(value_type = String)]
    event: &'static str,
    #[schema(value_type = Object)]
    data: Box<RawValue>,
}

/// About so many events answer one poll: a long answer is caught up with in a few.
const POLL_EVENTS: usize = 2000;

/// Waits for events, but not beyond `wait`, nor beyond the end of the login: it is a live connection like a stream.
async fn poll(
    attachment: Attachment,
    attached: Attached,
    wait: Duration,
) -> Result<HttpResponse, ApiError> {
    let mut cursor = attachment.cursor;
    let mut frames = tokio::select! {
        biased;
        () = attached.asked_to_end() => Vec::new(),
        frames = cursor.next() => frames.unwrap_or_default(),
        // Nothing was taken: `next` loses no events when it is dropped.
        () = tokio::time::sleep(wait) => Vec::new(),
    };
    while frames.len() < POLL_EVENTS {
        let more = cursor.read();
        if more.is_empty() {
            break;
        }
        frames.extend(more);
    }
    for frame in &frames {
        attached.sent(frame.seq, frame.event.data.len());
    }
    attached.leave(Reason::Finished);
    let polled = Polled {
        next: cursor.seq(),
        closed: cursor.is_at_end(),
        events: polled(&frames).map_err(|_| {
            ApiError::new(500, "internal", "The server failed", "an event is no JSON")
        })?,
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(polled))
}

fn polled(frames: &[Frame]) -> Result<Vec<PolledEvent>, serde_json::Error> {
    let event = |(index, frame): (usize, &Frame)| {
        let data = RawValue::from_string(frame.event.data.to_string())?;
        let seq = frames[index..]
            .iter()
            .find_map(|frame| frame.seq)
            .unwrap_or(0);
        Ok(PolledEvent {
            seq,
            event: frame.event.name,
            data,
        })
    };
    frames.iter().enumerate().map(event).collect()
}
