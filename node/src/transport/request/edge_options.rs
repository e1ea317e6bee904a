//! What the HTTP edge needs to know.

use super::deprecation::Deprecation;
use crate::access::{Access, Network, Origin};
use crate::actors;
use crate::admission::Shares;
use crate::edition::Edition;
use crate::otlp::Traces;

/// What the HTTP edge needs to know, validated before.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which features are offered.
    pub edition: Edition,
    /// Which web pages may call.
    pub allowed_origins: Origins,
    /// Paths that clients should leave.
    pub deprecated: Vec<Deprecation>,
    /// Forwarded headers are believed only from these.
    pub trusted_proxies: Vec<Network>,
    /// Who may come in, and with what.
    pub access: Access,
    /// What this node shares out among its clients.
    pub shares: Shares,
    /// Bytes of a JSON request body.
    pub body_bytes_max: usize,
    /// Whether clients speak TLS to this node, so that they may be told to insist on it.
    pub tls: bool,
    /// Whether requests that did not come over TLS are refused.
    pub tls_required: bool,
    /// Where spans of requests go.
    pub traces: Traces,
    /// Whether each request leaves a line in the log.
    pub log_requests: bool,
    /// Whether responses that hold nothing secret are compressed.
    pub compression: bool,
    /// Whether the page at `/` and the JavaScript client are served.
    pub page: bool,
    /// Actors on this node.
    pub sessions_max: usize,
    /// Requests that wait for a change on this node.
    pub waits_max: usize,
}

impl Options {
    /// The bounds that the actors keep.
    pub fn limits(&self) -> actors::Limits {
        actors::Limits { sessions_max: self.sessions_max, waits_max: self.waits_max }
    }
}

#[cfg(test)]
impl Default for Options {
    fn default() -> Self {
        Self {
            edition: Edition::default(),
            allowed_origins: Origins::Any,
            deprecated: Vec::new(),
            trusted_proxies: Vec::new(),
            access: Access::default(),
            shares: Shares::default(),
            body_bytes_max: 256 * 1024,
            tls: false,
            traces: Traces::default(),
            log_requests: false,
            tls_required: false,
            compression: true,
            page: true,
            sessions_max: 200_000,
            waits_max: 20_000,
        }
    }
}

/// Which origins (RFC 6454) may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every origin, without credentials.
    Any,
    /// These, with credentials.
    Listed(Vec<Origin>),
}

impl Origins {
    /// Reads a list that was validated; `*` anywhere in it means all.
    pub fn of<S: AsRef<str>>(list: impl IntoIterator<Item = S>) -> Self {
        let mut listed = Vec::new();
        for text in list {
            match text.as_ref() {
                "*" => return Self::Any,
                text => listed.push(text.parse().expect("the origins were validated")),
            }
        }
        Self::Listed(listed)
    }

    /// Whether a page of `origin` may call.
    pub fn allow(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(list) => list.iter().any(|listed| listed.is(origin)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_whole() {
        let origins = Origins::of(["https://app.example/", "https://Other.example:443"]);
        assert!(origins.allow("https://app.example"));
        assert!(origins.allow("https://other.example"));
        for evil in
            ["https://app.example.evil.test", "https://evilapp.example", "http://app.example", "null", ""]
        {
            assert!(!origins.allow(evil), "{evil}");
        }
    }

    #[test]
    fn a_star_is_everybody_and_nothing_is_nobody() {
        assert_eq!(Origins::of(["https://a.example", "*"]), Origins::Any);
        assert!(!Origins::of(Vec::<String>::new()).allow("https://a.example"));
    }
}
