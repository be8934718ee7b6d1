//! A user's own keys and logins: list, make, take away.

use super::body::{Json, limits, made, text};
use crate::{
    auth::{Auth, CurrentUser, KeyAsked, Unrestricted, new_key_within},
    model::{Credential, Key, KeyId, Limits, Login, LoginId, UserId, now},
    problem::ApiError,
    store::{Effect, Receipt},
    text::is_name,
};
use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, schema::Type},
};

/// Keys of a user that are neither revoked nor over.
const KEYS_AT_MOST: i64 = 100;

/// Not a word that it does not know: what was meant to restrict a key would not.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MakeKey {
    #[serde(deserialize_with = "text")]
    #[schema(schema_with = a_name, required)]
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
    let user = current.user.id;
    make_key_for(&auth, user, user, &body, "/api/keys").await
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

/// `by` is whose idempotency key it is, should there be one.
pub(super) async fn make_key_for(
    auth: &Auth,
    by: UserId,
    user: UserId,
    body: &Json<MakeKey>,
    path: &str,
) -> Result<HttpResponse, ApiError> {
    let (asked, once) = (&body.value, body.once());
    check_name(&asked.name)?;
    // A repeat may come when the time of the key is over.
    if let Some(once) = &once
        && let Some(before) = auth.store.receipt(by, once).await?
    {
        made_now(before)?;
    }
    if asked
        .expires_at
        .is_some_and(|at| at <= now() || at.year() >= 9999)
    {
        return Err(ApiError::invalid("expires_at: a time to come"));
    }
    let asked = KeyAsked {
        user,
        name: &asked.name,
        limits: asked.limits.unwrap_or_default(),
        expires_at: asked.expires_at,
    };
    let once = once.as_ref().map(|once| (by, once));
    let made_key = new_key_within(&*auth.store, &asked, KEYS_AT_MOST, once, path);
    let (key, secret) = made_now(made_key.await?)?.ok_or_else(too_many_keys)?;
    let made_key = MadeKey {
        key: &key,
        secret: &secret,
    };
    Ok(made(StatusCode::CREATED, &format!("{path}/{}", key.id)).json(made_key))
}

fn too_many_keys() -> ApiError {
    ApiError::new(
        409,
        "too-many-keys",
        "There are too many keys",
        format!("a user may have {KEYS_AT_MOST} keys that are not revoked; revoke one first"),
    )
}

/// A repeat cannot be answered as the first was: nobody has the key itself any more.
fn made_now<T>(effect: Effect<T>) -> Result<T, ApiError> {
    match effect {
        Effect::Done(made) => Ok(made),
        Effect::Before(Receipt { location, .. }) => Err(ApiError::new(
            409,
            "key-made-before",
            "This key was made before",
            format!(
                "it was shown once, and is not kept; should it be lost, `DELETE {location}` and make another, under a new idempotency key"
            ),
        )),
        Effect::KeyReused => Err(ApiError::key_reused()),
    }
}

/// The schema of what [`check_name`] takes.
pub(super) fn a_name() -> ObjectBuilder {
    let name = ObjectBuilder::new().schema_type(Type::String);
    let name = name.min_length(Some(1)).max_length(Some(200));
    name.pattern(Some(
        r"^[^\s\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]([^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*[^\s\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069])?$",
    ))
}

pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    if is_name(name) {
        return Ok(());
    }
    Err(ApiError::invalid(
        "name: 1 to 200 characters, no control characters and no space around it",
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
