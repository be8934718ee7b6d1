//! Errors at the edge of HTTP: every body that is not a success is an RFC 9457 problem, and a 5xx is logged here, once.
//!
//! Handlers and extractors fail with [`ApiError`]. [`edge`] wraps the whole application: it gives every problem the id of its request
//! and turns what the framework answers by itself (404, 405, malformed paths) into problems too. Below `/v1` it tells each of them as
//! OpenAI would.

use crate::{
    chat::{ChatError, RelayRefused, StartError},
    head,
    limits::{Spent, TooMany},
    model::Problem,
    openai,
    registry::Full,
    store::{StoreError, TurnRefused},
    text::with_causes,
    upstream::Words,
};
use actix_web::{
    Error, HttpMessage, HttpResponse, HttpResponseBuilder, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
};
use std::{error::Error as StdError, fmt, time::Duration};
use tracing_actix_web::RequestId;

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A problem on its way to the client, with the error behind it, which the client never sees.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// What the upstream said, for a client of `/v1`.
    words: Option<Box<Words>>,
}

impl ApiError {
    /// `name` is the last part of the problem's type.
    pub fn new(status: u16, name: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            problem: Box::new(Problem::new(status, name, title, detail)),
            source: None,
            words: None,
        }
    }

    /// Not there, or another user's: the same answer for both.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            404,
            "not-found",
            "Not found",
            format!("there is no such {what}, or it is not yours"),
        )
    }

    pub fn unauthorized() -> Self {
        Self::new(
            401,
            "unauthorized",
            "Sign in first",
            "send an API key as `Authorization: Bearer …`, or sign in with the link that `continuo login` prints",
        )
    }

    /// Well-formed JSON or query that says something impossible.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(422, "invalid-value", "A value is not valid", detail)
    }

    /// Not what its grammar allows.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed-request", "The request is malformed", detail)
    }

    /// Whoever asked may ask again.
    pub fn store_unavailable() -> Self {
        Self::new(
            503,
            "store-unavailable",
            "The database is not available",
            "nothing was changed; answers that are running go on; try again in a moment",
        )
        .retry_after(2)
    }

    /// Not ready for anything.
    pub fn nothing_kept() -> Self {
        Self::new(
            503,
            "nothing-kept",
            "Nothing can be kept now",
            "neither the database nor the disk takes anything; see the server's log",
        )
        .retry_after(10)
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.problem.retry_after = Some(seconds);
        self
    }

    fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// True when it passes by itself and the client should come back.
    pub fn passes(&self) -> bool {
        self.problem.status == 503
    }

    /// The problem itself, to travel inside a stream; logged here when it is the server's fault.
    pub fn into_problem(self, request_id: Option<RequestId>) -> Problem {
        self.log();
        Problem {
            instance: request_id.map(|id| id.to_string()),
            ..*self.problem
        }
    }

    fn log(&self) {
        if self.problem.status >= 500
            && let Some(source) = &self.source
        {
            tracing::error!(
                problem = &*self.problem.kind,
                error = with_causes(&**source),
                "request failed"
            );
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.problem.title, self.problem.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        respond(self.status_code(), &self.problem)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::store_unavailable(),
            StoreError::Failed(_) => Self::new(
                500,
                "internal",
                "The server failed",
                "this is a fault of the server; its log has the reason",
            ),
        }
        .because(error)
    }
}

impl ApiError {
    /// No room for one more `what`.
    pub fn full(full: Full, what: &str) -> Self {
        match full {
            Full::User(count) => Self::new(
                429,
                "too-many",
                "Too many at once",
                format!("you have {count} {what} already, as many as one user may have; end one first"),
            )
            .retry_after(1),
            Full::Key(count) => Self::new(
                429,
                "too-many",
                "Too many at once",
                format!("this key has {count} {what} already, as many as it may have; end one first"),
            )
            .retry_after(1),
            Full::Node(count) => Self::new(
                503,
                "node-full",
                "The server is full",
                format!("the server has {count} {what} already, as many as it takes; try again in a moment"),
            )
            .retry_after(5),
            Full::Draining => Self::new(
                503,
                "draining",
                "The server is shutting down",
                "answers that are running may finish, new ones are refused; try again in a moment",
            )
            .retry_after(5),
        }
    }
}

