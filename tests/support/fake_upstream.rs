//! A model server that the test drives, over real sockets: HTTP/1.1, chunked, one connection task for each client socket.
//!
//! ```ignore
//! let upstream = FakeUpstream::start().await;      // its base URL is upstream.base_url()
//! let mut call = upstream.next_call().await;       // the next POST: call.path, call.headers, call.json()
//! call.head_sse().await;
//! call.send("Hel").await;
//! call.finish("stop").await;
//! call.done().await;                               // `[DONE]` and a clean end; the connection stays open for the next call
//! ```
//!
//! A call that is dropped before its end closes the socket, as a crashed server would. Every wait has a deadline, so that a test
//! that waits in vain fails instead of hanging. `GET …/models` is answered without the test's help, see [`FakeUpstream::set_models`].
#![allow(dead_code, reason = "no test binary uses all of it")]
#![allow(clippy::disallowed_methods, reason = "tests may spawn")]

use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::timeout,
};

/// Longer than any step of a test takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// The model that `GET …/models` lists unless the test says otherwise, and that the chunks name.
pub const MODEL: &str = "fake-model";

pub struct FakeUpstream {
    address: SocketAddr,
    calls: tokio::sync::Mutex<mpsc::UnboundedReceiver<Call>>,
    shared: Arc<Shared>,
    listening: tokio::task::AbortHandle,
    /// Held, so that nobody else listens there when this one has stopped.
    _port: TcpSocket,
}

