//! The whole program in the test's process, over real HTTP, with a store of its own and an upstream that the test drives.
#![allow(dead_code, reason = "no test binary uses all of it")]
#![allow(clippy::disallowed_methods, reason = "tests may spawn")]

use super::{
    PATIENCE,
    events::{Events, Reader},
    fake_upstream::{Call, FakeUpstream},
    until,
};
use continuo::{
    auth,
    chat::Chat,
    clock::Clock,
    config::Layers,
    model::Limits,
    server::{self, Shutdown},
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};

pub struct TestApp {
    pub origin: String,
    pub owner: Account,
    pub chat: Arc<Chat>,
    pub upstream: FakeUpstream,
    pub shutdown: Shutdown,
    served: Option<JoinHandle<anyhow::Result<()>>>,
    data: Arc<TempDir>,
}

/// Somebody who asks: requests with their API key.
#[derive(Clone)]
pub struct Account {
    pub origin: String,
    pub key: String,
    pub client: Client,
}

/// A started turn.
#[derive(Debug, Clone)]
pub struct Turn {
    pub generation: String,
    pub message: String,
    pub conversation: String,
}

/// The program with default options.
pub async fn spawn_app() -> TestApp {
    spawn_app_with(&[]).await
}

/// The program with these options over the defaults, by dotted key.
pub async fn spawn_app_with(options: &[(&str, &str)]) -> TestApp {
    let upstream = FakeUpstream::start().await;
    let data = tempfile::tempdir().expect("a directory");
    start(upstream, data.into(), options, Clock::default()).await
}

/// The same, by a clock that the test moves.
pub async fn spawn_app_by(clock: &Clock, options: &[(&str, &str)]) -> TestApp {
    let upstream = FakeUpstream::start().await;
    let data = tempfile::tempdir().expect("a directory");
    start(upstream, data.into(), options, clock.clone()).await
}

async fn start(
    upstream: FakeUpstream,
    data: Arc<TempDir>,
    options: &[(&str, &str)],
    clock: Clock,
) -> TestApp {
    let mut layers = Layers::default();
    let own = [
        ("server.bind", "127.0.0.1:0"),
        ("server.data_dir", data.path().to_str().expect("UTF-8")),
        ("server.workers", "2"),
        ("upstream.url", &upstream.base_url()),
        ("drain.grace_seconds", "0"),
        // One request more after a first answer; the tests that want it ask for it.
        ("titles.enabled", "false"),
    ];
    for (key, value) in own.iter().chain(options) {
        layers.flag("test", key, value);
    }
    let server = server::build_by(layers.finish().expect("valid options"), clock)
        .await
        .expect("a server");
    let (origin, chat, owner) = (server.origin(), server.chat.clone(), server.owner.id);
    let shutdown = Shutdown::default();
    let served = tokio::spawn(server.run(shutdown.clone()));
    let (_, key) = auth::new_key(&*chat.store, owner, "test", Limits::default(), None)
        .await
        .expect("a key");
    let owner = Account {
        origin: origin.clone(),
        key,
        client: Client::new(),
    };
    TestApp {
        origin,
        owner,
        chat,
        upstream,
        shutdown,
        served: Some(served),
        data,
    }
}

impl TestApp {
    /// Another account, without the operator role.
    pub async fn stranger(&self) -> Account {
        self.account("stranger").await
    }

    /// A new account of this name, without the operator role.
    pub async fn account(&self, name: &str) -> Account {
        let user = self
            .chat
            .store
            .add_user(name, false)
            .await
            .expect("stored")
            .expect("a new name");
        let (_, key) = auth::new_key(&*self.chat.store, user.id, "test", Limits::default(), None)
            .await
            .expect("a key");
        Account {
            origin: self.origin.clone(),
            key,
            client: Client::new(),
        }
    }

    /// A finished answer in this conversation of the owner: the upstream says these pieces.
    pub async fn answered(&self, conversation: &str, content: &str, pieces: &[&str]) -> Turn {
        let turn = self.owner.ask(conversation, content).await;
        self.upstream.next_call().await.answer(pieces).await;
        self.owner.read_all(&turn).await;
        turn
    }

    /// A question of the owner in a conversation of its own, and the call of the upstream that is to answer it.
    pub async fn asked(&self) -> (Turn, Call) {
        let turn = self
            .owner
            .ask(&self.owner.conversation().await, "hello")
            .await;
        (turn, self.upstream.next_call().await)
    }

    /// The same, with the head of the answer sent.
    pub async fn answering(&self) -> (Turn, Call) {
        let (turn, mut call) = self.asked().await;
        call.head_sse().await;
        (turn, call)
    }

    /// A request without any credential.
    pub fn nobody(&self, method: Method, path: &str) -> RequestBuilder {
        Client::new().request(method, format!("{}{path}", self.origin))
    }

    /// Waits until nobody is attached.
    pub async fn no_emitters(&self) {
        let left = timeout(PATIENCE, self.chat.registry.no_emitters());
        left.await.expect("an emitter was left behind");
    }

    /// Waits until no generation runs.
    pub async fn nothing_runs(&self) {
        let registry = &self.chat.registry;
        until("nothing runs", async || registry.running().is_empty()).await;
    }

    /// Waits until no log is in memory; the store alone has what was said.
    pub async fn nothing_in_memory(&self) {
        self.nothing_runs().await;
        let registry = &self.chat.registry;
        until("no log is kept", async || registry.retained_count() == 0).await;
    }

