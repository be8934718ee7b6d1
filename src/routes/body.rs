//! JSON bodies: read once within the limit, refused with words that say what is wrong, and hashed for `Idempotency-Key`.

use super::RouteOptions;
use crate::{
    auth::hash_of,
    model::{Limits, Sampling},
    problem::ApiError,
    store::{Once, SecretHash},
    text::{Wtf8, without_nul},
};
use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::Payload,
    http::{StatusCode, header},
    web::{BytesMut, Data},
};
use futures_util::{StreamExt as _, future::LocalBoxFuture};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IgnoredAny},
};
use serde_json::{Map, Value, error::Category};
use std::time::Duration;

/// The idempotency key's own length limit, in bytes.
const KEY_BYTES: usize = 255;
/// What somebody may send whom nobody vouches for yet, in bytes: there may be many of them at once, and each body is held until it is whole.
pub(super) const STRANGERS_BYTES: usize = 16 * 1024;
/// The longest title and model name, in characters.
pub(super) const NAME_CHARACTERS: usize = 500;
/// The longest system prompt, in characters, and how many stop texts there may be, each as long as a name: every row of a list has them.
const SYSTEM_CHARACTERS: usize = 100_000;
const STOPS: usize = 16;

/// A body that is a JSON object, as it came.
pub(super) struct RawJson {
    pub text: String,
    /// As [`Json::once`].
    pub once: Option<Once>,
}

impl FromRequest for RawJson {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let (body, once) = body_of(&request, payload, usize::MAX).await?;
            let text = text_of(&request, &body)?.to_owned();
            Ok(Self { text, once })
        })
    }
}

/// A body of JSON, of so many bytes at most, or as many as the options allow. An empty one, as of a bodyless POST, counts as `{}`.
pub(super) struct Json<T, const AT_MOST: usize = { usize::MAX }> {
    pub value: T,
    once: Option<Once>,
}

impl<T> Json<T> {
    /// The request's idempotency key with the fingerprint of method, path and body, when it sent one.
    pub fn once(&self) -> Option<Once> {
        self.once.clone()
    }
}

impl<T: DeserializeOwned, const AT_MOST: usize> FromRequest for Json<T, AT_MOST> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let (body, once) = body_of(&request, payload, AT_MOST).await?;
            let value = parse(&request, &body)?;
            Ok(Self { value, once })
        })
    }
}

/// The bytes, and what makes a repetition of them one; at most so many, or as many as the options allow.
async fn body_of(
    request: &HttpRequest,
    mut payload: Payload,
    at_most: usize,
) -> Result<(BytesMut, Option<Once>), ApiError> {
    let options = request
        .app_data::<Data<RouteOptions>>()
        .expect("the application has its options");
    let limit = options.body_bytes.min(at_most);
    let body = read(request, &mut payload, limit);
    let body = tokio::time::timeout(options.body, body).await;
    let body = body.map_err(|_| too_slow(options.body))??;
    let once = once(request, &body)?;
    Ok((body, once))
}

fn too_slow(patience: Duration) -> ApiError {
    ApiError::new(
        408,
        "body-too-slow",
        "The body did not come in time",
        format!("a request body may take {} s", patience.as_secs()),
    )
}

async fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
) -> Result<BytesMut, ApiError> {
    let too_large = || {
        ApiError::new(
            413,
            "body-too-large",
            "The body is too large",
            format!(
                "a request body may have {limit} bytes here, none more than `limits.body_bytes`"
            ),
        )
    };
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(piece) = payload.next().await {
        let piece = piece
            .map_err(|error| ApiError::malformed(format!("the body could not be read: {error}")))?;
        if body.len() + piece.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn parse<T: DeserializeOwned>(request: &HttpRequest, body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_str(text_of(request, body)?).map_err(|error| explain(&error))
}

/// The text of a JSON object, as far as that is seen from outside. An empty body counts as one.
fn text_of<'a>(request: &HttpRequest, body: &'a [u8]) -> Result<&'a str, ApiError> {
    if body.is_empty() {
        return Ok("{}");
    }
    let media_type = request.content_type();
    if !media_type.eq_ignore_ascii_case("application/json")
        && !media_type.to_ascii_lowercase().ends_with("+json")
    {
        return Err(ApiError::new(
            415,
            "unsupported-media-type",
            "The body is not JSON",
            "send `Content-Type: application/json`",
        ));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        ApiError::malformed(format!(
            "the body is not UTF-8 from byte {} on",
            error.valid_up_to()
        ))
    })?;
    // A struct would be read from a list, too: its fields in our order, which is nobody's contract.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    if !is_object && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return Err(ApiError::invalid(
            "the body is JSON, but not an object in braces",
        ));
    }
    Ok(text)
}

