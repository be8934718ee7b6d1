//! Every string that may reach a header or a line of a stream, with what would make two of one. Bytes on a socket: clients mend too much.

use crate::support::{
    PATIENCE,
    app::{TestApp, send, spawn_app},
    events::Events,
    fake_upstream::{Call, chunk},
    raw::Raw,
};
use continuo::text::one_line;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, time::timeout};

/// Everything that ends a line somewhere, and what it would begin.
fn hostile() -> Vec<String> {
    let ends = [
        "\r", "\n", "\r\n", "\0", "\u{b}", "\u{85}", "\u{2028}", "\u{2029}",
    ];
    let mut all: Vec<_> = ends
        .iter()
        .map(|end| {
            format!("a{end}x-injected: 1{end}set-cookie: x=1{end}{end}id: 9{end}data: x{end}{end}b")
        })
        .collect();
    let more = [
        "\n\nid: 9\nevent: done\ndata: {}\n\n",
        "\r\rid: 9\revent: done\rdata: {}\r\r",
        "[DONE]",
        "data: [DONE]\n\n",
        "\u{feff}: x",
        "a\"; filename=\"b\\\"; filename*=UTF-8''c%0d%0ax-injected:%201",
    ];
    all.extend(more.map(str::to_owned));
    all
}

/// The names that the head of an answer of ours may have.
const NAMES: [&str; 23] = [
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "etag",
    "location",
    "permissions-policy",
    "referrer-policy",
    "retry-after",
    "retry-after-ms",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-accel-buffering",
    "x-content-type-options",
    "x-request-id",
    "x-should-retry",
];

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| &**value)
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("UTF-8")
    }
}

/// The answers that these bytes are, read as strictly as HTTP/1.1 may be. Heads have known names, each once, and visible ASCII only.
fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {shown}"));
        let head = str::from_utf8(&bytes[..end]).expect("ASCII");
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
        let status = status.and_then(|line| line.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {shown}"));
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            assert!(
                line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "{line:?}"
            );
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
            let name = name.to_ascii_lowercase();
            let is_known = NAMES.contains(&&*name) || name.starts_with("x-ratelimit-");
            assert!(is_known || name == "connection", "{line}");
            assert!(
                headers.iter().all(|(other, _)| *other != name),
                "{name} twice"
            );
            headers.push((name, value.to_owned()));
        }
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().expect("a number");
            assert!(bytes.len() >= length, "the body is cut: {shown}");
            answer.body = bytes[..length].to_vec();
            bytes = &bytes[length..];
        } else if answer.header("transfer-encoding").is_some() {
            (answer.body, bytes) = unchunked(bytes);
        }
        all.push(answer);
    }
    all
}

/// A body in chunks, and what is behind it.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    loop {
        let end = bytes
            .windows(2)
            .position(|two| two == b"\r\n")
            .expect("a size");
        let size = str::from_utf8(&bytes[..end]).expect("ASCII");
        let size = usize::from_str_radix(size, 16).expect("a number");
        bytes = &bytes[end + 2..];
        body.extend_from_slice(&bytes[..size]);
        assert_eq!(&bytes[size..size + 2], b"\r\n");
        bytes = &bytes[size + 2..];
        if size == 0 {
            return (body, bytes);
        }
    }
}

/// One event of a stream as a browser reads it.
#[derive(Debug, Default, PartialEq)]
struct Read {
    id: String,
    event: String,
    data: String,
}

/// As the WHATWG says (9.2.6), and nothing that it lets pass in silence.
fn read_stream(text: &str) -> Vec<Read> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut all = Vec::new();
    let mut now = Read::default();
    for line in text.split('\n') {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("", "") => {
                if now.data.pop().is_some() {
                    all.push(now);
                }
                now = Read::default();
            }
            ("", _) => {}
            ("id", id) => id.clone_into(&mut now.id),
            ("event", name) => name.clone_into(&mut now.event),
            ("data", data) => now.data.extend([data, "\n"]),
            ("retry", time) => assert!(time.parse::<u32>().is_ok(), "{line:?}"),
            _ => panic!("{line:?} in {text:?}"),
        }
    }
    all
}

