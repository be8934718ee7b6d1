//! The route table, and what all handlers share. Handlers translate between HTTP and `chat`; they decide nothing.

mod accounts;
mod attach;
mod body;
mod conversations;
mod export;
mod feed;
mod generations;
mod health;
mod history;
mod import;
mod kept;
mod messages;
mod models;
mod operator;
mod page;
mod session;
mod users;
mod v1;

use crate::{
    emitter::EmitterOptions,
    model::{ConversationId, GenerationId},
    problem::ApiError,
};
use actix_web::{
    Resource, Route, guard,
    web::{self, ServiceConfig, delete, patch, post},
};
use serde::Serialize;
use std::time::Duration;

/// What handlers keep to.
#[derive(Debug, Clone)]
pub struct RouteOptions {
    pub emitter: EmitterOptions,
    /// Of a request body, in bytes.
    pub body_bytes: usize,
    /// The longest that a request body may take to come.
    pub body: Duration,
    /// Of one message, in bytes of text.
    pub message_bytes: usize,
    /// Of an imported conversation, in messages.
    pub import_messages: usize,
    /// The longest that a long poll may wait.
    pub poll: Duration,
    /// The `store` of a completion request is the upstream's to read, too.
    pub passes_store: bool,
}

/// Every route of the program.
pub fn routes(app: &mut ServiceConfig) {
    app.app_data(
        web::PathConfig::default()
            .error_handler(|_, _| ApiError::not_found("thing; ids are UUIDs").into()),
    )
    .app_data(
        web::QueryConfig::default()
            .error_handler(|error, _| ApiError::malformed(format!("query: {error}")).into()),
    )
    .service(only("/", get().to(page::index)))
    .service(only("/assets/{hash}/{file}", get().to(page::asset)))
    .service(only("/favicon.ico", get().to(page::favicon)))
    .service(only("/livez", get().to(health::live)))
    .service(only("/readyz", get().to(health::ready)))
    .service(
        web::resource("/api/session")
            .route(post().to(session::log_in))
            .route(get().to(session::who_am_i))
            .route(delete().to(session::log_out)),
    )
    .configure(account_routes)
    .service(
        web::resource("/api/conversations")
            .route(get().to(conversations::list))
            .route(post().to(conversations::create)),
    )
    // Before the ids, of which it is none.
    .service(only("/api/conversations/import", post().to(import::import)))
    .service(
        web::resource("/api/conversations/{id}")
            .route(get().to(history::read))
            .route(patch().to(conversations::change))
            .route(delete().to(conversations::delete)),
    )
    .service(only(
        "/api/conversations/{id}/export",
        get().to(export::export),
    ))
    .service(only(
        "/api/conversations/{id}/restore",
        post().to(conversations::restore),
    ))
    .service(only(
        "/api/conversations/{id}/messages",
        post().to(messages::prompt),
    ))
    .service(only(
        "/api/messages/{id}/regenerate",
        post().to(messages::regenerate),
    ))
    .service(only(
        "/api/messages/{id}/continue",
        post().to(messages::carry_on),
    ))
    .service(only("/api/generations/{id}", get().to(generations::read)))
    // No HEAD: it would attach.
    .service(only(
        "/api/generations/{id}/events",
        web::get().to(generations::events),
    ))
    .service(only(
        "/api/generations/{id}/stop",
        post().to(generations::stop),
    ))
    .service(only("/api/models", get().to(models::list)))
    .service(only("/v1/models", get().to(v1::models)))
    // The ids of models may have slashes.
    .service(only("/v1/models/{id:.+}", get().to(v1::model)))
    .service(only("/v1/chat/completions", post().to(v1::complete)))
    .service(only("/v1/generations/{id}", get().to(generations::read)))
    // No HEAD: it would attach.
    .service(only(
        "/v1/generations/{id}/events",
        web::get().to(v1::events),
    ))
    .service(only(
        "/v1/generations/{id}/cancel",
        post().to(generations::stop),
    ))
    // No HEAD: it would attach.
    .service(only("/api/feed", web::get().to(feed::events)))
    .service(only("/api/operator/emitters", get().to(operator::emitters)))
    .service(only(
        "/api/operator/emitters/{id}",
        delete().to(operator::end_emitter),
    ))
    .service(only(
        "/api/operator/generations",
        get().to(operator::generations),
    ))
    .service(only(
        "/api/operator/generations/{id}/stop",
        post().to(operator::stop),
    ))
    .service(only("/api/operator/drain", post().to(operator::drain)));
}

/// Keys, logins and users.
fn account_routes(app: &mut ServiceConfig) {
    app.service(
        web::resource("/api/keys")
            .route(get().to(accounts::keys))
            .route(post().to(accounts::make_key)),
    )
    .service(only("/api/keys/{id}", delete().to(accounts::revoke_key)))
    .service(only("/api/sessions", get().to(accounts::sessions)))
    .service(only(
        "/api/sessions/{id}",
        delete().to(accounts::end_session),
    ))
    .service(
        web::resource("/api/operator/users")
            .route(get().to(users::list))
            .route(post().to(users::make)),
    )
    .service(only("/api/operator/users/{id}", patch().to(users::change)))
    .service(
        web::resource("/api/operator/users/{id}/keys")
            .route(get().to(users::keys))
            .route(post().to(users::make_key)),
    )
    .service(only(
        "/api/operator/users/{id}/sessions",
        get().to(users::sessions),
    ))
    .service(only(
        "/api/operator/users/{id}/login-link",
        post().to(users::login_link),
    ))
    .service(only(
        "/api/operator/keys/{id}",
        delete().to(users::revoke_key),
    ))
    .service(only(
        "/api/operator/sessions/{id}",
        delete().to(users::end_session),
    ));
}

/// A path that takes one method; `App::route` would call the other methods' path unknown.
fn only(path: &str, route: Route) -> Resource {
    web::resource(path).route(route)
}

/// GET, and HEAD, which is answered the same way without the body.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A list, and how to ask for what follows.
#[derive(Debug, Serialize)]
struct Page<T> {
    items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Rows a page: 50 unless asked, 200 at most.
fn page_limit(asked: Option<u32>) -> Result<u32, ApiError> {
    match asked.unwrap_or(50) {
        0 => Err(ApiError::invalid("limit: at least 1")),
        limit => Ok(limit.min(200)),
    }
}

type ConversationPath = web::Path<ConversationId>;
type GenerationPath = web::Path<GenerationId>;
