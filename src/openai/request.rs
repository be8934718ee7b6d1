//! A client's request for a chat completion: what of it is ours to read and to change. Everything else passes as it came.

use super::members::{Member, edited, members};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::ops::Range;

/// A request, and what it says about what the server decides.
#[derive(Debug)]
pub struct Asked<'a> {
    json: &'a str,
    members: Vec<Member<'a>>,
    /// As the client names it.
    pub model: Option<String>,
    pub streams: bool,
    /// The client asked for the chunk that tells the usage.
    pub shows_usage: bool,
    /// The exchange is to be kept as a conversation.
    pub stores: bool,
}

/// A field that says something impossible.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    #[error("{0}: {1}")]
    Value(&'static str, &'static str),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The members that are looked at; which of two of the same name counts is something that servers do not agree on.
const OURS: [&str; 4] = ["model", "stream", "stream_options", "store"];

impl<'a> Asked<'a> {
    pub fn read(json: &'a str) -> Result<Self, Invalid> {
        let members = members(json)?;
        for ours in OURS {
            if members.iter().filter(|member| member.name == ours).count() > 1 {
                return Err(Invalid::Value(ours, "it is there twice"));
            }
        }
        let mut asked = Self {
            json,
            members,
            model: None,
            streams: false,
            shows_usage: false,
            stores: false,
        };
        asked.model = asked.value("model", "wants a string")?;
        asked.streams = asked
            .value("stream", "wants true or false")?
            .unwrap_or(false);
        asked.stores = asked
            .value("store", "wants true or false")?
            .unwrap_or(false);
        if asked.streams
            && let Some(options) = asked.options()?
        {
            let usage = options.iter().find(|member| member.name == "include_usage");
            let shows = usage.map(|member| serde_json::from_str::<Option<bool>>(member.value));
            let shows = shows.transpose().map_err(|_| {
                Invalid::Value("stream_options", "include_usage wants true or false")
            })?;
            asked.shows_usage = shows.flatten().unwrap_or(false);
        }
        Ok(asked)
    }

    /// What the upstream is asked: this model, and with its usage where the answer is streamed. `store` goes on only when `passes_store`.
    pub fn rewritten(&self, model: &str, passes_store: bool) -> String {
        let model = serde_json::to_string(model).expect("a string is JSON");
        let mut edits = Vec::new();
        let mut added = Vec::new();
        match self.member("model") {
            Some(member) => edits.push((member.value_at(), model)),
            None => added.push(format!("\"model\":{model}")),
        }
        if self.streams {
            self.ask_for_usage(&mut edits, &mut added);
        }
        if !passes_store && let Some(at) = self.members.iter().position(|m| m.name == "store") {
            edits.push((self.with_its_comma(at), String::new()));
        }
        if !added.is_empty() {
            let inside = self.json.find('{').map_or(0, |brace| brace + 1);
            let stays = self
                .members
                .iter()
                .any(|member| passes_store || member.name != "store");
            let comma = if stays { "," } else { "" };
            edits.push((inside..inside, format!("{}{comma}", added.join(","))));
        }
        edited(self.json, edits)
    }

    fn ask_for_usage(&self, edits: &mut Vec<(Range<usize>, String)>, added: &mut Vec<String>) {
        const WITH: &str = "\"include_usage\":true";
        let Some(options) = self.member("stream_options") else {
            return added.push(format!("\"stream_options\":{{{WITH}}}"));
        };
        let at = options.value_at();
        let Ok(inner) = members(options.value) else {
            return edits.push((at, format!("{{{WITH}}}")));
        };
        let at = match inner.iter().find(|member| member.name == "include_usage") {
            Some(member) => {
                let within = member.value_at();
                return edits.push((
                    at.start + within.start..at.start + within.end,
                    "true".into(),
                ));
            }
            None => at.start + 1..at.start + 1,
        };
        let comma = if inner.is_empty() { "" } else { "," };
        edits.push((at, format!("{WITH}{comma}")));
    }

    /// The member, and the comma that parts it from its neighbour.
    fn with_its_comma(&self, at: usize) -> Range<usize> {
        let own = self.members[at].at.clone();
        if at > 0 {
            self.members[at - 1].at.end..own.end
        } else if let Some(next) = self.members.get(1) {
            own.start..next.at.start
        } else {
            own
        }
    }

