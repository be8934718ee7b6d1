//! OpenAI's words, as `/v1` speaks them: its error object, how a stream of chunks ends, and its requests and chunks, of which only single
//! members are touched and everything else stays byte for byte.
//!
//! <https://platform.openai.com/docs/api-reference/chat>

mod chunk;
mod exchange;
mod members;
mod request;

pub use chunk::{as_chunk, is_usage};
pub use exchange::{Exchange, Said};
pub use request::{Asked, Invalid};

use crate::{
    event::{Done, Encoded},
    model::{Outcome, Problem},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What ends a stream that the upstream has ended.
pub const DONE: &str = "[DONE]";

/// The body of an error.
#[derive(Serialize, ToSchema)]
pub struct Refusal<'a> {
    #[schema(value_type = ErrorObject)]
    error: ErrorObject<'a>,
}

#[derive(Serialize, ToSchema)]
pub struct ErrorObject<'a> {
    #[schema(value_type = String)]
    message: &'a str,
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// The field that is wrong.
    #[schema(value_type = Option<String>, required)]
    param: Option<&'a str>,
    code: String,
}

/// A problem as OpenAI would tell it: the body of an error, and the payload that ends a stream.
pub fn error(problem: &Problem) -> String {
    let kind = match problem.status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let name = problem.kind.rsplit('/').next().unwrap_or_default();
    let code = match name {
        "unauthorized" => "invalid_api_key".to_owned(),
        name => name.replace('-', "_"),
    };
    let object = ErrorObject {
        message: &problem.detail,
        kind,
        param: param(problem),
        code,
    };
    serde_json::to_string(&Refusal { error: object }).expect("strings are JSON")
}

/// About how much text a request holds: all of it but what is inlined as `data:` URLs, images for one.
pub fn text_bytes(request: &[u8]) -> usize {
    const INLINED: &[u8] = b"\"data:";
    let mut inlined = 0;
    let mut rest = request;
    while let Some(at) = rest.windows(INLINED.len()).position(|seen| seen == INLINED) {
        let url = &rest[at + 1..];
        let end = url.iter().position(|byte| *byte == b'"');
        let end = end.unwrap_or(url.len());
        inlined += end;
        rest = &url[end..];
    }
    request.len() - inlined
}

/// The field that is wrong: details of such problems begin with its name.
fn param(problem: &Problem) -> Option<&str> {
    if !matches!(problem.status, 400 | 422) {
        return None;
    }
    let (name, _) = problem.detail.split_once(": ")?;
    let is_name = |byte: u8| byte.is_ascii_lowercase() || b"_.".contains(&byte);
    name.bytes().all(is_name).then_some(name)
}

/// An upstream's own error where clients find it as one, else ours: they look for a member `error`.
pub fn error_or_ours(words: Option<&str>, problem: &Problem) -> String {
    let has_error = |json: &&str| {
        let value: Value = serde_json::from_str(json).unwrap_or_default();
        match value.get("error") {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(_) => true,
        }
    };
    words
        .filter(has_error)
        .map_or_else(|| error(problem), ToOwned::to_owned)
}

/// The last payload of a stream: `[DONE]` after a real end only.
pub fn end(done: &Done) -> Encoded {
    let data = match (done.outcome, &done.problem) {
        (Outcome::Completed, _) => DONE.to_owned(),
        (_, Some(problem)) => error(problem),
        (outcome, None) => error(&Problem::new(
            410,
            outcome.as_str(),
            "The answer was ended",
            format!(
                "the answer was ended before it was complete: it is {}",
                outcome.as_str()
            ),
        )),
    };
    payload(data)
}

/// A payload as it stands in a log: it has no name.
pub fn payload(data: String) -> Encoded {
    Encoded {
        name: "",
        data: data.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(problem: &Problem) -> Value {
        serde_json::from_str(&error(problem)).expect("JSON")
    }

    #[test]
    fn images_are_no_text() {
        for (request, bytes) in [
            ("", 0),
            (r#"{"a":"b"}"#, 9),
            (r#"{"url":"data:image/png;base64,AAAA"}"#, 10),
            (r#"["data:x","data:y"]"#, 7),
            (r#"["data:x"#, 2),
        ] {
            assert_eq!(text_bytes(request.as_bytes()), bytes, "{request}");
        }
    }

    #[test]
    fn problems_are_told_as_openai_would() {
        let of = |status, name| Problem::new(status, name, "Title", "model: it is unknown");
        assert_eq!(
            told(&of(422, "invalid-value")),
            json!({"error": {"message": "model: it is unknown", "type": "invalid_request_error", "param": "model", "code": "invalid_value"}})
        );
        assert_eq!(
            told(&of(401, "unauthorized"))["error"]["code"],
            "invalid_api_key"
        );
        assert_eq!(
            told(&of(401, "unauthorized"))["error"]["type"],
            "authentication_error"
        );
        assert_eq!(
            told(&of(429, "too-many"))["error"]["type"],
            "rate_limit_error"
        );
        assert_eq!(
            told(&of(502, "upstream-late"))["error"]["type"],
            "server_error"
        );
        assert_eq!(
            told(&of(502, "upstream-late"))["error"]["param"],
            Value::Null
        );
    }

    #[test]
    fn only_an_error_that_clients_take_for_one_is_passed_on() {
        let ours = Problem::new(502, "upstream-error", "Title", "ours");
        for (words, is_theirs) in [
            (r#"{"error": {"message": "theirs"}}"#, true),
            (r#"{"error": "theirs"}"#, true),
            (r#"{"choices": [], "error": {"code": 7}}"#, true),
            (r#"{"error": null, "message": "theirs"}"#, false),
            (r#"{"object": "error", "message": "theirs"}"#, false),
            (r#"{"detail": "theirs"}"#, false),
        ] {
            let told = error_or_ours(Some(words), &ours);
            assert_eq!(told == words, is_theirs, "{words}");
            assert_eq!(told == error(&ours), !is_theirs, "{words}");
        }
        assert_eq!(error_or_ours(None, &ours), error(&ours));
    }
}
