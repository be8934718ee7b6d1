//! The feed of a user: what happens to their conversations, as SSE.

use super::{
    RouteOptions,
    attach::{Accepts, Caller, attach, last_event_id, session, unavailable},
};
use crate::{
    chat::{Attachment, Chat},
    cursor::Cursor,
    emitter,
    problem::ApiError,
    registry::Target,
};
use actix_web::{HttpRequest, HttpResponse, web::Data};

/// Attaches an emitter to it. As with every stream, refusals that pass travel inside.
pub(super) async fn events(
    Caller(current): Caller,
    chat: Data<Chat>,
    options: Data<RouteOptions>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    if !matches!(Accepts::of(&request), Some(Accepts::Events { .. })) {
        return Err(ApiError::new(
            406,
            "not-acceptable",
            "No such representation",
            "the feed is `text/event-stream`",
        ));
    }
    let current = match current {
        Ok(current) => current,
        Err(error) => return unavailable(&request, &options, error),
    };
    let session = session(&request)?;
    let id = last_event_id(&request).map(String::from_utf8_lossy);
    let position = chat.feeds.position(id.as_deref()).ok_or_else(|| {
        ApiError::malformed("Last-Event-ID: the id of the last event you have of this feed")
    })?;
    let listener = chat.feeds.listener(current.user.id, session.as_deref());
    let attachment = Attachment {
        target: Target::Feed,
        cursor: Cursor::new(listener.clone(), position),
        conversation_id: None,
    };
    match attach(&request, &chat, &current, &attachment, session) {
        Ok(attached) => {
            listener.join();
            Ok(emitter::respond(
                &request,
                attachment.cursor,
                attached,
                &options.emitter,
            ))
        }
        Err(error) => unavailable(&request, &options, error),
    }
}
