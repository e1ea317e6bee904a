//! An authority that signs certificates, and clients that trust it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::builder::Builder;
use crate::http::Api;
use crate::scratch::Scratch;

/// What the nodes' certificates are for.
pub const SERVER: &str = "localhost";

/// An authority, with the files that nodes read.
pub struct Authority {
    scratch: Scratch,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// How a client connects.
#[derive(Clone)]
pub struct Client {
    versions: Vec<&'static SupportedProtocolVersion>,
    identity: Option<(CertificateDer<'static>, Arc<PrivateKeyDer<'static>>)>,
}

impl Authority {
    /// An authority that signed a certificate for the nodes.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is wrong");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is randomness");
        let made = params.self_signed(&key).expect("a key can sign its own certificate");
        let scratch = Scratch::new();
        fs::write(scratch.path().join("authority.pem"), made.pem()).expect("the scratch folder is writable");
        let authority = Self { scratch, issuer: Issuer::new(params, key), certificate: made.der().clone() };
        authority.renew();
        authority
    }

    /// Has the nodes speak TLS.
    pub fn serve(&self, builder: Builder) -> Builder {
        let file = |name| self.file(name).display().to_string();
        builder.set("http.tls.cert", &file("cert.pem")).set("http.tls.key", &file("key.pem"))
    }

    /// Has the nodes ask clients for certificates of this authority, too.
    pub fn identify(&self, builder: Builder) -> Builder {
        self.serve(builder).set("http.tls.client_ca", &self.file("authority.pem").display().to_string())
    }

    /// Has the admin listeners speak TLS, and ask for certificates of this authority.
    pub fn control(&self, builder: Builder) -> Builder {
        self.name_control("127.0.0.1");
        let file = |name| self.file(name).display().to_string();
        let builder = builder.set("admin.tls.cert", &file("admin.cert.pem"));
        builder
            .set("admin.tls.key", &file("admin.key.pem"))
            .set("admin.tls.client_ca", &file("authority.pem"))
    }

    /// Writes a new certificate for the admin listeners, of this name.
    pub fn name_control(&self, name: &str) {
        let (pem, key, _) = self.sign(name);
        self.put("admin.key.pem", &key);
        self.put("admin.cert.pem", &pem);
    }

    /// Files with a certificate of this name, and with its key.
    pub fn identity(&self, name: &str) -> (PathBuf, PathBuf) {
        let (pem, key, _) = self.sign(name);
        let files = [format!("{name}.cert.pem"), format!("{name}.key.pem")];
        self.put(&files[0], &pem);
        self.put(&files[1], &key);
        (self.file(&files[0]), self.file(&files[1]))
    }

    /// The file with its own certificate.
    pub fn authority_file(&self) -> PathBuf {
        self.file("authority.pem")
    }

    /// Has the nodes believe this authority, and no other, when they fetch keys.
    pub fn trusted(&self, builder: Builder) -> Builder {
        builder.set("auth.jwks_ca", &self.file("authority.pem").display().to_string())
    }

    /// Speaks TLS as [`SERVER`], for a server of the test's own.
    pub fn acceptor(&self) -> TlsAcceptor {
        let (_, key, certificate) = self.sign(SERVER);
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("the key is one");
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring has these versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("certificate and key belong together");
        TlsAcceptor::from(Arc::new(config))
    }

    /// Writes a new certificate for the nodes, and returns it.
    pub fn renew(&self) -> CertificateDer<'static> {
        let (pem, key, der) = self.sign(SERVER);
        self.put("key.pem", &key);
        self.put("cert.pem", &pem);
        der
    }

    /// Puts something else in the place of the nodes' certificate.
    pub fn spoil(&self) {
        self.put("cert.pem", "no certificate");
    }

    fn put(&self, name: &str, text: &str) {
        let fresh = self.file("fresh");
        fs::write(&fresh, text).expect("the scratch folder is writable");
        fs::rename(fresh, self.file(name)).expect("a file can be replaced");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn sign(&self, name: &str) -> (String, String, CertificateDer<'static>) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("the name is one");
        let key = KeyPair::generate().expect("there is randomness");
        let made = params.signed_by(&key, &self.issuer).expect("the authority can sign");
        (made.pem(), key.serialize_pem(), made.der().clone())
    }

    /// A client with a certificate of this name.
    pub fn client(&self, name: &str) -> Client {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("the name is one");
        let key = KeyPair::generate().expect("there is randomness");
        let made = params.signed_by(&key, &self.issuer).expect("the authority can sign");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Client { identity: Some((made.der().clone(), Arc::new(key))), ..Client::default() }
    }

    /// Connects as this client.
    ///
    /// # Errors
    /// If the handshake fails. With TLS 1.3 a refused certificate shows only with the first bytes that are read.
    pub async fn connect(&self, api: &Api, client: &Client) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("the authority is one");
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_protocol_versions(&client.versions)
            .expect("ring has these versions")
            .with_root_certificates(roots);
        let config = match &client.identity {
            Some((certificate, key)) => config
                .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
                .expect("certificate and key belong together"),
            None => config.with_no_client_auth(),
        };
        let stream = TcpStream::connect(api.address()).await?;
        let name = ServerName::try_from(SERVER).expect("the name is one");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client that speaks nothing newer than TLS 1.2.
    pub fn old() -> Self {
        Self { versions: vec![&version::TLS12], ..Self::default() }
    }
}

/// One without a certificate.
impl Default for Client {
    fn default() -> Self {
        Self { versions: vec![&version::TLS13, &version::TLS12], identity: None }
    }
}
