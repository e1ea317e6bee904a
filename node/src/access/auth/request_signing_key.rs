//! The secrets that sign requests: each a trusted server's.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use ring::hmac;

use super::token_key::{KeyError, secret_file};

/// Where a signing key is found: `keyid=/path/secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSource {
    /// The `keyid` of the requests that it signs.
    pub id: String,
    path: PathBuf,
}

/// The text names no signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing key is written as \"keyid=/path/to/secret\", the secret in a file of its own")]
pub struct SigningSourceError;

impl FromStr for SigningSource {
    type Err = SigningSourceError;

    fn from_str(text: &str) -> Result<Self, SigningSourceError> {
        let (id, path) = text.split_once('=').ok_or(SigningSourceError)?;
        let (id, path) = (id.trim(), path.trim());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=128).contains(&id.len()) || !id.bytes().all(plain) || !path.starts_with(['/', '.']) {
            return Err(SigningSourceError);
        }
        Ok(Self { id: id.to_owned(), path: path.into() })
    }
}

impl SigningSource {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn read(&self) -> Result<SigningKey, KeyError> {
        let secret = secret_file(&self.id, &self.path)?;
        Ok(SigningKey { id: self.id.clone(), key: hmac::Key::new(hmac::HMAC_SHA256, &secret) })
    }
}

/// A signing key as it was read. Its `Debug` shows none of it.
#[derive(Debug)]
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) key: hmac::Key,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_key_has_a_name_and_a_file() {
        let source: SigningSource = "server-1=/run/secrets/server-1".parse().unwrap();
        assert_eq!((source.id.as_str(), source.path()), ("server-1", Path::new("/run/secrets/server-1")));
        for bad in ["", "server-1", "=/x", "a b=/x", "server-1=", "server-1=secret"] {
            assert_eq!(bad.parse::<SigningSource>(), Err(SigningSourceError), "{bad}");
        }
    }

    #[test]
    fn a_secret_that_could_be_guessed_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source: SigningSource = format!("k={}", file.path().display()).parse().unwrap();
        std::fs::write(file.path(), [b'x'; 31]).unwrap();
        assert!(source.read().unwrap_err().to_string().contains("at least 32 bytes"));
        std::fs::write(file.path(), [b'x'; 32]).unwrap();
        assert!(!format!("{:?}", source.read().unwrap()).contains("xxxx"));
    }
}
