//! Fragments of tool calls: which call each belongs to, and its fields as any store takes them.

use crate::{
    model::ToolCallFragment,
    text::{without_lone_halves, without_nul},
};
use serde_json::{Map, Value};

/// An index is a number that the upstream chose; a transcript keeps no more calls than this.
const MAX_TOOL_CALLS: usize = 1024;

/// Gives every fragment its index, also when the upstream sends none.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    /// The id of each call so far, by index.
    ids: Vec<Option<String>>,
    last: usize,
}

impl ToolCalls {
    /// The fragments in a `tool_calls` array and how many were unreadable. In a `whole` message each element is a call of its own.
    pub fn read(&mut self, json: &str, whole: bool) -> (Vec<ToolCallFragment>, u64) {
        let Some(elements) = parse(json) else {
            return (Vec::new(), 1);
        };
        let mut fragments = Vec::new();
        let mut skipped = 0;
        for (position, element) in elements.into_iter().enumerate() {
            match self.fragment(element, whole.then_some(position)) {
                Some(fragment) => fragments.push(fragment),
                None => skipped += 1,
            }
        }
        (fragments, skipped)
    }

    fn fragment(&mut self, element: Value, position: Option<usize>) -> Option<ToolCallFragment> {
        let Value::Object(mut fields) = element else {
            return None;
        };
        let told = fields.remove("index").filter(|index| !index.is_null());
        let id = fields.get("id").and_then(Value::as_str);
        let id = id.filter(|id| !id.is_empty());
        let index = match told {
            Some(index) => index_of(&index)?,
            None => position.unwrap_or_else(|| self.index_without(id)),
        };
        if index >= MAX_TOOL_CALLS {
            return None;
        }
        if self.ids.len() <= index {
            self.ids.resize(index + 1, None);
        }
        if let (None, Some(id)) = (&self.ids[index], id) {
            self.ids[index] = Some(id.to_owned());
        }
        self.last = index;
        let fields = clean_map(fields);
        Some(ToolCallFragment { index, fields })
    }

    /// An id that is new starts a call, a known one names its call, and no id continues the last call.
    fn index_without(&self, id: Option<&str>) -> usize {
        match id {
            None => self.last,
            Some(id) => self
                .ids
                .iter()
                .position(|known| known.as_deref() == Some(id))
                .unwrap_or(self.ids.len()),
        }
    }
}

fn index_of(index: &Value) -> Option<usize> {
    let number = match index {
        Value::String(digits) => digits.parse().ok()?,
        number => number.as_u64()?,
    };
    usize::try_from(number).ok()
}

/// `serde_json` refuses lone surrogate halves in strings; with U+FFFD in their place the rest of the array is kept.
fn parse(json: &str) -> Option<Vec<Value>> {
    serde_json::from_str(json)
        .or_else(|_| serde_json::from_str(&without_lone_halves(json)))
        .ok()
}

fn clean(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_nul(text)),
        Value::Array(values) => Value::Array(values.into_iter().map(clean).collect()),
        Value::Object(map) => Value::Object(clean_map(map)),
        value => value,
    }
}

fn clean_map(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter()
        .map(|(name, value)| (without_nul(name), clean(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn indexes(calls: &mut ToolCalls, fragments: &Value) -> Vec<usize> {
        let (fragments, skipped) = calls.read(&fragments.to_string(), false);
        assert_eq!(skipped, 0);
        fragments.iter().map(|fragment| fragment.index).collect()
    }

    #[test]
    fn without_an_index_a_new_id_starts_a_call_and_no_id_continues_the_last() {
        let mut calls = ToolCalls::default();
        assert_eq!(indexes(&mut calls, &json!([{"id": "a"}])), [0]);
        assert_eq!(indexes(&mut calls, &json!([{"function": {}}])), [0]);
        assert_eq!(
            indexes(&mut calls, &json!([{"id": "b"}, {"id": ""}])),
            [1, 1]
        );
        assert_eq!(indexes(&mut calls, &json!([{"id": "a"}])), [0]);
        assert_eq!(indexes(&mut calls, &json!([{"index": null}])), [0]);
        assert_eq!(indexes(&mut calls, &json!([{"index": 3, "id": "c"}])), [3]);
        assert_eq!(indexes(&mut calls, &json!([{"id": "d"}])), [4]);
    }

    #[test]
    fn an_index_that_no_answer_has_is_refused_and_the_rest_kept() {
        let mut calls = ToolCalls::default();
        let (fragments, skipped) = calls.read(
            r#"[{"index": 1024}, {"index": -1}, {"index": 1e300}, {"index": {}}, 7, {"index": "2"}]"#,
            false,
        );
        assert_eq!(skipped, 5);
        assert_eq!(fragments.len(), 1);
        assert_eq!(fragments[0].index, 2);
        assert_eq!(calls.read("nonsense", false).1, 1);
    }

    #[test]
    fn every_element_of_a_whole_message_is_a_call() {
        let mut calls = ToolCalls::default();
        let (fragments, _) = calls.read(r#"[{"x": 1}, {"x": 2}]"#, true);
        assert_eq!((fragments[0].index, fragments[1].index), (0, 1));
    }

    #[test]
    fn fields_come_out_as_any_store_takes_them() {
        let mut calls = ToolCalls::default();
        let (fragments, skipped) = calls.read(
            r#"[{"id":"a","x\u0000":["\u0000"],"function":{"arguments":"\\ud83d \ud83d\ude00 \ud83d \ude00 \\\ud83dé"}}]"#,
            false,
        );
        assert_eq!(skipped, 0);
        assert_eq!(
            json!(fragments[0].fields),
            json!({"id": "a", "x\u{fffd}": ["\u{fffd}"],
                "function": {"arguments": "\\ud83d 😀 \u{fffd} \u{fffd} \\\u{fffd}é"}})
        );
    }
}