    /// Waits until nothing waits on disk for the database: on a busy machine batches and ends may go that way.
    pub async fn caught_up(&self) {
        let recorder = &self.chat.recorder;
        until("the database has it all", async || {
            recorder.backlog().0 == 0
        })
        .await;
    }

    /// Ends the program. Fails when an emitter or a generation is left behind, or when what was opened and closed does not add up.
    pub async fn end(mut self) {
        self.no_emitters().await;
        self.nothing_runs().await;
        let emitters = self.owner.get_json("/api/operator/emitters").await;
        let closed: u64 = emitters["closed"]
            .as_object()
            .expect("reasons")
            .values()
            .filter_map(Value::as_u64)
            .sum();
        assert_eq!(emitters["opened"].as_u64(), Some(closed), "{emitters}");
        self.shut_down().await;
    }

    /// The program once more, on what this one, which has ended, left behind.
    pub async fn again(&self) -> TestApp {
        self.again_by(&Clock::default(), &[]).await
    }

    /// The same with these options, by a clock that the test moves.
    pub async fn again_by(&self, clock: &Clock, options: &[(&str, &str)]) -> TestApp {
        assert!(self.served.is_none(), "one at a time");
        let upstream = FakeUpstream::start().await;
        start(upstream, self.data.clone(), options, clock.clone()).await
    }

    /// Where everything is kept.
    pub fn data(&self) -> &std::path::Path {
        self.data.path()
    }

    /// Waits until the program ends by itself.
    pub async fn served(&mut self) {
        if let Some(served) = self.served.take() {
            timeout(PATIENCE, served)
                .await
                .expect("the end in time")
                .expect("no panic")
                .expect("no failure");
        }
    }

    /// Drains and waits for the end.
    pub async fn shut_down(&mut self) {
        self.shutdown.drain.cancel();
        self.served().await;
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.shutdown.drain.cancel();
        self.shutdown.hurry.cancel();
        assert!(
            self.served.is_none() || std::thread::panicking(),
            "a test ends its app with `end` or `shut_down`"
        );
    }
}

impl Account {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.origin))
            .bearer_auth(&self.key)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// The JSON of a 200.
    pub async fn get_json(&self, path: &str) -> Value {
        let response = send(self.get(path)).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("JSON")
    }

    /// A new conversation's id.
    pub async fn conversation(&self) -> String {
        let response = send(self.post("/api/conversations")).await;
        assert_eq!(response.status(), 201);
        let conversation: Value = response.json().await.expect("JSON");
        conversation["id"].as_str().expect("an id").to_owned()
    }

    /// Asks in a conversation; the answer is started.
    pub async fn ask(&self, conversation: &str, content: &str) -> Turn {
        let request = self.post(&format!("/api/conversations/{conversation}/messages"));
        let response = send(request.json(&json!({ "content": content }))).await;
        Turn::started(conversation, response).await
    }

    /// Attaches from a position.
    pub async fn events(&self, turn: &Turn, after: u64) -> Events {
        let request = self
            .get(&turn.events())
            .header("accept", "text/event-stream");
        Events::new(send(request.header("last-event-id", after)).await)
    }

    /// Reads an answer from its beginning to its end.
    pub async fn read_all(&self, turn: &Turn) -> Reader {
        let mut reader = Reader::default();
        self.events(turn, 0).await.read_to_end(&mut reader).await;
        reader
    }

    /// A message with these fields.
    pub fn say(&self, conversation: &str, body: &Value) -> RequestBuilder {
        self.post(&format!("/api/conversations/{conversation}/messages"))
            .json(body)
    }

    /// A conversation as it reads now.
    pub async fn read(&self, conversation: &str) -> Value {
        self.get_json(&format!("/api/conversations/{conversation}"))
            .await
    }

    /// The stored message of a turn's answer.
    pub async fn message(&self, turn: &Turn) -> Value {
        let conversation = self.read(&turn.conversation).await;
        let messages = conversation["messages"].as_array().expect("messages");
        messages
            .iter()
            .find(|message| message["id"] == turn.message.as_str())
            .expect("the answer")
            .clone()
    }

    pub async fn stop(&self, turn: &Turn) -> Value {
        let response = send(self.post(&format!("/api/generations/{}/stop", turn.generation))).await;
        assert_eq!(response.status(), 200);
        response.json().await.expect("JSON")
    }
}

impl Turn {
    /// What a 202 says that was started.
    pub async fn started(conversation: &str, response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let location = response.headers()["location"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        let ids: Value = response.json().await.expect("JSON");
        let generation = ids["generation_id"].as_str().expect("an id").to_owned();
        assert_eq!(location, format!("/api/generations/{generation}"));
        let message = ids["message_id"].as_str().expect("an id").to_owned();
        Self {
            generation,
            message,
            conversation: conversation.to_owned(),
        }
    }

    pub fn events(&self) -> String {
        format!("/api/generations/{}/events", self.generation)
    }
}

/// Sends within the patience of a test.
pub async fn send(request: RequestBuilder) -> Response {
    timeout(PATIENCE, request.send())
        .await
        .expect("an answer in time")
        .expect("an answer")
}

/// The problem of a refusal, whose media type and status are checked.
pub async fn problem(response: Response, status: u16, kind: &str) -> Value {
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let request_id = response.headers()["x-request-id"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    assert_eq!(response.status(), status);
    let problem: Value = response.json().await.expect("JSON");
    assert_eq!(problem["type"], format!("/problems/{kind}"), "{problem}");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["instance"], request_id.as_str());
    assert!(!problem["detail"].as_str().expect("a detail").is_empty());
    problem
}
