//! A certificate of a test's own, and clients that trust it: TLS by hand, and HTTP/2.
#![allow(dead_code, reason = "no test binary uses all of it")]
#![allow(clippy::disallowed_methods, reason = "tests may spawn")]

use super::PATIENCE;
use bytes::Bytes;
use h2::{RecvStream, client};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::Value;
use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Of 127.0.0.1, signed by itself.
pub struct Certificate {
    directory: TempDir,
    der: CertificateDer<'static>,
}

impl Certificate {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let der = write_to(&directory);
        Self { directory, der }
    }

    /// Another one in the same files.
    pub fn renew(&mut self) {
        self.der = write_to(&self.directory);
    }

    pub fn certificate(&self) -> String {
        path(&self.directory, "cert.pem")
    }

    pub fn key(&self) -> String {
        path(&self.directory, "key.pem")
    }

    /// As the server's options.
    pub async fn app(&self, options: &[(&str, &str)]) -> super::app::TestApp {
        let (certificate, key) = (self.certificate(), self.key());
        let mut all = vec![("server.tls_cert", &*certificate), ("server.tls_key", &key)];
        all.extend(options);
        super::app::spawn_app_with(&all).await
    }

    /// A TLS connection to `https://127.0.0.1:PORT`; an error when the server shows another certificate.
    pub async fn connect(
        &self,
        origin: &str,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = protocols.collect();
        let address = origin.strip_prefix("https://").expect("TLS");
        let address: SocketAddr = address.parse().expect("an address");
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::from(address.ip());
        let connected = TlsConnector::from(Arc::new(config)).connect(name, socket);
        timeout(PATIENCE, connected).await.expect("in time")
    }

    pub async fn http2(&self, origin: &str) -> Http2 {
        let stream = self.connect(origin, &["h2"]).await.expect("trusted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (requests, connection) = client::handshake(stream).await.expect("HTTP/2");
        Http2 {
            requests,
            connection: tokio::spawn(async move {
                let _ = connection.await;
            }),
            origin: origin.to_owned(),
        }
    }
}

fn path(directory: &TempDir, name: &str) -> String {
    let path: PathBuf = directory.path().join(name);
    path.to_str().expect("UTF-8").to_owned()
}

fn write_to(directory: &TempDir) -> CertificateDer<'static> {
    let names = vec!["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    fs::write(path(directory, "cert.pem"), made.cert.pem()).expect("written");
    fs::write(path(directory, "key.pem"), made.signing_key.serialize_pem()).expect("written");
    made.cert.der().clone()
}

/// One HTTP/2 connection.
pub struct Http2 {
    requests: client::SendRequest<Bytes>,
    connection: JoinHandle<()>,
    origin: String,
}

/// The head of an answer, and what is left of it.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: RecvStream,
}

impl Http2 {
    /// Sends a request; what comes back is its answer when that is awaited. Dropping it resets the stream.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> client::ResponseFuture {
        let sent = self.try_send(method, path, headers, body).await;
        sent.expect("the connection is open")
    }

    /// `None` when the server has ended the connection.
    pub async fn try_send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Option<client::ResponseFuture> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(()).expect("a request");
        let ready = timeout(PATIENCE, self.requests.clone().ready()).await;
        self.requests = ready.expect("in time").ok()?;
        let sent = self.requests.send_request(request, body.is_none());
        let (answer, mut upload) = sent.ok()?;
        if let Some(body) = body {
            let body = serde_json::to_vec(body).expect("JSON");
            upload.send_data(body.into(), true).ok()?;
        }
        Some(answer)
    }

    pub async fn answer(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let answer = self.send(method, path, headers, body).await;
        Answer::of(answer).await
    }

    pub async fn get(&mut self, path: &str, key: &str) -> Answer {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", &*bearer), ("accept", "*/*")];
        self.answer("GET", path, &headers, None).await
    }

    /// Says from now on that it asks the server of this name.
    pub fn ask_of(&mut self, authority: &str) {
        self.origin = format!("https://{authority}");
    }

    /// Resolves when the server has ended the connection.
    pub async fn closed(self) {
        let closed = timeout(PATIENCE, self.connection).await;
        closed.expect("the server closes").expect("no panic");
    }

    /// Ends the connection without a word.
    pub fn cut(self) {
        self.connection.abort();
    }
}

impl Answer {
    pub async fn of(answer: client::ResponseFuture) -> Self {
        let answer = timeout(PATIENCE, answer).await.expect("an answer in time");
        let (head, body) = answer.expect("an answer").into_parts();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    /// The next bytes; `None` at the end, and when it was cut. They make room for as many more.
    pub async fn piece(&mut self) -> Option<Bytes> {
        let piece = timeout(PATIENCE, self.body.data()).await.expect("in time");
        let piece = piece?.ok()?;
        let _ = self.body.flow_control().release_capacity(piece.len());
        Some(piece)
    }

    /// Everything up to and with `end`, or all when that does not come.
    pub async fn read_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        loop {
            if String::from_utf8_lossy(&text).contains(end) {
                break;
            }
            let Some(piece) = self.piece().await else {
                break;
            };
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).expect("UTF-8")
    }

    pub async fn json(mut self) -> Value {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await {
            body.extend_from_slice(&piece);
        }
        serde_json::from_slice(&body).expect("JSON")
    }
}