    fn member(&self, name: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.name == name)
    }

    fn value<T: DeserializeOwned>(
        &self,
        name: &'static str,
        wants: &'static str,
    ) -> Result<Option<T>, Invalid> {
        let Some(member) = self.member(name) else {
            return Ok(None);
        };
        serde_json::from_str(member.value).map_err(|_| Invalid::Value(name, wants))
    }

    fn options(&self) -> Result<Option<Vec<Member<'a>>>, Invalid> {
        let name = "stream_options";
        match self.member(name) {
            Some(member)
                if serde_json::from_str::<Option<IgnoredAny>>(member.value)
                    .is_ok_and(|it| it.is_none()) =>
            {
                Ok(None)
            }
            Some(member) => members(member.value)
                .map(Some)
                .map_err(|_| Invalid::Value(name, "wants an object")),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn rewritten(json: &str) -> String {
        Asked::read(json).expect("a request").rewritten("m", false)
    }

    #[test]
    fn nothing_but_what_is_ours_is_touched() {
        for (asked, expected) in [
            (
                r#"{"model":"x", "n" : 2.0,"x":{"model":"y"} }"#,
                r#"{"model":"m", "n" : 2.0,"x":{"model":"y"} }"#,
            ),
            (r"{}", r#"{"model":"m"}"#),
            (r#" { "a":1}"#, r#" {"model":"m", "a":1}"#),
            (r#"{"store":true}"#, r#"{"model":"m"}"#),
            (r#"{"store":true, "a":1}"#, r#"{"model":"m","a":1}"#),
            (
                r#"{"a":1, "store":true, "b":2}"#,
                r#"{"model":"m","a":1, "b":2}"#,
            ),
            (r#"{"model":null,"store":false}"#, r#"{"model":"m"}"#),
            (
                r#"{"model":"x","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                r#"{"model":"x","stream":true,"stream_options":{"include_obfuscation": false}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_obfuscation": false}}"#,
            ),
            (
                r#"{"model":"x","stream":true,"stream_options": {"include_usage" : false} }"#,
                r#"{"model":"m","stream":true,"stream_options": {"include_usage" : true} }"#,
            ),
            (
                r#"{"model":"x","stream":true,"stream_options":null}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"x","stream":true,"stream_options":{}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            // Its business: the upstream says what it thinks of it.
            (
                r#"{"model":"x","stream_options":{"a":1}}"#,
                r#"{"model":"m","stream_options":{"a":1}}"#,
            ),
            (
                r#"{"model":"x","messages":[{"content":"\ud83d"}]}"#,
                r#"{"model":"m","messages":[{"content":"\ud83d"}]}"#,
            ),
        ] {
            assert_eq!(rewritten(asked), expected);
        }
        let stored = r#"{"a":1,"store":true,"model":"x"}"#;
        let asked = Asked::read(stored).expect("a request");
        assert!(asked.stores);
        assert_eq!(
            asked.rewritten("m", true),
            r#"{"a":1,"store":true,"model":"m"}"#
        );
        let only = Asked::read(r#"{"store":true}"#).expect("a request");
        assert_eq!(only.rewritten("m", true), r#"{"model":"m","store":true}"#);
    }

    #[test]
    fn what_is_impossible_is_said_by_its_name() {
        for (asked, words) in [
            (r#"{"model":7}"#, "model: wants a string"),
            (r#"{"stream":"yes"}"#, "stream: wants true or false"),
            (
                r#"{"stream":true,"stream":false}"#,
                "stream: it is there twice",
            ),
            (
                r#"{"stream":true,"stream_options":7}"#,
                "stream_options: wants an object",
            ),
            (
                r#"{"stream":true,"stream_options":{"include_usage":1}}"#,
                "stream_options: include_usage wants true or false",
            ),
            (r#"{"store":1}"#, "store: wants true or false"),
        ] {
            assert_eq!(Asked::read(asked).expect_err(asked).to_string(), words);
        }
        assert!(matches!(Asked::read("[1]"), Err(Invalid::Json(_))));
    }

    #[test]
    fn usage_is_shown_to_those_who_ask() {
        let shows = |json: &str| Asked::read(json).expect("a request").shows_usage;
        assert!(shows(
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#
        ));
        assert!(!shows(
            r#"{"stream":true,"stream_options":{"include_usage":null}}"#
        ));
        assert!(!shows(r#"{"stream":true}"#));
    }

    proptest! {
        /// However a request is put together: ours is as it is to be, and all else stands in its order and as it was written.
        #[test]
        fn all_else_stays_as_it_was_written(
            before in prop::collection::vec("[a-l]{1,3}", 0..4),
            after in prop::collection::vec("[m-r]{1,3}", 0..4),
            ours in Just(vec![r#""model" : "x""#, r#""stream":true"#, r#""store": true"#, r#""stream_options":{"x":1e0}"#]).prop_shuffle(),
            count in 0usize..5,
            space in "[ \n\t]{0,2}",
            passes_store in any::<bool>(),
        ) {
            let other = |name: &String| format!("{space}\"{name}\"{space}:{space}[1.50,\"\\ud83d\"]{space}");
            let ours = &ours[..count.min(ours.len())];
            let all = before.iter().map(other).chain(ours.iter().map(|&it| it.to_owned())).chain(after.iter().map(other));
            let json = format!("{{{}}}", all.collect::<Vec<_>>().join(","));
            let asked = Asked::read(&json).expect("a request");
            let rewritten = asked.rewritten("\"m\r\n\"", passes_store);
            let untouched = |json: &str| -> Vec<String> {
                let all = members(json).expect("an object");
                let others = all.iter().filter(|member| !OURS.contains(&&*member.name));
                others.map(|member| json[member.at.clone()].to_owned()).collect()
            };
            prop_assert_eq!(untouched(&rewritten), untouched(&json));
            let ours: Map<String, Value> = members(&rewritten).expect("an object").iter()
                .filter(|member| OURS.contains(&&*member.name))
                .map(|member| (member.name.clone(), serde_json::from_str(member.value).expect("JSON")))
                .collect();
            prop_assert_eq!(&ours["model"], "\"m\r\n\"");
            prop_assert_eq!(ours.contains_key("store"), passes_store && json.contains("\"store\""));
            let asks = ours.get("stream_options").and_then(|options| options.get("include_usage"));
            prop_assert_eq!(asks == Some(&Value::Bool(true)), asked.streams);
        }
    }
}
