//! Mutual TLS between nodes.
//!
//! Both sides present a certificate of the cluster's own authority. A node's certificate carries its id as the DNS
//! name `node-<id>.conclave` among its subject alternative names; another name, another authority or a passed
//! date is refused, on either side. A certificate with extended key usages needs both `serverAuth` and
//! `clientAuth`, since a node is both. TLS 1.3 only, and no session is resumed, so that a certificate's dates are
//! looked at with every connection.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{AlertDescription, ClientConfig, RootCertStore, ServerConfig};
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
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .with_root_certificates(roots.clone())
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

    /// The dialer's end: the other side must be `peer`.
    pub(super) async fn connect(
        &self,
        stream: Box<dyn Stream>,
        peer: PeerId,
    ) -> Result<Box<dyn Stream>, Fault> {
        let stream = self.connector.connect(name(peer), stream).await.map_err(explain)?;
        Ok(Box::new(stream))
    }

    /// The accepting end: returns the dialer's certificate, whose id [`carries`] compares with the greeting.
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

/// Whether a verified certificate is the one of `node`.
pub(super) fn carries(certificate: &CertificateDer<'_>, node: PeerId) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| verify_server_name(&parsed, &name(node)).is_ok())
}

fn name(node: PeerId) -> ServerName<'static> {
    ServerName::try_from(format!("node-{node}.conclave")).expect("digits and letters make a DNS name")
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
