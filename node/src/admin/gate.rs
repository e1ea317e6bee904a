//! Who may call the admin listener, and how fast.
//!
//! Beyond loopback each call must show a token, which is kept in a file of the node. Health and the console's own files are
//! served without one: they reveal nothing, and the page has to load before somebody can type a token into it. Whoever shows
//! none has connections that end with each answer, and a pace of its own, which nobody with a token is held to.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actix_web::dev::ServiceRequest;
use actix_web::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_cluster::state::id::Digest;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::console;
use super::error::Error;
use crate::access::bounded_file;
use crate::admission::client_identity::Client;
use crate::admission::request_rate::{Pace, Rate};

/// Bytes of a token, beside the end of its line.
const TOKEN_BYTES_MAX: u64 = 512;
/// A shorter one could be guessed.
const TOKEN_BYTES_MIN: usize = 32;
/// Paths that say whether the node is healthy, and no more.
const HEALTH: [&str; 2] = ["/livez", "/readyz"];

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or made.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{}: a token is {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters on one line; `openssl rand -hex 32` \
         makes one",
        .0.display()
    )]
    Unfit(PathBuf),
}

/// The token that callers show. Only its digest is kept.
#[derive(Debug, Clone)]
pub struct Token(Digest);

impl Token {
    /// Reads it from its file; makes one there if there is no file.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn read_or_make(path: &Path) -> Result<Self, TokenError> {
        let failed = |error| TokenError::File { path: path.to_owned(), error };
        if !path.exists() {
            make(path).map_err(failed)?;
            tracing::info!(path = %path.display(), "made a token for the admin listener");
        }
        let bytes = bounded_file::read(path, TOKEN_BYTES_MAX + 2).map_err(failed)?;
        let token = bounded_file::without_line_end(&bytes);
        let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX as usize).contains(&token.len());
        if !fits || !token.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Unfit(path.to_owned()));
        }
        Ok(Self(Digest::of(token)))
    }

    /// Compares digests, so that the time it takes reveals nothing about the token.
    fn is(&self, shown: &str) -> bool {
        self.0 == Digest::of(shown.as_bytes())
    }
}

/// Writes it whole or not at all; another node of this machine may do the same at once.
fn make(path: &Path) -> io::Result<()> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system has no randomness"))?;
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{}", URL_SAFE_NO_PAD.encode(bytes))?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// No token is asked for.
    Anybody,
    /// It shows the token.
    Known,
    /// It does not.
    Stranger,
}

/// The check in front of the admin listener's routes. Cheap to clone; all clones share their rates.
#[derive(Debug, Clone)]
pub struct Gate {
    token: Option<Token>,
    pace: Pace,
    /// That of strangers. Its length is what makes a token hard to guess: how fast one comes that is right does not matter.
    pace_of_strangers: Pace,
}

impl Gate {
    /// If there is a token, every caller must show it.
    pub fn new(token: Option<Token>, rate: Rate) -> Self {
        Self { token, pace: Pace::new(rate), pace_of_strangers: Pace::new(rate) }
    }

    /// Who calls.
    pub(super) fn caller(&self, request: &ServiceRequest) -> Caller {
        match &self.token {
            None => Caller::Anybody,
            Some(token) if shown(request).is_some_and(|shown| token.is(shown)) => Caller::Known,
            Some(_) => Caller::Stranger,
        }
    }

    /// Admits a call, or says why not.
    pub(super) fn admit(&self, request: &ServiceRequest) -> Result<(), Error> {
        let path = request.path();
        if HEALTH.contains(&path) {
            return Ok(());
        }
        let now = Instant::now();
        let caller = self.caller(request);
        let pace = match caller {
            Caller::Anybody | Caller::Known => &self.pace,
            Caller::Stranger => &self.pace_of_strangers,
        };
        if let Some(peer) = request.peer_addr() {
            let client = Client::of(peer.ip());
            pace.admit(client, now).map_err(|after| Error::TooFast(seconds(after)))?;
            pace.take(client, now);
        }
        match caller {
            Caller::Stranger if !console::has(path) => Err(Error::Unauthorized),
            Caller::Anybody | Caller::Known | Caller::Stranger => Ok(()),
        }
    }
}

/// The token of `Authorization: Bearer`, if there is one such line (RFC 6750, section 2.1).
fn shown(request: &ServiceRequest) -> Option<&str> {
    let mut lines = request.headers().get_all(AUTHORIZATION);
    let line = lines.next().filter(|_| lines.next().is_none())?.to_str().ok()?;
    let (scheme, token) = line.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

fn seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use actix_web::test::TestRequest;

    use super::*;

    const RATE: Rate = Rate { per_second: 1, burst: 3 };

    fn with(token: &str) -> ServiceRequest {
        TestRequest::get()
            .uri("/cluster/status")
            .insert_header((AUTHORIZATION, format!("Bearer {token}")))
            .to_srv_request()
    }

    #[test]
    fn a_token_is_made_once_and_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("not/yet/admin-token");
        let Token(made) = Token::read_or_make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Token::read_or_make(&path).unwrap().0, made);
    }

    #[test]
    fn a_token_that_could_be_guessed_is_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("token");
        for unfit in ["", "short", &"a b".repeat(20), &"a".repeat(513)] {
            std::fs::write(&path, unfit).unwrap();
            assert!(Token::read_or_make(&path).is_err(), "{unfit}");
        }
        std::fs::write(&path, "a".repeat(32) + "\r\n").unwrap();
        assert!(Token::read_or_make(&path).unwrap().is(&"a".repeat(32)));
    }

    #[test]
    fn only_whoever_shows_the_token_comes_in() {
        let token = Token(Digest::of(b"right"));
        let gate = Gate::new(Some(token), Rate { per_second: 1000, burst: 1000 });
        assert!(gate.admit(&with("right")).is_ok());
        for wrong in ["wrong", "", "right "] {
            assert!(matches!(gate.admit(&with(wrong)), Err(Error::Unauthorized)), "{wrong}");
        }
        for (path, is_open) in
            [("/livez", true), ("/readyz", true), ("/", true), ("/console.js", true), ("/metrics", false)]
        {
            let bare = TestRequest::get().uri(path).to_srv_request();
            assert_eq!(gate.admit(&bare).is_ok(), is_open, "{path}");
        }
    }

    #[test]
    fn a_caller_is_held_to_a_rate_and_health_is_not() {
        let gate = Gate::new(None, RATE);
        let from = |path: &str| {
            TestRequest::get().uri(path).peer_addr("192.0.2.1:1".parse().unwrap()).to_srv_request()
        };
        for _ in 0..3 {
            assert!(gate.admit(&from("/cluster/status")).is_ok());
        }
        assert!(matches!(gate.admit(&from("/cluster/status")), Err(Error::TooFast(1))));
        assert!(gate.admit(&from("/livez")).is_ok());
    }

    #[test]
    fn what_strangers_spend_is_not_spent_for_whoever_shows_the_token() {
        let gate = Gate::new(Some(Token(Digest::of(b"right"))), RATE);
        let from = |token: &str| {
            let request = TestRequest::get().uri("/cluster/status").peer_addr("192.0.2.1:1".parse().unwrap());
            request.insert_header((AUTHORIZATION, format!("Bearer {token}"))).to_srv_request()
        };
        for _ in 0..3 {
            assert!(matches!(gate.admit(&from("wrong")), Err(Error::Unauthorized)));
        }
        assert!(matches!(gate.admit(&from("wrong")), Err(Error::TooFast(_))));
        assert!(gate.admit(&from("right")).is_ok());
    }
}
