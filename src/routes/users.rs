//! What an operator does with accounts: list, make, change, and everybody's keys and logins.

use super::{
    accounts::{
        Items, MakeKey, a_name, check_name, gone, keys_of, make_key_for, read, sessions_of,
    },
    body::{Json, limits, made, text},
};
use crate::{
    auth::{Auth, LINK_LIFETIME, Operator, Unrestricted, login_token},
    model::{KeyId, Limits, LoginId, User, UserId, now, timestamp},
    problem::ApiError,
    store::{UserChange, UserChanged},
};
use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MakeUser {
    #[serde(deserialize_with = "text")]
    #[schema(schema_with = a_name, required)]
    name: String,
    #[serde(default)]
    operator: bool,
}

/// Not a word that it does not know, which may have been meant to lock somebody out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeUser {
    disabled: Option<bool>,
    operator: Option<bool>,
    /// All of them.
    #[serde(default, deserialize_with = "limits")]
    limits: Option<Limits>,
}

/// A way in for somebody who has none yet: whoever opens it on this server is logged in, once.
#[derive(Serialize, ToSchema)]
pub(super) struct LoginLink {
    /// Of this server's origin.
    link: String,
    #[serde(with = "timestamp")]
    expires_at: OffsetDateTime,
}

pub(super) async fn list(_: Operator, auth: Data<Auth>) -> Result<HttpResponse, ApiError> {
    let items = auth.store.users().await?;
    Ok(read(&Items { items }))
}

pub(super) async fn make(
    Unrestricted(operator): Unrestricted<Operator>,
    auth: Data<Auth>,
    body: Json<MakeUser>,
) -> Result<HttpResponse, ApiError> {
    let MakeUser {
        name,
        operator: role,
    } = body.value;
    check_name(&name)?;
    let user = auth.store.add_user(&name, role).await?;
    let user = user.ok_or_else(|| {
        ApiError::new(
            409,
            "name-taken",
            "The name is taken",
            "there is a user of that name already; choose another",
        )
    })?;
    report(&operator, user.id, "made a user");
    Ok(made(
        StatusCode::CREATED,
        &format!("/api/operator/users/{}", user.id),
    )
    .json(user))
}

pub(super) async fn change(
    Unrestricted(operator): Unrestricted<Operator>,
    auth: Data<Auth>,
    id: Path<UserId>,
    body: Json<ChangeUser>,
) -> Result<HttpResponse, ApiError> {
    let change = UserChange {
        disabled: body.value.disabled,
        operator: body.value.operator,
        limits: body.value.limits,
    };
    match auth.change_user(*id, change).await? {
        UserChanged::Done(user) => {
            report(&operator, user.id, "changed a user");
            Ok(read(&user))
        }
        UserChanged::NotFound => Err(unknown()),
        UserChanged::LastOperator => Err(ApiError::new(
            409,
            "last-operator",
            "This is the last operator",
            "nobody could let anybody in any more; make another operator first",
        )),
    }
}

pub(super) async fn keys(
    _: Operator,
    auth: Data<Auth>,
    id: Path<UserId>,
) -> Result<HttpResponse, ApiError> {
    find(&auth, *id).await?;
    keys_of(&auth, *id).await
}

pub(super) async fn make_key(
    Unrestricted(operator): Unrestricted<Operator>,
    auth: Data<Auth>,
    id: Path<UserId>,
    body: Json<MakeKey>,
) -> Result<HttpResponse, ApiError> {
    find(&auth, *id).await?;
    let by = operator.0.user.id;
    let response = make_key_for(&auth, by, *id, &body, "/api/operator/keys").await?;
    report(&operator, *id, "made a key");
    Ok(response)
}

pub(super) async fn revoke_key(
    operator: Operator,
    auth: Data<Auth>,
    id: Path<KeyId>,
) -> Result<HttpResponse, ApiError> {
    let revoked = auth.revoke_key(*id, None).await?;
    tracing::info!(key.id = %*id, by = %operator.0.user.id, "an operator revoked a key");
    gone(revoked, "key")
}

pub(super) async fn sessions(
    Operator(current): Operator,
    auth: Data<Auth>,
    id: Path<UserId>,
) -> Result<HttpResponse, ApiError> {
    find(&auth, *id).await?;
    sessions_of(&auth, *id, &current).await
}

pub(super) async fn end_session(
    operator: Operator,
    auth: Data<Auth>,
    id: Path<LoginId>,
) -> Result<HttpResponse, ApiError> {
    let ended = auth.end_login(*id, None).await?;
    tracing::info!(login.id = %*id, by = %operator.0.user.id, "an operator ended a session");
    gone(ended, "session")
}

pub(super) async fn login_link(
    Unrestricted(operator): Unrestricted<Operator>,
    auth: Data<Auth>,
    id: Path<UserId>,
) -> Result<HttpResponse, ApiError> {
    let user = find(&auth, *id).await?;
    if user.disabled {
        return Err(ApiError::new(
            409,
            "user-disabled",
            "The user is disabled",
            "nobody gets in by such a link; enable the user first",
        ));
    }
    let expires_at = now() + LINK_LIFETIME;
    let token = login_token(&*auth.store, user.id).await?;
    report(&operator, user.id, "made a login link");
    let link = format!("/#login={token}");
    Ok(made(StatusCode::CREATED, &link_location(user.id)).json(LoginLink { link, expires_at }))
}

/// Where it was asked for: the link itself is a secret, which is read here once and nowhere else.
fn link_location(user: UserId) -> String {
    format!("/api/operator/users/{user}/login-link")
}

async fn find(auth: &Auth, id: UserId) -> Result<User, ApiError> {
    auth.store.user(id).await?.ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::not_found("user")
}

fn report(operator: &Operator, user: UserId, what: &str) {
    tracing::info!(user.id = %user, by = %operator.0.user.id, "an operator {what}");
}
