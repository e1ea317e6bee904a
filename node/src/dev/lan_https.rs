//! The cluster for machines nearby: https at this machine's address in the local network, with a certificate made for the run.
//!
//! Browsers keep what the page needs (cameras, files, encryption) from pages that came over plain http from elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conclave_supervisor::write_private;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use sha2::{Digest as _, Sha256};

/// An address of documentation (RFC 5737), for finding out from where the world beyond this network would be called.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
const DAY: Duration = Duration::from_secs(86_400);
/// For how long the certificate is good. Phones refuse those that are good for years.
const VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// Why the cluster cannot be shown to machines nearby.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no network.
    #[error("this machine has no address in a local network{0}; give one with --lan=ADDRESS")]
    NoAddress(String),
    /// No certificate can be made.
    #[error("no certificate could be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Its files cannot be written.
    #[error("{path}: {error}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// How machines nearby reach the nodes.
#[derive(Debug, Clone)]
pub(super) struct Lan {
    pub(super) address: IpAddr,
    /// PEM files for the nodes.
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// SHA-256 of the certificate, as browsers show it.
    pub(super) fingerprint: String,
}

/// The address of this machine from which it would call the world beyond its network. Nothing is sent for that.
///
/// # Errors
/// If there is none.
pub fn address() -> Result<IpAddr, Error> {
    let found = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(ELSEWHERE)?;
        socket.local_addr()
    };
    let address = found().map_err(|error| Error::NoAddress(format!(" ({error})")))?.ip();
    if address.is_loopback() || address.is_unspecified() {
        return Err(Error::NoAddress(String::new()));
    }
    Ok(address)
}

impl Lan {
    /// Makes a certificate for `address`, and writes it and its key into the folder `home`.
    pub(super) fn make(address: IpAddr, home: &Path) -> Result<Self, Error> {
        let mut params = CertificateParams::new([address.to_string(), "localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "conclave dev");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The phone's clock may be a little behind.
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + VALIDITY;
        let key = KeyPair::generate()?;
        let made = params.self_signed(&key)?;
        let digits = Sha256::digest(made.der()).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>();
        let lan = Self {
            address,
            certificate: home.join("certificate.pem"),
            key: home.join("key.pem"),
            fingerprint: digits.join(":"),
        };
        write(&lan.certificate, &made.pem())?;
        write(&lan.key, &key.serialize_pem())?;
        Ok(lan)
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    write_private(path, text).map_err(|error| Error::Unwritable { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Shares;
    use crate::listener::tls;

    #[test]
    fn the_certificate_is_one_that_a_node_can_use() {
        let home = tempfile::tempdir().unwrap();
        let lan = Lan::make("192.168.178.23".parse().unwrap(), home.path()).unwrap();
        assert_eq!(lan.fingerprint.split(':').count(), 32);
        let mode = std::os::unix::fs::PermissionsExt::mode(&lan.key.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let options = tls::Options {
            whose: tls::Whose::Public,
            certificate: lan.certificate,
            key: lan.key,
            client_authority: None,
            minimum: tls::Minimum::default(),
            handshake: Duration::from_secs(1),
        };
        tls::Tls::new(options, Shares::default().handshakes).unwrap();
    }
}
