//! Mutual TLS between nodes.
//!
//! Both sides present a certificate of the cluster's own authority. A node's certificate carries its id and its
//! cluster as the DNS name `node-<id>.<cluster>.conclave` among its subject alternative names; in a cluster of the
//! default name, `conclave`, `node-<id>.conclave` is as good. Another name, another authority or a passed date is
//! refused, on either side. A certificate with extended key usages needs both `serverAuth` and
//! `clientAuth`, since a node is both. TLS 1.3 only, and no session is resumed, so that a certificate's dates are
//! looked at with every connection.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::handshake::Fault;
use super::{PeerId, Reason, Stream};

/// A node's certificate and the authority it trusts.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

/// Why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// A certificate or the key is not usable.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The authority is not usable.
    #[error("{0}")]
    Authority(#[from] rustls::server::VerifierBuilderError),
}

impl Tls {
    /// Reads PEM files: the authority's certificates, this node's certificate chain, and its key.
    pub fn from_files(authority: &Path, certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let authority = CertificateDer::pem_file_iter(authority)?.collect::<Result<Vec<_>, _>>()?;
        let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
        Self::new(authority, chain, PrivateKeyDer::from_pem_file(key)?)
    }

    fn new(
        authority: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let versions = &[&rustls::version::TLS13];
        let mut roots = RootCertStore::empty();
        for certificate in authority {
            roots.add(certificate)?;
        }
        let roots = Arc::new(roots);
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(EitherName(servers)))
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        client.resumption = Resumption::disabled();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        server.send_tls13_tickets = 0;
        Ok(Self { connector: Arc::new(client).into(), acceptor: Arc::new(server).into() })
    }

    /// The dialer's end: the other side must be `peer` of `cluster`.
    pub(super) async fn connect(
        &self,
        stream: Box<dyn Stream>,
        cluster: &str,
        peer: PeerId,
    ) -> Result<Box<dyn Stream>, Fault> {
        let name = name(cluster, peer).ok_or(Reason::Certificate)?;
        let stream = self.connector.connect(name, stream).await.map_err(explain)?;
        Ok(Box::new(stream))
    }

    /// The accepting end: returns the dialer's certificate, which [`carries`] compares with the greeting.
    pub(super) async fn accept(
        &self,
        stream: Box<dyn Stream>,
    ) -> Result<(Box<dyn Stream>, CertificateDer<'static>), Fault> {
        let stream = self.acceptor.accept(stream).await.map_err(explain)?;
        let chain = stream.get_ref().1.peer_certificates();
        let certificate =
            chain.and_then(|chain| chain.first()).ok_or(Reason::Certificate)?.clone().into_owned();
        Ok((Box::new(stream), certificate))
    }
}

/// Whether a verified certificate is the one of `node` of `cluster`.
pub(super) fn carries(certificate: &CertificateDer<'_>, cluster: &str, node: PeerId) -> bool {
    let Some(name) = name(cluster, node) else { return false };
    ParsedCertificate::try_from(certificate).is_ok_and(|parsed| carries_either(&parsed, &name).is_ok())
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

/// Tells a refused certificate and a stranger's bytes from a broken connection.
pub(super) fn explain(error: io::Error) -> Fault {
    use AlertDescription as Alert;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return error.into();
    };
    match tls {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) => Reason::Certificate.into(),
        _ => Reason::Garbage.into(),
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