/// What a request is sent with a hostile string in.
enum Place {
    Header(&'static str),
    Query(&'static str),
    Path,
    Body(&'static str),
}
use Place::{Body, Header, Path, Query};

const DOORS: [(&str, &str, Place); 37] = [
    ("GET", "/livez", Header("x-request-id")),
    ("GET", "/livez", Header("x-forwarded-for")),
    ("GET", "/livez", Header("x-forwarded-host")),
    ("GET", "/livez", Header("x-forwarded-proto")),
    ("GET", "/livez", Header("forwarded")),
    ("GET", "/livez", Header("traceparent")),
    ("GET", "/livez", Header("origin")),
    ("GET", "/livez", Header("user-agent")),
    ("GET", "/", Header("accept-encoding")),
    ("GET", "/", Path),
    ("GET", "/assets/0/", Path),
    ("GET", "/api/", Path),
    ("GET", "/api/session", Header("cookie")),
    ("POST", "/api/session", Header("user-agent")),
    ("POST", "/api/session", Body("token")),
    ("GET", "/api/conversations", Query("q")),
    ("GET", "/api/conversations", Query("cursor")),
    ("GET", "/api/conversations/", Path),
    ("GET", "/api/conversations/{c}", Header("if-none-match")),
    ("PATCH", "/api/conversations/{c}", Header("if-match")),
    ("PATCH", "/api/conversations/{c}", Body("title")),
    ("PATCH", "/api/conversations/{c}", Body("model")),
    ("POST", "/api/conversations", Header("idempotency-key")),
    ("POST", "/api/conversations", Body("title")),
    ("POST", "/api/conversations", Body("system")),
    ("POST", "/api/conversations/{c}/messages", Body("parent_id")),
    (
        "GET",
        "/api/generations/{g}/events",
        Header("last-event-id"),
    ),
    ("GET", "/api/generations/{g}/events", Header("x-session-id")),
    ("GET", "/api/generations/{g}/events", Header("accept")),
    ("GET", "/api/generations/{g}/events", Query("after")),
    ("GET", "/api/generations/{g}/events", Query("session")),
    ("POST", "/api/keys", Body("name")),
    ("POST", "/api/operator/users", Body("name")),
    ("GET", "/api/operator/emitters", Query("user")),
    ("GET", "/v1/models/", Path),
    ("GET", "/v1/generations/{g}/events", Header("last-event-id")),
    ("POST", "/v1/chat/completions", Body("model")),
];

fn escaped(text: &str) -> String {
    let escaped = |text: String, byte| text + &format!("%{byte:02x}");
    text.bytes().fold(String::new(), escaped)
}

/// The bytes of this request, and of a harmless one behind it on the same connection.
fn request(app: &TestApp, door: &(&str, &str, Place), ids: [&str; 2], text: &str) -> Vec<u8> {
    let (method, path, place) = door;
    let mut path = path.replace("{c}", ids[0]).replace("{g}", ids[1]);
    let (mut header, mut body) = (String::new(), String::new());
    match place {
        Header(name) => header = format!("{name}: {text}\r\n"),
        Query(name) => path = format!("{path}?{name}={}", escaped(text)),
        Path => path += &escaped(text),
        Body(name) => body = json!({ *name: text }).to_string(),
    }
    let host = app.origin.strip_prefix("http://").expect("plain HTTP");
    let key = &app.owner.key;
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{header}\r\n{body}GET /livez HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn nothing_that_is_sent_makes_a_header_or_an_answer_of_its_own() {
    let app = spawn_app().await;
    let turn = app
        .answered(&app.owner.conversation().await, "hello", &["Hi"])
        .await;
    // The upstream that would answer is away.
    app.upstream.stop_listening().await;
    let ids = [&*turn.conversation, &*turn.generation];
    for door in &DOORS {
        let name = match &door.2 {
            Header(name) | Query(name) | Body(name) => *name,
            Path => "the path",
        };
        for text in hostile() {
            println!("{} {} {name} {text:?}", door.0, door.1);
            let mut raw = Raw::connect(&app.origin).await;
            assert!(raw.send(&request(&app, door, ids, &text)).await);
            let (bytes, _) = raw.rest().await;
            let answers = answers(&bytes);
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            match statuses[..] {
                [first, 200] => assert_ne!(first, 500),
                // It is no HTTP.
                [400] => {}
                // The lines of a header that the client made are its own; an end of the head among them makes a request of the rest.
                _ if matches!(door.2, Header(_)) => {}
                _ => panic!("{statuses:?} {}", String::from_utf8_lossy(&bytes)),
            }
            for answer in &answers {
                let id = answer.header("x-request-id").unwrap_or_default();
                assert!(!id.contains("injected"), "{id}");
                let at = answer.header("location").unwrap_or_default();
                let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || b"/-".contains(&byte);
                assert!(at.bytes().all(is_ours), "{at}");
            }
        }
    }
    app.end().await;
}

/// Asks, and reads to the end what is answered when the upstream has said this.
async fn told(
    app: &TestApp,
    method: &str,
    path: &str,
    body: &str,
    says: impl AsyncFnOnce(&mut Call),
) -> Answer {
    let mut raw = Raw::connect(&app.origin).await;
    let bearer = format!("authorization: Bearer {}", app.owner.key);
    let length = format!("content-length: {}", body.len());
    let lines = [
        "connection: close",
        "content-type: application/json",
        &bearer,
        &length,
    ];
    raw.head(method, path, &lines).await;
    assert!(raw.send(body.as_bytes()).await);
    if method == "POST" {
        says(&mut app.upstream.next_call().await).await;
    }
    let (bytes, clean) = raw.rest().await;
    assert!(clean);
    let mut answers = answers(&bytes);
    assert_eq!(answers.len(), 1, "{}", String::from_utf8_lossy(&bytes));
    answers.remove(0)
}

async fn read(app: &TestApp, path: &str) -> Answer {
    told(app, "GET", path, "", async |_| {}).await
}

/// A chunk that says it everywhere.
fn says(text: &str, delta: &Value, finish_reason: &Value) -> Value {
    let mut chunk = chunk(&json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}]));
    for name in ["id", "model", "system_fingerprint", "nobody_knows"] {
        chunk[name] = text.into();
    }
    chunk
}

fn chunks(text: &str) -> [Value; 4] {
    let call = json!({"index": 0, "id": text, "type": "function", "function": {"name": text, "arguments": text}});
    [
        says(text, &json!({"reasoning_content": text}), &Value::Null),
        says(text, &json!({"content": text}), &Value::Null),
        says(text, &json!({"tool_calls": [call]}), &Value::Null),
        says(text, &json!({}), &text.into()),
    ]
}

async fn answer(call: &mut Call, text: &str) {
    call.head_sse().await;
    for chunk in chunks(text) {
        // The frame's own fields are not passed on.
        call.send_raw(format!("event: done\nid: 9\nretry: 1\ndata: {chunk}\n\n"))
            .await;
    }
    call.done().await;
}

#[tokio::test]
async fn a_stream_has_its_own_events_whatever_is_said_in_it() {
    let app = spawn_app().await;
    let mut feed = Events::new(send(app.owner.get("/api/feed")).await);
    feed.expect("snapshot").await;
    for text in hostile() {
        println!("{text:?}");
        let kept = text.replace('\0', "\u{fffd}");
        let conversation = app.owner.conversation().await;
        let path = format!("/api/conversations/{conversation}");
        let change = app.owner.request(reqwest::Method::PATCH, &path);
        let change = change.json(&json!({"title": text, "model": text, "system": text}));
        assert_eq!(send(change).await.status(), 200);
        loop {
            let told = feed.next().await.expect("it goes on");
            let told = told.data.expect("data");
            if told["id"] == conversation && told["title"] == one_line(&kept) {
                break;
            }
        }

        let turn = app.owner.ask(&conversation, &text).await;
        answer(&mut app.upstream.next_call().await, &text).await;
        let streamed = read(&app, &turn.events()).await;
        assert_eq!(
            (streamed.status, streamed.header("content-type")),
            (200, Some("text/event-stream"))
        );
        assert!(!streamed.text().contains('\r'));
        let events = read_stream(streamed.text());
        let mut said = [String::new(), String::new()];
        let mut expected = 0;
        for (at, Read { id, event, data }) in events.iter().enumerate() {
            let data: Value = serde_json::from_str(data).expect("JSON");
            match &**event {
                "ping" => assert_eq!(id, ""),
                "started" | "delta" | "reasoning" | "tool_calls" | "block" | "usage" | "done" => {
                    expected += 1;
                    assert_eq!(*id, expected.to_string());
                }
                _ => panic!("{event}"),
            }
            assert_eq!(event == "done", at + 1 == events.len(), "one end, and last");
            match &**event {
                "delta" => said[0] += data["text"].as_str().expect("text"),
                "reasoning" => said[1] += data["text"].as_str().expect("text"),
                "done" => assert_eq!(data["outcome"], "completed"),
                _ => {}
            }
        }
        assert_eq!(said, [kept.clone(), kept.clone()]);
        for kind in ["json", "markdown"] {
            let exported = read(&app, &format!("{path}/export?format={kind}")).await;
            assert_eq!(exported.status, 200);
            let named = exported.header("content-disposition").expect("a name");
            let (plain, exact) = named.split_once("; filename*=UTF-8''").expect("both names");
            let plain = plain
                .strip_prefix("attachment; filename=\"")
                .expect("a name");
            let plain = plain.strip_suffix('"').expect("quoted");
            assert!(!plain.contains(['"', '\\', '/']), "{named}");
            assert!(!exact.contains([';', '"', ' ', '/']), "{named}");
        }
    }
    drop(feed);
    app.end().await;
}

#[tokio::test]
async fn a_feed_begins_as_it_does_whatever_position_is_claimed() {
    let app = spawn_app().await;
    let bearer = format!("authorization: Bearer {}", app.owner.key);
    for text in hostile() {
        println!("{text:?}");
        let mut raw = Raw::connect(&app.origin).await;
        let claimed = format!("last-event-id: {text}");
        raw.head(
            "GET",
            "/api/feed",
            &[&bearer, "connection: close", &claimed],
        )
        .await;
        let mut bytes = Vec::new();
        let is_whole = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let snapshot = text.find("event: snapshot");
            snapshot.is_some_and(|at| text[at..].contains("\n\n"))
        };
        while !is_whole(&bytes) {
            let read = timeout(PATIENCE, raw.socket.read_buf(&mut bytes)).await;
            if read.expect("in time").unwrap_or(0) == 0 {
                break;
            }
        }
        if !is_whole(&bytes) {
            // It is no HTTP.
            let all = answers(&bytes);
            assert!(
                all.iter().all(|answer| answer.status == 400),
                "{}",
                all.len()
            );
            continue;
        }
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, stream) = bytes.split_at(end.expect("a head") + 4);
        let head = str::from_utf8(head)
            .expect("ASCII")
            .replace("transfer-encoding", "allow");
        assert_eq!(answers(head.as_bytes())[0].status, 200);
        assert!(!head.contains("injected"), "{head}");
        // Each piece is an event or two; of chunks only the sizes stand between them.
        let stream = str::from_utf8(stream).expect("UTF-8");
        let events = stream
            .lines()
            .filter_map(|line| line.strip_prefix("event: "));
        let events: Vec<_> = events.collect();
        assert!(["snapshot", "gap"].contains(&events[0]), "{events:?}");
        assert!(!stream.contains("injected"), "{stream}");
    }
    app.end().await;
}

