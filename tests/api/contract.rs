//! The `OpenAPI` document is of this server: its routes, and what they really send.

use crate::{
    schema::Schemas,
    support::{
        app::{Account, TestApp, send, spawn_app},
        events::Events,
    },
    v1::{asked, asking, completion},
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeSet};

/// Methods, by the names that `OpenAPI` gives them.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// What the server says about itself.
pub struct Contract {
    pub document: Value,
    /// What was checked: operation, status, and media type if there was a body.
    seen: RefCell<BTreeSet<String>>,
}

impl Contract {
    pub async fn of(app: &TestApp) -> Self {
        let response = send(app.nobody(Method::GET, "/api/openapi.json")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        let document = response.json().await.expect("JSON");
        Self {
            document,
            seen: RefCell::default(),
        }
    }

    /// Every operation with its path and method.
    pub fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let paths = self.document["paths"].as_object().expect("paths");
        let mut all = Vec::new();
        for (path, item) in paths {
            for (method, operation) in item.as_object().expect("operations") {
                all.push((path.as_str(), method.as_str(), operation));
            }
        }
        all
    }

    /// The operation that a request to this path is.
    fn operation(&self, method: &str, path: &str) -> (&str, &Value) {
        let path = path.split('?').next().unwrap_or_default();
        let paths = self.document["paths"].as_object().expect("paths");
        let fits = |template: &str| {
            let mut words = path.split('/');
            let fits = template.split('/').all(|named| {
                let word = words.next();
                word.is_some_and(|word| named.starts_with('{') || named == word)
            });
            fits && words.next().is_none()
        };
        let exact = paths.get_key_value(path);
        let found = exact.or_else(|| paths.iter().find(|(template, _)| fits(template)));
        let (template, item) = found.unwrap_or_else(|| panic!("{path} is not in the contract"));
        (template, &item[method])
    }

    /// Sends it, and compares the answer with the contract. The body, as text.
    pub async fn check(&self, request: RequestBuilder) -> (u16, String) {
        let (client, request) = request.build_split();
        let request = request.expect("a request");
        let method = request.method().as_str().to_ascii_lowercase();
        let path = request.url().path().to_owned();
        let response = send(RequestBuilder::from_parts(client, request)).await;
        let (status, media_type) = self.check_head(&method, &path, &response);
        let text = response.text().await.expect("a body");
        self.check_body(&method, &path, status, media_type.as_deref(), &text);
        (status, text)
    }

