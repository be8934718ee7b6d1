//! A TCP proxy between two parties, which a test makes misbehave: it passes, stalls, throttles, refuses and cuts, and counts bytes.
//!
//! ```ignore
//! let proxy = Proxy::to(server).await;      // its address is proxy.address()
//! proxy.set(Mode::Stall);                   // accepts, and moves nothing in either direction
//! proxy.cut(Cut::Reset).await;              // every connection is gone when this returns
//! ```
#![allow(dead_code, reason = "no test binary uses all of it")]
#![allow(clippy::disallowed_methods, reason = "tests may spawn")]

use super::PATIENCE;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::AbortHandle,
    time::{interval, timeout},
};

/// Between two portions of a throttled direction.
const PORTION: Duration = Duration::from_millis(50);

/// What the proxy does with connections from now on, those it has and those that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Accepts, and moves nothing in either direction.
    Stall,
    /// Connecting is refused; connections that are there go on.
    Refuse,
    /// Bytes a second in each direction; `None`: as fast as it goes. It takes no more than it passes on, so the sender feels it.
    Throttle {
        up: Option<usize>,
        down: Option<usize>,
    },
}

/// How connections are cut, towards both parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// In order: FIN.
    Finish,
    /// RST.
    Reset,
}

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    target: SocketAddr,
    mode: watch::Sender<Mode>,
    /// How often it was cut, and how the last time.
    cut: watch::Sender<(u64, Cut)>,
    listens: watch::Sender<bool>,
    /// How many there are that were accepted after so many cuts.
    connections: watch::Sender<BTreeMap<u64, usize>>,
    up: AtomicU64,
    down: AtomicU64,
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Proxy {
    /// A proxy to this address on a free port.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            target,
            mode: watch::Sender::new(Mode::Pass),
            cut: watch::Sender::new((0, Cut::Finish)),
            listens: watch::Sender::new(true),
            connections: watch::Sender::default(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, address, shared.clone())).abort_handle();
        Self {
            address,
            shared,
            accepting,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// From now on connecting is refused: the port is closed when this returns.
    pub async fn refuse(&self) {
        self.set(Mode::Refuse);
        let mut listens = self.shared.listens.subscribe();
        let closed = timeout(PATIENCE, listens.wait_for(|listens| !listens)).await;
        closed.expect("the port is closed").expect("it runs");
    }

    /// Ends every connection that is there; those that come meanwhile are served.
    pub async fn cut(&self, how: Cut) {
        let mut cuts = 0;
        self.shared.cut.send_modify(|(count, kind)| {
            (*count, *kind) = (*count + 1, how);
            cuts = *count;
        });
        let mut connections = self.shared.connections.subscribe();
        let none_before =
            |all: &BTreeMap<u64, usize>| all.range(..cuts).all(|(_, count)| *count == 0);
        let gone = timeout(PATIENCE, connections.wait_for(none_before)).await;
        gone.expect("they are cut").expect("it runs");
    }

    /// Bytes passed on to the target and back from it, so far.
    pub fn passed(&self) -> (u64, u64) {
        (self.shared.up.load(Relaxed), self.shared.down.load(Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared
            .cut
            .send_modify(|(count, kind)| (*count, *kind) = (*count + 1, Cut::Reset));
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut mode = shared.mode.subscribe();
    let mut listener = Some(listener);
    loop {
        let refuses = *mode.borrow_and_update() == Mode::Refuse;
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("the same port"));
        }
        shared.listens.send_replace(!refuses);
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => if let Ok((socket, _)) = accepted {
                let cuts = shared.cut.borrow().0;
                shared.connections.send_modify(|all| *all.entry(cuts).or_default() += 1);
                tokio::spawn(serve(socket, cuts, shared.clone()));
            },
            changed = mode.changed() => if changed.is_err() { return },
        }
    }
}

/// A connection that was accepted after so many cuts: the next one is for it.
async fn serve(client: TcpStream, cuts: u64, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let connecting = async {
        let mut mode = shared.mode.subscribe();
        // A stalled connection is accepted, and nobody behind it hears of it.
        let _ = mode.wait_for(|mode| *mode != Mode::Stall).await;
        let socket = TcpSocket::new_v4().ok()?;
        // Or the kernel would take from the server what the proxy does not pass on.
        socket.set_recv_buffer_size(8 * 1024).ok()?;
        socket.connect(shared.target).await.ok()
    };
    let server = tokio::select! {
        server = connecting => server,
        _ = cut.wait_for(|(count, _)| *count > cuts) => None,
    };
    if let Some(server) = server {
        carry(client, server, &shared, cut, cuts).await;
    }
    shared
        .connections
        .send_modify(|all| *all.entry(cuts).or_default() -= 1);
}

/// Until both directions have ended, one has failed, or it is cut.
async fn carry(
    client: TcpStream,
    server: TcpStream,
    shared: &Shared,
    mut cut: watch::Receiver<(u64, Cut)>,
    cuts: u64,
) {
    for socket in [&client, &server] {
        let _ = socket.set_nodelay(true);
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let how = {
        let up = pump(&mut from_client, &mut to_server, shared, Direction::Up);
        let down = pump(&mut from_server, &mut to_client, shared, Direction::Down);
        tokio::select! {
            passed = async { tokio::try_join!(up, down) } => if passed.is_ok() { Cut::Finish } else { Cut::Reset },
            told = cut.wait_for(|(count, _)| *count > cuts) => told.map_or(Cut::Reset, |told| told.1),
        }
    };
    let client = from_client.reunite(to_client).expect("one socket");
    let server = from_server.reunite(to_server).expect("one socket");
    for mut socket in [client, server] {
        match how {
            Cut::Reset => {
                let _ = socket.set_zero_linger();
            }
            Cut::Finish => {
                let _ = socket.shutdown().await;
                // A socket closed over unread bytes would send RST.
                let mut unread = [0; 4096];
                while matches!(socket.try_read(&mut unread), Ok(1..)) {}
            }
        }
    }
}

/// Ends well when its source has finished; `Err` when a socket failed.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    direction: Direction,
) -> std::io::Result<()> {
    let mut mode = shared.mode.subscribe();
    let mut portions = interval(PORTION);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let most = match *mode.borrow_and_update() {
            Mode::Pass | Mode::Refuse => buffer.len(),
            Mode::Stall => 0,
            Mode::Throttle { up, down } => {
                let rate = match direction {
                    Direction::Up => up,
                    Direction::Down => down,
                };
                rate.map_or(buffer.len(), |rate| (rate / 20).clamp(1, buffer.len()))
            }
        };
        if most == 0 {
            let _ = mode.changed().await;
            continue;
        }
        if most < buffer.len() {
            portions.tick().await;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer[..most]) => read?,
            _ = mode.changed() => continue,
        };
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        let count = match direction {
            Direction::Up => &shared.up,
            Direction::Down => &shared.down,
        };
        count.fetch_add(read as u64, Relaxed);
    }
}
