//! What was revoked: in the cluster, and in a file of lines `jti ID` and `sub NAME`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conclave_cluster::state::id::Key;
use conclave_cluster::state::revocation::{self, View};

use super::Auth;
use crate::access::bounded_file;
use crate::access::credential_rights::{self, Credential};

/// Room for 100,000 lines with ids of the usual length.
const LIST_BYTES_MAX: u64 = 8 << 20;

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RevokedError {
    /// Its file.
    #[error("{path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A line that says something else.
    #[error("{path}, line {line}: a line is `jti ID` or `sub NAME`")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl Auth {
    /// Takes what is revoked in the cluster.
    pub fn revoke(&self, list: &[View]) {
        let revoked = Revoked::of(list);
        let known = self.0.revoked.load();
        if known.as_deref() != Some(&revoked) {
            self.0.revoked.store(Some(Arc::new(revoked)));
            self.0.changes.send_modify(|count| *count += 1);
        }
    }

    /// Whether anything can be shown here that may be revoked.
    fn takes_credentials(&self) -> bool {
        self.is_required() || self.is_enabled() || self.takes_signatures() || self.0.options.certificates
    }

    /// Whether it is known what is revoked in the cluster.
    pub fn knows_revoked(&self) -> bool {
        self.0.revoked.load().is_some()
    }

    /// The same, as far as that matters: where nobody can show a credential, a cell that is lost with the list of what is
    /// revoked takes nothing from those that are there.
    pub fn is_ready(&self) -> bool {
        self.knows_revoked() || !self.takes_credentials()
    }
}

/// Tokens, subjects and devices whose credentials are worth nothing any more, and until when, in milliseconds since the Unix
/// epoch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Revoked(HashMap<Key, u64>);

impl Revoked {
    /// What the cluster says.
    pub(super) fn of(list: &[View]) -> Self {
        let key = |view: &View| match &view.revoked {
            revocation::Revoked::Token(id) => credential_rights::token(id),
            revocation::Revoked::Subject(name) => credential_rights::subject(name),
            revocation::Revoked::Device { subject, device } => credential_rights::device(subject, device),
        };
        Self(list.iter().map(|view| (key(view), view.expires_ms)).collect())
    }

    pub(super) fn read(path: &Path) -> Result<Self, RevokedError> {
        let unreadable = |error| RevokedError::Unreadable { path: path.to_owned(), error };
        let bytes = bounded_file::read(path, LIST_BYTES_MAX).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8"))
        })?;
        Self::parse(&text).map_err(|line| RevokedError::Line { path: path.to_owned(), line })
    }

    /// `Err` is the number of the first line that cannot be read.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut revoked = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(char::is_whitespace) {
                Some(("jti", id)) => revoked.0.insert(credential_rights::token(id.trim()), u64::MAX),
                Some(("sub", name)) => revoked.0.insert(credential_rights::subject(name.trim()), u64::MAX),
                Some(_) | None => return Err(number + 1),
            };
        }
        Ok(revoked)
    }

    pub(super) fn covers(&self, credential: &Credential, now_ms: u64) -> bool {
        let keys = [credential.token, credential.subject, credential.device];
        keys.into_iter().flatten().any(|key| self.0.get(&key).is_some_and(|until_ms| now_ms < *until_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_subjects_are_listed() {
        let revoked = Revoked::parse("# gone\n\njti t-1\n  sub  mallory \n").unwrap();
        let of = |sub: &str, jti: &str| Credential {
            subject: Some(credential_rights::subject(sub)),
            token: Some(credential_rights::token(jti)),
            ..Credential::anonymous()
        };
        assert!(revoked.covers(&of("alice", "t-1"), 0));
        assert!(revoked.covers(&of("mallory", "t-2"), 0));
        assert!(!revoked.covers(&of("t-1", "mallory"), 0));
        assert!(!revoked.covers(&Credential::anonymous(), 0));
    }

    #[test]
    fn what_the_cluster_says_holds_until_its_time_is_over() {
        let device = revocation::Revoked::Device { subject: "alice".to_owned(), device: "phone".to_owned() };
        let revoked = Revoked::of(&[View { revoked: device, since_ms: 0, expires_ms: 5 }]);
        let of = |device: &str| Credential {
            subject: Some(credential_rights::subject("alice")),
            device: Some(credential_rights::device("alice", device)),
            ..Credential::anonymous()
        };
        assert!(revoked.covers(&of("phone"), 4) && !revoked.covers(&of("phone"), 5));
        assert!(!revoked.covers(&of("desk"), 4));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        assert_eq!(Revoked::parse("jti a\nkid b\n").unwrap_err(), 2);
        assert_eq!(Revoked::parse("jti\n").unwrap_err(), 1);
    }
}
