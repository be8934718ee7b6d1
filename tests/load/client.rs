//! Readers as small as can be: they should cost nothing beside the servers that are measured.

use crate::upstream::now_nanos;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Where to ask for a stream, and how.
#[derive(Debug, Clone)]
pub struct Target {
    pub port: u16,
    /// With a key it is Continuo and has its API; without, it is the upstream or a proxy before it.
    pub key: Option<String>,
}

impl Target {
    pub fn direct(port: u16) -> Self {
        Self { port, key: None }
    }

    async fn send(&self, method: &str, path: &str, accept: &str, body: &str) -> TcpStream {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let key = self.key.as_deref().unwrap_or("none");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {key}\r\naccept: {accept}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    /// A request with an answer of JSON.
    pub async fn json(&self, method: &str, path: &str, body: &str) -> Value {
        let mut socket = self.send(method, path, "application/json", body).await;
        let mut answer = Vec::new();
        loop {
            assert!(socket.read_buf(&mut answer).await.unwrap() > 0, "an answer");
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0_usize) {
                    return serde_json::from_str(body)
                        .unwrap_or_else(|_| panic!("no JSON: {text}"));
                }
            }
        }
    }
}

/// A reader who has asked for this path.
pub async fn ask(target: &Target, path: &str) -> TcpStream {
    target.send("GET", path, "text/event-stream", "").await
}

/// A reader of this path, attached: its stream has begun.
pub async fn attach(target: &Target, path: &str) -> TcpStream {
    let mut socket = ask(target, path).await;
    let mut head = [0; 512];
    let read = socket.read(&mut head).await.unwrap();
    assert!(
        head[..read].starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&head[..read])
    );
    socket
}

/// Asks for one answer and reads it to its end; how long each token was on its way, in nanoseconds.
pub async fn read_tokens(target: &Target) -> Vec<u64> {
    let mut socket = match &target.key {
        Some(_) => {
            let conversation = target.json("POST", "/api/conversations", "").await;
            let path = format!(
                "/api/conversations/{}/messages",
                conversation["id"].as_str().unwrap()
            );
            target
                .send("POST", &path, "text/event-stream", r#"{"content":"go"}"#)
                .await
        }
        None => {
            target
                .send("POST", "/v1/chat/completions", "*/*", r#"{"stream":true}"#)
                .await
        }
    };
    let mut delays = Vec::new();
    let (mut buffer, mut seen) = (Vec::new(), 0);
    while socket.read_buf(&mut buffer).await.unwrap() > 0 {
        let arrived = now_nanos();
        // A token is digits before a space; `"content":"` of the upstream and `"text":"` of Continuo begin it.
        while let Some(end) = buffer[seen..].windows(2).position(|two| two == b" \"") {
            let digits = &buffer[seen..seen + end];
            let first = digits
                .iter()
                .rposition(|byte| !byte.is_ascii_digit())
                .map_or(0, |at| at + 1);
            if let Some(sent) = std::str::from_utf8(&digits[first..])
                .ok()
                .and_then(|digits| digits.parse::<u64>().ok())
            {
                delays.push(arrived - sent);
            }
            seen += end + 2;
        }
        if buffer.ends_with(b"0\r\n\r\n") {
            break;
        }
    }
    delays
}
