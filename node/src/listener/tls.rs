//! TLS towards clients, the public's and operators': certificate and key from files that are read again when they change.
//!
//! A new file that cannot be used, or whose certificate is not valid now, leaves everything as it was; connections that are
//! open keep what they were opened with. No session is resumed, so that a client's certificate is looked at with every
//! connection.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use conclave_cluster::wire::pem_file::{self, ENCRYPTED};
use conclave_cluster::wire::{Invalid, Validity};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::last_word;
use super::metrics::{Handshake, Metrics};
use super::seldom::Seldom;
use crate::access::{bounded_file, watch};
use crate::admission::client_identity::Client;
use crate::admission::fair_semaphore::FairSemaphore;

/// Longer files are no certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Minimum {
    /// 1.2 (RFC 5246), with forward secrecy and authenticated encryption only.
    #[serde(rename = "1.2")]
    Tls12,
    /// 1.3 (RFC 8446).
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
}

impl Minimum {
    fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&version::TLS13, &version::TLS12],
            Self::Tls13 => vec![&version::TLS13],
        }
    }
}

/// The listener that speaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The public's.
    Public,
    /// Operators'. What becomes of their handshakes is not counted.
    Admin,
}

impl Whose {
    fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }

    /// The key of the configuration that names the certificate.
    fn cert(self) -> &'static str {
        match self {
            Self::Public => "http.tls.cert",
            Self::Admin => "admin.tls.cert",
        }
    }

    /// That of its private key.
    fn key(self) -> &'static str {
        match self {
            Self::Public => "http.tls.key",
            Self::Admin => "admin.tls.key",
        }
    }

    /// That of the authorities of clients.
    fn client_ca(self) -> &'static str {
        match self {
            Self::Public => "http.tls.client_ca",
            Self::Admin => "admin.tls.client_ca",
        }
    }
}

/// What TLS is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose it is.
    pub whose: Whose,
    /// PEM file of the certificate and those that lead to its authority.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// PEM file of the authorities whose certificates clients must have. `None`: clients need none.
    pub client_authority: Option<PathBuf>,
    /// The oldest version spoken.
    pub minimum: Minimum,
    /// How long a handshake may take.
    pub handshake: Duration,
}

