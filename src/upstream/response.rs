//! What a response head says, and bodies that are read as a whole.

use super::{
    Failure, UpstreamError, UpstreamOptions,
    deadline::{Deadline, SHORT},
    failure,
};
use awc::{
    ClientResponse,
    error::PayloadError,
    http::{
        StatusCode, Version,
        header::{self, HeaderValue},
    },
};
use futures_util::StreamExt;
use std::time::SystemTime;
use tokio::time::timeout_at;

/// Bytes of an error body that are read.
const ERROR_BYTES: usize = 64 * 1024;

/// The response when it carries an answer that can be read; else the error in it.
pub(super) async fn accept(
    mut response: ClientResponse,
    options: &UpstreamOptions,
) -> Result<ClientResponse, UpstreamError> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(refused(&mut response, options).await);
    }
    let headers = response.headers();
    let value = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let is_framed = headers.contains_key(header::CONTENT_LENGTH)
        || value(header::TRANSFER_ENCODING)
            .is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"));
    let unreadable = |what: &str| Err(UpstreamError::new(Failure::Unreadable, what));
    if response.version() == Version::HTTP_11 && !is_framed {
        return unreadable(
            "the upstream's answer has neither a length nor chunked transfer coding and cannot be read; \
             put a reverse proxy before the upstream, or have it send chunks",
        );
    }
    match value(header::CONTENT_ENCODING) {
        None | Some("" | "identity") => Ok(response),
        Some(_) => unreadable("the upstream compressed its answer although it was asked not to"),
    }
}

async fn refused(response: &mut ClientResponse, options: &UpstreamOptions) -> UpstreamError {
    let deadline = Deadline::new(options.silence.min(SHORT), Failure::Silent);
    let status = response.status();
    let mut body = Vec::new();
    // What came before the limit, the deadline or a cut may be enough to say why.
    while let Ok(Some(Ok(bytes))) = timeout_at(deadline.at, response.next()).await {
        body.extend_from_slice(&bytes[..bytes.len().min(ERROR_BYTES - body.len())]);
        if body.len() == ERROR_BYTES {
            break;
        }
    }
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let mut error = failure::refusal(
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        &body,
    );
    if status.is_redirection()
        && let Some(location) = header("location")
    {
        // Behind the question mark there may be secrets.
        let location = location.split(['?', '#']).next().unwrap_or_default();
        error.message = format!(
            "the upstream redirects to {location}, which is not followed; correct its base URL"
        );
    }
    error.retry_after = failure::retry_after(status.as_u16(), SystemTime::now(), header);
    let told = response.headers().iter().filter_map(|(name, value)| {
        let told = failure::is_for_clients(name.as_str()).then(|| value.to_str().ok())??;
        Some((name.as_str().to_owned(), told.to_owned()))
    });
    let told = told.collect();
    error.in_words(&body, told)
}

/// The rest of the body, of at most `limit` bytes.
pub(super) async fn collect(
    body: &mut ClientResponse,
    limit: usize,
    deadline: Deadline,
) -> Result<Vec<u8>, UpstreamError> {
    let mut collected = Vec::new();
    loop {
        match timeout_at(deadline.at, body.next()).await {
            Err(_) => return Err(deadline.error()),
            Ok(None) => return Ok(collected),
            Ok(Some(Err(error))) => return Err(broken(&error)),
            Ok(Some(Ok(bytes))) if collected.len() + bytes.len() > limit => {
                let message = format!("the upstream sent an answer of more than {limit} bytes");
                return Err(UpstreamError::new(Failure::TooLarge, message));
            }
            Ok(Some(Ok(bytes))) => collected.extend_from_slice(&bytes),
        }
    }
}

/// The body cannot be read on.
pub(super) fn broken(error: &PayloadError) -> UpstreamError {
    match error {
        PayloadError::Incomplete(_) | PayloadError::Io(_) => UpstreamError::new(
            Failure::Truncated,
            "the connection to the upstream broke before the answer was done",
        ),
        _ => UpstreamError::new(
            Failure::Unreadable,
            "the upstream's answer is not framed as HTTP",
        ),
    }
}
