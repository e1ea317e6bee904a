//! Traces: a span for each request, sent to a collector by OTLP over HTTP.
//!
//! Only in binaries that are built with the feature `otlp`; others refuse the configuration. A span has route, method, status
//! and the request's id, and nothing else of the request. No request waits for its span to be sent.

#[cfg(feature = "otlp")]
mod collector;
#[cfg(not(feature = "otlp"))]
mod disabled;
#[cfg(feature = "otlp")]
mod enabled;
#[cfg(feature = "otlp")]
mod export;

use std::path::PathBuf;

use crate::access::outbound::{AuthoritiesError, HttpUrl};
#[cfg(not(feature = "otlp"))]
pub use disabled::{RequestSpan, Traces};
#[cfg(feature = "otlp")]
pub use enabled::{RequestSpan, Traces};

/// Whether this binary was built with traces.
pub const IS_BUILT_IN: bool = cfg!(feature = "otlp");

/// Where spans are sent, and by which node.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the collector takes traces.
    pub url: HttpUrl,
    /// A PEM file of authorities whose certificates are believed; `None`: the machine's.
    pub authorities: Option<PathBuf>,
    /// Whether it may be at an address outside the public internet.
    pub allow_private: bool,
    /// The node.
    pub node: u64,
}

/// Why traces cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This binary was built without them.
    #[error("telemetry.otlp_endpoint: this binary was built without the feature otlp")]
    NotBuiltIn,
    /// The authorities.
    #[error("telemetry.otlp_ca: {0}")]
    Authorities(#[from] AuthoritiesError),
    /// The exporter, or a variable of OpenTelemetry.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(String),
}

/// The span of a caller that a request belongs to, as `traceparent` says (W3C Trace Context, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: u128,
    /// The caller's span in it.
    pub span: u64,
    /// Its flags: whether it is sampled.
    pub flags: u8,
}

/// What is known of a request when it comes. Nothing of it is a secret.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The path with its parameters named.
    pub route: &'static str,
    /// The method, or `other`.
    pub method: &'static str,
    /// Under which it is found in logs.
    pub id: &'a str,
}