const COMPLETIONS: &str = "/v1/chat/completions";

fn body(streams: bool) -> String {
    json!({"model": "m", "stream": streams, "messages": []}).to_string()
}

#[tokio::test]
async fn a_stream_of_payloads_has_these_and_an_end_whatever_is_in_them() {
    let app = spawn_app().await;
    for text in hostile() {
        println!("{text:?}");
        let says = async |call: &mut Call| answer(call, &text).await;
        let streamed = told(&app, "POST", COMPLETIONS, &body(true), says).await;
        assert_eq!(streamed.status, 200);
        let events = read_stream(streamed.text());
        let mut payloads: Vec<_> = chunks(&text).iter().map(Value::to_string).collect();
        payloads.push("[DONE]".to_owned());
        let read: Vec<_> = events.iter().map(|event| event.data.clone()).collect();
        assert_eq!(read, payloads);
        assert!(events.iter().all(|event| event.event.is_empty()));

        let whole = says_whole(&text);
        let says = async |call: &mut Call| call.reply_json(200, &whole).await;
        let answer = told(&app, "POST", COMPLETIONS, &body(false), says).await;
        assert_eq!((answer.status, answer.text()), (200, &*whole.to_string()));

        // Lines of its own, and none that anybody asked for in parts.
        let lines = serde_json::to_string_pretty(&whole).expect("JSON");
        let says = async |call: &mut Call| {
            let headers = [("content-type", "application/json")];
            call.reply(200, &headers, lines.replace('\n', "\r")).await;
        };
        let answer = told(&app, "POST", COMPLETIONS, &body(true), says).await;
        let [payload, end] = &read_stream(answer.text())[..] else {
            panic!("{}", answer.text());
        };
        let payload: Value = serde_json::from_str(&payload.data).expect("JSON");
        assert_eq!(payload["choices"][0]["delta"]["content"], text);
        assert_eq!(end.data, "[DONE]");
    }
    app.end().await;
}

