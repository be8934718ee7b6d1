//! The contract: the `OpenAPI` document of everything in the route table. Schemas are those of the types that are really read and sent.

mod accounts;
mod answers;
mod conversations;
mod events;
mod op;
mod operator;
mod v1;

pub(super) use op::Op;
pub(super) mod operations {
    pub use super::{accounts::*, answers::*, conversations::*, operator::*, v1::*};
}

use super::table::Entry;
use crate::{
    model::Problem,
    openai::{self, Refusal},
};
use actix_web::{HttpResponse, http::header};
use serde_json::Value;
use std::{collections::BTreeSet, sync::LazyLock};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        Components, Content, HeaderBuilder, Info, License, ObjectBuilder, OpenApi, OpenApiBuilder,
        PathItem, Paths, Ref, RefOr, Response, ResponseBuilder, Schema,
        schema::{SchemaType, Type},
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
    },
};

const ABOUT: &str = "JSON in and out, `snake_case`, times RFC 3339 in UTC, ids UUIDv7. Every response has an `x-request-id`. Errors are \
    problems (RFC 9457) with a stable `type` and a `detail` that says what to do; below `/v1` they have OpenAI's shape. A method that a path \
    does not take is answered 405 with `Allow`. GET is answered to HEAD, too, except by streams. Where requests are \
    limited, answers say by `x-ratelimit-limit-requests`, `-remaining-requests` and `-reset-requests` what is left, and by the same of `-tokens`. \
    What is no HTTP, or has a head too large to be read, is refused without a body (400, 431). Fields, events and problem types that \
    are not known here may come with a later version: ignore them.";

pub(super) async fn show() -> HttpResponse {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let mut document =
            serde_json::to_value(document(super::table())).expect("a document is JSON");
        say_ranges(&mut document);
        document.to_string()
    });
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(DOCUMENT.as_str())
}

/// What each format of an integer holds, which its name says to people only.
fn say_ranges(document: &mut Value) {
    match document {
        Value::Array(all) => all.iter_mut().for_each(say_ranges),
        Value::Object(members) => {
            let (least, most) = match members.get("format").and_then(Value::as_str) {
                Some("u-int8") => (0, u8::MAX.into()),
                Some("u-int32") => (0, u32::MAX.into()),
                Some("u-int64") => (0, u64::MAX),
                Some("int64") => (i64::MIN, i64::MAX as u64),
                _ => return members.values_mut().for_each(say_ranges),
            };
            members.entry("minimum").or_insert(least.into());
            members.entry("maximum").or_insert(most.into());
        }
        _ => {}
    }
}

fn document(table: Vec<Entry>) -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas = Vec::new();
    let mut refusals = BTreeSet::new();
    for entry in table {
        let template = entry.template();
        for (method, op) in entry.operations() {
            let operation = op.finish(&template, &method, &mut schemas, &mut refusals);
            let item = PathItem::new(method, operation);
            match paths.paths.get_mut(&template) {
                Some(known) => known.merge_operations(item),
                None => {
                    paths.paths.insert(template.clone(), item);
                }
            }
        }
    }
    schemas.push((Shape::Problem.schema().to_owned(), Problem::schema()));
    Problem::schemas(&mut schemas);
    schemas.push((Shape::OpenAi.schema().to_owned(), Refusal::schema()));
    Refusal::schemas(&mut schemas);
    schemas.push((Shape::Passed.schema().to_owned(), passed()));
    let mut components = Components::new();
    components.schemas.extend(schemas);
    for (shape, status) in refusals {
        let response = refusal(status, shape);
        components
            .responses
            .insert(shape.response(status), response.into());
    }
    components.add_security_scheme("key", bearer());
    components.add_security_scheme("login", cookie());
    let mut info = Info::new("Continuo", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    info.license = Some(license);
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components))
        .build()
}

fn bearer() -> SecurityScheme {
    let mut http = Http::new(HttpAuthScheme::Bearer);
    http.description = Some("An API key, as `continuo key add` prints it.".to_owned());
    SecurityScheme::Http(http)
}

fn cookie() -> SecurityScheme {
    let about = "What `POST /api/session` sets. The name ends in the server's port.";
    SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
        "continuo_8080",
        about,
    )))
}

/// How an error is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    /// RFC 9457.
    Problem,
    /// As OpenAI would.
    OpenAi,
    /// The same, or what the model server said.
    Passed,
}