    /// The same of a JSON answer with this status.
    pub async fn json(&self, status: u16, request: RequestBuilder) -> Value {
        let (is, text) = self.check(request).await;
        assert_eq!(is, status, "{text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    fn response(&self, method: &str, path: &str, status: u16) -> &Value {
        let (template, operation) = self.operation(method, path);
        let responses = &operation["responses"];
        let range = format!("{}XX", status / 100);
        let response = responses.get(status.to_string()).or(responses.get(range));
        let response =
            response.unwrap_or_else(|| panic!("{method} {template} may not answer {status}"));
        let Some(at) = response["$ref"].as_str() else {
            return response;
        };
        self.document.pointer(&at[1..]).expect("a response")
    }

    /// Status and media type.
    fn check_head(&self, method: &str, path: &str, response: &Response) -> (u16, Option<String>) {
        let status = response.status().as_u16();
        let told = self.response(method, path, status);
        let headers = told["headers"].as_object().expect("headers");
        for name in headers.keys() {
            let is_there = response.headers().contains_key(name);
            // Only where there is something to wait for, or a key was used; and one path has two kinds of answer.
            let is_optional = ["Retry-After", "Content-Disposition"].contains(&name.as_str());
            assert!(
                is_there || is_optional,
                "{method} {path} {status}: no {name}"
            );
        }
        let media_type = response.headers().get("content-type");
        let media_type = media_type.map(|media_type| media_type.to_str().expect("ASCII"));
        let media_type = media_type.map(|it| it.split(';').next().unwrap_or_default().to_owned());
        let known = told.get("content").and_then(Value::as_object);
        match (&media_type, known) {
            (Some(media_type), Some(known)) if known.contains_key(media_type) => {}
            (None, None) => {}
            (is, known) => panic!("{method} {path} {status}: {is:?} is none of {known:?}"),
        }
        let (template, _) = self.operation(method, path);
        let mut seen = self.seen.borrow_mut();
        seen.insert(seen_as(method, template, status, media_type.as_deref()));
        (status, media_type)
    }

    fn check_body(
        &self,
        method: &str,
        path: &str,
        status: u16,
        media_type: Option<&str>,
        text: &str,
    ) {
        let Some(media_type) = media_type else {
            assert_eq!(text, "", "{method} {path}");
            return;
        };
        let content = &self.response(method, path, status)["content"][media_type];
        if media_type == "text/event-stream" {
            let named = content["x-events"].as_object().expect("events");
            if named.is_empty() {
                return;
            }
            let mut name = "";
            for line in text.lines() {
                if let Some(event) = line.strip_prefix("event: ") {
                    name = event;
                } else if let Some(data) = line.strip_prefix("data: ") {
                    self.check_event(content, name, &serde_json::from_str(data).expect("JSON"));
                }
            }
            return;
        }
        let value = if media_type.ends_with("json") {
            serde_json::from_str(text).expect("JSON")
        } else {
            Value::String(text.to_owned())
        };
        let faults = Schemas(&self.document).faults(&content["schema"], &value);
        assert!(faults.is_empty(), "{method} {path} {status}: {faults:#?}");
    }

    fn check_event(&self, content: &Value, name: &str, data: &Value) {
        let schema = content["x-events"].get(name);
        let schema = schema.unwrap_or_else(|| panic!("{name} is not in the contract"));
        let faults = Schemas(&self.document).faults(schema, data);
        assert!(faults.is_empty(), "{name}: {faults:#?}");
        self.seen.borrow_mut().insert(format!("event {name}"));
    }

    /// A stream that does not end by itself: its head, and these events.
    async fn check_stream(&self, request: RequestBuilder, path: &str, events: usize) {
        let response = send(request).await;
        self.check_head("get", path, &response);
        let content = self.response("get", path, 200)["content"]["text/event-stream"].clone();
        let mut stream = Events::new(response);
        for _ in 0..events {
            let frame = stream.next().await.expect("an event");
            let name = frame.event.expect("a name");
            self.check_event(&content, &name, &frame.data.expect("data"));
        }
    }
}

fn seen_as(method: &str, template: &str, status: u16, media_type: Option<&str>) -> String {
    format!("{method} {template} {status} {}", media_type.unwrap_or("-"))
}

/// A path of this template that names nothing that is there.
pub fn nowhere(template: &str) -> String {
    let id = "019a5b1e-6f5c-7c3e-9a53-0c5d2f6f4a11";
    template.replace("{id}", id)
}

fn id(of: &Value) -> String {
    of["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn the_contract_names_every_method_of_every_path_and_no_other() {
    let app = spawn_app().await;
    let contract = Contract::of(&app).await;
    assert_eq!(contract.document["openapi"], "3.1.0");
    for (path, item) in contract.document["paths"].as_object().expect("paths") {
        // With a credential: a stranger is not told which methods there are.
        for method in METHODS {
            if item.get(method).is_some() {
                continue;
            }
            let request = app.owner.request(
                method.to_uppercase().parse().expect("a method"),
                &nowhere(path),
            );
            let response = send(request).await;
            assert_eq!(
                response.status(),
                405,
                "{method} {path} is not in the contract"
            );
            let allow = response.headers()["allow"]
                .to_str()
                .expect("ASCII")
                .to_ascii_lowercase();
            let allowed: BTreeSet<_> = allow
                .split(',')
                .map(str::trim)
                .filter(|it| *it != "head")
                .collect();
            let named: BTreeSet<_> = item
                .as_object()
                .expect("methods")
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(allowed, named, "{path}");
        }
    }
    // Of those that are named none is unknown to the server.
    for (path, method, _) in contract.operations() {
        let request = app.nobody(
            method.to_uppercase().parse().expect("a method"),
            &nowhere(path),
        );
        let status = send(request).await.status();
        assert!(
            ![404, 405].contains(&status.as_u16()),
            "{method} {path}: {status}"
        );
    }
    app.end().await;
}

#[tokio::test]
async fn the_contract_is_whole_in_itself() {
    let app = spawn_app().await;
    let contract = Contract::of(&app).await;
    let schemas = Schemas(&contract.document);
    let mut names = BTreeSet::new();
    let mut looked_at = 0;
    let mut examples = |of: &Value, whose: &str| {
        for (media_type, content) in of["content"].as_object().into_iter().flatten() {
            let example = content.get("example");
            let example = example.unwrap_or_else(|| panic!("{whose} {media_type}: no example"));
            let faults = schemas.faults(&content["schema"], example);
            assert!(faults.is_empty(), "{whose}: {faults:#?}");
            looked_at += 1;
        }
    };
    for (path, method, operation) in contract.operations() {
        let whose = format!("{method} {path}");
        let name = operation["operationId"].as_str().expect("a name");
        assert!(names.insert(name), "{name} is there twice");
        assert!(operation["summary"].is_string(), "{whose}: no summary");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["schema"].is_object(), "{whose}: {parameter}");
        }
        examples(&operation["requestBody"], &whose);
        for (status, response) in operation["responses"].as_object().expect("responses") {
            assert!(
                response["description"]
                    .as_str()
                    .is_some_and(|it| !it.is_empty()),
                "{whose} {status}"
            );
            if response.get("$ref").is_none() && status.len() == 3 && !status.ends_with("XX") {
                examples(response, &format!("{whose} {status}"));
            }
        }
    }
    for (name, response) in contract.document["components"]["responses"]
        .as_object()
        .expect("responses")
    {
        examples(response, name);
    }
    assert!(looked_at > 80, "only {looked_at} examples");
    follow(&schemas, &contract.document);
    app.end().await;
}

