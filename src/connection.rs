//! What a connection is watched for: sockets that end by themselves when their peer is gone or stuck, and what HTTP/2 needs besides.
//!
//! Over HTTP/1.1 the socket is the stream: a peer that leaves or stops reading is the kernel's to notice, and actix then drops the body.
//! Over HTTP/2 many streams share a socket, and actix asks for a stream's state only when it has something to send. So here each stream is looked
//! at twice a second, also while its answer is not there yet; and a peer that reads nothing of a stream for `emitter.peer_timeout_seconds`
//! loses the connection, as it would over HTTP/1.1: what it does not read of one stream may be what keeps the others from being sent.

mod stream;

pub use stream::watched;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{dev::Extensions, rt::net::TcpStream};
use socket2::{SockRef, Socket, TcpKeepalive};
use std::{
    any::Any,
    collections::HashMap,
    net::Shutdown,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// A slow reader holds at most this much of the kernel's memory, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// How often it is asked whether one is stuck.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

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

impl Waiting {
    /// The number of one more stream.
    fn another(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// From now on, or not.
    fn waits(&mut self, stream: u64, since: Option<Instant>) {
        match since {
            Some(since) => self.since.insert(stream, since),
            None => self.since.remove(&stream),
        };
    }
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
