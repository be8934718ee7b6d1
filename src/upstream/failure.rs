//! What an upstream says when it refuses: its own words, and how long to leave it alone.

use super::{Failure, UpstreamError, Words, login::Secrets};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Characters of a message that are kept.
const MESSAGE_LIMIT: usize = 2000;

impl UpstreamError {
    pub(super) fn new(kind: Failure, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            status: None,
            retry_after: None,
            words: None,
        }
    }

    /// With the JSON object that says it, if it is one.
    pub(super) fn in_words(mut self, json: &[u8], headers: Vec<(String, String)>) -> Self {
        let json = String::from_utf8_lossy(json);
        let json = json.trim_start_matches('\u{feff}').trim();
        let is_object = json.starts_with('{') && serde_json::from_str::<IgnoredAny>(json).is_ok();
        self.words = Some(Box::new(Words {
            json: is_object.then(|| json.to_owned()),
            headers,
        }));
        self
    }

    /// Ready to be shown: without secrets, without control characters, of a bearable length.
    pub(super) fn cleaned(mut self, secrets: &Secrets) -> Self {
        if let Some(words) = &mut self.words {
            words.json = words.json.take().map(|json| secrets.blanked_json(json));
            for (_, value) in &mut words.headers {
                *value = secrets.blanked(value);
            }
        }
        let mut message = String::new();
        // Before it is cut: of a secret no part is shown either.
        let shown = secrets.blanked(&self.message);
        let shown = shown.split(|c: char| c.is_control() || c == ' ');
        for word in shown.filter(|word| !word.is_empty()) {
            if !message.is_empty() {
                message.push(' ');
            }
            message.push_str(word);
        }
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_LIMIT) {
            message.truncate(end);
            message.push('…');
        }
        self.message = message;
        self
    }
}

/// An error object in the place of an answer, or within one.
pub(super) fn reported(error: &Value) -> UpstreamError {
    let message = message_in(error).unwrap_or_else(|| "the upstream reported an error".to_owned());
    UpstreamError {
        status: status_in(error),
        ..UpstreamError::new(Failure::Reported, message)
    }
}

/// What a response with another status than 200 says. `reason` is the status in words, `body` its first bytes.
pub(super) fn refusal(status: u16, reason: &str, body: &[u8]) -> UpstreamError {
    let answered = format!("the upstream answered {status} {reason}");
    let answered = answered.trim_end();
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let json: Option<Value> = serde_json::from_str(text).ok();
    let message = match json {
        Some(json) => message_in(&json),
        None if text.is_empty() || text.starts_with(['<', '{', '[']) => None,
        None => Some(format!("{answered}: {text}")),
    };
    UpstreamError {
        status: Some(status),
        ..UpstreamError::new(Failure::Refused, message.unwrap_or(answered.to_owned()))
    }
}

/// The provider's own words in any of the usual shapes: `{"error": {"message"}}`, `{"error": "…"}`, `{"message"}`, `{"detail"}`,
/// and a list of one of these.
pub(super) fn message_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Array(values) => values.iter().find_map(message_in),
        Value::Object(fields) => ["error", "message", "detail", "msg"]
            .iter()
            .filter_map(|name| fields.get(*name))
            .find_map(message_in),
        _ => None,
    }
}

/// True of a JSON text in the place of an answer that says why there is none.
pub(super) fn is_error(value: &Value) -> bool {
    message_in(value).is_some() || value.get("error").is_some_and(|error| !error.is_null())
}

/// Providers that answer 200 put the status that they mean inside the error.
fn status_in(value: &Value) -> Option<u16> {
    let fields = value.as_object()?;
    let own = ["code", "status"].iter().find_map(|name| {
        let number = u16::try_from(fields.get(*name)?.as_u64()?).ok()?;
        (400..600).contains(&number).then_some(number)
    });
    own.or_else(|| status_in(fields.get("error")?))
}

/// True of a header that tells a client when to try again, or what is left of a budget.
pub(super) fn is_for_clients(name: &str) -> bool {
    ["retry-after", "retry-after-ms", "x-should-retry"].contains(&name)
        || name.starts_with("x-ratelimit-")
}

/// How long the response asks to be left alone. `header` looks a name up.
///
/// `Retry-After` (RFC 9110, section 10.2.3) and OpenAI's more exact `retry-after-ms` speak of this refusal and come first. The
/// `x-ratelimit-reset-*` of OpenAI and its kin speak of budgets: the ones that are used up count, or else the first to be renewed.
pub(super) fn retry_after<'a>(
    status: u16,
    now: SystemTime,
    header: impl Fn(&str) -> Option<&'a str>,
) -> Option<Duration> {
    let milliseconds = || seconds(header("retry-after-ms")?).map(|asked| asked / 1000);
    let told = || {
        let value = header("retry-after")?.trim();
        seconds(value).or_else(|| {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        })
    };
    let budgets = || {
        let mut used_up = None;
        let mut first = None;
        for budget in ["-requests", "-tokens", ""] {
            let reset = header(&format!("x-ratelimit-reset{budget}"));
            let Some(reset) = reset.and_then(|reset| reset_in(reset, now)) else {
                continue;
            };
            if header(&format!("x-ratelimit-remaining{budget}")) == Some("0") {
                used_up = used_up.max(Some(reset));
            }
            first = Some(first.map_or(reset, |first: Duration| first.min(reset)));
        }
        used_up.or(first)
    };
    let told = milliseconds().or_else(told);
    told.or_else(|| (status == 429).then(budgets)?)
}

fn seconds(value: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(value.trim().parse().ok()?).ok()
}

