//! An HTTP client for servers elsewhere: it connects to allowed addresses only, follows no redirects, and opens a connection
//! for each request.

pub(crate) mod connect;
mod url;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::bounded_file;
use super::global_address::is_global;
pub use url::{HttpUrl, UrlError};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Longer files of authorities are refused.
const AUTHORITIES_BYTES_MAX: u64 = 4 << 20;
const AGENT: &str = concat!("conclave/", env!("CARGO_PKG_VERSION"));

/// The configuration keys that control the client, for errors to name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Whose certificates are believed.
    pub(crate) authorities: &'static str,
    /// Whether addresses outside the public internet are allowed.
    pub(crate) allow_private: &'static str,
}

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    settings: Settings,
    /// Whose certificates are believed; `None`: those of the machine's authorities.
    authorities: Option<PathBuf>,
    allow_private: bool,
    /// The machine's authorities, once they were read.
    machine: Arc<OnceLock<Arc<RootCertStore>>>,
}

/// A response. Its connection ends when it is dropped.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    _driver: Driver,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be resolved.
    #[error("no address is known of its host: {0}")]
    Unknown(std::io::Error),
    /// An address that is not allowed.
    #[error("its host has the address {0}, which is not of the public internet; {1} = true allows it")]
    Private(IpAddr, &'static str),
    /// Without TLS, and not this machine.
    #[error("its host has the address {0}, which is not this machine's, and http is for this machine alone")]
    Plain(IpAddr),
    /// No address.
    #[error("its host has no address")]
    Nowhere,
    /// Nobody answers there.
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    /// Its certificate is not trusted, or it does not speak TLS.
    #[error("no TLS: {0}")]
    Tls(std::io::Error),
    /// No certificate can be verified.
    #[error("{0}: {1}")]
    Authorities(&'static str, AuthoritiesError),
    /// The connection broke.
    #[error("the connection broke, or spoke no HTTP")]
    Broken,
}

/// Why no certificate can be verified.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The machine has none.
    #[error("this machine has no authorities: name a file of them")]
    Machine,
}

impl Client {
    /// Reads the authorities once, so that a wrong file is reported at the start.
    pub(crate) fn new(
        settings: Settings,
        authorities: Option<PathBuf>,
        allow_private: bool,
    ) -> Result<Self, AuthoritiesError> {
        if let Some(path) = &authorities {
            in_file(path)?;
        }
        Ok(Self { settings, authorities, allow_private, machine: Arc::default() })
    }

