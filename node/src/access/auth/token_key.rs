//! The keys that sign tokens.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use jsonwebtoken::DecodingKey;

use crate::access::bounded_file;

/// Fewer bytes of a secret could be guessed (RFC 7518, section 3.2).
pub(super) const SECRET_BYTES_MIN: usize = 32;
/// A longer file is no key.
const KEY_BYTES_MAX: u64 = 64 * 1024;
/// A P-256 point that is not compressed.
const POINT_BYTES: usize = 65;
const ED25519_BYTES: usize = 32;
/// The modulus alone has so many.
const RSA_BYTES_MIN: usize = 256;
const PEM: &[u8] = b"-----BEGIN ";

/// An algorithm by which tokens may be signed (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: one secret on both sides.
    Hs256,
    /// RSA, PKCS #1 v1.5, with SHA-256; 2048 to 8192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The one that has this name in a token.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    pub(super) fn of_tokens(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// Where a key is found: `kid=ALGORITHM:PATH`, or `ALGORITHM:PATH` for tokens that name no key. In place of a path, a
/// public key itself may stand there as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The `kid` of tokens that this key signs; `None`: of those without.
    pub kid: Option<String>,
    /// The one algorithm of this key.
    pub algorithm: Algorithm,
    place: Location,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Location {
    File(PathBuf),
    Inline(String),
}

/// The text names no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not of that form.
    #[error(
        "a key is written as \"kid=ES256:/path/to/key.pem\", the algorithm one of HS256, RS256, ES256, EdDSA"
    )]
    Form,
    /// A secret in the configuration.
    #[error("a secret is kept in a file of its own, not in the configuration")]
    Secret,
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let (head, place) = text.split_once(':').ok_or(SourceError::Form)?;
        let (kid, algorithm) = match head.rsplit_once('=') {
            Some((kid, algorithm)) => (Some(kid.trim()), algorithm),
            None => (None, head),
        };
        let algorithm = Algorithm::named(algorithm.trim()).ok_or(SourceError::Form)?;
        let place = place.trim();
        if place.is_empty() || kid.is_some_and(str::is_empty) {
            return Err(SourceError::Form);
        }
        let place = if place.as_bytes().starts_with(PEM) {
            if algorithm == Algorithm::Hs256 {
                return Err(SourceError::Secret);
            }
            Location::Inline(place.to_owned())
        } else {
            Location::File(place.into())
        };
        Ok(Self { kid: kid.map(str::to_owned), algorithm, place })
    }
}

impl Source {
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.place {
            Location::File(path) => Some(path),
            Location::Inline(_) => None,
        }
    }
}

/// Names the key without showing it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.algorithm.name();
        match &self.place {
            Location::File(path) => write!(f, "{name} key {}", path.display()),
            Location::Inline(_) => write!(f, "{name} key in the configuration"),
        }
    }
}

/// Why a key cannot be used. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file.
    #[error("{key}: {error}")]
    Unreadable {
        /// Which key.
        key: Source,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file of a signing key.
    #[error("signing key {id}: {error}")]
    SigningUnreadable {
        /// Which key.
        id: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A signing key that could be guessed, or is none.
    #[error("signing key {0}: a secret has at least {SECRET_BYTES_MIN} bytes and is no PEM file")]
    SigningUnfit(String),
    /// A secret that could be guessed.
    #[error("{0}: a secret has at least {SECRET_BYTES_MIN} bytes")]
    Short(Source),
    /// A public key where a secret belongs: whoever knows it could sign.
    #[error("{0}: this is a PEM file, and no secret")]
    NotSecret(Source),
    /// Something else than such a public key.
    #[error("{0}: not a PEM-encoded {name} public key", name = .0.algorithm.name())]
    NotPublic(Source),
}

/// A key as it was read. Its `Debug` shows none of it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) algorithm: jsonwebtoken::Algorithm,
    /// Whose tokens alone it signs, whatever is configured for the other keys.
    pub(super) issuer: Option<Arc<str>>,
    pub(super) decoding: DecodingKey,
}

impl Key {
    pub(super) fn read(source: &Source) -> Result<Self, KeyError> {
        let bytes = match &source.place {
            Location::Inline(pem) => pem.as_bytes().to_vec(),
            Location::File(path) => bounded_file::read(path, KEY_BYTES_MAX)
                .map_err(|error| KeyError::Unreadable { key: source.clone(), error })?,
        };
        let decoding = match source.algorithm {
            Algorithm::Hs256 => secret(source, &bytes)?,
            Algorithm::Rs256 | Algorithm::Es256 | Algorithm::EdDsa => {
                public(source.algorithm, &bytes).ok_or_else(|| KeyError::NotPublic(source.clone()))?
            }
        };
        Ok(Self { kid: source.kid.clone(), algorithm: source.algorithm.of_tokens(), issuer: None, decoding })
    }
}