struct Shared {
    calls: mpsc::UnboundedSender<Call>,
    models: Mutex<Option<Vec<String>>>,
    connections: watch::Sender<usize>,
    serving: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl FakeUpstream {
    #[expect(
        clippy::unused_async,
        reason = "it starts like everything else of a test"
    )]
    pub async fn start() -> Self {
        let bound = |address: SocketAddr| {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_reuseaddr(true).expect("a socket");
            socket.bind(address).expect("a port");
            socket
        };
        let port = bound(([127, 0, 0, 1], 0).into());
        let address = port.local_addr().expect("an address");
        let listener = bound(address).listen(1024).expect("it listens");
        let (calls, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            calls,
            models: Mutex::new(Some(vec![MODEL.to_owned()])),
            connections: watch::Sender::new(0),
            serving: Mutex::default(),
        });
        let accepting = shared.clone();
        let listening = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                accepting.connections.send_modify(|count| *count += 1);
                let serving = tokio::spawn(serve(socket, accepting.clone()));
                let mut all = accepting.serving.lock().expect("not poisoned");
                all.push(serving.abort_handle());
            }
        });
        Self {
            address,
            calls: receiver.into(),
            shared,
            listening: listening.abort_handle(),
            _port: port,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The next request that a client sent, of all connections; `GET …/models` only when the test answers it itself.
    pub async fn next_call(&self) -> Call {
        let mut calls = self.calls.lock().await;
        let call = timeout(PATIENCE, calls.recv()).await;
        call.expect("no call came").expect("the fake upstream runs")
    }

    /// A request that already waits, if any.
    pub fn waiting_call(&self) -> Option<Call> {
        self.calls.try_lock().ok()?.try_recv().ok()
    }

    /// What `GET …/models` lists from now on; `None`: the test answers it as any other call.
    pub fn set_models(&self, models: Option<&[&str]>) {
        let models = models.map(|all| all.iter().map(|id| (*id).to_owned()).collect());
        *self.shared.models.lock().expect("not poisoned") = models;
    }

    /// How many connections clients have opened so far.
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// No connections from now on: connecting is refused, and those that were kept alive are closed.
    pub async fn stop_listening(&self) {
        self.listening.abort();
        for connection in self.shared.serving.lock().expect("not poisoned").drain(..) {
            connection.abort();
        }
        // The listener is gone when the port refuses.
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// One request, and the way to answer it.
pub struct Call {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// `None` once the response has ended.
    socket: Option<OwnedWriteHalf>,
    connection: Connection,
}

/// What the task of a connection shares with the call that it handed out.
#[derive(Clone)]
struct Connection {
    /// Where a finished call leaves the socket for the next one.
    home: Arc<Mutex<Option<OwnedWriteHalf>>>,
    closed: watch::Sender<bool>,
    reset: Arc<tokio::sync::Notify>,
}

impl Call {
    /// The request's body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// Whether a step reached the client's socket.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        let Some(socket) = &mut self.socket else {
            panic!("the response has ended");
        };
        let written = timeout(PATIENCE, socket.write_all(bytes)).await;
        written.expect("the client reads").is_ok()
    }

    /// A response head with exactly these headers.
    pub async fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> bool {
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        self.write(format!("{head}\r\n").as_bytes()).await
    }

    /// `200`, an event stream in chunks.
    pub async fn head_sse(&mut self) -> bool {
        self.head_chunked("text/event-stream").await
    }

    pub async fn head_chunked(&mut self, content_type: &str) -> bool {
        let headers = [
            ("content-type", content_type),
            ("transfer-encoding", "chunked"),
        ];
        self.head(200, &headers).await
    }

    /// A part of the body, as one chunk in one packet.
    pub async fn send_raw(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return true;
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk).await
    }

    /// An event with this JSON as its data.
    pub async fn send_json(&mut self, data: &Value) -> bool {
        self.send_raw(format!("data: {data}\n\n")).await
    }

    /// A delta of choice 0, such as `{"content": "Hel"}`.
    pub async fn send_delta(&mut self, delta: Value) -> bool {
        self.send_json(&chunk(
            &json!([{"index": 0, "delta": delta, "finish_reason": null}]),
        ))
        .await
    }

    /// Text.
    pub async fn send(&mut self, text: &str) -> bool {
        self.send_delta(json!({"content": text})).await
    }

    pub async fn send_reasoning(&mut self, text: &str) -> bool {
        self.send_delta(json!({"reasoning_content": text})).await
    }

    pub async fn comment(&mut self, text: &str) -> bool {
        self.send_raw(format!(": {text}\n\n")).await
    }

    pub async fn finish(&mut self, reason: &str) -> bool {
        self.send_json(&chunk(
            &json!([{"index": 0, "delta": {}, "finish_reason": reason}]),
        ))
        .await
    }

    pub async fn usage(&mut self, prompt_tokens: u64, completion_tokens: u64) -> bool {
        let mut chunk = chunk(&json!([]));
        chunk["usage"] = json!({"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens});
        self.send_json(&chunk).await
    }

    /// `[DONE]` and the end of the body; the connection can take another request.
    pub async fn done(&mut self) {
        self.send_raw("data: [DONE]\n\n").await;
        self.end().await;
    }

    /// The end of the chunked body, without `[DONE]`; the connection can take another request.
    pub async fn end(&mut self) {
        self.write(b"0\r\n\r\n").await;
        self.hand_back();
    }

    /// The server closes its side within a chunk, as a crashed process does.
    pub async fn cut(&mut self) {
        self.write(b"400\r\ndata: {\"cho").await;
        self.close();
    }

    /// Closes our side of the connection (FIN).
    pub fn close(&mut self) {
        self.socket = None;
    }

    /// The connection breaks (RST).
    pub fn reset(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.as_ref().set_zero_linger().expect("a socket");
            self.connection.reset.notify_one();
            socket.forget();
        }
    }

    /// A whole response; the connection can take another request.
    pub async fn reply(&mut self, status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) {
        let length = body.as_ref().len().to_string();
        let mut headers = headers.to_vec();
        headers.push(("content-length", &length));
        self.head(status, &headers).await;
        self.write(body.as_ref()).await;
        self.hand_back();
    }

    pub async fn reply_json(&mut self, status: u16, body: &Value) {
        let headers = [("content-type", "application/json")];
        self.reply(status, &headers, body.to_string()).await;
    }

    /// Too many requests; `retry_after` as in the header.
    pub async fn reply_429(&mut self, retry_after: &str) {
        let body = json!({"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}});
        let headers = [
            ("content-type", "application/json"),
            ("retry-after", retry_after),
        ];
        self.reply(429, &headers, body.to_string()).await;
    }

    /// A whole answer that was not streamed.
    pub async fn reply_completion(&mut self, text: &str) {
        let body = json!({"id": "c1", "object": "chat.completion", "created": 1, "model": MODEL,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}});
        self.reply_json(200, &body).await;
    }

    /// A whole streamed answer: each piece a delta, then the usage and `[DONE]`.
    pub async fn answer(&mut self, pieces: &[&str]) {
        self.head_sse().await;
        self.answer_rest(pieces).await;
    }

    /// The same, when the head was sent.
    pub async fn answer_rest(&mut self, pieces: &[&str]) {
        for piece in pieces {
            self.send(piece).await;
        }
        self.finish("stop").await;
        self.usage(7, pieces.len() as u64).await;
        self.done().await;
    }

    /// Resolves when the client has closed its socket.
    pub async fn closed(&self) {
        let mut closed = self.connection.closed.subscribe();
        let waited = timeout(PATIENCE, closed.wait_for(|closed| *closed)).await;
        waited
            .expect("the client closes its socket")
            .expect("the connection is watched");
    }

    pub fn is_closed(&self) -> bool {
        *self.connection.closed.borrow()
    }

    /// The response has ended by what the test wrote; the connection can take another request.
    pub fn hand_back(&mut self) {
        let mut home = self.connection.home.lock().expect("not poisoned");
        *home = self.socket.take();
    }
}

/// A chunk of the wire with these choices.
pub fn chunk(choices: &Value) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices})
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    socket.set_nodelay(true).expect("a socket");
    let (mut reading, writing) = socket.into_split();
    let connection = Connection {
        home: Arc::new(Mutex::new(Some(writing))),
        closed: watch::Sender::new(false),
        reset: Arc::default(),
    };
    let mut buffer = Vec::new();
    loop {
        let request = tokio::select! {
            request = read_request(&mut reading, &mut buffer) => request,
            () = connection.reset.notified() => return,
        };
        let Some((mut call, socket)) = request.and_then(|request| {
            let socket = connection.home.lock().expect("not poisoned").take();
            Some((request, socket?))
        }) else {
            break;
        };
        let models = shared.models.lock().expect("not poisoned").clone();
        call.socket = Some(socket);
        call.connection = connection.clone();
        match models {
            Some(models) if call.method == "GET" && call.path.ends_with("/models") => {
                let models: Vec<Value> = models
                    .iter()
                    .map(|id| json!({"id": id, "object": "model"}))
                    .collect();
                call.reply_json(200, &json!({"object": "list", "data": models}))
                    .await;
            }
            _ => {
                if shared.calls.send(call).is_err() {
                    break;
                }
            }
        }
    }
    connection.closed.send_replace(true);
}

/// `None` when the client closed its side.
async fn read_request(reading: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> Option<Call> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if reading.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).expect("a head in ASCII");
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut word = || first.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().expect("a length"));
    while buffer.len() < head_end + length {
        if reading.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    Some(Call {
        method,
        path,
        headers,
        body,
        socket: None,
        connection: Connection {
            home: Arc::default(),
            closed: watch::Sender::new(false),
            reset: Arc::default(),
        },
    })
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Other",
    }
}
