//! Builds the program from its options, runs it, and ends it in order.

mod house;
mod options;

use crate::{
    auth::{self, Auth, login_link},
    chat::Chat,
    clock::Clock,
    config::Config,
    connection::{self, Connections},
    data_dir::{DataDir, LockedDataDir},
    demo::{self, Demo},
    head,
    limits::Ledger,
    model::User,
    problem,
    recorder::Recorder,
    registry::Registry,
    routes::routes,
    store::{self, Lease, Store},
    telemetry::Spans,
    text::with_causes,
    tls::Tls,
    upstream::Upstream,
};
use actix_web::{App, HttpServer, dev::Server as HttpServerFuture, middleware::from_fn, web::Data};
use anyhow::Context as _;
use socket2::{Domain, Socket, Type};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tracing_actix_web::TracingLogger;

/// The name of the account that the first start creates.
pub const OWNER: &str = "owner";
/// How long a connection without a request is kept: longer than proxies keep theirs (60 s), or they would now and then send a request
/// into one that is being closed.
const IDLE: Duration = Duration::from_secs(75);
/// How long a body that was refused is still taken and thrown away.
const REFUSED_BODY: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted: all readers come back at once after a restart. The kernel has a limit of its own.
const BACKLOG: i32 = 4096;
/// How long the database may take to say goodbye.
const CLOSE: Duration = Duration::from_secs(5);
/// Opens the store that the options name: their URL, else SQLite in the data directory.
pub async fn open_store(config: &Config, data_dir: &DataDir) -> anyhow::Result<Arc<dyn Store>> {
    let url = if config.store.url.is_empty() {
        data_dir.sqlite_url()
    } else {
        config.store.url.clone()
    };
    Ok(store::open(&url, &options::store(config)).await?)
}

/// The recorder, with everything that earlier processes of this node left behind brought to its end.
async fn open_recorder(
    config: &Config,
    data_dir: &LockedDataDir,
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
) -> anyhow::Result<Arc<Recorder>> {
    let node = data_dir.node()?;
    let known = store.lease(node).await.context("cannot read the lease")?;
    let lease = known.unwrap_or(Lease { node, epoch: 0 });
    let options = options::recorder(config);
    let directory = data_dir.spool();
    let recorder =
        Recorder::open(&directory, lease, options, registry, store).with_context(|| {
            format!(
                "cannot open the spool {}, which must be a directory that this user may write",
                directory.display()
            )
        })?;
    let recovered = recorder
        .recover()
        .await
        .context("cannot recover what was running")?;
    if recovered > 0 {
        tracing::warn!(
            count = recovered,
            "answers that were running when the server last ended are interrupted"
        );
    }
    Ok(recorder)
}

/// A server that listens but does not serve yet.
pub struct Server {
    pub address: SocketAddr,
    pub chat: Arc<Chat>,
    pub auth: Arc<Auth>,
    pub owner: User,
    http: HttpServerFuture,
    connections: Arc<Connections>,
    tls: Option<Arc<Tls>>,
    demo: Option<Demo>,
    drain_grace: Duration,
    events_kept: Duration,
    undo: Duration,
    data_dir: LockedDataDir,
}

/// How a running server is ended: once to drain, once more to hurry.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    pub drain: CancellationToken,
    pub hurry: CancellationToken,
}

/// Opens everything and listens.
pub async fn build(config: Config) -> anyhow::Result<Server> {
    build_by(config, Clock::default()).await
}

/// The same by another clock, as far as limits, logins and the ends of keys go.
pub async fn build_by(config: Config, clock: Clock) -> anyhow::Result<Server> {
    raise_descriptor_limit();
    let data_dir = DataDir::open(&config.server.data_dir)?;
    let shared_dir = data_dir.clone();
    let data_dir = data_dir.lock()?;
    let node = data_dir.node()?;
    let store = open_store(&config, &shared_dir).await?;
    let owner = store
        .ensure_owner(OWNER)
        .await
        .context("cannot create the first account")?;
    let ledger = Arc::new(Ledger::new(config.limits.tokens_per_day, &clock));
    let registry = Registry::with_ledger(options::registry(&config), ledger.clone());
    let recorder = open_recorder(&config, &data_dir, registry.clone(), store.clone()).await?;
    let tls = tls(&config)?;
    let listener = listen(config.server.bind)?;
    let address = listener.local_addr().context("cannot tell the address")?;
    if let Err(error) = data_dir.set_origin(&origin(address, tls.is_some())) {
        // On a full disk, say. Only the links of `continuo login` need it.
        tracing::warn!(
            error = with_causes(&*error),
            "commands beside this server do not learn where it listens"
        );
    }

    let demo = if config.upstream.url.is_empty() {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Some(demo::start(any_port).context("cannot start the demo model")?)
    } else {
        None
    };
    let upstream = options::upstream(&config, demo.as_ref());
    let chat = Chat::new(options::chat(&config), registry, store.clone(), recorder);
    let auth = Arc::new(options::auth(&config, store, ledger, clock, address));
    let options = Data::new(options::routes(&config));
    let (chat_data, auth_data) = (Data::from(chat.clone()), Data::from(auth.clone()));
    let node = Data::new(node);
    let proxies = Data::new(options::trusted_proxies(&config)?);
    let connections = Arc::new(Connections::new(config.emitter.peer_timeout));
    let opened = connections.clone();
    let mut http = HttpServer::new(move || {
        App::new()
            .app_data(chat_data.clone())
            .app_data(auth_data.clone())
            .app_data(options.clone())
            .app_data(node.clone())
            .app_data(proxies.clone())
            // One for each worker: `awc` clients do not move between threads.
            .app_data(Data::new(Upstream::new(&upstream)))
            .configure(routes)
            .wrap(from_fn(auth::identify))
            .wrap(from_fn(auth::walls))
            .wrap(from_fn(problem::edge))
            .wrap(TracingLogger::<Spans>::new())
            .wrap_fn(head::compacted)
            .wrap_fn(connection::watched)
    })
    .on_connect(move |connection, extensions| opened.opened(connection, extensions))
    // Or an idle emitter would outlive its client for ever.
    .h1_allow_half_closed(false)
    // Or kept-alive streams would stall for 40 ms.
    .tcp_nodelay(true)
    // A client that is still sending what was refused gets to read why, even over a slow line.
    .client_disconnect_timeout(REFUSED_BODY)
    .keep_alive(IDLE)
    // For each worker; the registry counts emitters, and refuses in words.
    .max_connections(
        config
            .limits
            .emitters
            .saturating_mul(2)
            .saturating_add(1000),
    )
    .disable_signals()
    .shutdown_timeout(2);
    if config.server.workers > 0 {
        http = http.workers(config.server.workers);
    }
    let http = match &tls {
        Some(tls) => http.listen_rustls_0_23(listener, tls.clone().server_config()?),
        None => http.listen(listener),
    };
    let http = http.context("cannot listen")?.run();
    Ok(Server {
        address,
        chat,
        auth,
        owner,
        http,
        connections,
        tls,
        demo,
        drain_grace: config.drain.grace,
        events_kept: config.recorder.keep_events,
        undo: config.conversations.undo,
        data_dir,
    })
}

