//! The built-in demo model: a small OpenAI-compatible server that recites, so that the first start needs no account and no network.
//!
//! It is a real upstream behind real HTTP, and it can be asked to fail in all the ways in which real ones do (prompt `help`).
//! `server` runs it on loopback when no upstream is configured; `continuo demo-upstream` runs it alone.

mod behaviour;
mod prompt;
mod script;
mod titles;
mod topics;

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::{Server, ServerHandle},
    http::StatusCode,
    web,
};
use behaviour::Behaviour;
use prompt::Prompt;
use script::Script;
use serde_json::{Value, json};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The only model it offers; it answers to any name.
pub const MODEL: &str = "continuo-demo";
/// Between two tokens: 40 a second, a pace that can be read.
pub const PAUSE: Duration = Duration::from_millis(25);

/// Bytes of a request body.
const REQUEST_BYTES: usize = 16 * 1024 * 1024;

/// A demo model that is bound to its port; it answers while [`Demo::run`] is polled.
pub struct Demo {
    address: SocketAddr,
    server: Server,
}

/// Binds the port (0: any free one) at the pace of [`PAUSE`].
pub fn start(address: SocketAddr) -> io::Result<Demo> {
    start_with_pause(address, PAUSE)
}

/// The same at another pace: `pause` is the time between two tokens.
pub fn start_with_pause(address: SocketAddr, pause: Duration) -> io::Result<Demo> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let demo = Shared {
        pause,
        answered: Arc::default(),
    };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(demo.clone()))
            .app_data(web::PayloadConfig::new(REQUEST_BYTES))
            .route("/v1/models", web::get().to(models))
            .route("/v1/models/{model}", web::get().to(model))
            .route("/v1/chat/completions", web::post().to(chat_completions))
            .default_service(web::to(unknown))
    })
    .workers(1)
    .disable_signals()
    .tcp_nodelay(true)
    // Or a silent answer would outlive its reader.
    .h1_allow_half_closed(false)
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    Ok(Demo { address, server })
}

impl Demo {
    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For the `base_url` of an upstream; ends in `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Stops it from elsewhere: `handle.stop(false).await`.
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Answers until it is stopped. Needs a tokio runtime of any kind; the worker has a thread of its own.
    pub async fn run(self) -> io::Result<()> {
        self.server.await
    }
}

#[derive(Clone)]
struct Shared {
    pause: Duration,
    /// So that the same prompt gets another answer the next time.
    answered: Arc<AtomicUsize>,
}

fn description() -> Value {
    json!({"id": MODEL, "object": "model", "created": 1_760_000_000, "owned_by": "continuo"})
}

async fn models() -> HttpResponse {
    HttpResponse::Ok().json(json!({"object": "list", "data": [description()]}))
}

async fn model(name: web::Path<String>) -> HttpResponse {
    if name.as_str() == MODEL {
        return HttpResponse::Ok().json(description());
    }
    let message = format!("the model `{name}` does not exist");
    error(StatusCode::NOT_FOUND, &message, None)
}

async fn unknown(request: HttpRequest) -> HttpResponse {
    let message = format!("unknown URL: {} {}", request.method(), request.path());
    error(StatusCode::NOT_FOUND, &message, None)
}

async fn chat_completions(demo: web::Data<Shared>, body: web::Bytes) -> HttpResponse {
    let prompt = match Prompt::read(&body) {
        Ok(prompt) => prompt,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &fault.message, fault.param),
    };
    if let Behaviour::Refuse(status) = prompt.behaviour {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = format!("you asked for an error {}", status.as_u16());
        return error(status, &message, None);
    }
    let is_answer = usize::from(prompt.behaviour != Behaviour::Title);
    let turn = demo.answered.fetch_add(is_answer, Ordering::Relaxed);
    let script = Script::new(&prompt, turn, demo.pause);
    if prompt.stream {
        return HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header(("cache-control", "no-cache"))
            .streaming(script.play());
    }
    match script.whole().await {
        Ok(answer) => HttpResponse::Ok().json(answer),
        Err(message) => error(StatusCode::INTERNAL_SERVER_ERROR, &message, None),
    }
}

/// In the shape of OpenAI's.
fn error(status: StatusCode, message: &str, param: Option<&str>) -> HttpResponse {
    let (kind, code) = match status.as_u16() {
        429 => ("requests", Some("rate_limit_exceeded")),
        404 => ("invalid_request_error", Some("not_found")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    let mut response = HttpResponse::build(status);
    if matches!(status.as_u16(), 429 | 503) {
        response.insert_header(("retry-after", "3"));
    }
    response
        .json(json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
}
