//! Is the process alive, and should it get traffic. No account needed, and nothing told but the answer.

use crate::{chat::Chat, problem::ApiError, registry::Full};
use actix_web::{HttpResponse, web::Data};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// A check that takes longer has failed.
const CHECK: Duration = Duration::from_secs(2);

pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .content_type("text/plain")
        .body("ok\n")
}

#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ready` or `degraded`.
    #[schema(value_type = String)]
    status: &'static str,
    /// `available`, `catching up` or `unavailable`.
    #[schema(value_type = String)]
    store: &'static str,
    /// What waits on disk for the database, in files and in bytes.
    backlog: usize,
    backlog_bytes: u64,
}

/// 200 `ready`; 200 `degraded` while the store is away or catches up: running answers go on, are kept on disk and can be read by
/// those already known; 503 while draining, and when neither store nor disk keeps anything.
pub(super) async fn ready(chat: Data<Chat>) -> Result<HttpResponse, ApiError> {
    if chat.registry.is_draining() {
        return Err(ApiError::full(Full::Draining, ""));
    }
    let checked = tokio::time::timeout(CHECK, chat.store.check()).await;
    let is_stored = matches!(checked, Ok(Ok(())));
    if !is_stored && chat.recorder.is_stuck() {
        return Err(ApiError::nothing_kept());
    }
    let (backlog, bytes) = chat.recorder.backlog();
    let (status, store) = match (is_stored, backlog) {
        (true, 0) => ("ready", "available"),
        (true, _) => ("degraded", "catching up"),
        (false, _) => ("degraded", "unavailable"),
    };
    Ok(HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .json(Ready {
            status,
            store,
            backlog,
            backlog_bytes: bytes,
        }))
}
