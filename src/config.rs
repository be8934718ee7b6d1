//! Options: one commented file of defaults, compiled in, and the layers over it.
//!
//! The defaults are also the schema: a key that they do not have, or a value of another type than theirs, is an error. All errors are
//! reported at once, each with its key and where it came from.

use crate::{client::TrustedProxies, upstream::Continuation};
use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};
use toml::{Table, Value};

/// The commented defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");
const PREFIX: &str = "CONTINUO__";
/// The names that other programs of this field use.
const ALIASES: [(&str, &str); 3] = [
    ("DATABASE_URL", "store.url"),
    ("OPENAI_BASE_URL", "upstream.url"),
    ("OPENAI_API_KEY", "upstream.api_key"),
];
/// Never printed.
const SECRETS: [&str; 2] = ["upstream.api_key", "store.url"];
/// Numbers that may be zero; all others are at least 1.
const MAY_BE_ZERO: [&str; 7] = [
    "server.workers",
    "log.retain_seconds",
    "log.retain_bytes",
    "drain.grace_seconds",
    "limits.requests_per_minute",
    "limits.tokens_per_day",
    "limits.login_failures_per_minute",
];
/// The largest number that makes sense for a key: sums of a few stay far from overflow, and every time is one that a calendar has.
fn largest(key: &str) -> i64 {
    const YEAR_SECONDS: i64 = 366 * 24 * 60 * 60;
    match key {
        // The page takes a stream for dead after 25 s of silence.
        "emitter.heartbeat_seconds" => 20,
        "store.connections" | "server.workers" => 10_000,
        key if key.ends_with("_per_minute") => 1_000_000,
        "titles.seconds" => YEAR_SECONDS,
        key if key.ends_with("_seconds") => YEAR_SECONDS,
        key if key.ends_with("_milliseconds") => YEAR_SECONDS * 1000,
        key if key.ends_with("_hours") => 24 * 366,
        key if key.ends_with("_days") => 3660,
        _ => 1 << 48,
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub server: Server,
    pub store: Store,
    pub recorder: Recorder,
    pub upstream: Upstream,
    pub limits: Limits,
    pub log: Log,
    pub emitter: Emitter,
    pub drain: Drain,
    pub titles: Titles,
    pub auth: Auth,
    pub conversations: Conversations,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Server {
    pub bind: SocketAddr,
    pub data_dir: PathBuf,
    pub workers: usize,
    pub allowed_hosts: Vec<String>,
    pub tls_cert: PathBuf,
    pub tls_key: PathBuf,
    pub trusted_proxies: Vec<String>,
}

#[derive(Clone, Deserialize)]
pub struct Store {
    pub url: String,
    pub connections: u32,
    #[serde(rename = "acquire_seconds", deserialize_with = "seconds")]
    pub acquire: Duration,
    #[serde(rename = "patience_seconds", deserialize_with = "seconds")]
    pub patience: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Recorder {
    #[serde(rename = "keep_events_hours", deserialize_with = "hours")]
    pub keep_events: Duration,
    pub spool_bytes: u64,
}

#[derive(Clone, Deserialize)]
pub struct Upstream {
    pub url: String,
    pub api_key: String,
    pub model: String,
    pub aliases: BTreeMap<String, String>,
    pub pass_store: bool,
    #[serde(rename = "connect_seconds", deserialize_with = "seconds")]
    pub connect: Duration,
    #[serde(rename = "first_byte_seconds", deserialize_with = "seconds")]
    pub first_byte: Duration,
    #[serde(rename = "silence_seconds", deserialize_with = "seconds")]
    pub silence: Duration,
    #[serde(rename = "total_seconds", deserialize_with = "seconds")]
    pub total: Duration,
    #[serde(rename = "continue")]
    pub continuation: Continuation,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Limits {
    pub body_bytes: usize,
    #[serde(rename = "body_seconds", deserialize_with = "seconds")]
    pub body: Duration,
    pub message_bytes: usize,
    pub import_messages: usize,
    pub context_bytes: usize,
    pub answer_bytes: usize,
    pub event_bytes: usize,
    pub emitters: usize,
    pub emitters_per_user: usize,
    pub generations: usize,
    pub generations_per_user: usize,
    pub requests_per_minute: u32,
    pub tokens_per_day: u64,
    pub login_failures_per_minute: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    #[serde(rename = "retain_seconds", deserialize_with = "seconds")]
    pub retain: Duration,
    pub retain_bytes: usize,
    pub bytes: usize,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Emitter {
    #[serde(rename = "heartbeat_seconds", deserialize_with = "seconds")]
    pub heartbeat: Duration,
    #[serde(rename = "lifetime_seconds", deserialize_with = "seconds")]
    pub lifetime: Duration,
    #[serde(rename = "peer_timeout_seconds", deserialize_with = "seconds")]
    pub peer_timeout: Duration,
    #[serde(rename = "retry_milliseconds", deserialize_with = "milliseconds")]
    pub retry: Duration,
    #[serde(rename = "poll_seconds", deserialize_with = "seconds")]
    pub poll: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Drain {
    #[serde(rename = "grace_seconds", deserialize_with = "seconds")]
    pub grace: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Titles {
    pub enabled: bool,
    #[serde(rename = "seconds", deserialize_with = "seconds")]
    pub patience: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Auth {
    #[serde(rename = "login_days", deserialize_with = "days")]
    pub login: Duration,
    #[serde(rename = "idle_days", deserialize_with = "days")]
    pub idle: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Conversations {
    #[serde(rename = "undo_seconds", deserialize_with = "seconds")]
    pub undo: Duration,
}

// Their URL and key may hold a password.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Store")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

fn milliseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn hours<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(|hours| Duration::from_secs(hours * 60 * 60))
}

fn days<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(|days| Duration::from_secs(days * 24 * 60 * 60))
}

/// Values by dotted key, each with where it comes from; and everything that was wrong with them.
#[derive(Debug)]
pub struct Layers {
    values: BTreeMap<String, (Value, String)>,
    errors: Vec<String>,
}

impl Default for Layers {
    /// The defaults alone.
    fn default() -> Self {
        let table: Table = DEFAULTS.parse().expect("the compiled-in defaults are TOML");
        let values = flat(table)
            .into_iter()
            .map(|(key, value)| (key, (value, "default".to_owned())))
            .collect();
        Self {
            values,
            errors: Vec::new(),
        }
    }
}

impl Layers {
    /// A file in the shape of the defaults. Fails at once when it cannot be read or is no TOML.
    pub fn file(&mut self, path: &std::path::Path) -> anyhow::Result<()> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file {shown}"))?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = text.bytes().take(at);
            let line = before.filter(|byte| *byte == b'\n').count() + 1;
            // Its `Display` draws a picture of several lines.
            let what = error.message();
            anyhow!("the configuration file {shown} is not TOML at line {line}: {what}")
        })?;
        for (key, value) in flat(table) {
            self.set(&key, value, shown.to_string());
        }
        Ok(())
    }

    /// The variables that mean something here; others are not looked at.
    pub fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let variables: BTreeMap<_, _> = variables.collect();
        for (name, key) in ALIASES {
            if let Some(value) = variables.get(name).filter(|value| !value.is_empty()) {
                self.set_text(key, value, format!("environment {name}"));
            }
        }
        for (name, value) in variables
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
        {
            let key = name[PREFIX.len()..].replace("__", ".").to_ascii_lowercase();
            self.set_text(&key, value, format!("environment {name}"));
        }
    }

    /// A command-line flag.
    pub fn flag(&mut self, flag: &str, key: &str, value: &str) {
        self.set_text(key, value, format!("flag {flag}"));
    }

    /// The options, or every error at once.
    pub fn finish(mut self) -> anyhow::Result<Config> {
        self.check_meaning();
        if !self.errors.is_empty() {
            bail!("the configuration is not valid: {}", self.errors.join("; "));
        }
        let mut sections = Table::new();
        for (key, (value, _)) in self.values {
            let (section, name) = key.split_once('.').expect("every default is in a section");
            let section = sections
                .entry(section)
                .or_insert_with(|| Table::new().into());
            section
                .as_table_mut()
                .expect("a section is a table")
                .insert(name.to_owned(), value);
        }
        sections
            .try_into()
            .context("the configuration is not valid")
    }

    /// What is in force, a line a key, with its source; secrets are not shown.
    pub fn describe(&self) -> String {
        let line = |(key, (value, source)): (&String, &(Value, String))| {
            let is_empty = value.as_str().is_some_and(str::is_empty);
            let shown = match value.as_str() {
                Some(_) if SECRETS.contains(&key.as_str()) && !is_empty => "…".to_owned(),
                Some(url) if key == "upstream.url" => Value::from(without_login(url)).to_string(),
                _ => value.to_string(),
            };
            format!("{key} = {shown}  # {source}\n")
        };
        self.values.iter().map(line).collect()
    }

    fn set_text(&mut self, key: &str, text: &str, source: String) {
        let value = match self.values.get(key) {
            Some((Value::Integer(_), _)) => text.trim().parse().map(Value::Integer).ok(),
            Some((Value::Boolean(_), _)) => text.trim().parse().map(Value::Boolean).ok(),
            Some((Value::Array(_), _)) => {
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                Some(Value::Array(
                    items.map(|item| Value::String(item.to_owned())).collect(),
                ))
            }
            Some((Value::Table(_), _)) => pairs(text).map(Value::Table),
            _ => None,
        };
        self.set(
            key,
            value.unwrap_or_else(|| Value::String(text.to_owned())),
            source,
        );
    }

    fn set(&mut self, key: &str, value: Value, source: String) {
        let Some((known, _)) = self.values.get(key) else {
            return self
                .errors
                .push(format!("{key}: there is no such key ({source})"));
        };
        let (least, largest) = (i64::from(!MAY_BE_ZERO.contains(&key)), largest(key));
        if !known.same_type(&value) {
            let (wanted, found) = (known.type_str(), value.type_str());
            self.errors.push(format!(
                "{key}: wants {}, not {} ({source})",
                article(wanted),
                article(found)
            ));
        } else if value
            .as_integer()
            .is_some_and(|number| !(least..=largest).contains(&number))
        {
            self.errors.push(format!(
                "{key}: wants a number from {least} to {largest} ({source})"
            ));
        } else if value
            .as_array()
            .is_some_and(|items| !items.iter().all(Value::is_str))
        {
            self.errors
                .push(format!("{key}: wants a list of strings ({source})"));
        } else if value
            .as_table()
            .is_some_and(|table| !table.values().all(Value::is_str))
        {
            self.errors
                .push(format!("{key}: wants a table of strings ({source})"));
        } else {
            self.values.insert(key.to_owned(), (value, source));
        }
    }

    /// What types cannot tell.
    fn check_meaning(&mut self) {
        let text = |key: &str| {
            let (value, source) = &self.values[key];
            (value.as_str().unwrap_or_default(), source)
        };
        let mut errors = Vec::new();
        let (bind, source) = text("server.bind");
        if bind.parse::<SocketAddr>().is_err() {
            errors.push(format!("server.bind: wants an address and a port such as 127.0.0.1:8080, not {bind:?} ({source})"));
        }
        let ((cert, cert_source), (key, key_source)) =
            (text("server.tls_cert"), text("server.tls_key"));
        if cert.is_empty() != key.is_empty() {
            let (one, source, other) = if key.is_empty() {
                ("server.tls_cert", cert_source, "server.tls_key")
            } else {
                ("server.tls_key", key_source, "server.tls_cert")
            };
            errors.push(format!("{one}: wants {other} beside it ({source})"));
        }
        let (url, source) = text("upstream.url");
        if !url.is_empty() && !url.starts_with("http://") && !url.starts_with("https://") {
            errors.push(format!("upstream.url: wants a URL that begins with http:// or https:// and ends with /v1 ({source})"));
        }
        let (how, source) = text("upstream.continue");
        if Value::from(how).try_into::<Continuation>().is_err() {
            errors.push(format!(
                "upstream.continue: wants \"prefill\" or \"instruct\", not {how:?} ({source})"
            ));
        }
        let (url, source) = text("store.url");
        if !url.is_empty()
            && !["postgres://", "postgresql://", "sqlite:"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
        {
            errors.push(format!(
                "store.url: wants a URL that begins with postgres:// or sqlite: ({source})"
            ));
        }
        let (proxies, source) = &self.values["server.trusted_proxies"];
        let proxies = proxies.as_array().into_iter().flatten();
        let proxies: Vec<_> = proxies
            .filter_map(|proxy| Some(proxy.as_str()?.to_owned()))
            .collect();
        if let Err(wrong) = TrustedProxies::parse(&proxies) {
            errors.push(format!("server.trusted_proxies: wants addresses and networks such as 10.0.0.0/8, not {wrong:?} ({source})"));
        }
        self.errors.extend(errors);
    }
}

/// A URL with `…` for whoever it logs in as; also one that is none because of a sign in its password.
fn without_login(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (_, None) => url.to_owned(),
    }
}

/// Whether a URL says a password: before its host, or as Postgres takes it, in its query.
pub fn has_password(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let login = rest.rsplit_once('@').map_or("", |(login, _)| login);
    login.contains(':') || rest.contains("password=")
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {kind}")
}

/// `name=value, name=value` as a table; `None` when it is not that.
fn pairs(text: &str) -> Option<Table> {
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    let pair = |item: &str| {
        let (name, value) = item.split_once('=')?;
        Some((name.trim().to_owned(), Value::from(value.trim())))
    };
    items.map(pair).collect()
}

/// `[section] key = value` as `section.key`.
fn flat(table: Table) -> Vec<(String, Value)> {
    let mut values = Vec::new();
    for (section, value) in table {
        match value {
            Value::Table(keys) => values.extend(
                keys.into_iter()
                    .map(|(key, value)| (format!("{section}.{key}"), value)),
            ),
            value => values.push((section, value)),
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn the_defaults_are_a_whole_configuration() {
        let config = Layers::default().finish().expect("valid defaults");
        assert_eq!(config.server.bind.to_string(), "127.0.0.1:8080");
        assert_eq!(config.emitter.heartbeat, Duration::from_secs(10));
        assert_eq!(config.limits.generations_per_user, 8);
    }

    #[test]
    fn later_layers_win() {
        let mut layers = Layers::default();
        layers.environment(variables(&[
            ("DATABASE_URL", "sqlite:a"),
            ("CONTINUO__STORE__URL", "sqlite:b"),
            ("CONTINUO__SERVER__ALLOWED_HOSTS", "a.example, b.example"),
            ("CONTINUO__SERVER__BIND", "127.0.0.1:1"),
            ("HOME", "/"),
        ]));
        layers.flag("--bind", "server.bind", "127.0.0.1:2");
        let config = layers.finish().expect("valid");
        assert_eq!(config.store.url, "sqlite:b");
        assert_eq!(config.server.bind.port(), 2);
        assert_eq!(config.server.allowed_hosts, ["a.example", "b.example"]);
    }

    #[test]
    fn all_errors_are_told_at_once_with_key_and_source() {
        let mut layers = Layers::default();
        layers.environment(variables(&[
            ("CONTINUO__LIMITS__EMITTERS", "many"),
            ("CONTINUO__LIMITS__EMITTER", "5"),
            ("CONTINUO__DRAIN__GRACE_SECONDS", "-1"),
            ("CONTINUO__UPSTREAM__CONTINUE", "Prefill"),
            ("CONTINUO__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, nginx"),
        ]));
        let error = layers.finish().expect_err("five errors").to_string();
        for part in [
            "server.trusted_proxies: wants addresses and networks such as 10.0.0.0/8, not \"nginx\" (environment",
            "limits.emitters: wants an integer, not a string (environment CONTINUO__LIMITS__EMITTERS)",
            "limits.emitter: there is no such key (environment CONTINUO__LIMITS__EMITTER)",
            "drain.grace_seconds: wants a number from 0",
            "upstream.continue: wants \"prefill\" or \"instruct\", not \"Prefill\" (environment CONTINUO__UPSTREAM__CONTINUE)",
        ] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
    }

    #[test]
    fn an_answer_is_carried_on_by_prefill_unless_told_otherwise() {
        let continuation = |layers: Layers| layers.finish().expect("valid").upstream.continuation;
        assert_eq!(continuation(Layers::default()), Continuation::Prefill);
        let mut layers = Layers::default();
        layers.flag("test", "upstream.continue", "instruct");
        assert_eq!(continuation(layers), Continuation::Instruct);
    }

    #[test]
    fn aliases_are_a_table_or_pairs() {
        let mut layers = Layers::default();
        let pairs = [(
            "CONTINUO__UPSTREAM__ALIASES",
            "gpt-4o = llama3.3:70b, a=b=c",
        )];
        layers.environment(variables(&pairs));
        let aliases = layers.finish().expect("valid").upstream.aliases;
        assert_eq!(aliases["gpt-4o"], "llama3.3:70b");
        assert_eq!(aliases["a"], "b=c");

        let file = tempfile::NamedTempFile::new().expect("a file");
        let write = |text| std::fs::write(file.path(), text).expect("written");
        write("[upstream]\nmodel = \"x\"\n[upstream.aliases]\n\"gpt-3.5\" = \"y\"\n");
        let mut layers = Layers::default();
        layers.file(file.path()).expect("TOML");
        let upstream = layers.finish().expect("valid").upstream;
        assert_eq!(
            (&*upstream.model, &*upstream.aliases["gpt-3.5"]),
            ("x", "y")
        );

        write("[upstream.aliases]\na = 7\n");
        let mut layers = Layers::default();
        layers.file(file.path()).expect("TOML");
        let pairs = [("CONTINUO__UPSTREAM__ALIASES", "no pair")];
        layers.environment(variables(&pairs));
        let error = layers.finish().expect_err("two errors").to_string();
        assert!(
            error.contains("upstream.aliases: wants a table of strings"),
            "{error}"
        );
        assert!(
            error.contains("upstream.aliases: wants a table, not a string"),
            "{error}"
        );
    }

    #[test]
    fn a_password_in_a_url_is_seen() {
        for (url, has) in [
            ("postgres://u:p@h/d", true),
            ("postgres://h/d?user=u&password=p", true),
            ("https://u:p/q@h/v1", true),
            ("postgres://u@h:5432/d", false),
            ("https://h:8443/v1", false),
            ("sqlite:a.db", false),
        ] {
            assert_eq!(has_password(url), has, "{url}");
        }
    }

    #[test]
    fn secrets_are_not_described() {
        let mut layers = Layers::default();
        layers.environment(variables(&[
            ("OPENAI_API_KEY", "hush"),
            ("OPENAI_BASE_URL", "https://hush:hu/sh@h/v1"),
            ("DATABASE_URL", "postgres://u:hush@h/d"),
        ]));
        let described = layers.describe();
        assert!(
            described.contains("upstream.url = \"https://…@h/v1\""),
            "{described}"
        );
        assert!(!described.contains("hu"), "{described}");
        assert!(!format!("{:?}", layers.finish().expect("valid")).contains("hush"));
    }
}
