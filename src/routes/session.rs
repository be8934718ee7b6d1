//! Logging in and out, and who is asking.

use super::body::{Json, text};
use crate::{
    auth::{Auth, CurrentUser},
    chat::Chat,
    model::User,
    problem::ApiError,
    store::Credential,
};
use actix_web::{HttpResponse, http::header, web::Data};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(super) struct LogIn {
    #[serde(deserialize_with = "text")]
    token: String,
}

#[derive(Serialize)]
struct Who<'a> {
    user: &'a User,
    /// `login` or `key`.
    by: &'static str,
}

/// Takes a one-time token or an API key; sets the cookie.
pub(super) async fn log_in(auth: Data<Auth>, body: Json<LogIn>) -> Result<HttpResponse, ApiError> {
    let Some((user, cookie)) = auth.log_in(body.value.token.trim()).await? else {
        return Err(ApiError::new(
            401,
            "login-failed",
            "The login link does not work",
            "it was used before, is older than 15 minutes, or is not of this server; `continuo login` prints a new one",
        ));
    };
    tracing::info!(user.id = %user.id, "logged in");
    Ok(HttpResponse::Ok()
        .cookie(cookie)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Who {
            user: &user,
            by: "login",
        }))
}

pub(super) async fn who_am_i(current: CurrentUser) -> HttpResponse {
    let by = match current.credential {
        Credential::Login(_) => "login",
        Credential::Key(_) => "key",
    };
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Who {
            user: &current.user,
            by,
        })
}

/// Ends the login and every emitter that it opened.
pub(super) async fn log_out(
    current: CurrentUser,
    auth: Data<Auth>,
    chat: Data<Chat>,
) -> Result<HttpResponse, ApiError> {
    let Credential::Login(login) = current.credential else {
        return Err(ApiError::new(
            409,
            "not-a-login",
            "There is no login to end",
            "the request came with an API key; `continuo key revoke` ends one",
        ));
    };
    auth.log_out(login).await?;
    chat.registry.kill_emitters_of(current.credential);
    Ok(HttpResponse::NoContent().cookie(auth.no_cookie()).finish())
}
