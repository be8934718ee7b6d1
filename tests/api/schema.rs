//! The JSON Schema that the contract uses: what of a value does not keep to it. A word that is not known here fails, so that none is passed over.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Says more than that a value is of a kind.
const WORDS: [&str; 6] = [
    "description",
    "title",
    "example",
    "examples",
    "default",
    "deprecated",
];

/// Schemas within a document, whose references they follow.
pub struct Schemas<'a>(pub &'a Value);

impl Schemas<'_> {
    /// What is wrong with `value`, each with its place. A member that no schema names is wrong, too.
    pub fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(schema, value, "$", true, &mut faults);
        faults
    }

    pub fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(at) => {
                let pointer = at.strip_prefix('#').expect("a reference within");
                let found = self.0.pointer(pointer);
                found.unwrap_or_else(|| panic!("{at} leads nowhere"))
            }
            None => schema,
        }
    }

    fn check(
        &self,
        schema: &Value,
        value: &Value,
        at: &str,
        is_whole: bool,
        faults: &mut Vec<String>,
    ) {
        let Some(schema) = self.resolve(schema).as_object() else {
            return;
        };
        for (word, told) in schema {
            match word.as_str() {
                "type" => {
                    let kinds = told
                        .as_array()
                        .map_or(std::slice::from_ref(told), |kinds| kinds);
                    if !kinds.iter().any(|kind| is_kind(kind, value)) {
                        faults.push(format!("{at}: {value} is no {told}"));
                    }
                }
                "required" => {
                    let names = told.as_array().expect("names");
                    for name in names.iter().filter_map(Value::as_str) {
                        if value.is_object() && value.get(name).is_none() {
                            faults.push(format!("{at}: {name} is missing"));
                        }
                    }
                }
                "properties" => {
                    for (name, schema) in told.as_object().expect("schemas") {
                        if let Some(value) = value.get(name) {
                            self.check(schema, value, &format!("{at}.{name}"), true, faults);
                        }
                    }
                }
                "items" => {
                    for (n, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(told, value, &format!("{at}[{n}]"), true, faults);
                    }
                }
                "enum" => {
                    if !told.as_array().expect("values").contains(value) {
                        faults.push(format!("{at}: {value} is none of {told}"));
                    }
                }
                "allOf" => {
                    for part in told.as_array().expect("schemas") {
                        self.check(part, value, at, false, faults);
                    }
                }
                "oneOf" => {
                    let fitting = self.fitting(told, value);
                    if fitting != 1 {
                        faults.push(format!("{at}: {value} fits {fitting} of {told}"));
                    }
                }
                "format" => {
                    let text = value.as_str();
                    if text.is_some_and(|text| !has_format(told, text)) {
                        faults.push(format!("{at}: {value} is no {told}"));
                    }
                }
                "minimum" | "maximum" | "minLength" | "maxLength" | "minItems" | "maxItems" => {
                    let limit = told.as_f64().expect("a number");
                    let is_beyond = |size: f64| {
                        if word.starts_with("min") {
                            size < limit
                        } else {
                            size > limit
                        }
                    };
                    if size(word, value).is_some_and(is_beyond) {
                        faults.push(format!("{at}: {word} is {told}"));
                    }
                }
                // Patterns are of requests: `tests/contract` compares them with what the server takes.
                "propertyNames" | "additionalProperties" | "pattern" => {}
                word if WORDS.contains(&word) => {}
                word => panic!("{at}: the schema says `{word}`, which nobody checks"),
            }
        }
        if is_whole
            && let Some(object) = value.as_object()
            && let Some(known) = self.members(schema)
        {
            let unknown = object.keys().filter(|name| !known.contains(name.as_str()));
            faults.extend(unknown.map(|name| format!("{at}.{name}: it is not in the contract")));
        }
    }

    /// How many of these schemas a value keeps to.
    fn fitting(&self, choices: &Value, value: &Value) -> usize {
        let choices = choices.as_array().expect("schemas");
        let fits = |choice: &&Value| self.faults(choice, value).is_empty();
        choices.iter().filter(fits).count()
    }

    /// The members that are named; `None` when any may be there.
    fn members<'s>(&'s self, schema: &'s Map<String, Value>) -> Option<BTreeSet<&'s str>> {
        let mut known = BTreeSet::new();
        let is_bare = !["properties", "allOf", "oneOf"]
            .iter()
            .any(|word| schema.contains_key(*word));
        let others = schema
            .get("additionalProperties")
            .unwrap_or(&Value::Bool(false));
        if is_bare || *others != Value::Bool(false) {
            return None;
        }
        let named = schema.get("properties").and_then(Value::as_object);
        known.extend(named.into_iter().flat_map(Map::keys).map(String::as_str));
        for word in ["allOf", "oneOf"] {
            for part in schema
                .get(word)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let part = self.resolve(part).as_object()?;
                if part.get("type").is_some_and(|kind| kind == "null") {
                    continue;
                }
                known.extend(self.members(part)?);
            }
        }
        Some(known)
    }
}

/// What a limit of this name limits.
fn size(word: &str, value: &Value) -> Option<f64> {
    let count = match &word[3..] {
        "Length" => value.as_str()?.chars().count(),
        "Items" => value.as_array()?.len(),
        _ => return value.as_f64(),
    };
    u32::try_from(count).ok().map(f64::from)
}

fn is_kind(kind: &Value, value: &Value) -> bool {
    match kind.as_str().expect("a name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        kind => panic!("there is no type {kind}"),
    }
}

fn has_format(format: &Value, text: &str) -> bool {
    match format.as_str().expect("a name") {
        "uuid" => text.len() == 36 && text.parse::<continuo::model::UserId>().is_ok(),
        "date-time" => {
            let shape: String = text
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            ["0000-00-00T00:00:00.000Z", "0000-00-00T00:00:00Z"].contains(&&*shape)
        }
        "int32" | "int64" | "uint8" | "uint32" | "uint64" | "double" | "float" => true,
        format => panic!("nobody checks the format {format}"),
    }
}

#[test]
fn what_does_not_keep_to_a_schema_is_found() {
    use serde_json::json;
    let document = json!({ "id": { "type": "string", "format": "uuid" } });
    let schemas = Schemas(&document);
    let schema = json!({
        "allOf": [
            { "type": "object", "required": ["a"], "properties": { "a": { "type": ["integer", "null"], "minimum": 1 } } },
            { "type": "object", "properties": { "id": { "oneOf": [{ "type": "null" }, { "$ref": "#/id" }] } } }
        ]
    });
    for (value, faults) in [
        (json!({ "a": 1 }), 0),
        (json!({ "a": null, "id": null }), 0),
        (
            json!({ "a": 1, "id": "019a5b1e-6f5c-7c3e-9a53-0c5d2f6f4a11" }),
            0,
        ),
        (json!({}), 1),
        (json!([]), 2),
        (json!({ "a": 0 }), 1),
        (json!({ "a": "1" }), 1),
        (json!({ "a": 1, "b": 1 }), 1),
        (json!({ "a": 1, "id": "x" }), 1),
    ] {
        let found = schemas.faults(&schema, &value);
        assert_eq!(found.len(), faults, "{value}: {found:?}");
    }
}
