//! Asks an address for a small document: bounded in bytes and time, at no address that is not to be asked, and nowhere
//! else than where it was told to.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{ACCEPT, AGE, CACHE_CONTROL, HOST, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::source::KeyUrl;
use crate::access::auth::jwk_set::SET_BYTES_MAX;
use crate::access::global_address::is_global;

/// For a whole answer, from the look-up of the name to the last byte.
const FETCH_MAX: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 32 << 10;
const AGENT: &str = concat!("conclave/", env!("CARGO_PKG_VERSION"));

/// How documents are asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    /// Whose certificates are believed; `None`: those of the machine's authorities.
    authorities: Option<PathBuf>,
    allow_private: bool,
    /// The machine's authorities, once they were read.
    machine: Arc<OnceLock<Arc<RootCertStore>>>,
}

/// A document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) bytes: Bytes,
    /// For how long it is fresh, if it says so.
    pub(super) fresh: Option<Duration>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no address is known of its host: {0}")]
    Unknown(std::io::Error),
    #[error(
        "its host has the address {0}, which is not of the public internet; auth.jwks_allow_private = true allows it"
    )]
    Private(IpAddr),
    #[error("its host has the address {0}, which is not this machine's, and http is for this machine alone")]
    Plain(IpAddr),
    #[error("its host has no address")]
    Nowhere,
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("no TLS: {0}")]
    Tls(std::io::Error),
    #[error("auth.jwks_ca: {0}")]
    Authorities(AuthoritiesError),
    #[error("the connection broke, or spoke no HTTP")]
    Broken,
    #[error("it answered {0}, and redirects are not followed")]
    Redirect(u16),
    #[error("it answered {0}")]
    Status(u16),
    #[error("its answer is longer than {SET_BYTES_MAX} bytes")]
    Long,
    #[error("it did not answer within {} s", FETCH_MAX.as_secs())]
    Late,
}

/// Why nobody's certificates are believed.
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

impl Fetcher {
    /// Reads the authorities once, so that a wrong file is told at the start.
    pub(super) fn new(authorities: Option<PathBuf>, allow_private: bool) -> Result<Self, AuthoritiesError> {
        if let Some(path) = &authorities {
            in_file(path)?;
        }
        Ok(Self { authorities, allow_private, machine: Arc::default() })
    }

    /// Asks for the document at `url`.
    pub(super) async fn get(&self, url: &KeyUrl) -> Result<Document, FetchError> {
        tokio::time::timeout(FETCH_MAX, self.ask(url)).await.unwrap_or(Err(FetchError::Late))
    }

    async fn ask(&self, url: &KeyUrl) -> Result<Document, FetchError> {
        let stream = self.connect(url).await?;
        if !url.secure {
            return exchange(stream, url).await;
        }
        let name = ServerName::try_from(url.host.clone()).map_err(|_| FetchError::Nowhere)?;
        let tls = TlsConnector::from(self.tls().await?);
        exchange(tls.connect(name, stream).await.map_err(FetchError::Tls)?, url).await
    }

    /// The address that is looked at is the one that is connected to: the name is not looked up again.
    async fn connect(&self, url: &KeyUrl) -> Result<TcpStream, FetchError> {
        let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
        let found: Vec<_> = found.map_err(FetchError::Unknown)?.take(ADDRESSES_MAX).collect();
        let mut why = FetchError::Nowhere;
        for address in found {
            match self.may_ask(url, address.ip()) {
                Ok(()) => match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => why = FetchError::Connect(error),
                },
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn may_ask(&self, url: &KeyUrl, address: IpAddr) -> Result<(), FetchError> {
        let address = address.to_canonical();
        if !url.secure && !address.is_loopback() {
            return Err(FetchError::Plain(address));
        }
        if is_global(address) || self.allow_private { Ok(()) } else { Err(FetchError::Private(address)) }
    }

    /// A file of authorities is read each time, so that a new one counts without a restart.
    async fn tls(&self) -> Result<Arc<ClientConfig>, FetchError> {
        let fetcher = self.clone();
        let roots = tokio::task::spawn_blocking(move || fetcher.roots()).await;
        let roots = roots.map_err(|_| FetchError::Broken)?.map_err(FetchError::Authorities)?;
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
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() { Err(bad("there is no certificate in it, as PEM".to_owned())) } else { Ok(roots) }
}

async fn exchange<S>(stream: S, url: &KeyUrl) -> Result<Document, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|_| FetchError::Broken)?;
    let driver = Driver(tokio::spawn(async {
        // Its error shows in the answer.
        let _ = connection.await;
    }));
    let request = Request::get(&url.target)
        .header(HOST, &url.authority)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, AGENT)
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Broken)?;
    let response = sender.send_request(request).await.map_err(|_| FetchError::Broken)?;
    let status = response.status();
    if status.is_redirection() {
        return Err(FetchError::Redirect(status.as_u16()));
    }
    if status != StatusCode::OK {
        return Err(FetchError::Status(status.as_u16()));
    }
    let fresh = fresh_for(response.headers());
    let body = Limited::new(response.into_body(), SET_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() { FetchError::Long } else { FetchError::Broken }
    })?;
    drop(driver);
    Ok(Document { bytes: body.to_bytes(), fresh })
}

/// Ends with whoever waits for the answer, who may give up.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// For how long an answer is fresh (RFC 9111, section 4.2): not at all if it must not be kept.
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |text: &str| text.trim_matches('"').parse::<u64>().ok();
    let lines = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|line| line.to_str().ok());
    let mut fresh = None;
    for directive in lines.flat_map(|line| line.split(',')).map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => fresh = Some(seconds(value).unwrap_or(0)),
            _ => {}
        }
    }
    let age = headers.get(AGE).and_then(|age| seconds(age.to_str().ok()?)).unwrap_or(0);
    fresh.map(|fresh| Duration::from_secs(fresh.saturating_sub(age)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(lines: &[(&'static str, &'static str)]) -> Option<u64> {
        let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        fresh_for(&headers.collect()).map(|fresh| fresh.as_secs())
    }

    #[test]
    fn an_answer_says_for_how_long_it_is_fresh() {
        assert_eq!(fresh(&[]), None);
        assert_eq!(fresh(&[("cache-control", "public, Max-Age=300")]), Some(300));
        assert_eq!(fresh(&[("cache-control", "max-age=300"), ("age", "100")]), Some(200));
        assert_eq!(fresh(&[("cache-control", "max-age=300"), ("age", "400")]), Some(0));
        assert_eq!(fresh(&[("cache-control", "max-age=300"), ("cache-control", "no-store")]), Some(0));
        assert_eq!(fresh(&[("cache-control", "max-age=soon")]), Some(0));
        assert_eq!(fresh(&[("cache-control", "public")]), None);
    }

    #[test]
    fn only_addresses_of_the_internet_are_asked_unless_others_are_allowed() {
        let may = |url: &str, allow_private: bool, address: &str| {
            let fetcher = Fetcher::new(None, allow_private).unwrap();
            fetcher.may_ask(&url.parse().unwrap(), address.parse().unwrap()).is_ok()
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
    fn a_file_without_authorities_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Fetcher::new(Some(file.path().to_owned()), false).unwrap_err().to_string();
        assert!(error.contains("there is no certificate in it"), "{error}");
    }
}
