//! Why a request did not do what it should.

/// A try that brought no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection; the request was not sent.
    #[error("connect")]
    Connect,
    /// The server had closed the connection; the request was not sent.
    #[error("io")]
    Closed,
    /// The connection broke; the request may have been carried out.
    #[error("io")]
    Io,
    /// No reply in time; the request may have been carried out.
    #[error("timeout")]
    Timeout,
}

/// Why a request failed for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server said no.
    #[error("refused with {status} {code}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The contract's error code, or what stands in its place.
        code: String,
    },
    /// The reply breaks the contract.
    #[error("malformed reply: {0}")]
    Malformed(&'static str),
    /// No target replied until patience ended.
    #[error("no reply: {0}")]
    Unreachable(Fault),
    /// The reply is well-formed and wrong.
    #[error("wrong reply: {0}")]
    Wrong(&'static str),
    /// Received bytes are not those that were sent.
    #[error("received bytes differ from what was sent")]
    Mismatch,
}

impl Error {
    /// The HTTP status, 0 where there is none to speak of.
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused { status, .. } => *status,
            Self::Malformed(_) | Self::Unreachable(_) | Self::Wrong(_) | Self::Mismatch => 0,
        }
    }

    /// A short word for tables.
    pub fn code(&self) -> String {
        match self {
            Self::Refused { code, .. } => code.clone(),
            Self::Malformed(what) => format!("malformed: {what}"),
            Self::Unreachable(fault) => fault.to_string(),
            Self::Wrong(what) => format!("wrong: {what}"),
            Self::Mismatch => "mismatch".to_owned(),
        }
    }
}
