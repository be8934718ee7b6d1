//! Connections to the model server: how they are opened, kept and lost.

use super::{Failure, UpstreamError, UpstreamOptions};
use actix_service::Service;
use actix_tls::connect::ConnectInfo;
use awc::{
    Client, Connector,
    error::{ConnectError, SendRequestError},
    http::{Uri, Version, header},
};
use futures_util::future::LocalBoxFuture;
use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::Once,
    task::{Context, Poll},
};
use tokio::net::TcpStream;

/// A client, and what watches it open connections.
pub(super) fn client(options: &UpstreamOptions) -> (Client, NewConnections) {
    choose_tls_provider();
    let new_connections = NewConnections::default();
    let no_delay = NoDelay {
        inner: actix_tls::connect::Connector::default().service(),
        new_connections: new_connections.clone(),
    };
    let connector = Connector::new()
        .connector(no_delay)
        // A dropped HTTP/2 stream leaves its connection open; a closed HTTP/1.1 socket tells every server and proxy to stop.
        .max_http_version(Version::HTTP_11)
        // By default a hundred, and an answer holds one until its end.
        .limit(0)
        .timeout(options.connect)
        .handshake_timeout(options.connect);
    let user_agent = concat!("continuo/", env!("CARGO_PKG_VERSION"));
    let client = Client::builder()
        .connector(connector)
        // It would count until the response head only; our deadlines know what they wait for.
        .disable_timeout()
        // A redirect could take the key and the prompt to another host.
        .disable_redirects()
        .add_default_header((header::USER_AGENT, user_agent))
        .add_default_header((header::ACCEPT_ENCODING, "identity"))
        .finish();
    (client, new_connections)
}

/// Tells whether a request opened a connection or found one kept alive.
#[derive(Clone, Default)]
pub(super) struct NewConnections(Rc<Cell<bool>>);

impl NewConnections {
    /// What `sending` resolves to, and whether it opened a connection.
    pub async fn watch<F: Future + Unpin>(&self, sending: &mut F) -> (F::Output, bool) {
        let mut opened = false;
        let output = poll_fn(|context| {
            // The connector is called within this poll or not at all: the cell speaks of this request, whatever else runs.
            self.0.set(false);
            let poll = Pin::new(&mut *sending).poll(context);
            opened |= self.0.get();
            poll
        })
        .await;
        (output, opened)
    }
}

/// The connection is gone and no byte of a response came: a server may close a kept-alive connection at any time.
pub(super) fn is_dead(error: &SendRequestError) -> bool {
    match error {
        SendRequestError::Connect(ConnectError::Disconnected) | SendRequestError::Send(_) => true,
        error => io_error(error).is_some_and(|error| {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
            matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset
            )
        }),
    }
}

fn io_error(error: &SendRequestError) -> Option<&io::Error> {
    match error {
        SendRequestError::Send(error) | SendRequestError::Connect(ConnectError::Io(error)) => {
            Some(error)
        }
        SendRequestError::Response(error) => std::error::Error::source(error)?.downcast_ref(),
        _ => None,
    }
}

/// Why there is no response.
pub(super) fn failure(error: &SendRequestError, options: &UpstreamOptions) -> UpstreamError {
    let unreachable = |message: String| UpstreamError::new(Failure::Unreachable, message);
    match error {
        SendRequestError::Connect(ConnectError::Resolver(_) | ConnectError::NoRecords) => {
            unreachable("the upstream's host name is unknown".to_owned())
        }
        SendRequestError::Connect(ConnectError::Timeout) => unreachable(format!(
            "no connection to the upstream within {} s",
            options.connect.as_secs_f64()
        )),
        SendRequestError::Connect(ConnectError::Disconnected) => {
            unreachable("the upstream closed the connection without an answer".to_owned())
        }
        SendRequestError::Connect(error) => {
            unreachable(format!("no connection to the upstream: {error}"))
        }
        SendRequestError::Response(_) if io_error(error).is_none() => {
            UpstreamError::new(Failure::Unreadable, "the upstream's answer is not HTTP")
        }
        error => unreachable(match io_error(error) {
            Some(error) => format!("the connection to the upstream broke: {error}"),
            None => "the request could not be sent to the upstream".to_owned(),
        }),
    }
}

/// rustls asks for one provider a process; the first choice stands, and any is as good.
fn choose_tls_provider() {
    static CHOICE: Once = Once::new();
    CHOICE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Connects as awc does, without the delay that Nagle's algorithm adds to a request of several packets.
#[derive(Clone)]
struct NoDelay<S> {
    inner: S,
    new_connections: NewConnections,
}

type TcpConnection = actix_tls::connect::Connection<Uri, TcpStream>;

impl<S> Service<ConnectInfo<Uri>> for NoDelay<S>
where
    S: Service<
            ConnectInfo<Uri>,
            Response = TcpConnection,
            Error = actix_tls::connect::ConnectError,
        >,
    S::Future: 'static,
{
    type Response = TcpConnection;
    type Error = S::Error;
    type Future = LocalBoxFuture<'static, Result<TcpConnection, S::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, target: ConnectInfo<Uri>) -> Self::Future {
        self.new_connections.0.set(true);
        let connecting = self.inner.call(target);
        Box::pin(async move {
            let connection = connecting.await?;
            // Without it the request is merely slower.
            let _ = connection.io_ref().set_nodelay(true);
            Ok(connection)
        })
    }
}
