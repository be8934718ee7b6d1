//! What a connection is watched for: sockets that end by themselves when their peer is gone or stuck, and what HTTP/2 needs besides.
//!
//! Over HTTP/1.1 the socket is the stream: a peer that leaves or stops reading is the kernel's to notice, and actix then drops the body.
//! Over HTTP/2 many streams share a socket, and actix asks for a stream's state only when it has something to send. So here each stream is looked
//! at twice a second, also while its answer is not there yet; and a peer that reads nothing of a stream for `emitter.peer_timeout_seconds`
//! loses the connection, as it would over HTTP/1.1: what it does not read of one stream may be what keeps the others from being sent.

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{
    Error, HttpMessage as _,
    body::{BodySize, MessageBody},
    dev::{Extensions, Payload, Service, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{StatusCode, Version},
    rt::net::TcpStream,
};
use bytes::Bytes;
use futures_util::Stream;
use socket2::{SockRef, Socket, TcpKeepalive};
use std::{
    any::Any,
    cell::RefCell,
    collections::HashMap,
    future::{Future, poll_fn},
    net::Shutdown,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// A slow reader holds at most this much of the kernel's memory, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// How often it is asked whether the peer of an HTTP/2 stream is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it is asked whether one is stuck.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The most of a body that is handed on at once over HTTP/2: having read so much is progress.
const PIECE: usize = 16 * 1024;

/// The open HTTP/2 connections.
#[derive(Debug)]
pub struct Connections {
    peer_timeout: Duration,
    open: Mutex<Vec<Weak<Connection>>>,
}

/// One HTTP/2 connection; it is gone when its last request is.
#[derive(Debug)]
struct Connection {
    /// Another descriptor of the same socket.
    socket: Socket,
    waiting: Mutex<Waiting>,
}

/// Since when which stream waits for its peer to take what was handed to it.
#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    since: HashMap<u64, Instant>,
}

impl Connections {
    pub fn new(peer_timeout: Duration) -> Self {
        Self {
            peer_timeout,
            open: Mutex::default(),
        }
    }

    /// Prepares the socket of a new connection, plain or TLS, and remembers it when it is one of HTTP/2.
    pub fn opened(&self, connection: &dyn Any, extensions: &mut Extensions) {
        if let Some(stream) = connection.downcast_ref::<TcpStream>() {
            prepare(&SockRef::from(stream), self.peer_timeout);
        } else if let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() {
            let (stream, tls) = stream.get_ref();
            let socket = SockRef::from(stream);
            prepare(&socket, self.peer_timeout);
            if tls.alpn_protocol() == Some(b"h2") {
                // Without another descriptor it is served all the same, and a stuck peer keeps it.
                let Ok(socket) = socket.try_clone() else {
                    return;
                };
                let connection = Arc::new(Connection {
                    socket,
                    waiting: Mutex::default(),
                });
                self.lock().push(Arc::downgrade(&connection));
                extensions.insert(connection);
            }
        }
    }

    /// Ends connections whose peer is stuck. Never ends.
    pub async fn watch(&self) {
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.lock().retain(|connection| {
                let connection = connection.upgrade();
                connection.is_some_and(|connection| !connection.end_if_stuck(self.peer_timeout))
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes a dead or stuck peer's connection end by itself.
fn prepare(socket: &SockRef, peer_timeout: Duration) {
    let keepalive = TcpKeepalive::new()
        .with_time(peer_timeout)
        .with_interval(Duration::from_secs(5));
    // A refused option leaves a connection that ends later, not one that does not work.
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(peer_timeout));
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
}

impl Connection {
    /// True when it has ended it.
    fn end_if_stuck(&self, patience: Duration) -> bool {
        let is_stuck = self
            .waiting()
            .since
            .values()
            .any(|since| since.elapsed() > patience);
        if is_stuck {
            tracing::debug!("a connection is ended whose peer reads nothing of a stream");
            let _ = self.socket.shutdown(Shutdown::Both);
        }
        is_stuck
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outermost layer: over HTTP/2, lets go of requests and answers whose client has reset the stream or is gone.
pub fn watched<S, B>(
    mut request: ServiceRequest,
    next: &S,
) -> impl Future<Output = Result<ServiceResponse<Watched<B>>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + Unpin,
{
    let peer = (request.version() == Version::HTTP_2).then(|| Peer::of(&mut request));
    let answered = next.call(request);
    async move {
        let Some(mut peer) = peer else {
            let response = answered.await?;
            return Ok(response.map_body(|_, body| Watched { body, stream: None }));
        };
        let response = {
            let mut answered = pin!(answered);
            poll_fn(|cx| {
                if peer.is_gone(cx) {
                    // Nobody reads this.
                    let gone = actix_web::error::InternalError::new("gone", StatusCode::GONE);
                    return Poll::Ready(Err(gone.into()));
                }
                answered.as_mut().poll(cx)
            })
            .await?
        };
        let stream = PacedStream::of(peer, &response);
        Ok(response.map_body(|_, body| Watched {
            body,
            stream: Some(Box::new(stream)),
        }))
    }
}

/// Whether the client of an HTTP/2 stream is still there: what it uploads says so, also behind its end.
struct Peer {
    upload: Rc<RefCell<Upload>>,
    looks: Interval,
}

struct Upload {
    payload: Payload,
    /// Came when only the end was asked for; nothing more is asked until it was read.
    held: Option<Bytes>,
}

/// What a handler reads the body from.
struct Shared(Rc<RefCell<Upload>>);

impl Stream for Shared {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context) -> Poll<Option<Self::Item>> {
        let mut upload = self.0.borrow_mut();
        match upload.held.take() {
            Some(held) => Poll::Ready(Some(Ok(held))),
            None => Pin::new(&mut upload.payload).poll_next(cx),
        }
    }
}

impl Peer {
    fn of(request: &mut ServiceRequest) -> Self {
        let upload = Rc::new(RefCell::new(Upload {
            payload: request.take_payload(),
            held: None,
        }));
        request.set_payload(Payload::Stream {
            payload: Box::pin(Shared(upload.clone())),
        });
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { upload, looks }
    }

    /// Asks when it is time to.
    fn is_gone(&mut self, cx: &mut Context) -> bool {
        let mut is_due = false;
        while self.looks.poll_tick(cx).is_ready() {
            is_due = true;
        }
        is_due && self.upload.borrow_mut().is_broken(cx)
    }
}

impl Upload {
    fn is_broken(&mut self, cx: &mut Context) -> bool {
        if self.held.is_some() {
            return false;
        }
        match Pin::new(&mut self.payload).poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.held = Some(bytes);
                false
            }
            Poll::Ready(Some(Err(_))) => true,
            Poll::Ready(None) | Poll::Pending => false,
        }
    }
}

/// A body, over HTTP/2 in pieces, and ended when its peer is gone.
pub struct Watched<B> {
    body: B,
    stream: Option<Box<PacedStream>>,
}

struct PacedStream {
    peer: Peer,
    rest: Bytes,
    connection: Option<Weak<Connection>>,
    /// Among those that wait.
    id: u64,
    is_over: bool,
}

impl PacedStream {
    fn of<B>(peer: Peer, response: &ServiceResponse<B>) -> Self {
        let connection = response.request().conn_data::<Arc<Connection>>();
        let id = connection.map_or(0, |connection| {
            let mut waiting = connection.waiting();
            waiting.last += 1;
            waiting.last
        });
        Self {
            peer,
            rest: Bytes::new(),
            connection: connection.map(Arc::downgrade),
            id,
            is_over: false,
        }
    }

    /// It waits from now on, or not.
    fn waits(&self, since: Option<Instant>) {
        let Some(connection) = self.connection.as_ref().and_then(Weak::upgrade) else {
            return;
        };
        let mut waiting = connection.waiting();
        match since {
            Some(since) => waiting.since.insert(self.id, since),
            None => waiting.since.remove(&self.id),
        };
    }

    fn hand_out(&mut self) -> Bytes {
        self.waits(Some(Instant::now()));
        let length = self.rest.len().min(PIECE);
        self.rest.split_to(length)
    }
}

impl Drop for PacedStream {
    fn drop(&mut self) {
        self.waits(None);
    }
}

impl<B: MessageBody + Unpin> MessageBody for Watched<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else {
            return Pin::new(&mut this.body).poll_next(cx);
        };
        stream.waits(None);
        if stream.is_over {
            return Poll::Ready(None);
        }
        if stream.peer.is_gone(cx) {
            stream.is_over = true;
            // Sending anything, even nothing, tells actix that the stream is closed; an end would be an error in its log.
            return Poll::Ready(Some(Ok(Bytes::new())));
        }
        if !stream.rest.is_empty() {
            return Poll::Ready(Some(Ok(stream.hand_out())));
        }
        match Pin::new(&mut this.body).poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                stream.rest = bytes;
                Poll::Ready(Some(Ok(stream.hand_out())))
            }
            other => other,
        }
    }
}