/// Every reference leads somewhere.
fn follow(schemas: &Schemas, value: &Value) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| follow(schemas, value)),
        Value::Object(members) => {
            schemas.resolve(value);
            members.values().for_each(|value| follow(schemas, value));
        }
        _ => {}
    }
}

#[tokio::test]
async fn what_the_server_sends_is_in_its_contract() {
    let app = spawn_app().await;
    app.upstream.set_models(Some(&["demo"]));
    let contract = Contract::of(&app).await;
    contract.check(app.nobody(Method::GET, "/livez")).await;
    contract.check(app.nobody(Method::GET, "/readyz")).await;
    contract
        .check(app.nobody(Method::GET, "/api/openapi.json"))
        .await;
    accounts(&app, &contract).await;
    users(&app, &contract).await;
    conversations(&app, &contract).await;
    answers(&app, &contract).await;
    completions(&app, &contract).await;
    refusals(&app, &contract).await;
    let owner = &app.owner;
    app.nothing_runs().await;
    app.no_emitters().await;
    let drain = contract.json(202, owner.post("/api/operator/drain")).await;
    assert_eq!(drain["status"], "draining");

    let seen = contract.seen.borrow().clone();
    let mut missing = Vec::new();
    for (path, method, operation) in contract.operations() {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            if !status.starts_with('2') {
                continue;
            }
            let none = serde_json::Map::from_iter([("-".to_owned(), Value::Null)]);
            let kinds = response["content"].as_object().unwrap_or(&none);
            for kind in kinds.keys() {
                let way = format!("{method} {path} {status} {kind}");
                if !seen.contains(&way) {
                    missing.push(way);
                }
            }
        }
    }
    assert!(missing.is_empty(), "never seen: {missing:#?}");
    let mut app = app;
    app.served().await;
}