/// Why the files cannot be used. Nothing of what they hold is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{key}: {}: {error}", path.display())]
    Unreadable {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file has no certificate, or no key, as PEM.
    #[error("{key}: {}: there is no {what} in it, as PEM", path.display())]
    Pem {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The private key wants a passphrase.
    #[error("{key}: {}: {ENCRYPTED}", path.display())]
    Encrypted {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key cannot be used, or not together.
    #[error("{}: {} with {}: {}: {error}", whose.cert(), certificate.display(), whose.key(), key.display())]
    Pair {
        /// Whose they are.
        whose: Whose,
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// It is not the time for this certificate.
    #[error("{}: {}: {why}", whose.cert(), path.display())]
    Invalid {
        /// Whose it is.
        whose: Whose,
        /// The file.
        path: PathBuf,
        /// Why.
        why: Invalid,
    },
    /// The authorities of clients cannot be used.
    #[error("{}: {}: {error}", whose.client_ca(), path.display())]
    Authority {
        /// Whose they are.
        whose: Whose,
        /// The file.
        path: PathBuf,
        /// Why.
        error: rustls::Error,
    },
}

/// TLS as it is spoken now. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    options: Options,
    current: ArcSwap<Current>,
    handshakes: FairSemaphore,
    metrics: Metrics,
    failed: Seldom,
}

/// What was in the files.
struct Current {
    config: Arc<ServerConfig>,
    validity: Validity,
}

impl Tls {
    /// Reads the files. `handshakes` says how many at once. Install the metrics recorder before.
    ///
    /// # Errors
    /// If one cannot be used.
    pub fn new(options: Options, handshakes: FairSemaphore) -> Result<Self, Error> {
        let current = ArcSwap::from_pointee(configure(&options, SystemTime::now())?);
        let metrics = if options.whose == Whose::Public { Metrics::new() } else { Metrics::none() };
        Ok(Self(Arc::new(Inner { options, current, handshakes, metrics, failed: Seldom::default() })))
    }

    /// Reads the files anew.
    ///
    /// # Errors
    /// If one cannot be used; then everything stays as it was.
    pub fn reload(&self) -> Result<(), Error> {
        let configured = configure(&self.0.options, SystemTime::now());
        self.0.metrics.reloaded(configured.is_ok());
        self.0.current.store(Arc::new(configured?));
        Ok(())
    }

    /// From when to when the certificate is valid that is in use.
    pub fn validity(&self) -> Validity {
        self.0.current.load().validity
    }

    /// Reads the files anew whenever one changes or `asked` does. Runs until it is dropped.
    pub async fn keep_current(self, asked: tokio::sync::watch::Receiver<u64>) {
        let Options { certificate, key, client_authority, .. } = &self.0.options;
        let paths = [Some(certificate), Some(key), client_authority.as_ref()];
        let paths = paths.into_iter().flatten().cloned().collect();
        watch::whenever_changed(paths, asked, || self.clone().read_again()).await;
    }

    async fn read_again(self) {
        let name = self.0.options.whose.name();
        match tokio::task::spawn_blocking(move || self.reload()).await {
            Ok(Ok(())) => tracing::info!("read the {name} certificate"),
            Ok(Err(error)) => tracing::error!(%error, "the {name} certificate stays as it was"),
            Err(_) => tracing::error!("reading the {name} certificate failed"),
        }
    }

    /// The handshake, within its time. What became of it is counted, and one that failed is logged now and then.
    /// `client` waits behind its own handshakes first, so that one that begins many and ends none holds up itself. Whoever
    /// speaks HTTP in the clear is told, and has said for others to read what it said.
    pub(crate) async fn accept(
        &self,
        mut tcp: TcpStream,
        client: Option<Client>,
    ) -> Option<TlsStream<TcpStream>> {
        let inner = &self.0;
        let from = tcp.peer_addr().ok().map(|from| from.ip());
        let end = tokio::time::Instant::now() + inner.options.handshake;
        if timeout_at(end, last_word::is_in_the_clear(&tcp)).await.unwrap_or(false) {
            self.say(from, &"the client speaks HTTP without TLS");
            inner.metrics.shaken(Handshake::Failed);
            last_word::say(&mut tcp, last_word::USE_TLS).await;
            return None;
        }
        let shaken = timeout_at(end, async {
            let _turn = inner.handshakes.take(client).await;
            TlsAcceptor::from(inner.current.load().config.clone()).accept(tcp).await
        });
        let (stream, result) = match shaken.await {
            Ok(Ok(stream)) => (Some(stream), Handshake::Done),
            Ok(Err(error)) => {
                self.say(from, &error);
                (None, Handshake::Failed)
            }
            Err(_) => {
                self.say(from, &format_args!("it was not over within {:?}", inner.options.handshake));
                (None, Handshake::Late)
            }
        };
        inner.metrics.shaken(result);
        stream
    }

    /// Says why a handshake failed, of one a minute: strangers must not fill the disk.
    fn say(&self, from: Option<IpAddr>, why: &dyn std::fmt::Display) {
        if let Some(count) = self.0.failed.another(Instant::now()) {
            let address = from.map(tracing::field::display);
            let listener = self.0.options.whose.name();
            tracing::warn!(address, %why, count, listener, "TLS handshakes failed");
        }
    }
}

fn configure(options: &Options, now: SystemTime) -> Result<Current, Error> {
    let whose = options.whose;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&options.minimum.versions())
        .expect("ring speaks both versions");
    let builder = match &options.client_authority {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(whose.client_ca(), path)? {
                let added = roots.add(certificate);
                added.map_err(|error| Error::Authority { whose, path: path.clone(), error })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            let verifier = verifier.expect("there are authorities, and no revocation lists");
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = certificates(whose.cert(), &options.certificate)?;
    let invalid = |why| Error::Invalid { whose, path: options.certificate.clone(), why };
    let own = chain[0].clone();
    let mut config = builder.with_single_cert(chain, key(whose.key(), &options.key)?).map_err(|error| {
        Error::Pair { whose, certificate: options.certificate.clone(), key: options.key.clone(), error }
    })?;
    let validity = Validity::of(&own).map_err(invalid)?;
    validity.check(now).map_err(invalid)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Current { config: Arc::new(config), validity })
}

/// The certificates in a file, of which there is at least one.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let none = || Error::Pem { key, path: path.to_owned(), what: "certificate" };
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&read(key, path)?).collect::<Result<_, _>>().map_err(|_| none())?;
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

fn key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(key, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| match pem_file::is_encrypted(&bytes) {
        true => Error::Encrypted { key, path: path.to_owned() },
        false => Error::Pem { key, path: path.to_owned(), what: "private key" },
    })
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    bounded_file::read(path, FILE_BYTES_MAX).map_err(|error| Error::Unreadable {
        key,
        path: path.to_owned(),
        error,
    })
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
