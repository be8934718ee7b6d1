//! Is the process alive, and should it get traffic. No account needed, and nothing told but the answer.

use crate::{chat::Chat, problem::ApiError};
use actix_web::{HttpResponse, web::Data};
use std::time::Duration;

/// A check that takes longer has failed.
const CHECK: Duration = Duration::from_secs(2);

pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .content_type("text/plain")
        .body("ok\n")
}

/// 503 while draining and while the store does not answer or takes no writes.
pub(super) async fn ready(chat: Data<Chat>) -> Result<HttpResponse, ApiError> {
    if chat.registry.is_draining() {
        return Err(ApiError::full(crate::registry::Full::Draining, ""));
    }
    let checked = tokio::time::timeout(CHECK, chat.store.check()).await;
    checked.map_err(|_| ApiError::store_unavailable())??;
    Ok(live().await)
}