    /// Sends a request to `url`, whose path and query it gets, and waits for the head of the response. The caller bounds the
    /// time, which is `within`, so that the addresses of a name share it, and how much of the body is read.
    pub(crate) async fn send(
        &self,
        url: &HttpUrl,
        request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<Answer, Error> {
        let stream = self.connect(url, Instant::now() + within).await?;
        if !url.secure {
            return exchange(stream, url, request).await;
        }
        let name = ServerName::try_from(url.host.clone()).map_err(|_| Error::Nowhere)?;
        let tls = TlsConnector::from(self.tls().await?);
        exchange(tls.connect(name, stream).await.map_err(Error::Tls)?, url, request).await
    }

    /// The address that is checked is the one that is connected to: the name is not resolved again.
    async fn connect(&self, url: &HttpUrl, end: Instant) -> Result<TcpStream, Error> {
        let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
        let allowed = self.allowed(url, found.map_err(Error::Unknown)?.take(ADDRESSES_MAX))?;
        connect::first(&allowed, end, TcpStream::connect).await.map_err(Error::Connect)
    }

    /// Those of a name's addresses that may be asked. If none may, why the last one may not.
    fn allowed(
        &self,
        url: &HttpUrl,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Error> {
        let (mut allowed, mut why) = (Vec::new(), Error::Nowhere);
        for address in found {
            match self.may_ask(url, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(error) => why = error,
            }
        }
        if allowed.is_empty() { Err(why) } else { Ok(allowed) }
    }

    fn may_ask(&self, url: &HttpUrl, address: IpAddr) -> Result<(), Error> {
        let address = address.to_canonical();
        if !url.secure && !address.is_loopback() {
            return Err(Error::Plain(address));
        }
        if is_global(address) || self.allow_private {
            Ok(())
        } else {
            Err(Error::Private(address, self.settings.allow_private))
        }
    }

    /// A file of authorities is read each time, so that a new one counts without a restart.
    async fn tls(&self) -> Result<Arc<ClientConfig>, Error> {
        let client = self.clone();
        let roots = tokio::task::spawn_blocking(move || client.roots()).await;
        let roots = roots.map_err(|_| Error::Broken)?;
        let roots = roots.map_err(|why| Error::Authorities(self.settings.authorities, why))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks all of them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, AuthoritiesError> {
        if let Some(path) = &self.authorities {
            return in_file(path).map(Arc::new);
        }
        let roots = self.machine.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        });
        if roots.is_empty() { Err(AuthoritiesError::Machine) } else { Ok(roots.clone()) }
    }
}

fn in_file(path: &Path) -> Result<RootCertStore, AuthoritiesError> {
    let bad = |why: String| AuthoritiesError::File { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    let bytes = bounded_file::read(path, AUTHORITIES_BYTES_MAX).map_err(|error| bad(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() { Err(bad("there is no certificate in it, as PEM".to_owned())) } else { Ok(roots) }
}

async fn exchange<S>(stream: S, url: &HttpUrl, mut request: Request<Full<Bytes>>) -> Result<Answer, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    *request.uri_mut() = url.target.parse::<Uri>().map_err(|_| Error::Broken)?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&url.authority).map_err(|_| Error::Broken)?);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|_| Error::Broken)?;
    let driver = Driver(tokio::spawn(async {
        // Its error shows in the answer.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(|_| Error::Broken)?;
    Ok(Answer { response, _driver: driver })
}

/// Drives the connection until the response is dropped.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { authorities: "x.ca", allow_private: "x.allow_private" };

    #[test]
    fn only_addresses_of_the_internet_are_asked_unless_others_are_allowed() {
        let may = |url: &str, allow_private: bool, address: &str| {
            let client = Client::new(SETTINGS, None, allow_private).unwrap();
            client.may_ask(&url.parse().unwrap(), address.parse().unwrap()).is_ok()
        };
        let url = "https://issuer.example/keys";
        assert!(may(url, false, "1.1.1.1"));
        for private in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "::ffff:10.0.0.1"] {
            assert!(!may(url, false, private), "{private}");
            assert!(may(url, true, private), "{private}");
        }
        assert!(may("http://localhost/keys", true, "127.0.0.1"));
        assert!(
            !may("http://localhost/keys", true, "10.0.0.1"),
            "a name of this machine that leads elsewhere"
        );
        assert!(!may("http://localhost/keys", true, "1.1.1.1"));
    }

    #[test]
    fn of_a_names_addresses_those_are_asked_that_may_be() {
        let client = Client::new(SETTINGS, None, false).unwrap();
        let url = "https://issuer.example/keys".parse().unwrap();
        let allowed = |texts: &[&str]| {
            let found = texts.iter().map(|text| text.parse::<SocketAddr>().unwrap());
            client.allowed(&url, found).map_err(|error| error.to_string())
        };
        let inside = "10.0.0.1:443";
        assert_eq!(allowed(&[inside, "1.1.1.1:443"]), Ok(vec!["1.1.1.1:443".parse().unwrap()]));
        assert!(allowed(&[inside]).unwrap_err().contains("10.0.0.1"));
        assert_eq!(allowed(&[]), Err("its host has no address".to_owned()));
    }

    #[test]
    fn a_refusal_names_the_key_that_would_allow_it() {
        let client = Client::new(SETTINGS, None, false).unwrap();
        let url = "https://issuer.example/keys".parse().unwrap();
        let refused = client.may_ask(&url, "10.0.0.1".parse().unwrap()).unwrap_err().to_string();
        assert!(refused.ends_with("x.allow_private = true allows it"), "{refused}");
    }

    #[test]
    fn a_file_without_authorities_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Client::new(SETTINGS, Some(file.path().to_owned()), false).unwrap_err().to_string();
        assert!(error.contains("there is no certificate in it"), "{error}");
    }
}