impl From<TooMany> for ApiError {
    fn from(refused: TooMany) -> Self {
        Self::new(
            429,
            "rate-limit-exceeded",
            "Too many requests",
            format!(
                "{} requests a minute are admitted; come back when `Retry-After` has passed",
                refused.room.limit
            ),
        )
        .retry_after(begun_seconds(refused.wait))
    }
}

impl ApiError {
    /// Too many have tried from there to log in and failed.
    pub fn too_many_logins(wait: Duration) -> Self {
        Self::new(
            429,
            "too-many-logins",
            "Too many failed logins",
            "nobody is asked who they are from your address for a while; come back when `Retry-After` has passed",
        )
        .retry_after(begun_seconds(wait))
    }
}

/// A second begun is a second to wait.
fn begun_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Full(full) => Self::full(full, "running answers"),
            StartError::Store(error) => error.into(),
            StartError::Unsettled => Self::store_unavailable(),
            StartError::SpoolFull => Self::new(
                503,
                "spool-full",
                "The server takes no new questions now",
                "the database is away and the disk has no more room for what it misses; answers that are running go on",
            )
            .retry_after(10),
            StartError::KeyReused => Self::key_reused(),
            StartError::Spent(Spent { limit, wait }) => Self::new(
                429,
                "token-limit-exceeded",
                "The tokens of this day are spent",
                format!("{limit} tokens a day are admitted; there are new ones at midnight, UTC"),
            )
            .retry_after(begun_seconds(wait)),
            StartError::AnsweredBefore(at) => Self::new(
                410,
                "answered-before",
                "This was answered before",
                format!(
                    "the answer to this key is kept in a conversation, and its bytes are in memory no more; `{at}` tells where, and a new key asks again"
                ),
            ),
            StartError::Refused(refused) => refused.into(),
            StartError::Died => Self::new(
                500,
                "internal",
                "The server failed",
                "this is a fault of the server; its log has the reason",
            )
            .because(error),
        }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            source: None,
            words: None,
        }
    }
}

impl From<RelayRefused> for ApiError {
    fn from(refused: RelayRefused) -> Self {
        match refused {
            RelayRefused::Upstream { problem, words } => Self {
                words,
                ..problem.into()
            },
            RelayRefused::NotKept(error) => error.into(),
        }
    }
}

impl From<ChatError> for ApiError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Store(error) => error.into(),
            ChatError::Unsettled => Self::store_unavailable(),
            ChatError::Relayed => Self::new(
                409,
                "has-no-events",
                "This answer has no events",
                "no conversation keeps it; read it at `/v1/generations/{id}/events`",
            ),
            ChatError::Elsewhere => Self::new(
                503,
                "runs-elsewhere",
                "Another server writes this answer",
                "ask the server that it was started on, or come back when it has ended",
            )
            .retry_after(5),
        }
    }
}

impl From<TurnRefused> for ApiError {
    fn from(refused: TurnRefused) -> Self {
        match refused {
            TurnRefused::NotFound => Self::not_found("conversation or message"),
            TurnRefused::UnknownParent => {
                Self::invalid("parent_id: there is no such message in this conversation")
            }
            TurnRefused::NotAnAnswer => {
                Self::invalid("only an answer can be continued by a prompt, or regenerated")
            }
            TurnRefused::Complete => Self::new(
                409,
                "answer-complete",
                "The answer is complete",
                "only an answer that was interrupted, stopped or cut short can be carried on; ask a question instead",
            ),
            TurnRefused::EndsInToolCalls => Self::new(
                409,
                "ends-in-tool-calls",
                "The answer ends in tool calls",
                "no text continues a tool call; ask for another answer instead",
            ),
            TurnRefused::Streaming(generation) => {
                let mut error = Self::new(
                    409,
                    "still-streaming",
                    "The answer is still being written",
                    format!("stop generation {generation} or wait for its end, then ask again"),
                );
                error.problem.generation_id = Some(generation);
                error
            }
        }
    }
}

