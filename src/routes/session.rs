//! Logging in and out, and who is asking.

use super::{
    attach::user_agent,
    body::{Json, STRANGERS_BYTES, text},
};
use crate::{
    auth::{Auth, Browser, CurrentUser},
    client::Client,
    model::{Credential, User},
    problem::ApiError,
};
use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
pub(super) struct LogIn {
    #[serde(deserialize_with = "text")]
    token: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Who<'a> {
    #[schema(value_type = User)]
    user: &'a User,
    /// `login` or `key`.
    #[schema(value_type = String)]
    by: &'static str,
}

/// Takes a one-time token or an API key; sets the cookie.
pub(super) async fn log_in(
    auth: Data<Auth>,
    request: HttpRequest,
    body: Json<LogIn, STRANGERS_BYTES>,
) -> Result<HttpResponse, ApiError> {
    let browser = Browser {
        user_agent: user_agent(&request),
        client: Client::of(&request),
    };
    let address = browser
        .client
        .address
        .unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let begun = auth.logins.begin(address);
    let one_try = begun.map_err(ApiError::too_many_logins)?;
    let logged_in = auth.log_in(body.value.token.trim(), &browser).await;
    // The database's failure is none of theirs.
    if !matches!(logged_in, Ok(None)) {
        one_try.succeeded();
    }
    let Some((current, cookie)) = logged_in? else {
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
    request: HttpRequest,
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
    Ok(HttpResponse::NoContent()
        .cookie(auth.no_cookie(Client::of(&request)))
        .finish())
}
