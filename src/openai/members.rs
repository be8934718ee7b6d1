//! The members of a JSON object where they stand in its text, and edits of that text that leave every other byte alone.

use crate::text::Wtf8;
use serde::{
    Deserialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, ops::Range};

/// Where a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub name: String,
    /// Its value, as it stands there.
    pub value: &'a str,
    /// From the quotation mark of its name to the end of its value.
    pub at: Range<usize>,
}

impl Member<'_> {
    pub fn value_at(&self) -> Range<usize> {
        self.at.end - self.value.len()..self.at.end
    }

    /// The name alone, quotation marks included.
    pub fn name_at(&self, json: &str) -> Range<usize> {
        let before = json[..self.value_at().start].trim_end();
        let end = before
            .strip_suffix(':')
            .map_or(0, |name| name.trim_end().len());
        self.at.start..end
    }
}

struct Raw<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<Wtf8>()? {
                    members.push((name.into_text(), map.next_value()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Self)
    }
}

/// The members of an object, in their order.
pub(super) fn members(json: &str) -> Result<Vec<Member<'_>>, serde_json::Error> {
    let Raw(raw) = serde_json::from_str(json)?;
    let begin = json.as_ptr().addr();
    let mut members: Vec<Member> = Vec::new();
    for (name, value) in raw {
        let value = value.get();
        let end = value.as_ptr().addr() - begin + value.len();
        let from = members.last().map_or(0, |last| last.at.end);
        // Behind the brace or comma before it only white space comes; a name begins with a quotation mark.
        let quote = json[from..].find('"').unwrap_or(0);
        members.push(Member {
            name,
            value,
            at: from + quote..end,
        });
    }
    Ok(members)
}

/// The elements of an array: each with where it is in `json`, of which `array` is a part.
pub(super) fn elements<'a>(
    json: &str,
    array: &'a str,
) -> Result<Vec<(usize, &'a str)>, serde_json::Error> {
    let elements: Vec<&RawValue> = serde_json::from_str(array)?;
    let begin = json.as_ptr().addr();
    let place = |element: &'a RawValue| (element.get().as_ptr().addr() - begin, element.get());
    Ok(elements.into_iter().map(place).collect())
}

/// The text with these parts replaced, which must not overlap.
pub(super) fn edited(json: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(at, _)| (at.start, at.end));
    let mut text = String::with_capacity(json.len() + 64);
    let mut from = 0;
    for (at, new) in edits {
        text.push_str(&json[from..at.start]);
        text.push_str(&new);
        from = at.end;
    }
    text.push_str(&json[from..]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_are_where_they_stand() {
        let json = " { \"a\" : 1.0 ,\n\"b\\u0022,\":[{\"a\":2}], \"\\ud83d\" : \"\\ud83d\" } ";
        let found = members(json).expect("an object");
        let at: Vec<_> = found
            .iter()
            .map(|member| &json[member.at.clone()])
            .collect();
        assert_eq!(
            at,
            [
                "\"a\" : 1.0",
                "\"b\\u0022,\":[{\"a\":2}]",
                "\"\\ud83d\" : \"\\ud83d\""
            ]
        );
        assert_eq!(found[1].name, "b\",");
        assert_eq!(found[2].name, "\u{fffd}");
        assert_eq!(&json[found[0].value_at()], "1.0");
        assert_eq!(&json[found[0].name_at(json)], "\"a\"");
        assert_eq!(&json[found[1].name_at(json)], "\"b\\u0022,\"");
        assert!(members("[1]").is_err());
        assert!(members("{}").expect("an object").is_empty());
    }

    proptest! {
        #[test]
        fn any_object_is_put_together_again(names in proptest::collection::vec("\\PC{0,6}", 0..8), space in "[ \n\t]{0,3}") {
            let quoted: Vec<_> = names.iter().map(|name| serde_json::to_string(name).expect("JSON")).collect();
            let all: Vec<_> = quoted.iter().map(|name| format!("{space}{name}{space}:{space}[{name}]{space}")).collect();
            let json = format!("{space}{{{}}}", all.join(","));
            let found = members(&json).expect("an object");
            prop_assert_eq!(found.len(), names.len());
            for ((member, name), quoted) in found.iter().zip(&names).zip(&quoted) {
                prop_assert_eq!(&member.name, name);
                prop_assert_eq!(&json[member.name_at(&json)], quoted);
                prop_assert_eq!(member.value, format!("[{quoted}]"));
                prop_assert_eq!(&json[member.value_at()], member.value);
            }
        }
    }
}