fn says_whole(text: &str) -> Value {
    let message = json!({"role": "assistant", "content": text});
    json!({"id": text, "object": "chat.completion", "created": 1, "model": text,
        "choices": [{"index": 0, "message": message, "finish_reason": text}]})
}

#[tokio::test]
async fn an_error_of_the_upstream_is_one_error_whatever_it_says() {
    let app = spawn_app().await;
    let conversation = app.owner.conversation().await;
    for text in hostile() {
        println!("{text:?}");
        let error = json!({"error": {"message": text, "type": text, "code": text, "param": text}});
        let refuses = async |call: &mut Call| call.reply_json(500, &error).await;
        let plain = async |call: &mut Call| {
            let headers = [("content-type", "text/plain")];
            call.reply(502, &headers, &text).await;
        };
        let breaks = async |call: &mut Call| {
            call.head_sse().await;
            call.send("Hi").await;
            call.send_json(&error).await;
            call.end().await;
        };
        for streams in [true, false] {
            let refused = told(&app, "POST", COMPLETIONS, &body(streams), refuses).await;
            assert_eq!((refused.status, refused.text()), (500, &*error.to_string()));
            let refused = told(&app, "POST", COMPLETIONS, &body(streams), plain).await;
            assert!(refused.status >= 500);
            serde_json::from_str::<Value>(refused.text()).expect("JSON");
        }
        let broken = told(&app, "POST", COMPLETIONS, &body(true), breaks).await;
        let events = read_stream(broken.text());
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!(events[1].data, error.to_string());

        for way in 0..3 {
            let turn = app.owner.ask(&conversation, "hello").await;
            let mut call = app.upstream.next_call().await;
            match way {
                0 => refuses(&mut call).await,
                1 => plain(&mut call).await,
                _ => breaks(&mut call).await,
            }
            let read = read_stream(read(&app, &turn.events()).await.text());
            let ends: Vec<_> = read.iter().filter(|event| event.event == "done").collect();
            assert_eq!(ends.len(), 1);
            let end: Value = serde_json::from_str(&ends[0].data).expect("JSON");
            assert_eq!(end["outcome"], "failed");
            let detail = end["problem"]["detail"].as_str().expect("a text");
            assert!(!detail.contains(char::is_control), "{detail:?}");
        }
    }
    app.end().await;
}

