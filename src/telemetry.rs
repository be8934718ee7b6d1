//! Logs: lines for people on a terminal, JSON elsewhere, on standard error. No text of messages and no secret is ever logged.

use crate::client::Client;
use actix_web::{
    Error, HttpMessage as _,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
};
use std::{io::IsTerminal as _, time::Instant};
use tracing::Span;
use tracing_actix_web::{RequestId, RootSpanBuilder};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    prelude::*,
};

/// When a request came; in its extensions.
struct Came(Instant);

/// Sets logging up for the whole process; `RUST_LOG` chooses what is logged.
pub fn init() {
    // The HTTP server's own lines, and what Postgres notices at a migration, tell an operator nothing.
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, ignored) = directives(&asked);
    let filter = filter.unwrap_or_else(|| {
        Targets::new()
            .with_default(LevelFilter::INFO)
            .with_target("actix_server", LevelFilter::WARN)
            .with_target("sqlx::postgres::notice", LevelFilter::WARN)
    });
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    // A second call, as in tests, changes nothing.
    let _ = if std::io::stderr().is_terminal() {
        registry.with(lines.compact()).try_init()
    } else {
        registry
            .with(
                lines
                    .with_ansi(false)
                    .json()
                    .flatten_event(true)
                    .with_span_list(false),
            )
            .try_init()
    };
    for part in ignored {
        tracing::warn!(
            "RUST_LOG: {part:?} is neither a level nor a target with one, and is ignored"
        );
    }
}

/// What `RUST_LOG` asks for, if anything, and those of its parts that are neither a level nor a target.
fn directives(asked: &str) -> (Option<Targets>, Vec<&str>) {
    let is_name = |part: &str| {
        let of_names = |c: char| c.is_alphanumeric() || "_:-.=".contains(c);
        part.starts_with(|c: char| c.is_alphanumeric() || c == '_') && part.chars().all(of_names)
    };
    let parts = asked
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let (known, ignored): (Vec<_>, Vec<_>) =
        parts.partition(|part| is_name(part) && part.parse::<Targets>().is_ok());
    let filter = known.join(",").parse().ok();
    (filter.filter(|_| !known.is_empty()), ignored)
}

/// The span of a request and its one line. The query is left out: a search is a user's text.
pub struct Spans;

impl RootSpanBuilder for Spans {
    fn on_request_start(request: &ServiceRequest) -> Span {
        request.extensions_mut().insert(Came(Instant::now()));
        let id = request
            .extensions()
            .get::<RequestId>()
            .map(ToString::to_string);
        tracing::info_span!(
            "request",
            request.id = id,
            method = %request.method(),
            path = request.path(),
            client.address = Client::of(request.request()).address.map(tracing::field::display),
            user.id = tracing::field::Empty,
        )
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let status = match outcome {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        let came = outcome.as_ref().ok().and_then(|response| {
            response
                .request()
                .extensions()
                .get::<Came>()
                .map(|came| came.0)
        });
        let milliseconds =
            came.map(|came| u64::try_from(came.elapsed().as_millis()).unwrap_or(u64::MAX));
        span.in_scope(|| {
            tracing::info!(
                status = status.as_u16(),
                duration_ms = milliseconds,
                "request finished"
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_directive_is_told_and_silences_nothing() {
        for (asked, ignored) in [
            ("info,", vec![]),
            (" info , continuo=debug,,", vec![]),
            ("info;debug,warn", vec!["info;debug"]),
            ("info continuo=debug,info", vec!["info continuo=debug"]),
            (
                "[span]=info,=,info,continuo=loud",
                vec!["[span]=info", "=", "continuo=loud"],
            ),
        ] {
            let (filter, told) = directives(asked);
            let filter = filter.expect("something is asked for");
            assert!(
                filter.would_enable("continuo", &tracing::Level::WARN),
                "{asked}"
            );
            assert_eq!(told, ignored, "{asked}");
        }
        for asked in ["", " , ", "[span]=info"] {
            assert!(directives(asked).0.is_none(), "{asked}: the default");
        }
    }
}
