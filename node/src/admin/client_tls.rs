//! TLS of the admin API's client: the authorities that it trusts, and the certificate that it shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use conclave_cluster::wire::pem_file::{self, ENCRYPTED};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::access::bounded_file;

/// Longer files are refused.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why files cannot be used. Nothing of what they hold is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It holds something else.
    #[error("{}: there is no {what} in it, as PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The private key wants a passphrase.
    #[error("{}: {ENCRYPTED}", path.display())]
    Encrypted {
        /// Which.
        path: PathBuf,
    },
    /// Certificate and key cannot be used, or not together.
    #[error("{}: {error}", path.display())]
    Unfit {
        /// The certificate, or the authorities.
        path: PathBuf,
        /// Why.
        error: rustls::Error,
    },
}

/// A TLS configuration. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// Trusts the authorities in a PEM file, or the machine's, and shows a certificate, if there is one with its key.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn new(authorities: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(path) => {
                for certificate in certificates(path)? {
                    let unfit = |error| Error::Unfit { path: path.to_owned(), error };
                    roots.add(certificate).map_err(unfit)?;
                }
            }
            // An authority that cannot be read is missing, and the handshake fails for want of it.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks all of them")
            .with_root_certificates(roots);
        let config = match identity {
            Some((certificate, key)) => {
                let private = private_key(key)?;
                let unfit = |error| Error::Unfit { path: certificate.to_owned(), error };
                builder.with_client_auth_cert(certificates(certificate)?, private).map_err(unfit)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self(Arc::new(config)))
    }

    /// What may be behind a handshake that failed.
    pub(super) fn advice(&self, error: &std::io::Error) -> &'static str {
        let reason = error.get_ref().and_then(|reason| reason.downcast_ref::<rustls::Error>());
        match reason {
            Some(rustls::Error::InvalidMessage(_)) => "; does it speak TLS, or http:// alone?",
            Some(rustls::Error::AlertReceived(_)) => self.advice_outside(),
            Some(_) | None => "",
        }
    }

    /// What may be behind a connection that was closed after the handshake.
    pub(super) fn advice_outside(&self) -> &'static str {
        if self.0.client_auth_cert_resolver.has_certs() {
            "; is the certificate that was shown one of its authority's (admin.tls.client_ca)?"
        } else {
            "; does it ask for a client certificate (--cert, --key)?"
        }
    }

    /// Does the handshake on a connection to `host`.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(self.0.clone()).connect(name, stream).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let none = || Error::Pem { path: path.to_owned(), what: "certificate" };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(none)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| match pem_file::is_encrypted(&bytes) {
        true => Error::Encrypted { path: path.to_owned() },
        false => Error::Pem { path: path.to_owned(), what: "private key" },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    bounded_file::read(path, FILE_BYTES_MAX)
        .map_err(|error| Error::Unreadable { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encrypted_key_is_said_to_be_encrypted() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(home.path().join(name), text).unwrap();
            home.path().join(name)
        };
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = write("cert.pem", &made.cert.pem());
        let told = |key: &Path| {
            ClientTls::new(Some(&certificate), Some((&certificate, key))).err().map(|error| error.to_string())
        };
        assert_eq!(told(&write("key.pem", &made.signing_key.serialize_pem())), None);
        let pem = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let why = told(&write("encrypted.pem", pem)).unwrap();
        assert!(why.contains("encrypted.pem: the private key is encrypted"), "{why}");
    }
}
