//! Logging in and out, and who is asking.

use super::{
    attach::user_agent,
    body::{Json, text},
};
use crate::{
    auth::{Auth, Browser, CurrentUser},
    model::{Credential, User},
    problem::ApiError,
};
use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
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
pub(super) async fn log_in(
    auth: Data<Auth>,
    request: HttpRequest,
    body: Json<LogIn>,
) -> Result<HttpResponse, ApiError> {
    let browser = Browser {
        user_agent: user_agent(&request),
        address: request.peer_addr().map(|peer| peer.ip().to_string()),
    };
    let Some((current, cookie)) = auth.log_in(body.value.token.trim(), &browser).await? else {
        return Err(ApiError::new(
            401,
            "login-failed",
            "The login link does not work",
            "it was used before, is older than 15 minutes, or is not of this server; `continuo login` prints a new one",
        ));
    };
    let user = &current.user;
    tracing::info!(user.id = %user.id, "logged in");
    Ok(HttpResponse::Ok()
        .cookie(cookie)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Who { user, by: "login" }))
}

pub(super) async fn who_am_i(current: CurrentUser) -> HttpResponse {
    let by = match current.standing.credential {
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

/// Ends the login and what it began.
pub(super) async fn log_out(
    current: CurrentUser,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let Credential::Login(login) = current.standing.credential else {
        return Err(ApiError::new(
            409,
            "not-a-login",
            "There is no login to end",
            "the request came with an API key; `DELETE /api/keys/{id}` revokes one",
        ));
    };
    auth.end_login(login, None).await?;
    Ok(HttpResponse::NoContent().cookie(auth.no_cookie()).finish())
}
