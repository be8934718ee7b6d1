//! What is left of their limits, told to whoever asks with every answer.

use crate::{
    limits::{Ledger, Room, Tokens},
    standing::Standing,
};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// What an answer tells of the limits of whoever asked.
#[derive(Default)]
pub(super) struct Told {
    pub of: Option<(Arc<Ledger>, Arc<Standing>)>,
    pub requests: Option<Room>,
}

impl Told {
    pub fn tell(self, headers: &mut HeaderMap) {
        let mut tell = |of: &str, limit: String, remaining: String, reset: Duration| {
            let all = [
                ("limit", limit),
                ("remaining", remaining),
                ("reset", brief(reset)),
            ];
            for (what, value) in all {
                let name = HeaderName::try_from(format!("x-ratelimit-{what}-{of}"));
                if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                    headers.insert(name, value);
                }
            }
        };
        if let Some(Room {
            limit,
            remaining,
            reset,
        }) = self.requests
        {
            tell("requests", limit.to_string(), remaining.to_string(), reset);
        }
        // After the answer: only then it is known whose tokens were looked up.
        let left = self
            .of
            .and_then(|(ledger, standing)| ledger.left(&standing));
        if let Some(Tokens {
            limit,
            remaining,
            reset,
        }) = left
        {
            tell("tokens", limit.to_string(), remaining.to_string(), reset);
        }
    }
}

/// As OpenAI's headers tell a duration: `1h2m3s`, `6s`, `20ms`.
fn brief(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let mut told = String::new();
    for (count, unit) in parts {
        if count > 0 {
            let _ = write!(told, "{count}{unit}");
        }
    }
    if told.is_empty() {
        return format!("{millis}ms");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_openai_tells_them() {
        for (millis, told) in [
            (0, "0ms"),
            (20, "20ms"),
            (6_000, "6s"),
            (60_000, "1m"),
            (3_723_004, "1h2m3s"),
        ] {
            assert_eq!(brief(Duration::from_millis(millis)), told);
        }
    }
}
