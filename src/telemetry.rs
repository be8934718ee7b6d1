//! Logs: lines for people on a terminal, JSON elsewhere, on standard error. No text of messages and no secret is ever logged.

use crate::{client::Client, problem::RequestId};
use actix_web::{
    Error, HttpMessage as _,
    dev::{Service, ServiceRequest, ServiceResponse},
};
use std::{io::IsTerminal as _, time::Instant};
use tracing::Instrument as _;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    prelude::*,
};

/// Sets logging up for the whole process; `RUST_LOG` chooses what is logged.
pub fn init() {
    // The HTTP server's own lines, and what Postgres notices at a migration, tell an operator nothing.
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let asked = asked.parse().ok().filter(|_| !asked.is_empty());
    let filter: Targets = asked.unwrap_or_else(|| {
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
}

/// Gives a request its id and its span, and logs one line once its head is answered. The query is left out: a search is a user's text.
///
/// What streams on behind the head is outside the span, which it would enter and leave with every event.
pub fn logged<S, B>(
    request: ServiceRequest,
    next: &S,
) -> impl Future<Output = Result<ServiceResponse<B>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    let came = Instant::now();
    let id = RequestId::new();
    let span = tracing::info_span!(
        "request",
        request.id = %id,
        method = %request.method(),
        path = request.path(),
        client.address = Client::of(request.request()).address.map(tracing::field::display),
        user.id = tracing::field::Empty,
    );
    request.extensions_mut().insert(id);
    let answered = span.in_scope(|| next.call(request));
    let logged = async move {
        let outcome = answered.await;
        let status = match &outcome {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        tracing::info!(
            status = status.as_u16(),
            duration_ms = u64::try_from(came.elapsed().as_millis()).unwrap_or(u64::MAX),
            "request finished"
        );
        outcome
    };
    logged.instrument(span)
}
