//! What can be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

/// One mistake, with its place.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No such key.
    #[error("{origin}: there is no key `{key}`; did you mean `{nearest}`?")]
    Unknown {
        /// The key as it was given.
        key: String,
        /// Where it was given.
        origin: String,
        /// The known key nearest to it.
        nearest: String,
    },
    /// A section's name where a key belongs.
    #[error("{origin}: `{key}` is a section, not a key; it has keys such as `{example}`")]
    Section {
        /// The section.
        key: String,
        /// Where it was given.
        origin: String,
        /// One of its keys.
        example: String,
    },
    /// A value that cannot be.
    #[error("{origin}: `{key}`: {why}")]
    Value {
        /// The key.
        key: String,
        /// Where the value was given.
        origin: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}{}: {error}", origin.as_ref().map(|o| format!(" (named by {o})")).unwrap_or_default())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Who named it.
        origin: Option<String>,
        /// Why not.
        error: std::io::Error,
    },
    /// A file that is not TOML.
    #[error("{path}, line {line}: {why}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// A variable and its `_FILE` twin, both set.
    #[error("environment variables {variable} and {variable}_FILE are both set: keep one")]
    Twice {
        /// The one without `_FILE`.
        variable: String,
    },
    /// A flag `--set` without an equals sign.
    #[error("flag --set {text}: write section.key=value")]
    Unassigned {
        /// The argument.
        text: String,
    },
}

/// All mistakes of one configuration; never empty.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }
}
