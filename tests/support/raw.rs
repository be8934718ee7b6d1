//! HTTP/1.1 by hand, for what no well-behaved client sends.
#![allow(dead_code, reason = "no test binary uses all of it")]

use super::PATIENCE;
use serde_json::Value;
use std::collections::HashMap;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// A connection to the server at `origin`.
pub struct Raw {
    pub socket: TcpStream,
    authority: String,
    buffer: Vec<u8>,
}

/// A response with a length.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Raw {
    pub async fn connect(origin: &str) -> Self {
        Self::over(TcpSocket::new_v4().expect("a socket"), origin).await
    }

    /// A connection whose window is as small as the kernel allows from the beginning.
    pub async fn connect_with_smallest_window(origin: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(2304).expect("a socket");
        Self::over(socket, origin).await
    }

    async fn over(socket: TcpSocket, origin: &str) -> Self {
        let authority = origin.strip_prefix("http://").expect("plain HTTP");
        let address = authority.parse().expect("an address");
        Self {
            socket: socket.connect(address).await.expect("the server listens"),
            authority: authority.to_owned(),
            buffer: Vec::new(),
        }
    }

    /// A request's head with a `Host` and these lines.
    pub async fn head(&mut self, method: &str, path: &str, lines: &[&str]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.authority);
        for line in lines {
            head.push_str(line);
            head.push_str("\r\n");
        }
        assert!(self.send(format!("{head}\r\n").as_bytes()).await);
    }

    /// False when the server has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = timeout(PATIENCE, self.socket.write_all(bytes)).await;
        sent.expect("the server reads").is_ok()
    }

    /// Sends no more (FIN); the server may still answer.
    pub async fn finish(&mut self) {
        let finished = timeout(PATIENCE, self.socket.shutdown()).await;
        let _ = finished.expect("no waiting");
    }

    /// The next response.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.answer_head().await;
        let length = answer.headers.get("content-length").expect("a length");
        let length: usize = length.parse().expect("a number");
        while self.buffer.len() < length {
            assert!(self.read().await, "the body is cut");
        }
        answer.body = self.buffer.drain(..length).collect();
        answer
    }

    /// The next response without its body.
    pub async fn answer_head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.read().await,
                "closed in {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).expect("ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .expect("a status");
        Answer {
            status: status.parse().expect("a number"),
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: Vec::new(),
        }
    }

    /// Reads to the end of the connection; the bytes, and whether it ended without a reset.
    pub async fn rest(&mut self) -> (Vec<u8>, bool) {
        let ended = timeout(PATIENCE, self.socket.read_to_end(&mut self.buffer)).await;
        let clean = ended.expect("the server closes").is_ok();
        (std::mem::take(&mut self.buffer), clean)
    }

    async fn read(&mut self) -> bool {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.buffer)).await;
        read.expect("bytes in time").is_ok_and(|bytes| bytes > 0)
    }
}

impl Answer {
    /// The problem of a refusal.
    pub fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{problem}");
        problem
    }
}