impl ApiError {
    pub fn key_reused() -> Self {
        Self::new(
            422,
            "idempotency-key-reused",
            "The idempotency key was used for another request",
            "a key stands for one request; choose a new key for a new one",
        )
    }
}

fn respond(status: StatusCode, problem: &Problem) -> HttpResponse {
    let mut response = refusal(status, problem);
    response
        .content_type(PROBLEM_JSON)
        .body(serde_json::to_string(problem).expect("a problem is JSON"))
}

/// In OpenAI's words; in the upstream's own, where it said something that its clients understand.
fn respond_as_openai(status: StatusCode, problem: &Problem, words: Option<&Words>) -> HttpResponse {
    let mut response = refusal(status, problem);
    for (name, value) in words.iter().flat_map(|words| &words.headers) {
        response.insert_header((name.as_str(), value.as_str()));
    }
    let theirs = words.and_then(|words| words.json.as_deref());
    response
        .content_type("application/json")
        .body(openai::error_or_ours(theirs, problem))
}

fn refusal(status: StatusCode, problem: &Problem) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(seconds) = problem.retry_after {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    response
}

/// The outermost layer: request ids and what browsers are told on everything, problems for every error.
pub async fn edge(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let request_id = request.extensions().get::<RequestId>().copied();
    let is_v1 = request.path() == "/v1" || request.path().starts_with("/v1/");
    let takes_opener_policy = head::takes_opener_policy(request.headers());
    let mut response = next.call(request).await?.map_into_boxed_body();
    if response.status().is_client_error() || response.status().is_server_error() {
        response = with_problem(response, request_id, is_v1);
    }
    let headers = response.headers_mut();
    head::guard(headers, takes_opener_policy);
    if let Some(id) = request_id.and_then(|id| HeaderValue::from_str(&id.to_string()).ok()) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    Ok(response)
}

fn with_problem(
    response: ServiceResponse,
    request_id: Option<RequestId>,
    is_v1: bool,
) -> ServiceResponse {
    let status = response.status();
    let known = response
        .response()
        .error()
        .and_then(|error| error.as_error::<ApiError>());
    let problem = match known {
        Some(error) => {
            error.log();
            (*error.problem).clone()
        }
        None => of_status(status),
    };
    let problem = Problem {
        instance: request_id.map(|id| id.to_string()),
        ..problem
    };
    let allow = response.headers().get(header::ALLOW).cloned();
    let words = known.and_then(|error| error.words.as_deref());
    let mut answer = if is_v1 {
        respond_as_openai(status, &problem, words)
    } else {
        respond(status, &problem)
    };
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    // What is left of the caller's limits, unless the upstream speaks of its own.
    for (name, value) in response.headers() {
        if name.as_str().starts_with("x-ratelimit-") && !answer.headers().contains_key(name) {
            answer.headers_mut().insert(name.clone(), value.clone());
        }
    }
    response.into_response(answer)
}

/// What the framework refused by itself.
fn of_status(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::new(
            404,
            "not-found",
            "Not found",
            "there is nothing at this path",
        ),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            405,
            "method-not-allowed",
            "The method is not allowed here",
            "this path takes other methods; see the `Allow` header",
        ),
        status => {
            let detail = status
                .canonical_reason()
                .unwrap_or("the request was refused")
                .to_lowercase();
            Problem::new(
                status.as_u16(),
                "refused",
                "The request was refused",
                detail,
            )
        }
    }
}