#[tokio::test]
async fn of_the_upstreams_headers_none_passes_that_is_not_for_clients() {
    let app = spawn_app().await;
    let mut heads: Vec<(String, bool)> = Vec::new();
    for text in hostile() {
        for name in [
            "retry-after",
            "retry-after-ms",
            "x-should-retry",
            "x-ratelimit-reset-tokens",
            "x-other",
        ] {
            heads.push((format!("{name}: {text}\r\n"), false));
        }
    }
    let foreign = [
        "set-cookie: x=1",
        "location: http://evil.example/",
        "content-security-policy: default-src *",
        "x-request-id: evil",
        "access-control-allow-origin: *",
        "strict-transport-security: max-age=1",
        "server: evil",
        "www-authenticate: Basic",
        "content-disposition: attachment",
        "x-ratelimit-limit-requests: 7\r\nx-ratelimit-limit-requests: 8",
        "retry-after: 1\r\nretry-after: 2",
    ];
    heads.extend(foreign.map(|line| (format!("{line}\r\n"), true)));
    for (line, is_http) in heads {
        println!("{line:?}");
        let head = format!(
            "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n{line}content-length: 2\r\n\r\n{{}}"
        );
        let says = async |call: &mut Call| {
            call.write(head.as_bytes()).await;
            call.close();
        };
        let refused = told(&app, "POST", COMPLETIONS, &body(true), says).await;
        if is_http {
            assert_eq!(refused.status, 429);
        }
        assert!(refused.status >= 400, "{}", refused.status);
        let policy = refused.header("content-security-policy");
        assert!(policy.is_some_and(|policy| policy.starts_with("default-src 'none'")));
        assert_ne!(refused.header("x-request-id"), Some("evil"));
        assert_eq!(refused.header("location"), None);
        for name in ["x-other", "server", "content-disposition"] {
            assert_eq!(refused.header(name), None);
        }
    }
    app.end().await;
}