impl Shape {
    fn schema(self) -> &'static str {
        match self {
            Self::Problem => "Problem",
            Self::OpenAi => "OpenAiError",
            Self::Passed => "PassedError",
        }
    }

    /// The name of the response with this status.
    fn response(self, status: u16) -> String {
        format!("{}{status}", self.schema())
    }
}

/// An object with an `error` in it, which the model server chose.
fn passed() -> RefOr<Schema> {
    let error = ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .description(Some(
            "As in `OpenAiError`, or what the model server has there.",
        ));
    ObjectBuilder::new()
        .property("error", error)
        .required("error")
        .into()
}

/// The response to what is refused with this status.
fn refusal(status: u16, shape: Shape) -> Response {
    let (name, title, detail) = typical(status);
    let problem = Problem {
        instance: Some("019a5b1e-6f5c-7c3e-9a53-0c5d2f6f4a11".to_owned()),
        retry_after: (status == 429 || status == 503).then_some(2),
        ..Problem::new(status, name, title, detail)
    };
    let (media_type, example) = if shape == Shape::Problem {
        ("application/problem+json", serde_json::to_value(&problem))
    } else {
        (
            "application/json",
            serde_json::from_str(&openai::error(&problem)),
        )
    };
    let mut content = Content::new(Some(Ref::from_schema_name(shape.schema())));
    content.example = Some(example.expect("an error is JSON"));
    let mut response = ResponseBuilder::new()
        .description(title)
        .content(media_type, content)
        .header("x-request-id", op::request_id());
    if problem.retry_after.is_some() {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
        let header = HeaderBuilder::new()
            .schema(Some(seconds))
            .description(Some("Seconds after which it is worth trying again."))
            .build();
        response = response.header("Retry-After", header);
    }
    response.build()
}

/// A problem of each status, as an example.
const TYPICAL: [(u16, &str, &str, &str); 18] = [
    (
        400,
        "malformed-request",
        "The request is malformed",
        "the body is not JSON: expected value at line 1 column 1",
    ),
    (
        401,
        "unauthorized",
        "Sign in first",
        "send an API key as `Authorization: Bearer …`, or sign in with the link that `continuo login` prints",
    ),
    (
        403,
        "cross-site",
        "Cross-site requests are refused",
        "a page of another origin cannot act for the user; programs send no Origin header",
    ),
    (
        404,
        "not-found",
        "Not found",
        "there is no such conversation, or it is not yours",
    ),
    (
        406,
        "not-acceptable",
        "No such representation",
        "events are `text/event-stream`, or `application/json` by long poll",
    ),
    (
        408,
        "body-too-slow",
        "The body did not come in time",
        "a request body may take 60 s",
    ),
    (
        409,
        "still-streaming",
        "The answer is still being written",
        "stop generation 019a5b1e-6f5c-7c3e-9a53-0c5d2f6f4a11 or wait for its end, then ask again",
    ),
    (
        410,
        "position-gone",
        "These bytes are gone",
        "what came after this position is not in memory; ask again",
    ),
    (
        412,
        "version-mismatch",
        "Somebody changed it before",
        "the conversation is at version 3; read it again and repeat the change",
    ),
    (
        413,
        "body-too-large",
        "The body is too large",
        "a request body may have 8388608 bytes (limits.body_bytes)",
    ),
    (
        415,
        "unsupported-media-type",
        "The body is not JSON",
        "send `Content-Type: application/json`",
    ),
    (
        421,
        "unknown-host",
        "This server does not answer to that name",
        "the Host header names another server; add the name to `server.allowed_hosts` if it is this one",
    ),
    (
        422,
        "invalid-value",
        "A value is not valid",
        "title: 501 characters, at most 500 are kept",
    ),
    (
        429,
        "too-many",
        "Too many at once",
        "you have 8 running answers already, as many as one user may have; end one first",
    ),
    (
        502,
        "upstream-unreachable",
        "The model server cannot be reached",
        "the connection to the upstream was refused",
    ),
    (
        503,
        "store-unavailable",
        "The database is not available",
        "nothing was changed; answers that are running go on; try again in a moment",
    ),
    (
        504,
        "upstream-late",
        "The model server did not answer in time",
        "the upstream sent nothing for 600 s",
    ),
    (
        500,
        "internal",
        "The server failed",
        "this is a fault of the server; its log has the reason",
    ),
];

fn typical(status: u16) -> (&'static str, &'static str, &'static str) {
    let found = TYPICAL.iter().find(|(known, ..)| *known == status);
    let (_, name, title, detail) = found.expect("each status that is refused with has an example");
    (name, title, detail)
}
