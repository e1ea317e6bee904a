//! Credentials for TURN servers that lapse by themselves ("A REST API For Access To TURN Services", Internet-Draft
//! draft-uberti-behave-turn-rest-00): the user name says until when, and the password is its HMAC under a secret that
//! the TURN server has, too. No TURN server is ever asked, and nothing is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::bounded_file;

/// Fewer bytes could be guessed from one credential.
const SECRET_BYTES_MIN: usize = 16;
const SECRET_BYTES_MAX: u64 = 4096;

/// Which servers there are.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// URLs of STUN servers, which need no credential.
    pub stun: Vec<String>,
    /// URLs of TURN servers.
    pub turn: Vec<String>,
    /// Files with the secrets that the TURN servers have, too.
    pub secrets: Vec<PathBuf>,
    /// For how long a credential holds.
    pub ttl: Duration,
}

/// Why the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("ice.secrets: {path}: {error}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A secret that could be guessed.
    #[error("ice.secrets: {0}: a secret has at least {SECRET_BYTES_MIN} bytes")]
    Short(PathBuf),
}

/// Makes credentials. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Ice(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    options: Options,
    /// Its `Debug` shows the algorithm only.
    signing: Option<hmac::Key>,
}

/// What one client may use a TURN server with.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// `<expiry in seconds since the Unix epoch>:<user>`.
    pub username: String,
    /// HMAC-SHA1 of the user name, as base64. The algorithm is the draft's, and TURN servers know no other.
    pub credential: String,
}

impl Ice {
    /// Reads the secrets.
    ///
    /// # Errors
    /// If a file cannot be read or holds a secret that is too short.
    pub fn new(options: Options) -> Result<Self, Error> {
        let secrets = options.secrets.iter().map(|path| secret(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(Arc::new(Inner { options, signing: secrets.into_iter().next() })))
    }

    /// The STUN servers.
    pub fn stun(&self) -> &[String] {
        &self.0.options.stun
    }

    /// The TURN servers.
    pub fn turn(&self) -> &[String] {
        &self.0.options.turn
    }

    /// For how long a credential holds.
    pub fn ttl(&self) -> Duration {
        self.0.options.ttl
    }

    /// A credential for `user` from `now_ms` on; `None` if there is no secret.
    pub fn login(&self, user: &str, now_ms: u64) -> Option<Login> {
        let key = self.0.signing.as_ref()?;
        let username = format!("{}:{user}", now_ms / 1000 + self.0.options.ttl.as_secs());
        let credential = STANDARD.encode(hmac::sign(key, username.as_bytes()));
        Some(Login { username, credential })
    }
}

fn secret(path: &Path) -> Result<hmac::Key, Error> {
    let bytes = bounded_file::read(path, SECRET_BYTES_MAX)
        .map_err(|error| Error::Unreadable { path: path.to_owned(), error })?;
    let secret = bounded_file::without_line_end(&bytes);
    if secret.len() < SECRET_BYTES_MIN {
        return Err(Error::Short(path.to_owned()));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ice(secrets: &[&[u8]]) -> Result<Ice, Error> {
        let files: Vec<_> = secrets
            .iter()
            .map(|secret| {
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), secret).unwrap();
                file
            })
            .collect();
        let secrets = files.iter().map(|file| file.path().to_owned()).collect();
        Ice::new(Options { secrets, ttl: Duration::from_secs(3600), ..Options::default() })
    }

    #[test]
    fn a_login_is_the_drafts() {
        // printf 1433895918:hey | openssl dgst -sha1 -hmac 0123456789abcdef -binary | base64
        let login = ice(&[b"0123456789abcdef\n"]).unwrap().login("hey", 1_433_892_318_999).unwrap();
        assert_eq!(login.username, "1433895918:hey");
        assert_eq!(login.credential, "Uq1zXfM1LQMXp2CX5hlIBXsuZEc=");
    }

    #[test]
    fn the_first_secret_signs() {
        let (new, old) = (&b"a new secret of its length"[..], &b"an old secret of its length"[..]);
        let login = |secrets: &[&[u8]]| ice(secrets).unwrap().login("u", 0).unwrap().credential;
        assert_eq!(login(&[new, old]), login(&[new]));
        assert_ne!(login(&[new, old]), login(&[old]));
    }

    #[test]
    fn without_a_secret_there_is_no_login() {
        assert!(ice(&[]).unwrap().login("u", 0).is_none());
        assert!(matches!(ice(&[b"short"]), Err(Error::Short(_))));
    }
}
