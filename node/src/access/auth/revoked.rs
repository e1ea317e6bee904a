//! What was revoked: a file of lines `jti ID` and `sub NAME`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use conclave_cluster::state::id::Key;

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

/// Tokens and subjects that are worth nothing any more.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    tokens: HashSet<Key>,
    subjects: HashSet<Key>,
}

impl Revoked {
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
                Some(("jti", id)) => revoked.tokens.insert(credential_rights::token(id.trim())),
                Some(("sub", name)) => revoked.subjects.insert(credential_rights::subject(name.trim())),
                Some(_) | None => return Err(number + 1),
            };
        }
        Ok(revoked)
    }

    pub(super) fn covers(&self, credential: &Credential) -> bool {
        credential.token.is_some_and(|token| self.tokens.contains(&token))
            || credential.subject.is_some_and(|subject| self.subjects.contains(&subject))
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
        assert!(revoked.covers(&of("alice", "t-1")));
        assert!(revoked.covers(&of("mallory", "t-2")));
        assert!(!revoked.covers(&of("t-1", "mallory")));
        assert!(!revoked.covers(&Credential::anonymous()));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        assert_eq!(Revoked::parse("jti a\nkid b\n").unwrap_err(), 2);
        assert_eq!(Revoked::parse("jti\n").unwrap_err(), 1);
    }
}
