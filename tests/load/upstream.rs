//! A model server that sends tokens at an even pace; each token is the time at which it was sent.

use crate::Load;
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since this process began to count.
pub fn now_nanos() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap()
}

pub struct Upstream {
    port: u16,
}

impl Upstream {
    /// With no seconds to send for, it answers with a head and silence.
    pub async fn start(load: Load) -> Self {
        LazyLock::force(&START);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                tokio::spawn(serve(socket, load));
            }
        });
        Self { port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }
}

/// One request after the other; a peer that goes away ends it.
async fn serve(mut socket: TcpStream, load: Load) {
    let mut request = Vec::new();
    loop {
        request.clear();
        while !is_whole(&request) {
            if !matches!(socket.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        }
        let answered = if request.starts_with(b"GET") {
            list(&mut socket).await
        } else {
            stream(&mut socket, load).await
        };
        if answered.is_err() {
            return;
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    body.len() >= length.unwrap_or(0_usize)
}

async fn list(socket: &mut TcpStream) -> std::io::Result<()> {
    let body = r#"{"object":"list","data":[{"id":"paced","object":"model"}]}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await
}

async fn stream(socket: &mut TcpStream, load: Load) -> std::io::Result<()> {
    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    if load.seconds == 0 {
        // Silent until the peer goes.
        let _ = socket.read_u8().await?;
        return Ok(());
    }
    let mut pace =
        tokio::time::interval(Duration::from_secs(1) / u32::try_from(load.rate).unwrap());
    for _ in 0..load.rate * load.seconds {
        pace.tick().await;
        chunk(
            socket,
            &format!(r#"{{"content":"{} "}}"#, now_nanos()),
            "null",
        )
        .await?;
    }
    chunk(socket, "{}", r#""stop""#).await?;
    socket
        .write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        .await
}

async fn chunk(socket: &mut TcpStream, delta: &str, finish: &str) -> std::io::Result<()> {
    let data = format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"paced\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    );
    socket
        .write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes())
        .await
}
