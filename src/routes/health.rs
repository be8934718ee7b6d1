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

/// 503 while draining and while the store does not answer.
pub(super) async fn ready(chat: Data<Chat>) -> Result<HttpResponse, ApiError> {
    if chat.registry.is_draining() {
        return Err(ApiError::full(crate::registry::Full::Draining, ""));
    }
    match tokio::time::timeout(CHECK, chat.store.check()).await {
        Ok(checked) => checked?,
        Err(_) => {
            return Err(ApiError::new(
                503,
                "store-unavailable",
                "The database is not available",
                "it does not answer",
            ));
        }
    }
    Ok(live().await)
}
