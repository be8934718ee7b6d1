//! What operators see and end.

use super::{
    accounts::{AT, ID, keys_example, making_keys, sessions_example, user},
    answers::generation,
    op::Op,
};
use crate::{
    model::{GenerationRecord, Key, User},
    routes::{
        accounts::{Items, LoginView},
        operator::{Draining, EmitterList, EmittersQuery, RunningList},
        users::{ChangeUser, LoginLink, MakeUser},
    },
};
use serde_json::json;

pub fn users() -> Op {
    Op::operator("listUsers", "All accounts")
        .of::<User>()
        .gives::<Items<User>>(200, "They.", json!({ "items": [user()] }))
}

pub fn make_user() -> Op {
    Op::operator("makeUser", "Make an account")
        .body::<MakeUser>(true, json!({ "name": "ada", "operator": false }))
        .gives::<User>(201, "It is there.", user())
        .with(201, "Location", "The account.")
        .refuses(403, "`restricted-key`")
        .refuses(409, "`name-taken`")
}

pub fn change_user() -> Op {
    Op::operator(
        "changeUser",
        "Change an account; what it began ends when that locks it out",
    )
    .body::<ChangeUser>(false, json!({ "disabled": true }))
    .gives::<User>(200, "As it is now.", user())
    .refuses(403, "`restricted-key`")
    .refuses(409, "`last-operator`")
}

pub fn user_keys() -> Op {
    Op::operator("listUserKeys", "Anybody's keys")
        .of::<Key>()
        .gives::<Items<Key>>(200, "They.", keys_example())
}

pub fn make_user_key() -> Op {
    making_keys(Op::operator("makeUserKey", "Make a key for anybody"))
}

pub fn user_sessions() -> Op {
    Op::operator("listUserSessions", "Anybody's logins")
        .of::<LoginView>()
        .gives::<Items<LoginView>>(200, "They.", sessions_example())
}

pub fn login_link() -> Op {
    Op::operator("makeLoginLink", "A way in for somebody who has none")
        .gives::<LoginLink>(
            201,
            "Of this origin, good once and for 15 minutes.",
            json!({ "link": "/#login=login-3fa9…", "expires_at": AT }),
        )
        .with(
            201,
            "Location",
            "Where it was asked for; the link itself is shown this once.",
        )
        .refuses(403, "`restricted-key`")
        .refuses(409, "`user-disabled`")
}

pub fn revoke_any_key() -> Op {
    Op::operator("revokeAnyKey", "Revoke anybody's key").gives_nothing(204, "Revoked.")
}

pub fn end_any_session() -> Op {
    Op::operator("endAnySession", "End anybody's login").gives_nothing(204, "Ended.")
}

pub fn emitters() -> Op {
    let item = json!({
        "id": ID, "user_id": ID, "session": "tab-1", "kind": "generation", "target": ID, "conversation_id": ID, "node": ID,
        "peer": "192.0.2.7:50211", "user_agent": "Mozilla/5.0", "opened_at": AT, "age_seconds": 12, "seq": 40, "lag": 0, "bytes": 5120,
    });
    let closed = json!({ "finished": 3, "disconnected": 1, "lifetime": 0, "replaced": 0, "killed": 0, "shutdown": 0, "error": 0 });
    Op::operator("listEmitters", "Live connections, and how many there were")
        .query::<EmittersQuery>()
        .gives::<EmitterList>(
            200,
            "Of one moment: `opened` is the sum of `closed` and those that are live.",
            json!({ "items": [item], "total": 1, "opened": 5, "closed": closed }),
        )
        .refuses(422, "`invalid-value`")
}

pub fn end_emitter() -> Op {
    Op::operator("endEmitter", "End a live connection").gives_nothing(204, "It was asked to go.")
}

pub fn running() -> Op {
    let item = json!({
        "id": ID, "user_id": ID, "conversation_id": ID, "message_id": ID, "node": ID, "created_at": AT, "age_seconds": 2, "seq": 40,
        "tokens_per_second": 19.5, "readers": 1,
    });
    Op::operator("listRunning", "Running answers of everybody").gives::<RunningList>(
        200,
        "They.",
        json!({ "items": [item], "total": 1 }),
    )
}

pub fn stop_any() -> Op {
    Op::operator("stopAny", "Stop anybody's answer").gives::<GenerationRecord>(
        200,
        "Once its end is stored.",
        generation(),
    )
}

pub fn drain() -> Op {
    Op::operator(
        "drain",
        "End the process once its answers have ended, as after SIGTERM",
    )
    .gives::<Draining>(
        202,
        "It is under way; repeating it changes nothing.",
        json!({ "status": "draining", "running": 1 }),
    )
}
