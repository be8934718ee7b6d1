//! Who may do what: every operation of the contract, asked by everybody there is. One without a row here fails.

use crate::{
    contract::{Contract, nowhere},
    support::{
        app::{Account, TestApp, send, spawn_app_with},
        events::Events,
    },
};
use continuo::{
    auth::{self, hash_of},
    model::{Limits, UserId, now},
    store::{NewLogin, When},
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// Nobody, another user, a revoked key of the user's, an expired login of the user's, the user, an operator.
type Row = [u16; 6];

/// No account needed.
const fn open(status: u16) -> Row {
    [status; 6]
}

/// Any account will do.
const fn any(status: u16) -> Row {
    [401, status, 401, 401, status, status]
}

/// What is asked for is the user's, and nobody else knows of it.
const fn own(status: u16) -> Row {
    [401, 404, 401, 401, status, 404]
}

const fn operator(status: u16) -> Row {
    [401, 403, 401, 401, 403, status]
}

const ROWS: [(&str, Row); 47] = [
    ("get /livez", open(200)),
    ("get /readyz", open(200)),
    ("get /api/openapi.json", open(200)),
    ("post /api/session", open(200)),
    ("get /api/session", any(200)),
    // They all come with keys.
    ("delete /api/session", any(409)),
    ("get /api/keys", any(200)),
    ("post /api/keys", any(201)),
    ("delete /api/keys/{id}", own(204)),
    ("get /api/sessions", any(200)),
    ("delete /api/sessions/{id}", own(204)),
    ("get /api/conversations", any(200)),
    ("post /api/conversations", any(201)),
    ("post /api/conversations/import", any(201)),
    ("get /api/conversations/{id}", own(200)),
    ("patch /api/conversations/{id}", own(200)),
    ("delete /api/conversations/{id}", own(204)),
    ("get /api/conversations/{id}/export", own(200)),
    ("post /api/conversations/{id}/restore", own(200)),
    ("post /api/conversations/{id}/messages", own(202)),
    ("post /api/messages/{id}/regenerate", own(202)),
    ("post /api/messages/{id}/continue", own(202)),
    ("get /api/generations/{id}", own(200)),
    ("get /api/generations/{id}/events", own(200)),
    ("post /api/generations/{id}/stop", own(200)),
    ("get /api/models", any(200)),
    ("get /api/feed", any(200)),
    ("get /v1/models", any(200)),
    ("get /v1/models/{id}", any(200)),
    ("post /v1/chat/completions", any(200)),
    ("get /v1/generations/{id}", own(200)),
    ("get /v1/generations/{id}/events", own(200)),
    ("post /v1/generations/{id}/cancel", own(200)),
    ("get /api/operator/users", operator(200)),
    ("post /api/operator/users", operator(201)),
    ("patch /api/operator/users/{id}", operator(200)),
    ("get /api/operator/users/{id}/keys", operator(200)),
    ("post /api/operator/users/{id}/keys", operator(201)),
    ("get /api/operator/users/{id}/sessions", operator(200)),
    ("post /api/operator/users/{id}/login-link", operator(201)),
    ("delete /api/operator/keys/{id}", operator(204)),
    ("delete /api/operator/sessions/{id}", operator(204)),
    ("get /api/operator/emitters", operator(200)),
    ("delete /api/operator/emitters/{id}", operator(204)),
    ("get /api/operator/generations", operator(200)),
    ("post /api/operator/generations/{id}/stop", operator(200)),
    ("post /api/operator/drain", operator(202)),
];

/// Everybody, and what is the user's.
pub struct World {
    pub app: TestApp,
    pub user: Account,
    other: Account,
    user_id: UserId,
    revoked: Account,
    /// A cookie.
    expired: String,
    model: String,
}

impl World {
    pub async fn new() -> Self {
        let app = spawn_app_with(&[("upstream.url", "")]).await;
        let (user, other) = (app.account("user").await, app.account("other").await);
        let who = user.get_json("/api/session").await;
        let user_id: UserId = id(&who["user"]).parse().expect("an id");
        let store = &*app.chat.store;
        let (key, secret) = auth::new_key(store, user_id, "old", Limits::default(), None)
            .await
            .expect("stored");
        assert!(
            store
                .revoke_key(key.id, Some(user_id))
                .await
                .expect("stored")
        );
        let new = NewLogin {
            user: user_id,
            key: None,
            hash: hash_of("old"),
            expires_at: now() - Duration::from_secs(1),
            user_agent: None,
            address: None,
        };
        let before = When {
            now: now() - Duration::from_mins(1),
            idle: Duration::from_hours(1),
        };
        store.add_login(&new, before).await.expect("stored");
        let port = app.origin.rsplit_once(':').expect("a port").1;
        let models = user.get_json("/v1/models").await;
        Self {
            revoked: Account {
                key: secret,
                ..user.clone()
            },
            expired: format!("continuo_{port}=old"),
            model: id(&models["data"][0]).to_owned(),
            app,
            user,
            other,
            user_id,
        }
    }

    fn asks(&self, who: usize, method: &Method, path: &str) -> RequestBuilder {
        let method = method.clone();
        match who {
            0 => self.app.nobody(method, path),
            1 => self.other.request(method, path),
            2 => self.revoked.request(method, path),
            3 => self
                .app
                .nobody(method, path)
                .header("cookie", &self.expired),
            4 => self.user.request(method, path),
            _ => self.app.owner.request(method, path),
        }
    }

    /// The path of something of the user's that is there, and what must live as long as it.
    pub async fn path(&self, template: &str) -> (String, Option<Events>) {
        let user = &self.user;
        let made = async |path: &str, body: Value| -> Value {
            let response = send(user.post(path).json(&body)).await;
            response.json().await.expect("JSON")
        };
        let mut lives = None;
        let id = match template {
            it if !it.contains("{id}") => String::new(),
            it if it.starts_with("/api/conversations/") => user.conversation().await,
            it if it.starts_with("/v1/models/") => self.model.clone(),
            it if it.contains("/keys/{id}") => {
                id(&made("/api/keys", json!({ "name": "k" })).await).to_owned()
            }
            it if it.contains("/sessions/{id}") => {
                made("/api/session", json!({ "token": user.key })).await;
                let logins = user.get_json("/api/sessions").await;
                let last = logins["items"].as_array().and_then(|logins| logins.last());
                id(last.expect("a login")).to_owned()
            }
            it if it.starts_with("/api/operator/users/") => self.user_id.to_string(),
            it if it.starts_with("/api/operator/emitters/") => {
                let mut feed = Events::new(send(user.get("/api/feed")).await);
                feed.expect("snapshot").await;
                lives = Some(feed);
                let all = self
                    .app
                    .owner
                    .get_json("/api/operator/emitters?sort=-opened_at")
                    .await;
                id(&all["items"][0]).to_owned()
            }
            it if it.starts_with("/v1/generations/") => {
                let body =
                    json!({ "stream": true, "messages": [{ "role": "user", "content": "hello" }] });
                let request = user.post("/v1/chat/completions").json(&body);
                let response = send(request.header("x-continuo-detach", "true")).await;
                let location = response.headers()["location"].to_str().expect("ASCII");
                location.split('/').nth(3).expect("an id").to_owned()
            }
            it => {
                let turn = user.ask(&user.conversation().await, "hello").await;
                if !it.starts_with("/api/operator/") {
                    user.stop(&turn).await;
                }
                if it.contains("/messages/") {
                    turn.message
                } else {
                    turn.generation
                }
            }
        };
        (template.replace("{id}", &id), lives)
    }

    /// Ends what answers are still written.
    pub async fn quiet(&self) {
        let owner = &self.app.owner;
        let running = owner.get_json("/api/operator/generations").await;
        for row in running["items"].as_array().expect("rows") {
            let stop = format!("/api/operator/generations/{}/stop", id(row));
            send(owner.post(&stop)).await;
        }
    }
}

fn id(of: &Value) -> &str {
    of["id"].as_str().expect("an id")
}

/// The example of the contract, with what can be used only once or must be real.
pub fn body(world: &World, name: &str, operation: &Value, who: usize) -> Option<Value> {
    let example = &operation["requestBody"]["content"]["application/json"]["example"];
    match name {
        "post /api/session" => Some(json!({ "token": world.user.key })),
        "post /api/operator/users" => Some(json!({ "name": format!("new-{who}") })),
        // What locks the user out would change the rows behind it.
        "patch /api/operator/users/{id}" => Some(json!({ "disabled": false })),
        "post /v1/chat/completions" => {
            let mut body = example.clone();
            body["stream"] = true.into();
            Some(body)
        }
        _ => (!example.is_null()).then(|| example.clone()),
    }
}

#[tokio::test]
async fn everybody_gets_exactly_what_is_theirs() {
    let mut world = World::new().await;
    let contract = Contract::of(&world.app).await;
    let operations: Vec<_> = contract.operations();
    let named: BTreeSet<String> = operations
        .iter()
        .map(|(path, method, _)| format!("{method} {path}"))
        .collect();
    let rows: BTreeSet<String> = ROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        named, rows,
        "each operation has a row, and each row an operation"
    );

    let mut wrong = Vec::new();
    for (name, row) in &ROWS {
        let (method, template) = name.split_once(' ').expect("a method and a path");
        let found = operations
            .iter()
            .find(|(path, verb, _)| *path == template && *verb == method);
        let operation = found.expect("it is named").2;
        let method: Method = method.to_uppercase().parse().expect("a method");
        for (who, expected) in row.iter().enumerate() {
            // Who is turned away without a look at it may ask for nothing.
            let (path, lives) = if [401, 403].contains(expected) {
                (nowhere(template), None)
            } else {
                world.path(template).await
            };
            let mut request = world.asks(who, &method, &path);
            if let Some(body) = body(&world, name, operation, who) {
                request = request.json(&body);
            }
            let status = send(request).await.status().as_u16();
            if status != *expected {
                wrong.push(format!("{name} by {who}: {status}, not {expected}"));
            }
            drop(lives);
            // It ends the server, and is the last row.
            if status != 202 || !name.ends_with("/drain") {
                world.quiet().await;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    world.app.served().await;
}