/// A secret in a file of its own.
pub(super) fn secret_file(id: &str, path: &Path) -> Result<Vec<u8>, KeyError> {
    let unreadable = |error| KeyError::SigningUnreadable { id: id.to_owned(), error };
    let bytes = bounded_file::read(path, KEY_BYTES_MAX).map_err(unreadable)?;
    let secret = bounded_file::without_line_end(&bytes);
    if secret.starts_with(PEM) || secret.len() < SECRET_BYTES_MIN {
        return Err(KeyError::SigningUnfit(id.to_owned()));
    }
    Ok(secret.to_vec())
}

fn secret(source: &Source, bytes: &[u8]) -> Result<DecodingKey, KeyError> {
    let secret = bounded_file::without_line_end(bytes);
    if secret.starts_with(PEM) {
        return Err(KeyError::NotSecret(source.clone()));
    }
    if secret.len() < SECRET_BYTES_MIN {
        return Err(KeyError::Short(source.clone()));
    }
    Ok(DecodingKey::from_secret(secret))
}

fn public(algorithm: Algorithm, pem: &[u8]) -> Option<DecodingKey> {
    // The reader would take a private key, too, and use it as if it were public.
    let text = std::str::from_utf8(pem).ok()?;
    if text.contains("PRIVATE KEY") || text.contains("CERTIFICATE") {
        return None;
    }
    let (key, fits): (_, fn(usize) -> bool) = match algorithm {
        Algorithm::Hs256 => return None,
        Algorithm::Rs256 => (DecodingKey::from_rsa_pem(pem), |len| len >= RSA_BYTES_MIN),
        Algorithm::Es256 => (DecodingKey::from_ec_pem(pem), |len| len == POINT_BYTES),
        Algorithm::EdDsa => (DecodingKey::from_ed_pem(pem), |len| len == ED25519_BYTES),
    };
    key.ok().filter(|key| fits(key.as_bytes().len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_kid_algorithm_and_place() {
        let source: Source = "main=ES256:/etc/keys/main.pem".parse().unwrap();
        assert_eq!((source.kid.as_deref(), source.algorithm), (Some("main"), Algorithm::Es256));
        assert_eq!(source.path(), Some(Path::new("/etc/keys/main.pem")));
        let source: Source = "HS256:/run/secrets/a=b".parse().unwrap();
        assert_eq!((source.kid, source.algorithm), (None, Algorithm::Hs256));
        let source: Source = "a=b=EdDSA:k.pem".parse().unwrap();
        assert_eq!(source.kid.as_deref(), Some("a=b"));
    }

    #[test]
    fn anything_else_is_no_source() {
        for bad in ["", "ES256", "ES256:", "none:/x", "hs256:/x", "=ES256:/x", "HS512:/x", "/etc/key.pem"] {
            assert_eq!(bad.parse::<Source>(), Err(SourceError::Form), "{bad}");
        }
        let secret = "HS256:-----BEGIN PRIVATE KEY-----".parse::<Source>();
        assert_eq!(secret, Err(SourceError::Secret));
    }

    fn read(algorithm: &str, content: &[u8]) -> Result<Key, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let source: Source = format!("{algorithm}:{}", file.path().display()).parse().unwrap();
        Key::read(&source).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_is_long_and_nobodys_public_key() {
        assert!(read("HS256", &[b'x'; 32]).is_ok());
        assert!(read("HS256", &[b'x'; 31]).unwrap_err().contains("at least 32 bytes"));
        let ended = [&[b'x'; 31][..], b"\n"].concat();
        assert!(
            read("HS256", &ended).unwrap_err().contains("at least 32 bytes"),
            "a line's end is no secret"
        );
        let pem = b"-----BEGIN PUBLIC KEY-----\nAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PUBLIC KEY-----\n";
        assert!(read("HS256", pem).unwrap_err().contains("no secret"));
    }

    #[test]
    fn a_public_key_is_of_its_algorithm() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let (public, private) = (pair.public_key_pem(), pair.serialize_pem());
        assert!(read("ES256", public.as_bytes()).is_ok());
        assert!(read("EdDSA", public.as_bytes()).is_err());
        assert!(read("RS256", public.as_bytes()).is_err());
        let error = read("ES256", private.as_bytes()).unwrap_err();
        assert!(error.contains("not a PEM-encoded ES256 public key"), "{error}");
        let longer = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(read("ES256", longer.public_key_pem().as_bytes()).is_err());
    }

    #[test]
    fn nothing_shows_a_key() {
        let key = read("HS256", b"do not show this to anybody at all").unwrap();
        assert!(!format!("{key:?}").contains("show"));
    }
}
