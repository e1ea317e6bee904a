//! Certificates of an authority of one's own: for the links between nodes, for the public listener, for clients.
//!
//! A folder holds the authority, what it signed, and a list of that (`certificates.json`), by which everything can be made
//! anew. Keys are made here and are readable for their owner alone. The authority's key makes members of the cluster: the
//! folder belongs on no node.

mod folder;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use conclave_cluster::wire::Validity;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

pub use folder::{Folder, Listed, Written};

/// What an authority is called. All have the same name: what tells them apart is the key.
const AUTHORITY: &str = "Conclave authority";
/// For how long an authority is good.
const AUTHORITY_DAYS: u32 = 3650;
/// A signed certificate is good from a little before it was made: clocks differ.
const EARLIER: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Why a certificate is not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is no authority in the folder, or something that is none.
    #[error("{}: there is no authority there: `conclave certs init` makes one", .0.display())]
    NoAuthority(PathBuf),
    /// Its certificate has ended.
    #[error("{}: the authority has expired, and nobody would believe what it signs: make another one in a new folder", .0.display())]
    Ended(PathBuf),
    /// Its certificate cannot be read.
    #[error("{}: it is not the certificate of an authority that this program writes", .0.display())]
    Unreadable(PathBuf),
    /// There is an authority already.
    #[error("{}: there is an authority already; another one would make worthless what this one signed", .0.display())]
    HasAuthority(PathBuf),
    /// The files are those of another certificate.
    #[error("{}: that is {other}; --replace puts another certificate in its place", path.display())]
    Taken {
        /// The certificate.
        path: PathBuf,
        /// Whose it is.
        other: String,
    },
    /// A name that no certificate can have.
    #[error("`{0}` is no name of a host, and no address")]
    Name(String),
    /// The list of what was signed.
    #[error("{}: it is not the list of certificates that this program writes", .0.display())]
    List(PathBuf),
    /// The library behind.
    #[error("no certificate could be made: {0}")]
    Made(#[from] rcgen::Error),
}

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "for")]
pub enum Purpose {
    /// The links of one node (`cluster.tls`).
    Node {
        /// Its id.
        id: u64,
        /// The cluster's name.
        cluster: String,
    },
    /// The public listener (`http.tls`), under these names and addresses.
    Server {
        /// Names and addresses; the first names the files.
        names: Vec<String>,
    },
    /// A client (`http.tls.client_ca`), which may act as these peer ids.
    Client {
        /// The first is its subject, and names the files.
        names: Vec<String>,
    },
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { id, cluster } => write!(f, "node {id} of cluster {cluster}"),
            Self::Server { names } => write!(f, "server {}", names.join(", ")),
            Self::Client { names } => write!(f, "client {}", names.join(", ")),
        }
    }
}

impl Purpose {
    /// How its files are called, without an ending.
    pub fn stem(&self) -> String {
        let plain = |name: &str| -> String {
            name.chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' })
                .collect()
        };
        let first = |names: &[String]| names.first().map(|name| plain(name)).unwrap_or_default();
        match self {
            Self::Node { id, .. } => format!("node-{id}"),
            Self::Server { names } => format!("server-{}", first(names)),
            Self::Client { names } => format!("client-{}", first(names)),
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            // What the other nodes look for.
            Self::Node { id, cluster } => vec![format!("node-{id}.{cluster}.conclave")],
            Self::Server { names } | Self::Client { names } => names.clone(),
        }
    }

    fn usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Node { .. } => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Self::Server { .. } => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Self::Client { .. } => vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

/// A certificate and its key, as PEM.
struct Pems {
    certificate: String,
    key: String,
}

fn authority(now: Duration) -> Result<Pems, Error> {
    let mut params = authority_params();
    lasting(&mut params, now, now + DAY * AUTHORITY_DAYS);
    let key = KeyPair::generate()?;
    Ok(Pems { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// What the certificates that it signs say of it.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn signed(purpose: &Purpose, authority_key: &str, now: Duration, until: Duration) -> Result<Pems, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&purpose.to_string());
    params.subject_alt_names =
        purpose.names().iter().map(|name| alternative(name)).collect::<Result<_, _>>()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = purpose.usages();
    lasting(&mut params, now, until);
    let issuer = Issuer::new(authority_params(), KeyPair::from_pem(authority_key)?);
    let key = KeyPair::generate()?;
    Ok(Pems { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

/// A name of a host, an address, or a URI (RFC 5280, section 4.2.1.6).
fn alternative(name: &str) -> Result<SanType, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || Error::Name(name.to_owned());
    let is_uri = name.contains("://");
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c) || (is_uri && c.is_ascii_graphic());
    if name.is_empty() || name.len() > 253 || !name.chars().all(fits) {
        return Err(wrong());
    }
    let text = name.try_into().map_err(|_| wrong())?;
    Ok(if is_uri { SanType::URI(text) } else { SanType::DnsName(text) })
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // An upper bound of the standard's (RFC 5280, appendix A.1).
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

/// When a certificate ends, in seconds since the Unix epoch.
fn ends(pem: &[u8]) -> Option<u64> {
    let certificate = CertificateDer::from_pem_slice(pem).ok()?;
    u64::try_from(Validity::of(&certificate).ok()?.until().unix_seconds()).ok()
}

fn lasting(params: &mut CertificateParams, now: Duration, until: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(EARLIER);
    params.not_after = epoch + until;
}
