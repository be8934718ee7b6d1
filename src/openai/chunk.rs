//! Chunks of an upstream's answer: which of them only tells the usage, and what a whole answer is as a chunk.

use super::members::{edited, elements, members};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

/// True of the chunk that comes for `include_usage` alone: no choices, and figures.
pub fn is_usage(payload: &str) -> bool {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        choices: Option<Vec<IgnoredAny>>,
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
    }
    // Most chunks have no such word in them and are not looked at any closer.
    payload.contains("\"usage\"")
        && serde_json::from_str::<Chunk>(payload).is_ok_and(|chunk| {
            chunk.usage.is_some() && chunk.choices.is_none_or(|choices| choices.is_empty())
        })
}

/// A whole answer as the one chunk that says the same, for a client that asked for a stream and would find nothing in it otherwise.
pub fn as_chunk(payload: &str) -> String {
    rewritten(payload).unwrap_or_else(|_| payload.to_owned())
}

fn rewritten(payload: &str) -> Result<String, serde_json::Error> {
    let mut edits = Vec::new();
    for member in members(payload)? {
        match member.name.as_str() {
            "object" => edits.push((member.value_at(), "\"chat.completion.chunk\"".to_owned())),
            "choices" => {
                for (at, choice) in elements(payload, member.value)? {
                    for member in members(choice)? {
                        if member.name != "message" {
                            continue;
                        }
                        let name = member.name_at(choice);
                        edits.push((at + name.start..at + name.end, "\"delta\"".to_owned()));
                        number_calls(payload, member.value, &mut edits)?;
                    }
                }
            }
            _ => {}
        }
    }
    // A line end within JSON is white space; a lone CR would end a line of the stream.
    Ok(edited(payload, edits)
        .replace("\r\n", "\n")
        .replace('\r', "\n"))
}

/// In a chunk each tool call says which it is.
fn number_calls(
    payload: &str,
    message: &str,
    edits: &mut Vec<(std::ops::Range<usize>, String)>,
) -> Result<(), serde_json::Error> {
    for member in members(message)? {
        if member.name != "tool_calls" || member.value == "null" {
            continue;
        }
        for (number, (at, call)) in elements(payload, member.value)?.into_iter().enumerate() {
            let fields: Value = serde_json::from_str(call).unwrap_or_default();
            if fields.is_object() && fields.get("index").is_none() {
                let comma = if fields.as_object().is_some_and(serde_json::Map::is_empty) {
                    ""
                } else {
                    ","
                };
                edits.push((at + 1..at + 1, format!("\"index\":{number}{comma}")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_chunk_for_the_usage_is_one() {
        for (payload, expected) in [
            (r#"{"choices":[],"usage":{"total_tokens":1}}"#, true),
            (r#"{"usage":{"total_tokens":1}}"#, true),
            (r#"{"choices":[],"usage":null}"#, false),
            (
                r#"{"choices":[{"index":0}],"usage":{"total_tokens":1}}"#,
                false,
            ),
            (r#"{"choices":[],"prompt_filter_results":[]}"#, false),
            (r#"{"choices":[{"delta":{"content":"\"usage\""}}]}"#, false),
            ("{", false),
        ] {
            assert_eq!(is_usage(payload), expected, "{payload}");
        }
    }

    #[test]
    fn a_whole_answer_becomes_a_chunk_and_keeps_the_rest() {
        let whole = "{\"id\":\"c\", \"object\":\"chat.completion\",\r\n\"choices\":[{\"index\":0,\"message\" : {\"role\":\"assistant\",\"content\":\"message\",\
            \"tool_calls\":[{\"id\":\"a\"},{\"index\":7},{}]},\"x\":1.0},{\"index\":1,\"message\":{}}],\"usage\":{\"total_tokens\":1}}";
        let chunk = "{\"id\":\"c\", \"object\":\"chat.completion.chunk\",\n\"choices\":[{\"index\":0,\"delta\" : {\"role\":\"assistant\",\"content\":\"message\",\
            \"tool_calls\":[{\"index\":0,\"id\":\"a\"},{\"index\":7},{\"index\":2}]},\"x\":1.0},{\"index\":1,\"delta\":{}}],\"usage\":{\"total_tokens\":1}}";
        assert_eq!(as_chunk(whole), chunk);
        assert_eq!(as_chunk("nonsense"), "nonsense");
    }
}
