//! The shared secret of a cluster, and the proofs by which two nodes show each other that they have it.
//!
//! A proof is an HMAC-SHA-256 over both greetings as they were sent, over the side that proves, and over the number of its
//! disk: both nonces, both ids, the cluster, the lane and the versions are in it. A proof made by one side is therefore no
//! proof of the other (no reflection), and one made for other greetings is none for these (no replay). The dialer proves
//! first, so that a stranger who connects gets nothing to search the secret with.
//!
//! Two secrets are valid at a time, so that one can replace the other without a pause.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::hmac;

/// Secrets that are valid at a time.
pub(super) const SECRETS_MAX: usize = 2;
/// Bytes of a secret: at least as many as anybody would not guess, at most as many as HMAC makes use of and a little more.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 32..=256;
/// Bytes of a proof.
const PROOF_BYTES: usize = 32;
/// Bytes of the number that each side draws for one connection.
pub(super) const NONCE_BYTES: usize = 32;
/// Bytes of the file; beyond, it is not a file of secrets.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// What a proof is about, so that the same secret used for something else proves nothing here.
const CONTEXT: &[u8] = b"conclave peer proof 1";

/// Who proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Dialer,
    Acceptor,
}

/// Both greetings, as they were sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Greetings<'a> {
    pub(super) dialer: &'a [u8],
    pub(super) acceptor: &'a [u8],
}

impl Greetings<'_> {
    /// What is signed: each part says how long it is, so that no two inputs are the same bytes.
    fn input(&self, side: Side, disk: u128) -> Vec<u8> {
        let side = match side {
            Side::Dialer => 1,
            Side::Acceptor => 2,
        };
        let mut input = Vec::with_capacity(2048);
        for part in [CONTEXT, &[side], self.dialer, self.acceptor, &disk.to_be_bytes()] {
            input.extend_from_slice(&(part.len() as u64).to_be_bytes());
            input.extend_from_slice(part);
        }
        input
    }
}

/// The secrets of a node. Cheap to clone; all clones change together.
#[derive(Clone)]
pub struct Secrets {
    path: Option<PathBuf>,
    keys: Arc<ArcSwap<Vec<hmac::Key>>>,
}

/// Why a file of secrets cannot be used. No text of the file is in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It has no secret, or too many.
    #[error("{0} secrets; there must be one, or two while one replaces the other, each on a line of its own")]
    Count(usize),
    /// One is too short or too long.
    #[error(
        "the secret on line {line} has {bytes} bytes, not {} to {}; `openssl rand -hex 32` makes one",
        SECRET_BYTES.start(),
        SECRET_BYTES.end()
    )]
    Length {
        /// Which line, from 1.
        line: usize,
        /// How many bytes it has.
        bytes: usize,
    },
}

impl Secrets {
    /// Reads the file: one secret a line, one or two of them. Empty lines and lines that begin with `#` do not count.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let keys = Arc::new(ArcSwap::from_pointee(read(path)?));
        Ok(Self { path: Some(path.to_owned()), keys })
    }

    /// Takes the secrets from text of that form.
    pub fn from_text(text: &str) -> Result<Self, SecretError> {
        Ok(Self { path: None, keys: Arc::new(ArcSwap::from_pointee(parse(text)?)) })
    }

    /// The file, if they come from one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads the file again. Connections that were made stay; on an error the secrets stay as they were.
    pub fn reload(&self) -> Result<(), SecretError> {
        if let Some(path) = &self.path {
            self.keys.store(Arc::new(read(path)?));
        }
        Ok(())
    }

    /// A proof for each secret: which of them the other side has is not known. `disk` is what the side that proves names.
    pub(super) fn prove(&self, side: Side, greetings: Greetings<'_>, disk: u128) -> Vec<u8> {
        let input = greetings.input(side, disk);
        let keys = self.keys.load();
        keys.iter().flat_map(|key| hmac::sign(key, &input).as_ref().to_vec()).collect()
    }

    /// Whether one of the proofs was made with one of the secrets. Takes the same time wherever a proof differs.
    pub(super) fn accept(&self, side: Side, greetings: Greetings<'_>, disk: u128, proofs: &[u8]) -> bool {
        let sound = !proofs.is_empty()
            && proofs.len().is_multiple_of(PROOF_BYTES)
            && proofs.len() <= SECRETS_MAX * PROOF_BYTES;
        let input = greetings.input(side, disk);
        sound
            && self
                .keys
                .load()
                .iter()
                .any(|key| proofs.chunks(PROOF_BYTES).any(|proof| hmac::verify(key, &input, proof).is_ok()))
    }
}

