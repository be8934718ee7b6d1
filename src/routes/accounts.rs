//! A user's own keys and logins: list, make, take away.

use super::body::{Json, limits, made, text};
use crate::{
    auth::{Auth, CurrentUser, Unrestricted, new_key},
    model::{Credential, Key, KeyId, Limits, Login, LoginId, UserId, now},
    problem::ApiError,
    text::is_name,
};
use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Keys of a user that are neither revoked nor over.
const KEYS_AT_MOST: usize = 100;

#[derive(Deserialize, ToSchema)]
pub(super) struct MakeKey {
    #[serde(deserialize_with = "text")]
    name: String,
    #[serde(
        default,
        deserialize_with = "time::serde::rfc3339::option::deserialize"
    )]
    expires_at: Option<OffsetDateTime>,
    #[serde(default, deserialize_with = "limits")]
    limits: Option<Limits>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MadeKey<'a> {
    #[serde(flatten)]
    #[schema(value_type = Key)]
    key: &'a Key,
    /// The key itself, this once.
    #[serde(rename = "key")]
    #[schema(value_type = String)]
    secret: &'a str,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Items<T> {
    pub items: Vec<T>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct LoginView {
    #[serde(flatten)]
    login: Login,
    /// The one that asks.
    current: bool,
}

pub(super) async fn keys(current: CurrentUser, auth: Data<Auth>) -> Result<HttpResponse, ApiError> {
    keys_of(&auth, current.user.id).await
}

pub(super) async fn make_key(
    Unrestricted(current): Unrestricted<CurrentUser>,
    auth: Data<Auth>,
    body: Json<MakeKey>,
) -> Result<HttpResponse, ApiError> {
    make_key_for(&auth, current.user.id, &body.value, "/api/keys").await
}

pub(super) async fn revoke_key(
    current: CurrentUser,
    auth: Data<Auth>,
    id: Path<KeyId>,
) -> Result<HttpResponse, ApiError> {
    gone(auth.revoke_key(*id, Some(current.user.id)).await?, "key")
}

pub(super) async fn sessions(
    current: CurrentUser,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    sessions_of(&auth, current.user.id, &current).await
}

pub(super) async fn end_session(
    current: CurrentUser,
    auth: Data<Auth>,
    id: Path<LoginId>,
) -> Result<HttpResponse, ApiError> {
    gone(auth.end_login(*id, Some(current.user.id)).await?, "session")
}

pub(super) async fn keys_of(auth: &Auth, user: UserId) -> Result<HttpResponse, ApiError> {
    let items = auth.store.keys(Some(user)).await?;
    Ok(read(&Items { items }))
}

pub(super) async fn sessions_of(
    auth: &Auth,
    user: UserId,
    current: &CurrentUser,
) -> Result<HttpResponse, ApiError> {
    let logins = auth.store.logins(Some(user), auth.when()).await?;
    let view = |login: Login| LoginView {
        current: current.standing.credential == Credential::Login(login.id),
        login,
    };
    let items: Vec<_> = logins.into_iter().map(view).collect();
    Ok(read(&Items { items }))
}

pub(super) async fn make_key_for(
    auth: &Auth,
    user: UserId,
    asked: &MakeKey,
    path: &str,
) -> Result<HttpResponse, ApiError> {
    check_name(&asked.name)?;
    if asked
        .expires_at
        .is_some_and(|at| at <= now() || at.year() >= 9999)
    {
        return Err(ApiError::invalid("expires_at: a time to come"));
    }
    let keys = auth.store.keys(Some(user)).await?;
    let is_live = |key: &&Key| {
        key.revoked_at.is_none() && key.expires_at.is_none_or(|expires| expires > now())
    };
    if keys.iter().filter(is_live).count() >= KEYS_AT_MOST {
        return Err(ApiError::new(
            409,
            "too-many-keys",
            "There are too many keys",
            format!("a user may have {KEYS_AT_MOST} keys that are not revoked; revoke one first"),
        ));
    }
    let (key, secret) = new_key(
        &*auth.store,
        user,
        &asked.name,
        asked.limits.unwrap_or_default(),
        asked.expires_at,
    )
    .await?;
    let made_key = MadeKey {
        key: &key,
        secret: &secret,
    };
    Ok(made(StatusCode::CREATED, &format!("{path}/{}", key.id)).json(made_key))
}

pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    if is_name(name) {
        return Ok(());
    }
    Err(ApiError::invalid(
        "name: 1 to 200 bytes, no control characters and no space around it",
    ))
}

/// 204 once it is taken away.
pub(super) fn gone(was_there: bool, what: &str) -> Result<HttpResponse, ApiError> {
    if was_there {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(ApiError::not_found(what))
    }
}

pub(super) fn read(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}