impl Server {
    /// `http://ADDRESS`, with an address that a browser on this machine can use; `https` with TLS.
    pub fn origin(&self) -> String {
        origin(self.address, self.tls.is_some())
    }

    /// The certificate that it serves with, if it does.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// A fresh one-time link for the owner.
    pub async fn login_link(&self) -> anyhow::Result<String> {
        Ok(login_link(&*self.chat.store, self.owner.id, &self.origin()).await?)
    }

    /// Serves until `shutdown`, then drains: answers first, emitters next, HTTP last.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self {
            chat,
            auth,
            http,
            connections,
            demo,
            drain_grace,
            events_kept,
            undo,
            data_dir,
            ..
        } = self;
        let handle = http.handle();
        let orderly_end = async {
            tokio::select! {
                () = shutdown.drain.cancelled() => {}
                () = chat.asked_to_drain() => {}
                () = house::keep_house(&chat, events_kept) => {}
                () = house::purge(&*chat.store, undo) => {}
                () = house::index(&*chat.store) => {}
            }
            tracing::info!(running = chat.registry.running().len(), "draining");
            chat.drain(drain_grace, shutdown.hurry.cancelled()).await;
            handle.stop(true).await;
        };
        let demo_model = async {
            match demo {
                Some(demo) => demo.run().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            // Ends when `handle` stops it; by itself only when it failed.
            served = http => served.context("the HTTP server failed"),
            ended = demo_model => ended.context("the demo model failed"),
            () = async { orderly_end.await; std::future::pending().await } => Ok(()),
            () = chat.recorder.run() => Ok(()),
            () = auth.watch() => Ok(()),
            () = connections.watch() => Ok(()),
            () = chat.write_down_spendings() => Ok(()),
        };
        let (backlog, _) = chat.recorder.backlog();
        if backlog > 0 {
            tracing::warn!(
                backlog,
                "what waits on disk goes to the database at the next start"
            );
        }
        // A database that does not answer would hold the process up.
        let goodbye = async {
            auth.tell_used().await;
            if let Err(error) = chat.write_down().await {
                tracing::warn!(error = with_causes(&error), "some tokens are not counted");
            }
            chat.store.close().await;
        };
        let _ = tokio::time::timeout(CLOSE, goodbye).await;
        drop(data_dir);
        tracing::info!("ended");
        ended
    }
}

/// The certificate that the options name, if they do.
fn tls(config: &Config) -> anyhow::Result<Option<Arc<Tls>>> {
    let (certificate, key) = (&config.server.tls_cert, &config.server.tls_key);
    let is_wanted = !certificate.as_os_str().is_empty();
    is_wanted.then(|| Tls::open(certificate, key)).transpose()
}

fn listen(bind: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(bind), Type::STREAM, None)?;
        // Or a restart would have to wait for the old connections' last packets.
        socket.set_reuse_address(true)?;
        socket.bind(&bind.into())?;
        socket.listen(BACKLOG)?;
        Ok::<_, std::io::Error>(socket.into())
    };
    listen().with_context(|| {
        format!(
            "cannot listen on {bind}; choose another address with --bind, or port 0 for a free one"
        )
    })
}

/// `0.0.0.0` is where a server listens, not where a browser goes.
pub fn origin(address: SocketAddr, is_tls: bool) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
}

/// Each connection is a descriptor; the usual soft limit is 1,024.
fn raise_descriptor_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(
            error = with_causes(&error),
            "the limit of open files stays as it is"
        );
    }
}
