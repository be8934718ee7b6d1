//! How many tokens an answer cost, in the shapes in which upstreams tell it.

use crate::model::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
struct Figures {
    prompt_tokens: Option<f64>,
    completion_tokens: Option<f64>,
    total_tokens: Option<f64>,
}

/// A figure that is missing follows from the total; when the total is all there is, the share of the prompt is unknown.
pub(super) fn of(json: &RawValue) -> Option<Usage> {
    let figures: Figures = serde_json::from_str(json.get()).ok()?;
    let tokens = |figure: Option<f64>| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and no count of tokens is that large"
        )]
        figure.map(|figure| figure as u64)
    };
    let total = tokens(figures.total_tokens);
    let (prompt_tokens, completion_tokens, estimated) = match (
        tokens(figures.prompt_tokens),
        tokens(figures.completion_tokens),
    ) {
        (Some(prompt), Some(completion)) => (prompt, completion, false),
        (Some(prompt), None) => (
            prompt,
            total.unwrap_or(prompt).saturating_sub(prompt),
            false,
        ),
        (None, Some(done)) => (total.unwrap_or(done).saturating_sub(done), done, false),
        (None, None) => (0, total?, true),
    };
    Some(Usage {
        prompt_tokens,
        completion_tokens,
        estimated,
    })
}

/// Groq's own place for it, `x_groq.usage`.
pub(super) fn of_groq(json: &RawValue) -> Option<Usage> {
    #[derive(Deserialize)]
    struct XGroq<'a> {
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
    }
    let fields: XGroq = serde_json::from_str(json.get()).ok()?;
    of(fields.usage?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<(u64, u64, bool)> {
        let json: &RawValue = serde_json::from_str(json).unwrap();
        of(json).map(|usage| {
            (
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.estimated,
            )
        })
    }

    #[test]
    fn missing_figures_follow_from_the_total_and_zeros_are_figures() {
        for (json, expected) in [
            (
                r#"{"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}"#,
                Some((7, 2, false)),
            ),
            (
                r#"{"prompt_tokens": 0, "completion_tokens": 0}"#,
                Some((0, 0, false)),
            ),
            (
                r#"{"prompt_tokens": 7.0, "total_tokens": 9}"#,
                Some((7, 2, false)),
            ),
            (
                r#"{"completion_tokens": 2, "total_tokens": 9}"#,
                Some((7, 2, false)),
            ),
            (r#"{"prompt_tokens": 7}"#, Some((7, 0, false))),
            (
                r#"{"prompt_tokens": null, "completion_tokens": 2}"#,
                Some((0, 2, false)),
            ),
            (r#"{"total_tokens": 9}"#, Some((0, 9, true))),
            (r#"{"completion_tokens": -1}"#, Some((0, 0, false))),
            ("{}", None),
            (r#""many""#, None),
            (r#"{"total_tokens": "many"}"#, None),
        ] {
            assert_eq!(read(json), expected, "{json}");
        }
    }
}
