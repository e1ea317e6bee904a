//! Signatures of messages as the Standard Webhooks specification defines them: HMAC-SHA-256 over id, time and body.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::access::bounded_file;

/// Secrets in one file: one, and others while it is rotated.
const SECRETS_MAX: usize = 4;
/// Bytes of a secret, as the specification bounds them.
const SECRET_BYTES_MIN: usize = 24;
const SECRET_BYTES_MAX: usize = 64;
const FILE_BYTES_MAX: u64 = 4 << 10;
const PREFIX: &str = "whsec_";

/// The secrets that sign, in their file's order. Its `Debug` shows none of them.
#[derive(Debug)]
pub(super) struct Secrets(Vec<hmac::Key>);

/// Why the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("webhooks.secret_file: {}: {why}", path.display())]
pub struct SecretError {
    path: PathBuf,
    why: SecretFault,
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
enum SecretFault {
    #[error(transparent)]
    Unreadable(#[from] std::io::Error),
    #[error("there is no secret in it: `echo whsec_$(openssl rand -base64 32)` makes one")]
    Empty,
    #[error("there are more than {SECRETS_MAX} secrets in it")]
    Many,
    #[error(
        "line {0} is no secret: whsec_ and {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} random bytes as base64"
    )]
    Line(usize),
}

impl Secrets {
    /// Reads a file of secrets, one a line.
    pub(super) fn read(path: &Path) -> Result<Self, SecretError> {
        Self::of_file(path).map_err(|why| SecretError { path: path.to_owned(), why })
    }

    fn of_file(path: &Path) -> Result<Self, SecretFault> {
        let bytes = bounded_file::read(path, FILE_BYTES_MAX)?;
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let secret = line.strip_prefix(PREFIX.as_bytes()).unwrap_or(line);
            let secret = STANDARD.decode(secret).map_err(|_| SecretFault::Line(number))?;
            if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
                return Err(SecretFault::Line(number));
            }
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, &secret));
        }
        match keys.len() {
            0 => Err(SecretFault::Empty),
            1..=SECRETS_MAX => Ok(Self(keys)),
            _ => Err(SecretFault::Many),
        }
    }

    /// The value of `webhook-signature`: one signature for each secret.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signature = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(text: &str) -> Result<Secrets, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Secrets::read(file.path()).map_err(|error| error.to_string())
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The vector that the libraries of the specification are tested with.
    #[test]
    fn a_signature_is_the_one_that_libraries_expect() {
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(secrets(SECRET).unwrap().sign(id, 1_614_265_330, body), expected);
        let bare = SECRET.strip_prefix(PREFIX).unwrap();
        assert_eq!(secrets(bare).unwrap().sign(id, 1_614_265_330, body), expected);
    }

    #[test]
    fn while_a_secret_is_exchanged_both_sign() {
        let other = format!("{PREFIX}{}", STANDARD.encode([7; 32]));
        let both = secrets(&format!("{other}\n{SECRET}\n")).unwrap().sign("msg_1", 1, b"{}");
        let [one, two] = [&other, SECRET].map(|text| secrets(text).unwrap().sign("msg_1", 1, b"{}"));
        assert_eq!(both, format!("{one} {two}"));
    }

    #[test]
    fn what_is_no_secret_is_told_by_its_line_and_not_shown() {
        let long = format!("{PREFIX}{}", STANDARD.encode([7; 65]));
        let many = format!("{SECRET}\n").repeat(5);
        for (text, said) in [
            ("", "there is no secret in it"),
            ("\n\n", "there is no secret in it"),
            ("whsec_c2hvcnQ=", "line 1 is no secret"),
            ("\nnot base64 at all", "line 2 is no secret"),
            (&long, "line 1 is no secret: whsec_ and 24 to 64 random bytes"),
            (&many, "more than 4 secrets"),
        ] {
            let error = secrets(text).unwrap_err();
            assert!(error.starts_with("webhooks.secret_file: ") && error.contains(said), "{error}");
            assert!(!error.contains("c2hvcnQ"), "{error}");
        }
        assert!(!format!("{:?}", secrets(SECRET).unwrap()).contains("MfKQ"));
    }
}
