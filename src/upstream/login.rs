//! What the upstream is asked with: a key, or a user and a password from its URL. And that none of it is shown.

use super::{Secret, UpstreamOptions};
use awc::{
    Client,
    http::header::{self, HeaderValue},
};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// Shorter ones are no secrets, and taking them out would garble any message.
const SECRET_LENGTH: usize = 4;

/// Who asks, of a server or proxy that wants to know (RFC 7617).
#[derive(Debug, Clone)]
pub struct Login {
    pub user: Secret,
    pub password: Secret,
}

impl Login {
    /// The URL without `user:password@`, and these.
    pub fn taken_from(url: &str) -> (String, Option<Self>) {
        let parts = || {
            let (scheme, rest) = url.split_once("://")?;
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let at = rest[..end].rfind('@')?;
            let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
            let login = Self {
                user: Secret(percent_decoded(user)),
                password: Secret(percent_decoded(password)),
            };
            Some((format!("{scheme}://{}", &rest[at + 1..]), login))
        };
        match parts() {
            Some((url, login)) => (url, Some(login)),
            None => (url.to_owned(), None),
        }
    }
}

/// What cannot be decoded stays as it is.
fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The header that says it, if there is anything to say; or why there can be none.
pub(super) fn authorization(
    client: &Client,
    options: &UpstreamOptions,
) -> Result<Option<HeaderValue>, &'static str> {
    let mut value = match (&options.api_key, &options.login) {
        (Some(Secret(key)), _) if !key.is_empty() => HeaderValue::from_str(&format!(
            "Bearer {key}"
        ))
        .map_err(|_| "the API key of the upstream has characters that no header may carry")?,
        (_, Some(Login { user, password })) => {
            let written = client
                .get("http://localhost")
                .basic_auth(&user.0, &password.0);
            let Some(value) = written.headers().get(header::AUTHORIZATION) else {
                return Ok(None);
            };
            value.clone()
        }
        _ => return Ok(None),
    };
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What is shown to nobody, the upstream's own words included.
#[derive(Debug)]
pub(super) struct Secrets(Vec<Secret>);

impl Secrets {
    pub fn of(options: &UpstreamOptions, authorization: Option<&HeaderValue>) -> Self {
        let login = options.login.as_ref();
        let login = login.into_iter().flat_map(|Login { user, password }| {
            // Without a password the user is a token.
            [if password.0.is_empty() {
                user
            } else {
                password
            }]
        });
        let sent = authorization.and_then(|value| value.to_str().ok()?.split_once(' '));
        let sent = sent.map(|(_, sent)| Secret(sent.to_owned()));
        let all = options.api_key.iter().chain(login).cloned().chain(sent);
        Self(
            all.filter(|secret| secret.0.len() >= SECRET_LENGTH)
                .collect(),
        )
    }

    #[cfg(test)]
    pub fn only(secret: &str) -> Self {
        Self(vec![Secret(secret.to_owned())])
    }

    pub fn blanked(&self, text: &str) -> String {
        let blank = |text: String, Secret(secret): &Secret| text.replace(secret, "…");
        self.0.iter().fold(text.to_owned(), blank)
    }

    /// As it came when there is none in it, in whatever way its strings are written.
    pub fn blanked_json(&self, json: String) -> String {
        match serde_json::from_str::<Value>(&json) {
            Ok(value) => {
                let blanked = self.blanked_value(value.clone());
                if blanked == value {
                    json
                } else {
                    blanked.to_string()
                }
            }
            Err(_) => self.blanked(&json),
        }
    }

    fn blanked_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.blanked(&text).into(),
            Value::Array(items) => items
                .into_iter()
                .map(|item| self.blanked_value(item))
                .collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (self.blanked(&name), self.blanked_value(value)))
                .collect(),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_taken_out_of_a_url_and_decoded() {
        for (url, without, login) in [
            ("http://h/v1", "http://h/v1", None),
            ("http://u:p@h:1/v1", "http://h:1/v1", Some(("u", "p"))),
            ("https://u:p@h", "https://h", Some(("u", "p"))),
            ("http://token@h/v1", "http://h/v1", Some(("token", ""))),
            (
                "http://u:a:b%40%c3%a9%2@h/",
                "http://h/",
                Some(("u", "a:b@é%2")),
            ),
            ("http://h/v1@x", "http://h/v1@x", None),
            ("", "", None),
        ] {
            let (found, taken) = Login::taken_from(url);
            assert_eq!(found, without, "{url}");
            let taken = taken.map(|login| (login.user.0, login.password.0));
            let taken = taken
                .as_ref()
                .map(|(user, password)| (&**user, &**password));
            assert_eq!(taken, login, "{url}");
        }
        let (_, login) = Login::taken_from("http://xyzzyu:xyzzyp@h");
        assert!(!format!("{login:?}").contains("xyzzy"));
    }

    #[test]
    fn a_secret_is_found_however_json_writes_it() {
        let secrets = Secrets::only("p\"ä/x");
        for (json, shown) in [
            (
                r#"{"a": "no secret",  "n": 1.50}"#,
                r#"{"a": "no secret",  "n": 1.50}"#,
            ),
            (r#"{"a":["is p\"ä/x!"]}"#, r#"{"a":["is …!"]}"#),
            (r#"{"p\"\u00e4\/\u0078":0}"#, r#"{"…":0}"#),
        ] {
            assert_eq!(secrets.blanked_json(json.to_owned()), shown);
        }
    }
}
