//! The server's certificate and key, from PEM files, which are read again when asked.

use crate::text::with_causes;
use anyhow::{Context as _, bail};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

/// What new connections are shown; those that are open keep theirs.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Tls {
    /// The certificate, with those between it and its authority behind it, and its key.
    pub fn open(certificate: &Path, key: &Path) -> anyhow::Result<Arc<Self>> {
        let provider = Arc::new(ring::default_provider());
        let current = read(certificate, key, &provider)?;
        Ok(Arc::new(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            provider,
            current: RwLock::new(Arc::new(current)),
        }))
    }

    /// Reads the files again. What they do not have in order changes nothing.
    pub fn reload(&self) {
        match read(&self.certificate, &self.key, &self.provider) {
            Ok(new) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                tracing::info!("the certificate was read again");
            }
            Err(error) => tracing::error!(
                error = with_causes(&*error),
                "the certificate stays as it was"
            ),
        }
    }

    /// TLS 1.2 and 1.3, with this certificate for whatever name a client asks for.
    pub fn server_config(self: Arc<Self>) -> anyhow::Result<ServerConfig> {
        let config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .context("cannot set up TLS")?
            .with_no_client_auth()
            .with_cert_resolver(self);
        Ok(config)
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _: ClientHello) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(current.clone())
    }
}

fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> anyhow::Result<CertifiedKey> {
    let (shown, key_shown) = (certificate.display(), key.display());
    let pem =
        fs::read(certificate).with_context(|| format!("cannot read server.tls_cert {shown}"))?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("server.tls_cert {shown} is not PEM"))?;
    if chain.is_empty() {
        bail!("server.tls_cert {shown} has no certificate; it wants PEM, BEGIN CERTIFICATE");
    }
    let pem = fs::read(key).with_context(|| format!("cannot read server.tls_key {key_shown}"))?;
    let Ok(private) = PrivateKeyDer::from_pem_slice(&pem) else {
        // Not what is wrong with it: that might tell some of it.
        bail!(
            "server.tls_key {key_shown} has no private key; it wants PEM, BEGIN PRIVATE KEY, without a password"
        );
    };
    CertifiedKey::from_der(chain, private, provider).with_context(|| {
        format!(
            "the key in server.tls_key {key_shown} does not go with the certificate in server.tls_cert {shown}"
        )
    })
}
