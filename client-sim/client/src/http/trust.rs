//! Whom this process takes for the servers it means to measure, where they speak TLS: the machine's authorities, or those of
//! one file. It is said once, for everything that the process does.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

static CONFIG: OnceLock<Trust> = OnceLock::new();

/// Whose certificates are believed.
#[derive(Debug, Clone)]
pub struct Trust(pub(super) Arc<ClientConfig>);

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Trust {}

/// Why a file names no authorities.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}", path = .path.display())]
pub struct BadAuthorities {
    path: PathBuf,
    why: String,
}

/// Believes the authorities in this PEM file, and no others. Counts only before the first connection.
///
/// # Errors
/// If there are none.
pub fn only(path: &Path) -> Result<(), BadAuthorities> {
    let trust = authorities(path)?;
    CONFIG.get_or_init(|| trust);
    Ok(())
}

/// The authorities in a PEM file.
///
/// # Errors
/// If there are none.
pub fn authorities(path: &Path) -> Result<Trust, BadAuthorities> {
    let bad = |why: String| BadAuthorities { path: path.to_owned(), why };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in found {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("there is no certificate in it, as PEM".to_owned()));
    }
    Ok(config(roots))
}

/// How TLS is spoken.
pub(super) fn current() -> Trust {
    CONFIG
        .get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // What cannot be read is missing, and shows at the first handshake.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            config(roots)
        })
        .clone()
}

fn config(roots: RootCertStore) -> Trust {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks all of them");
    Trust(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = only(file.path()).unwrap_err().to_string();
        assert!(error.starts_with(&file.path().display().to_string()), "{error}");
        assert!(error.ends_with("there is no certificate in it, as PEM"), "{error}");
    }
}
