//! TLS for the public: certificate and key from files that are read again when they change.
//!
//! A new file that cannot be used, or whose certificate is not valid now, leaves everything as it was; connections that are
//! open keep what they were opened with. No session is resumed, so that a client's certificate is looked at with every
//! connection.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use conclave_cluster::wire::{Invalid, Validity};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

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

/// What TLS is made of.
#[derive(Debug, Clone)]
pub struct Options {
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
    /// Certificate and key cannot be used, or not together.
    #[error("{CERT}: {} with {KEY}: {}: {error}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// It is not the time for this certificate.
    #[error("{CERT}: {}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        why: Invalid,
    },
    /// The authorities of clients cannot be used.
    #[error("{CLIENT_CA}: {}: {error}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rustls::Error,
    },
}

const CERT: &str = "http.tls.cert";
const KEY: &str = "http.tls.key";
const CLIENT_CA: &str = "http.tls.client_ca";

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
        Ok(Self(Arc::new(Inner {
            options,
            current,
            handshakes,
            metrics: Metrics::new(),
            failed: Seldom::default(),
        })))
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
        match tokio::task::spawn_blocking(move || self.reload()).await {
            Ok(Ok(())) => tracing::info!("read the public certificate"),
            Ok(Err(error)) => tracing::error!(%error, "the public certificate stays as it was"),
            Err(_) => tracing::error!("reading the public certificate failed"),
        }
    }

    /// The handshake, within its time. What became of it is counted, and one that failed is logged now and then.
    /// `client` waits behind its own handshakes first, so that one that begins many and ends none holds up itself.
    pub(super) async fn accept(
        &self,
        tcp: TcpStream,
        client: Option<Client>,
    ) -> Option<TlsStream<TcpStream>> {
        let inner = &self.0;
        let from = tcp.peer_addr().ok().map(|from| from.ip());
        let shaken = timeout(inner.options.handshake, async {
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
                self.say(from, &"it was not over within http.tls.handshake_timeout");
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
            tracing::warn!(address, %why, count, "TLS handshakes with the public failed");
        }
    }
}

fn configure(options: &Options, now: SystemTime) -> Result<Current, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&options.minimum.versions())
        .expect("ring speaks both versions");
    let builder = match &options.client_authority {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(CLIENT_CA, path)? {
                let added = roots.add(certificate);
                added.map_err(|error| Error::Authority { path: path.clone(), error })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            let verifier = verifier.expect("there are authorities, and no revocation lists");
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = certificates(CERT, &options.certificate)?;
    let invalid = |why| Error::Invalid { path: options.certificate.clone(), why };
    let own = chain[0].clone();
    let mut config = builder.with_single_cert(chain, key(&options.key)?).map_err(|error| Error::Pair {
        certificate: options.certificate.clone(),
        key: options.key.clone(),
        error,
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

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&read(KEY, path)?).map_err(|_| Error::Pem {
        key: KEY,
        path: path.to_owned(),
        what: "private key",
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
mod tests {
    use super::*;

    struct Files {
        _folder: tempfile::TempDir,
        options: Options,
    }

    fn turns() -> FairSemaphore {
        crate::admission::Shares::default().handshakes
    }

    fn files() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
            client_authority: None,
            minimum: Minimum::default(),
            handshake: Duration::from_secs(5),
        };
        Files { _folder: folder, options }
    }

    fn write(options: &Options) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&options.certificate, made.cert.pem()).unwrap();
        std::fs::write(&options.key, made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn a_new_file_that_cannot_be_used_changes_nothing() {
        let files = files();
        write(&files.options);
        let tls = Tls::new(files.options.clone(), turns()).unwrap();
        let before = tls.0.current.load_full();
        std::fs::write(&files.options.certificate, "no certificate").unwrap();
        assert!(matches!(tls.reload(), Err(Error::Pem { what: "certificate", .. })));
        assert!(Arc::ptr_eq(&before, &tls.0.current.load_full()));
        write(&files.options);
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.0.current.load_full()));
    }

    #[test]
    fn a_certificate_that_has_expired_changes_nothing() {
        let files = files();
        write(&files.options);
        let tls = Tls::new(files.options.clone(), turns()).unwrap();
        let before = tls.validity();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&files.options.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&files.options.key, key.serialize_pem()).unwrap();
        assert!(matches!(tls.reload(), Err(Error::Invalid { why: Invalid::Expired(_), .. })));
        assert_eq!(tls.validity(), before);
        assert!(Tls::new(files.options.clone(), turns()).is_err(), "nor does a node start with it");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_and_not_shown() {
        let (one, other) = (files(), files());
        write(&one.options);
        write(&other.options);
        let mixed = Options { key: other.options.key.clone(), ..one.options.clone() };
        let names = [&mixed.certificate, &mixed.key].map(|path| path.display().to_string());
        let error = Tls::new(mixed, turns()).unwrap_err().to_string();
        assert!(!error.contains("BEGIN"), "{error}");
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
        let swapped = Options { key: one.options.certificate.clone(), ..one.options.clone() };
        assert!(matches!(Tls::new(swapped, turns()), Err(Error::Pem { what: "private key", .. })));
    }
}