/// Keys, logins, users.
async fn accounts(app: &TestApp, contract: &Contract) {
    let owner = &app.owner;
    let log_in = || {
        app.nobody(Method::POST, "/api/session")
            .json(&json!({ "token": owner.key }))
    };
    let cookie = send(log_in()).await.headers()["set-cookie"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    contract.json(200, log_in()).await;
    contract.json(200, owner.get("/api/session")).await;
    let sessions = contract.json(200, owner.get("/api/sessions")).await;
    let last = id(&sessions["items"].as_array().expect("logins")[1]);
    let delete = |path: &str| owner.request(Method::DELETE, path);
    contract
        .json(204, delete(&format!("/api/sessions/{last}")))
        .await;
    contract.json(409, delete("/api/session")).await;
    let log_out = app
        .nobody(Method::DELETE, "/api/session")
        .header("cookie", cookie.split(';').next().expect("a pair"));
    contract.json(204, log_out).await;

    let key = json!({ "name": "k", "expires_at": "2100-01-01T00:00:00Z" });
    let made = contract.json(201, owner.post("/api/keys").json(&key)).await;
    contract.json(200, owner.get("/api/keys")).await;
    contract
        .json(
            403,
            Account {
                key: made["key"].as_str().expect("a key").into(),
                ..owner.clone()
            }
            .post("/api/keys")
            .json(&key),
        )
        .await;
    contract
        .json(204, delete(&format!("/api/keys/{}", id(&made))))
        .await;
}

async fn users(app: &TestApp, contract: &Contract) {
    let owner = &app.owner;
    let delete = |path: &str| owner.request(Method::DELETE, path);
    let key = json!({ "name": "k" });
    let users = "/api/operator/users";
    let user = contract
        .json(201, owner.post(users).json(&json!({ "name": "ada" })))
        .await;
    contract
        .json(409, owner.post(users).json(&json!({ "name": "ada" })))
        .await;
    contract.json(200, owner.get(users)).await;
    let path = format!("{users}/{}", id(&user));
    contract
        .json(
            200,
            owner
                .request(Method::PATCH, &path)
                .json(&json!({ "operator": true })),
        )
        .await;
    let link = contract
        .json(201, owner.post(&format!("{path}/login-link")))
        .await;
    let token = link["link"]
        .as_str()
        .and_then(|link| link.split_once('='))
        .expect("a link")
        .1;
    contract
        .json(
            200,
            app.nobody(Method::POST, "/api/session")
                .json(&json!({ "token": token })),
        )
        .await;
    let sessions = contract
        .json(200, owner.get(&format!("{path}/sessions")))
        .await;
    contract
        .json(
            204,
            delete(&format!(
                "/api/operator/sessions/{}",
                id(&sessions["items"][0])
            )),
        )
        .await;
    let made = contract
        .json(201, owner.post(&format!("{path}/keys")).json(&key))
        .await;
    contract.json(200, owner.get(&format!("{path}/keys"))).await;
    contract
        .json(204, delete(&format!("/api/operator/keys/{}", id(&made))))
        .await;
    contract
        .json(
            200,
            owner
                .request(Method::PATCH, &path)
                .json(&json!({ "disabled": true })),
        )
        .await;
    contract
        .json(409, owner.post(&format!("{path}/login-link")))
        .await;
}

async fn conversations(app: &TestApp, contract: &Contract) {
    let owner = &app.owner;
    let list = "/api/conversations";
    let body = json!({ "title": "Bread", "system": "Be brief.", "sampling": { "temperature": 0.5, "stop": ["."] } });
    let made = contract
        .json(
            201,
            owner.post(list).json(&body).header("idempotency-key", "k"),
        )
        .await;
    contract
        .json(
            201,
            owner.post(list).json(&body).header("idempotency-key", "k"),
        )
        .await;
    contract
        .json(422, owner.post(list).header("idempotency-key", "k"))
        .await;
    let path = format!("{list}/{}", id(&made));
    app.answered(&id(&made), "hello", &["Hi *there*.\n\n", "And here"])
        .await;
    contract
        .json(200, owner.get(&format!("{list}?limit=1")))
        .await;
    contract
        .json(200, owner.get(&format!("{list}?q=hello")))
        .await;
    for query in ["", "?blocks=1", "?limit=5", "?limit=5&blocks=1"] {
        contract
            .json(200, owner.get(&format!("{path}{query}")))
            .await;
    }
    let change = |tag: &str| {
        owner
            .request(Method::PATCH, &path)
            .header("if-match", tag)
            .json(&json!({ "pinned": true }))
    };
    contract.json(200, change("\"1\"")).await;
    contract.json(412, change("\"1\"")).await;
    contract.json(400, change("one")).await;
    let file = contract
        .json(200, owner.get(&format!("{path}/export")))
        .await;
    contract
        .check(owner.get(&format!("{path}/export?format=markdown")))
        .await;
    contract
        .json(201, owner.post(&format!("{list}/import")).json(&file))
        .await;
    contract
        .json(422, owner.post(&format!("{list}/import")).json(&json!({})))
        .await;
    contract
        .json(204, owner.request(Method::DELETE, &path))
        .await;
    contract
        .json(200, owner.post(&format!("{path}/restore")))
        .await;
}

async fn answers(app: &TestApp, contract: &Contract) {
    let owner = &app.owner;
    contract.json(200, owner.get("/api/models")).await;
    let conversation = owner.conversation().await;
    let ask = || owner.say(&conversation, &json!({ "content": "hello" }));
    let started = contract.json(202, ask()).await;
    let mut call = app.upstream.next_call().await;
    call.head_sse().await;
    call.send_reasoning("Hm").await;
    call.send("One").await;
    let generation = format!(
        "/api/generations/{}",
        started["generation_id"].as_str().expect("an id")
    );
    let events = format!("{generation}/events");
    contract.check_stream(owner.get(&events), &events, 2).await;
    contract
        .check_stream(owner.get("/api/feed"), "/api/feed", 1)
        .await;
    let follows = owner.get(&events).header("x-session-id", "tab");
    let follows = Events::new(send(follows).await);
    contract.json(409, ask()).await;
    contract.json(200, owner.get(&generation)).await;
    contract
        .json(
            200,
            owner.get(&format!("/api/conversations/{conversation}")),
        )
        .await;
    contract.json(200, owner.get("/api/conversations")).await;
    contract
        .json(200, owner.get("/api/operator/generations"))
        .await;
    let emitters = owner.get("/api/operator/emitters?session=tab");
    let emitters = contract.json(200, emitters).await;
    let ours = format!("/api/operator/emitters/{}", id(&emitters["items"][0]));
    contract
        .json(204, owner.request(Method::DELETE, &ours))
        .await;
    drop(follows);
    contract
        .json(200, owner.post(&format!("{generation}/stop")))
        .await;
    let poll = |after: u64| {
        owner
            .get(&format!("{events}?after={after}"))
            .header("accept", "application/json")
    };
    let polled = contract.json(200, poll(0)).await;
    let end = polled["next"].as_u64().expect("a position");
    contract.check(owner.get(&events)).await;
    contract
        .check(owner.get(&format!("{events}?after=999999")))
        .await;
    contract
        .json(204, owner.get(&format!("{events}?after={end}")))
        .await;
    contract
        .json(406, owner.get(&events).header("accept", "image/png"))
        .await;
    contract
        .json(400, owner.get(&format!("{events}?after=x")))
        .await;
    contract
        .json(
            406,
            owner.get("/api/feed").header("accept", "application/json"),
        )
        .await;

    again(
        app,
        contract,
        started["message_id"].as_str().expect("an id"),
    )
    .await;
}

/// Other answers than a first one.
async fn again(app: &TestApp, contract: &Contract, message: &str) {
    let owner = &app.owner;
    let on = |what: &str| owner.post(&format!("/api/messages/{message}/{what}"));
    for what in ["continue", "regenerate"] {
        let started = contract.json(202, on(what)).await;
        let mut call = app.upstream.next_call().await;
        call.answer(&[" more"]).await;
        let generation = started["generation_id"].as_str().expect("an id");
        contract
            .check(owner.get(&format!("/api/generations/{generation}/events")))
            .await;
    }
    contract.json(409, on("continue")).await;
    // The stream itself, of each of them.
    let other = owner.conversation().await;
    let paths = [
        format!("/api/conversations/{other}/messages"),
        format!("/api/messages/{message}/regenerate"),
    ];
    for path in paths {
        let request = owner.post(&path).json(&json!({ "content": "hello" }));
        streamed(app, contract, request).await;
    }
    let (turn, call) = app.asked().await;
    let running = format!("/api/operator/generations/{}/stop", turn.generation);
    contract.json(200, owner.post(&running)).await;
    drop(call);
    let request = owner.post(&format!("/api/messages/{}/continue", turn.message));
    streamed(app, contract, request).await;
}

async fn streamed(app: &TestApp, contract: &Contract, request: RequestBuilder) {
    let answering = async {
        let mut call = app.upstream.next_call().await;
        call.head_sse().await;
        call.send("Hi").await;
        call.finish("stop").await;
        call.usage(3, 4).await;
        call.done().await;
    };
    let checked = contract.check(request.header("accept", "text/event-stream"));
    let ((status, text), ()) = tokio::join!(checked, answering);
    assert_eq!(status, 200, "{text}");
}

async fn completions(app: &TestApp, contract: &Contract) {
    let owner = &app.owner;
    contract.json(200, owner.get("/v1/models")).await;
    contract.json(200, owner.get("/v1/models/demo")).await;
    contract.json(404, owner.get("/v1/models/none")).await;
    let path = "/v1/chat/completions";
    let ask = |streams: bool| {
        completion(
            owner,
            &json!({ "model": "demo", "stream": streams, "messages": [] }),
        )
    };
    let answering = async { app.upstream.next_call().await.reply_completion("Hi").await };
    let ((status, _), ()) = tokio::join!(contract.check(ask(false)), answering);
    assert_eq!(status, 200);
    let refusing = async { app.upstream.next_call().await.reply_429("3").await };
    let ((status, _), ()) = tokio::join!(contract.check(ask(false)), refusing);
    assert_eq!(status, 429);
    let teapot = async {
        app.upstream
            .next_call()
            .await
            .reply_json(418, &json!({ "error": "no" }))
            .await;
    };
    let ((status, _), ()) = tokio::join!(contract.check(ask(true)), teapot);
    assert_eq!(status, 418);
    contract
        .json(422, completion(owner, &json!({ "model": 7 })))
        .await;

    let (response, mut call) = asked(app).await;
    call.head_sse().await;
    call.send("Hi").await;
    let response = response.await.expect("no panic");
    contract.check_head("post", path, &response);
    let location = response.headers()["location"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let again = asking(owner.get(&location));
    contract.check_head("get", &location, &again.await.expect("no panic"));
    let generation = location.trim_end_matches("/events");
    contract.json(200, owner.get(generation)).await;
    contract
        .json(409, owner.get(&format!("/api{}/events", &generation[3..])))
        .await;
    contract
        .json(200, owner.post(&format!("{generation}/cancel")))
        .await;
    contract
        .json(410, owner.get(&format!("{location}?after=77")))
        .await;
    contract
        .json(204, owner.get(&format!("{location}?after=2")))
        .await;
    drop(response);
}

/// What each operation refuses whoever asks, in its own shape.
async fn refusals(app: &TestApp, contract: &Contract) {
    let owner = &app.owner;
    let stranger = app.stranger().await;
    for (path, method, operation) in contract.operations() {
        let there = nowhere(path);
        let method: Method = method.to_uppercase().parse().expect("a method");
        let host = app
            .nobody(method.clone(), &there)
            .header("host", "evil.example");
        contract.json(421, host).await;
        if method != Method::GET {
            let foreign = owner
                .request(method.clone(), &there)
                .header("origin", "http://evil.example");
            contract.json(403, foreign).await;
        }
        if operation.get("security").is_some() {
            contract.json(401, app.nobody(method.clone(), &there)).await;
            if path.starts_with("/api/operator/") {
                contract
                    .json(403, stranger.request(method.clone(), &there))
                    .await;
            }
        }
        if operation.get("requestBody").is_some() {
            let body = |text: &str, kind: &str| {
                let request = owner.request(method.clone(), &there);
                request
                    .header("content-type", kind.to_owned())
                    .body(text.to_owned())
            };
            contract.json(415, body("{}", "text/plain")).await;
            contract.json(400, body("{", "application/json")).await;
            contract.json(422, body("[]", "application/json")).await;
            let large = owner
                .request(method.clone(), &there)
                .header("content-type", "application/json");
            contract.json(413, large.body(vec![b' '; 9 << 20])).await;
        } else if path.contains("{id}") && path != "/v1/models/{id}" {
            contract
                .json(404, owner.request(method.clone(), &there))
                .await;
            contract
                .json(404, owner.request(method, &path.replace("{id}", "x")))
                .await;
        }
    }
}
