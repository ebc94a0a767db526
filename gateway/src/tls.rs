//! HTTPS: the certificate, and its renewal while the gateway runs.
//!
//! Comes in: two PEM files, a chain and its key. Goes out: rustls' settings, with HTTP/2 and 1.1 to
//! choose from. Certificates are renewed every few weeks by something that replaces the files, so the
//! files are looked at every minute and taken when they have changed; connections that stand keep what
//! they have. New files that don't fit each other leave the old pair in use and are said once: the two
//! are rarely replaced in one moment.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why the gateway can't show who it is.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or is no PEM of its kind.
    #[error("read {path}: {problem}")]
    File {
        /// Which.
        path: String,
        /// What is the matter with it.
        problem: String,
    },
    /// Certificate and key are not of each other, or not of a kind that we can use.
    #[error("use the certificate {path} with its key")]
    Pair {
        /// The certificate.
        path: String,
        /// What the TLS library says.
        source: rustls::Error,
    },
}

/// The pair that new connections are shown.
#[derive(Debug)]
pub struct Certificate {
    files: [PathBuf; 2],
    current: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Certificate {
    /// Reads the pair.
    pub fn read(certificate: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(Arc::new(load(certificate, key)?));
        Ok(Arc::new(Self { files: [certificate.to_owned(), key.to_owned()], current }))
    }

    /// Makes the settings of a server that shows it.
    pub fn server(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let versions = ServerConfig::builder_with_provider(provider());
        let builder = versions.with_safe_default_protocol_versions()?.with_no_client_auth();
        // The protocols that may be chosen (ALPN) are added by actix.
        Ok(builder.with_cert_resolver(self.clone()))
    }

    /// Takes the files anew whenever they have changed, until told to stop.
    pub async fn renew(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        let mut known = self.changed_at();
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            let now = self.changed_at();
            if now == known {
                continue;
            }
            known = now;
            let [certificate, key] = &self.files;
            let path = certificate.display();
            match load(certificate, key) {
                Ok(pair) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                    tracing::info!(%path, "took the renewed certificate");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%path, error, "the certificate has changed and can't be used; keeping the old one");
                }
            }
        }
    }

    /// Tells when the files were changed, as far as they are there.
    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        self.files.each_ref().map(|path| path.metadata().and_then(|file| file.modified()).ok())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| unreadable(certificate, &error))?;
    if chain.is_empty() {
        return Err(unreadable(certificate, &pem::Error::NoItemsFound));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    CertifiedKey::from_der(chain, secret, &provider())
        .map_err(|source| TlsError::Pair { path: certificate.display().to_string(), source })
}

fn unreadable(path: &Path, error: &pem::Error) -> TlsError {
    // The key's own bytes must not get into a log, so of what the parser says only the kind is told.
    let problem = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is no PEM section of the kind that is needed".to_owned(),
        _ => "it is no PEM".to_owned(),
    };
    TlsError::File { path: path.display().to_string(), problem }
}