fn read(path: &Path) -> Result<Vec<hmac::Key>, SecretError> {
    let unreadable = |error| SecretError::Unreadable { path: path.to_owned(), error };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(unreadable(std::io::Error::other("too large for a file of secrets")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(text.trim_start_matches('\u{feff}'))
}

fn parse(text: &str) -> Result<Vec<hmac::Key>, SecretError> {
    let lines = text.lines().map(str::trim).enumerate();
    let mut keys = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        if !SECRET_BYTES.contains(&line.len()) {
            return Err(SecretError::Length { line: index + 1, bytes: line.len() });
        }
        keys.push(hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes()));
    }
    if keys.is_empty() || keys.len() > SECRETS_MAX {
        return Err(SecretError::Count(keys.len()));
    }
    Ok(keys)
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old-old-old-old-old-old-old-old-old-old-";
    const NEW: &str = "new-new-new-new-new-new-new-new-new-new-";
    const GREETINGS: Greetings<'static> = Greetings { dialer: b"dialer", acceptor: b"acceptor" };

    fn secrets(text: &str) -> Secrets {
        Secrets::from_text(text).unwrap()
    }

    fn understood(prover: &str, judge: &str) -> bool {
        let proofs = secrets(prover).prove(Side::Dialer, GREETINGS, 7);
        secrets(judge).accept(Side::Dialer, GREETINGS, 7, &proofs)
    }

    #[test]
    fn two_secrets_are_valid_while_one_replaces_the_other() {
        let both = format!("{OLD}\n{NEW}\n");
        let reverse = format!("# since Monday\n{NEW}\n\n{OLD}");
        for other in [OLD, NEW, &both, &reverse] {
            assert!(understood(&both, other) && understood(other, &both), "{other}");
        }
        assert!(!understood(OLD, NEW));
    }

    #[test]
    fn a_proof_of_one_side_is_none_of_the_other() {
        let secrets = secrets(OLD);
        let proofs = secrets.prove(Side::Acceptor, GREETINGS, 7);
        assert!(secrets.accept(Side::Acceptor, GREETINGS, 7, &proofs));
        assert!(!secrets.accept(Side::Dialer, GREETINGS, 7, &proofs));
    }

    #[test]
    fn a_proof_holds_for_its_own_greetings_only() {
        let secrets = secrets(OLD);
        let proofs = secrets.prove(Side::Dialer, GREETINGS, 7);
        let shifted = Greetings { dialer: b"dialera", acceptor: b"cceptor" };
        let swapped = Greetings { dialer: GREETINGS.acceptor, acceptor: GREETINGS.dialer };
        for other in [shifted, swapped, Greetings { acceptor: b"acceptos", ..GREETINGS }] {
            assert!(!secrets.accept(Side::Dialer, other, 7, &proofs));
        }
    }

    #[test]
    fn what_is_no_proof_is_not_accepted() {
        let secrets = secrets(OLD);
        let good = secrets.prove(Side::Dialer, GREETINGS, 7);
        for bad in [&[][..], &good[..31], &[good.clone(), vec![0]].concat(), &good.repeat(3), &[0; 32]] {
            assert!(!secrets.accept(Side::Dialer, GREETINGS, 7, bad), "{} bytes", bad.len());
        }
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!secrets.accept(Side::Dialer, GREETINGS, 7, &flipped));
        }
    }

    #[test]
    fn a_proof_holds_for_the_disk_that_it_names_only() {
        let secrets = secrets(OLD);
        for named in [0, 7] {
            let proofs = secrets.prove(Side::Dialer, GREETINGS, named);
            for other in [0, 7] {
                let accepted = secrets.accept(Side::Dialer, GREETINGS, other, &proofs);
                assert_eq!(accepted, other == named, "{named} {other}");
            }
        }
    }

    #[test]
    fn a_secret_that_could_be_guessed_is_refused_without_telling_it() {
        for text in ["", "# nothing\n", "hunter2", &format!("{OLD}\n{NEW}\n{OLD}"), &"x".repeat(257)] {
            let error = Secrets::from_text(text).unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(text != "hunter2" || !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_file_is_read_again_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, OLD).unwrap();
        let node = Secrets::from_file(&path).unwrap();
        let clone = node.clone();
        let accepts = |text: &str| {
            let proofs = secrets(text).prove(Side::Dialer, GREETINGS, 7);
            clone.accept(Side::Dialer, GREETINGS, 7, &proofs)
        };
        assert!(accepts(OLD) && !accepts(NEW));
        std::fs::write(&path, NEW).unwrap();
        node.reload().unwrap();
        assert!(!accepts(OLD) && accepts(NEW));
        std::fs::write(&path, format!("\u{feff}{NEW}\r\n")).unwrap();
        node.reload().unwrap();
        assert!(accepts(NEW), "a byte order mark is no part of it");
        std::fs::write(&path, "short").unwrap();
        assert!(node.reload().is_err());
        assert!(accepts(NEW));
    }
}
