//! Logging in, keys and logins; health; and the contract itself.

use super::op::Op;
use crate::model::Key;
use crate::routes::{
    accounts::{Items, LoginView, MadeKey, MakeKey},
    health::Ready,
    session::{LogIn, Who},
};
use serde_json::{Value, json};

pub(super) const ID: &str = "019a5b1e-6f5c-7c3e-9a53-0c5d2f6f4a11";
pub(super) const AT: &str = "2026-01-31T12:00:00.000Z";

pub(super) fn user() -> Value {
    json!({ "id": ID, "name": "ada", "operator": false, "disabled": false, "limits": {}, "created_at": AT })
}

pub(super) fn keys_example() -> Value {
    json!({ "items": [key()] })
}

fn key() -> Value {
    json!({
        "id": ID, "user_id": ID, "name": "editor", "prefix": "continuo-3fa", "limits": { "requests_per_minute": 60 }, "created_at": AT,
        "expires_at": null, "last_used_at": AT, "revoked_at": null,
    })
}

pub(super) fn made_key_example() -> Value {
    let mut made = key();
    made["key"] = "continuo-3fa9…".into();
    made["last_used_at"] = Value::Null;
    made
}

pub(super) fn sessions_example() -> Value {
    json!({ "items": [{
        "id": ID, "user_id": ID, "key_id": null, "created_at": AT, "last_seen_at": AT, "expires_at": "2026-03-02T12:00:00.000Z",
        "user_agent": "Mozilla/5.0", "address": "192.0.2.7", "current": true,
    }] })
}

pub fn contract() -> Op {
    Op::anybody("readContract", "This document").gives::<serde_json::Value>(
        200,
        "OpenAPI 3.1.",
        json!({ "openapi": "3.1.0" }),
    )
}

pub fn live() -> Op {
    Op::anybody("isAlive", "Is the process alive").gives_text(200, "It is.", "text/plain", "ok\n")
}

pub fn ready() -> Op {
    let example =
        json!({ "status": "ready", "store": "available", "backlog": 0, "backlog_bytes": 0 });
    Op::anybody("isReady", "Should it get traffic")
        .says("`degraded` while the database is away or catches up: running answers go on and can be read.")
        .gives::<Ready>(200, "It should.", example)
        .refuses(503, "`draining`, `nothing-kept`")
}

pub fn log_in() -> Op {
    Op::anybody("logIn", "Log in with a one-time link's token or an API key")
        .body::<LogIn>(true, json!({ "token": "login-3fa9…" }))
        .gives::<Who>(200, "Logged in.", json!({ "user": user(), "by": "login" }))
        .with(
            200,
            "Set-Cookie",
            "The login, for this host, this port and no script.",
        )
        .refuses(401, "`login-failed`")
        .refuses(429, "`too-many-logins`")
        .refuses(500, "`internal`")
        .refuses(503, "`store-unavailable`")
}

pub fn who_am_i() -> Op {
    Op::user("whoAmI", "Who am I, and by what").gives::<Who>(
        200,
        "`by` is `login` or `key`.",
        json!({ "user": user(), "by": "key" }),
    )
}

pub fn log_out() -> Op {
    Op::user("logOut", "End this login, and what it began")
        .gives_nothing(204, "Ended.")
        .with(204, "Set-Cookie", "Takes the login's away.")
        .refuses(409, "`not-a-login`")
}

pub fn keys() -> Op {
    Op::user("listKeys", "Your API keys")
        .of::<Key>()
        .gives::<Items<Key>>(200, "All of them, the revoked ones too.", keys_example())
}

pub fn make_key() -> Op {
    making_keys(Op::user("makeKey", "Make an API key"))
}

/// The same for whomever.
pub(super) fn making_keys(op: Op) -> Op {
    op.says("A key that expires, and a login by one, make no others.")
        .body::<MakeKey>(
            true,
            json!({ "name": "editor", "expires_at": "2099-01-31T12:00:00Z" }),
        )
        .gives::<MadeKey>(
            201,
            "`key` is the key itself, shown this once.",
            made_key_example(),
        )
        .with(201, "Location", "The key, to be revoked there.")
        .once_only("One key stands for one request of yours, for 24 hours: repeated, it makes no second one, and the answer tells where the first is.")
        .refuses(403, "`restricted-key`")
        .refuses(409, "`too-many-keys`, `key-made-before`")
}

pub fn revoke_key() -> Op {
    Op::user(
        "revokeKey",
        "Revoke a key of yours; what it and its logins began ends",
    )
    .gives_nothing(204, "Revoked.")
}

pub fn sessions() -> Op {
    Op::user("listSessions", "Your logins")
        .of::<LoginView>()
        .gives::<Items<LoginView>>(200, "Those that are not over.", sessions_example())
}

pub fn end_session() -> Op {
    Op::user("endSession", "End a login of yours, with what it began").gives_nothing(204, "Ended.")
}
