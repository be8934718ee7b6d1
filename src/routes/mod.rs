//! The route table, and what all handlers share. Handlers translate between HTTP and `chat`; they decide nothing.

mod accounts;
mod attach;
mod body;
mod contract;
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
mod table;
mod users;
mod v1;

use crate::{
    chat::Chat,
    emitter::EmitterOptions,
    model::{ConversationId, GenerationId},
    problem::ApiError,
    upstream::Upstream,
};
use actix_web::{
    HttpRequest,
    web::{self, Data, ServiceConfig},
};
use contract::operations as says;
use serde::Serialize;
use std::time::Duration;
use table::{Entry, at, file};
use tracing_actix_web::RequestId;
use utoipa::ToSchema;

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

/// What a handler needs to have an answer made.
#[derive(actix_web_lab::FromRequest)]
struct Asking {
    chat: Data<Chat>,
    upstream: Data<Upstream>,
    options: Data<RouteOptions>,
    request: HttpRequest,
    request_id: RequestId,
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
    );
    for entry in table() {
        entry.register(app);
    }
}

/// Each path with its methods, and what the contract says about them. The first that matches a request counts.
fn table() -> Vec<Entry> {
    vec![
        file("/", page::index),
        file("/assets/{hash}/{file}", page::asset),
        file("/favicon.ico", page::favicon),
        at("/livez").get(health::live, says::live),
        at("/readyz").get(health::ready, says::ready),
        at("/api/openapi.json").get(contract::show, says::contract),
        at("/api/session")
            .post(session::log_in, says::log_in)
            .get(session::who_am_i, says::who_am_i)
            .delete(session::log_out, says::log_out),
        at("/api/keys")
            .get(accounts::keys, says::keys)
            .post(accounts::make_key, says::make_key),
        at("/api/keys/{id}").delete(accounts::revoke_key, says::revoke_key),
        at("/api/sessions").get(accounts::sessions, says::sessions),
        at("/api/sessions/{id}").delete(accounts::end_session, says::end_session),
        at("/api/conversations")
            .get(conversations::list, says::list)
            .post(conversations::create, says::create),
        // Before the ids, of which it is none.
        at("/api/conversations/import").post(import::import, says::import),
        at("/api/conversations/{id}")
            .get(history::read, says::read)
            .patch(conversations::change, says::change)
            .delete(conversations::delete, says::delete),
        at("/api/conversations/{id}/export").get(export::export, says::export),
        at("/api/conversations/{id}/restore").post(conversations::restore, says::restore),
        at("/api/conversations/{id}/messages").post(messages::prompt, says::prompt),
        at("/api/messages/{id}/regenerate").post(messages::regenerate, says::regenerate),
        at("/api/messages/{id}/continue").post(messages::carry_on, says::carry_on),
        at("/api/generations/{id}").get(generations::read, says::generation_read),
        at("/api/generations/{id}/events").attach(generations::events, says::events),
        at("/api/generations/{id}/stop").post(generations::stop, says::stop),
        at("/api/models").get(models::list, says::models),
        at("/api/feed").attach(feed::events, says::feed),
        at("/v1/models").get(v1::models, says::openai_models),
        // The ids of models may have slashes.
        at("/v1/models/{id:.+}").get(v1::model, says::openai_model),
        at("/v1/chat/completions").post(v1::complete, says::completions),
        at("/v1/generations/{id}").get(generations::read, says::generation_read_v1),
        at("/v1/generations/{id}/events").attach(v1::events, says::payloads),
        at("/v1/generations/{id}/cancel").post(generations::stop, says::cancel),
        at("/api/operator/users")
            .get(users::list, says::users)
            .post(users::make, says::make_user),
        at("/api/operator/users/{id}").patch(users::change, says::change_user),
        at("/api/operator/users/{id}/keys")
            .get(users::keys, says::user_keys)
            .post(users::make_key, says::make_user_key),
        at("/api/operator/users/{id}/sessions").get(users::sessions, says::user_sessions),
        at("/api/operator/users/{id}/login-link").post(users::login_link, says::login_link),
        at("/api/operator/keys/{id}").delete(users::revoke_key, says::revoke_any_key),
        at("/api/operator/sessions/{id}").delete(users::end_session, says::end_any_session),
        at("/api/operator/emitters").get(operator::emitters, says::emitters),
        at("/api/operator/emitters/{id}").delete(operator::end_emitter, says::end_emitter),
        at("/api/operator/generations").get(operator::generations, says::running),
        at("/api/operator/generations/{id}/stop").post(operator::stop, says::stop_any),
        at("/api/operator/drain").post(operator::drain, says::drain),
    ]
}

/// A list, and how to ask for what follows.
#[derive(Debug, Serialize, ToSchema)]
struct Page<T> {
    items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For the next page, when there is one: `cursor`.
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