/// `7`, `7s`, `6m0s`, `120ms`, or a moment as a Unix time in seconds or milliseconds.
fn reset_in(value: &str, now: SystemTime) -> Option<Duration> {
    if let Some(told) = seconds(value) {
        let moment = match told.as_secs() {
            0..1_000_000_000 => return Some(told),
            1_000_000_000..100_000_000_000 => told,
            _ => told / 1000,
        };
        let moment = SystemTime::UNIX_EPOCH.checked_add(moment)?;
        return Some(moment.duration_since(now).unwrap_or_default());
    }
    let mut total = Duration::ZERO;
    let mut rest = value.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit());
        let (unit, after) = after.split_at(unit.unwrap_or(after.len()));
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * scale).ok()?)?;
        rest = after;
    }
    (!value.trim().is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(status: u16, headers: &[(&str, &str)]) -> Option<f64> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        retry_after(status, now, header).map(|asked| asked.as_secs_f64())
    }

    #[test]
    fn every_way_to_ask_for_patience_is_understood() {
        for (headers, expected) in [
            (vec![("retry-after", "7")], Some(7.0)),
            (vec![("retry-after", " 1.5 ")], Some(1.5)),
            (
                vec![("retry-after", "Tue, 14 Nov 2023 22:14:20 GMT")],
                Some(60.0),
            ),
            (
                vec![("retry-after", "Tue, 14 Nov 2000 22:14:20 GMT")],
                Some(0.0),
            ),
            (
                vec![("retry-after", "7"), ("retry-after-ms", "6900")],
                Some(6.9),
            ),
            (vec![("retry-after", "soon")], None),
            (vec![("retry-after", "-1")], None),
            (vec![("retry-after", "NaN")], None),
            (vec![("retry-after", "1e300")], None),
            (vec![("x-ratelimit-reset-tokens", "6m0s")], Some(360.0)),
            (vec![("x-ratelimit-reset-tokens", "7s")], Some(7.0)),
            (vec![("x-ratelimit-reset-tokens", "7")], Some(7.0)),
            (vec![("x-ratelimit-reset-tokens", "120ms")], Some(0.12)),
            (vec![("x-ratelimit-reset-tokens", "1h0m2.5s")], Some(3602.5)),
            (vec![("x-ratelimit-reset-tokens", "")], None),
            (vec![("x-ratelimit-reset-tokens", "7 parsecs")], None),
            (vec![("x-ratelimit-reset", "1700000009")], Some(9.0)),
            (vec![("x-ratelimit-reset", "1700000009000")], Some(9.0)),
            (
                vec![
                    ("x-ratelimit-reset-requests", "6m0s"),
                    ("x-ratelimit-reset-tokens", "7s"),
                ],
                Some(7.0),
            ),
            (
                vec![
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "6m0s"),
                    ("x-ratelimit-reset-tokens", "7s"),
                ],
                Some(360.0),
            ),
            (vec![], None),
        ] {
            assert_eq!(asked(429, &headers), expected, "{headers:?}");
        }
        assert_eq!(asked(503, &[("retry-after", "3")]), Some(3.0));
        assert_eq!(asked(400, &[("x-ratelimit-reset-tokens", "7s")]), None);
    }

    #[test]
    fn the_providers_own_words_are_found() {
        for (body, expected) in [
            (json!({"error": {"message": "a", "code": 1}}), Some("a")),
            (json!({"error": "a"}), Some("a")),
            (json!({"message": "a"}), Some("a")),
            (json!({"detail": "a"}), Some("a")),
            (json!({"detail": [{"loc": ["x"], "msg": "a"}]}), Some("a")),
            (json!([{"error": {"message": "a"}}]), Some("a")),
            (json!({"error": null, "message": "a"}), Some("a")),
            (json!({"error": {"code": 7}}), None),
            (json!({"error": ""}), None),
        ] {
            assert_eq!(message_in(&body).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn a_refusal_without_words_names_the_status() {
        for (body, expected) in [
            (
                "<html><h1>502 Bad Gateway</h1></html>",
                "the upstream answered 502 Bad Gateway",
            ),
            ("", "the upstream answered 502 Bad Gateway"),
            (r#"{"error":{"#, "the upstream answered 502 Bad Gateway"),
            (
                "no route",
                "the upstream answered 502 Bad Gateway: no route",
            ),
            ("\u{feff} {\"error\":\"a\"}", "a"),
        ] {
            let error = refusal(502, "Bad Gateway", body.as_bytes());
            assert_eq!((&*error.message, error.status), (expected, Some(502)));
        }
    }

    #[test]
    fn an_error_inside_a_200_keeps_the_status_it_names() {
        let error = reported(&json!({"error": {"message": "a", "code": 503}}));
        assert_eq!((&*error.message, error.status), ("a", Some(503)));
        assert_eq!(reported(&json!({"error": {"code": "x"}})).status, None);
        assert_eq!(reported(&json!({"error": {"code": 1}})).status, None);
    }

    #[test]
    fn messages_lose_the_key_control_characters_and_excess() {
        let secrets = Secrets::only("sk-secret");
        let clean = |text: &str| {
            let error = UpstreamError::new(Failure::Refused, text);
            error.cleaned(&secrets).message
        };
        assert_eq!(
            clean("bad\u{1b}[31m\r\n\tkey sk-secret!"),
            "bad [31m key …!"
        );
        let long = clean(&"漢".repeat(5000));
        assert_eq!(long.chars().count(), MESSAGE_LIMIT + 1);
        let at_the_limit = clean(&format!("{}sk-secret", "x".repeat(MESSAGE_LIMIT - 5)));
        assert!(at_the_limit.ends_with("x…"), "{at_the_limit}");
    }
}