pub(super) fn explain(error: &serde_json::Error) -> ApiError {
    match error.classify() {
        Category::Data => ApiError::invalid(format!(
            "the JSON has another shape than this path takes: {error}"
        )),
        _ => ApiError::malformed(format!("the body is not JSON: {error}")),
    }
}

fn once(request: &HttpRequest, body: &[u8]) -> Result<Option<Once>, ApiError> {
    let mut keys = request.headers().get_all("idempotency-key");
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    // A tab would pass as text.
    let is_visible = |key: &&str| key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let key = key.to_str().ok().filter(is_visible);
    let key = key.filter(|key| !key.is_empty() && key.len() <= KEY_BYTES);
    let key = key.filter(|_| keys.next().is_none());
    let key = key.ok_or_else(|| {
        ApiError::malformed(format!(
            "Idempotency-Key: one, of 1 to {KEY_BYTES} visible ASCII characters"
        ))
    })?;
    Ok(Some(Once {
        key: key.to_owned(),
        fingerprint: fingerprint(request, body),
    }))
}

fn fingerprint(request: &HttpRequest, body: &[u8]) -> SecretHash {
    let mut asked = format!("{} {}\n", request.method(), request.path());
    asked.push_str(&String::from_utf8_lossy(body));
    hash_of(&asked)
}

/// A text of a request, cleaned as every text that is stored: no lone surrogate, no U+0000.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Wtf8::deserialize(deserializer).map(Wtf8::into_text)
}

/// The same for a text that may be absent or null.
pub(super) fn optional_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(Option::<Wtf8>::deserialize(deserializer)?.map(Wtf8::into_text))
}

/// A field in which `null` means something else than absence.
pub(super) fn nullable_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<String>>, D::Error> {
    optional_text(deserializer).map(Some)
}

/// How a conversation's answers are sampled: the fields of a prompt, in an object of their own (not in a list, which a struct would be read
/// from, too). `null` means none.
pub(super) fn sampling<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Sampling>, D::Error> {
    let fields = Option::<Map<String, Value>>::deserialize(deserializer)?;
    let sampling: Sampling =
        serde_json::from_value(fields.unwrap_or_default().into()).map_err(D::Error::custom)?;
    let clean = |stop: Vec<String>| stop.into_iter().map(without_nul).collect();
    Ok(Some(Sampling {
        stop: sampling.stop.map(clean),
        ..sampling
    }))
}

/// What somebody may use, in an object, as above.
pub(super) fn limits<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Limits>, D::Error> {
    let fields = Option::<Map<String, Value>>::deserialize(deserializer)?;
    let limits = fields.map(|fields| serde_json::from_value(fields.into()));
    limits.transpose().map_err(D::Error::custom)
}

/// What is set for a conversation, as far as something is.
pub(super) struct Settings<'a> {
    pub title: Option<&'a str>,
    pub model: Option<&'a str>,
    pub system: Option<&'a str>,
    pub sampling: Option<&'a Sampling>,
}

impl Settings<'_> {
    /// Refuses what is too long.
    pub fn check(&self) -> Result<(), ApiError> {
        check_length("title", self.title, NAME_CHARACTERS)?;
        check_length("model", self.model, NAME_CHARACTERS)?;
        check_length("system", self.system, SYSTEM_CHARACTERS)?;
        let stop = self.sampling.and_then(|sampling| sampling.stop.as_deref());
        let stop = stop.unwrap_or_default();
        if stop.len() > STOPS {
            return Err(ApiError::invalid(format!(
                "sampling.stop: {} texts, at most {STOPS} are kept",
                stop.len()
            )));
        }
        for text in stop {
            check_length("sampling.stop", Some(text), NAME_CHARACTERS)?;
        }
        Ok(())
    }
}

/// Refuses a text of more than `characters` characters.
pub(super) fn check_length(
    name: &str,
    text: Option<&str>,
    characters: usize,
) -> Result<(), ApiError> {
    match text.map(|text| text.chars().count()) {
        Some(count) if count > characters => Err(ApiError::invalid(format!(
            "{name}: {count} characters, at most {characters} are kept"
        ))),
        _ => Ok(()),
    }
}

/// 201 and 202 answers name what was made.
pub(super) fn made(status: StatusCode, location: &str) -> actix_web::HttpResponseBuilder {
    let mut response = actix_web::HttpResponse::build(status);
    response
        .insert_header((header::LOCATION, location))
        .insert_header((header::CACHE_CONTROL, "no-store"));
    response
}
