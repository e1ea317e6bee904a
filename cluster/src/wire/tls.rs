//! Mutual TLS between nodes.
//!
//! Both sides present a certificate of the cluster's own authority. A node's certificate carries its id and its
//! cluster as the DNS name `node-<id>.<cluster>.conclave` among its subject alternative names; in a cluster of the
//! default name, `conclave`, `node-<id>.conclave` is as good. Another name, another authority or a passed date is
//! refused, on either side. A certificate with extended key usages needs both `serverAuth` and
//! `clientAuth`, since a node is both. TLS 1.3 only, and no session is resumed, so that a certificate's dates are
//! looked at with every connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificate_fault::{explain, words};
use super::handshake::Fault;
use super::pem_file::{self, ENCRYPTED};
use super::validity::{Invalid, Validity};
use super::{PeerId, Reason, Stream};

/// A node's certificate and the authority it trusts. Cheap to clone; all clones change together.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    current: ArcSwap<Current>,
}

/// Where it comes from.
struct Files {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// What was in the files.
struct Current {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    /// This node's certificate and those that lead to the authority.
    chain: Vec<CertificateDer<'static>>,
    validity: Validity,
    /// What peers that trust the same authority look at when this node is dialed, and when it dials.
    servers: Arc<EitherName>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// Why the certificates cannot be used. Nothing of what the files hold is in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{key}: {}: {error}", path.display())]
    Unreadable {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// A file holds something else.
    #[error("{key}: {}: there is no {what} in it, as PEM", path.display())]
    Missing {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The private key wants a passphrase.
    #[error("{KEY}: {}: {ENCRYPTED}", path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// The authority is not usable.
    #[error("{CA}: {}: {error}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// Certificate or key is not usable, or they do not belong together.
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
    /// No peer that trusts the same authority would accept the certificate as this node's.
    #[error("{CERT}: {}: {why}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

pub(super) const CA: &str = "cluster.tls.ca";
const CERT: &str = "cluster.tls.cert";
const KEY: &str = "cluster.tls.key";

impl Tls {
    /// Reads PEM files: the authority's certificates, this node's certificate chain, and its key.
    ///
    /// # Errors
    /// If one cannot be used. Whether peers will accept the certificate is for [`Tls::check`] to say.
    pub fn from_files(authority: &Path, certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let [authority, certificate, key] = [authority, certificate, key].map(Path::to_owned);
        let files = Files { authority, certificate, key };
        let current = ArcSwap::from_pointee(Current::read(&files)?);
        Ok(Self(Arc::new(Inner { files, current })))
    }

    /// Whether peers accept the certificate at `now` as the one of `node` of `cluster`: what they look at is looked at.
    ///
    /// # Errors
    /// If they do not.
    pub fn check(&self, cluster: &str, node: PeerId, now: SystemTime) -> Result<(), TlsError> {
        self.0.current.load().check(&self.0.files, cluster, node, now)
    }

    /// Reads the files again, for connections that are made from now on.
    ///
    /// # Errors
    /// If one cannot be used, or peers would not accept the certificate; then everything stays as it was.
    pub fn reload(&self, cluster: &str, node: PeerId, now: SystemTime) -> Result<(), TlsError> {
        let current = Current::read(&self.0.files)?;
        current.check(&self.0.files, cluster, node, now)?;
        self.0.current.store(Arc::new(current));
        Ok(())
    }

    /// The files: the authority's, the certificate's, the key's.
    pub fn paths(&self) -> [&Path; 3] {
        let Files { authority, certificate, key } = &self.0.files;
        [authority, certificate, key]
    }

    /// From when to when the certificate is valid that is in use.
    pub fn validity(&self) -> Validity {
        self.0.current.load().validity
    }

    /// The dialer's end: the other side must be `peer` of `cluster`.
    pub(super) async fn connect(
        &self,
        stream: Box<dyn Stream>,
        cluster: &str,
        peer: PeerId,
    ) -> Result<Box<dyn Stream>, Fault> {
        let name = name(cluster, peer).ok_or(Reason::Certificate)?;
        let connector = self.0.current.load().connector.clone();
        let stream = connector.connect(name, stream).await.map_err(explain)?;
        Ok(Box::new(stream))
    }

    /// The accepting end: returns the dialer's certificate, which [`expect_name`] compares with the greeting.
    pub(super) async fn accept(
        &self,
        stream: Box<dyn Stream>,
    ) -> Result<(Box<dyn Stream>, CertificateDer<'static>), Fault> {
        let acceptor = self.0.current.load().acceptor.clone();
        let stream = acceptor.accept(stream).await.map_err(explain)?;
        let chain = stream.get_ref().1.peer_certificates();
        let certificate =
            chain.and_then(|chain| chain.first()).ok_or(Reason::Certificate)?.clone().into_owned();
        Ok((Box::new(stream), certificate))
    }
}

impl Current {
    fn read(files: &Files) -> Result<Self, TlsError> {
        let chain = certificates(CERT, &files.certificate)?;
        let validity = Validity::of(&chain[0])
            .map_err(|why| TlsError::Invalid { path: files.certificate.clone(), why })?;
        let key = private_key(&files.key)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(CA, &files.authority)? {
            let add = roots.add(certificate);
            add.map_err(|error| TlsError::Authority { path: files.authority.clone(), error })?;
        }

        const BUILDS: &str = "there are authorities, and no revocation lists";
        const SPEAKS: &str = "ring speaks TLS 1.3";
        let provider = Arc::new(ring::default_provider());
        let versions = &[&rustls::version::TLS13];
        let roots = Arc::new(roots);
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let servers = Arc::new(EitherName(servers.expect(BUILDS)));
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
        let clients = clients.expect(BUILDS);
        let pair =
            |error| TlsError::Pair { certificate: files.certificate.clone(), key: files.key.clone(), error };
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .expect(SPEAKS)
            .dangerous()
            .with_custom_certificate_verifier(servers.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(pair)?;
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect(SPEAKS)
            .with_client_cert_verifier(clients.clone())
            .with_single_cert(chain.clone(), key)
            .map_err(pair)?;
        server.send_tls13_tickets = 0;
        let (connector, acceptor) = (Arc::new(client).into(), Arc::new(server).into());
        Ok(Self { connector, acceptor, chain, validity, servers, clients })
    }

    fn check(&self, files: &Files, cluster: &str, node: PeerId, now: SystemTime) -> Result<(), TlsError> {
        let path = || files.certificate.clone();
        self.validity.check(now).map_err(|why| TlsError::Invalid { path: path(), why })?;
        let unnameable = || TlsError::Refused { path: path(), why: format!("no name can hold {cluster}") };
        let name = name(cluster, node).ok_or_else(unnameable)?;
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let (own, intermediates) = self.chain.split_first().expect("a file without any is refused");
        let dialed = self.servers.verify_server_cert(own, intermediates, &name, &[], now).map(drop);
        let dials = || self.clients.verify_client_cert(own, intermediates, now).map(drop);
        let refused = |error: rustls::Error| TlsError::Refused { path: path(), why: words(&error) };
        dialed.and_then(|()| dials()).map_err(refused)
    }
}

/// The certificates in a file, of which there is at least one.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const WHAT: &str = "certificate";
    let read = |bytes: Vec<u8>| CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let found = contents(path).and_then(read).map_err(|error| unreadable(key, path, WHAT, error))?;
    if found.is_empty() {
        return Err(unreadable(key, path, WHAT, pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let unreadable = |error| unreadable(KEY, path, "private key", error);
    let bytes = contents(path).map_err(unreadable)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match pem_file::is_encrypted(&bytes) {
        true => TlsError::Encrypted { path: path.to_owned() },
        false => unreadable(error),
    })
}

fn contents(path: &Path) -> Result<Vec<u8>, pem::Error> {
    std::fs::read(path).map(pem_file::without_mark).map_err(pem::Error::Io)
}

fn unreadable(key: &'static str, path: &Path, what: &'static str, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::NoItemsFound => TlsError::Missing { key, path, what },
        error => TlsError::Unreadable { key, path, error },
    }
}

/// Whether a verified certificate is the one of `node` of `cluster`.
pub(super) fn expect_name(
    certificate: &CertificateDer<'_>,
    cluster: &str,
    node: PeerId,
) -> Result<(), Fault> {
    let name = name(cluster, node).ok_or(Reason::Certificate)?;
    let carried = ParsedCertificate::try_from(certificate).and_then(|parsed| carries_either(&parsed, &name));
    carried.map_err(|error| Fault::Certificate(words(&error)))
}

/// The name that a node's certificate must carry. There is none if the cluster's name cannot be part of one.
fn name(cluster: &str, node: PeerId) -> Option<ServerName<'static>> {
    ServerName::try_from(format!("node-{node}.{cluster}.conclave")).ok()
}

/// Whether the certificate carries this name, or the short one of a cluster that was given no name of its own.
fn carries_either(certificate: &ParsedCertificate<'_>, name: &ServerName<'_>) -> Result<(), rustls::Error> {
    let named = verify_server_name(certificate, name);
    match short(name) {
        Some(short) if named.is_err() => verify_server_name(certificate, &short).or(named),
        Some(_) | None => named,
    }
}

/// `node-1.conclave` for `node-1.conclave.conclave`.
fn short(name: &ServerName<'_>) -> Option<ServerName<'static>> {
    let ServerName::DnsName(name) = name else { return None };
    let node = name.as_ref().strip_suffix(".conclave.conclave")?;
    ServerName::try_from(format!("{node}.conclave")).ok()
}

/// rustls' own verifier, which may find either of the two names in a certificate.
#[derive(Debug)]
struct EitherName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for EitherName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify = |name| self.0.verify_server_cert(certificate, intermediates, name, ocsp_response, now);
        match (verify(name), short(name)) {
            (Err(error), Some(short)) => verify(&short).map_err(|_| error),
            (verified, _) => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
