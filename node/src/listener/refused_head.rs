//! Refused heads. The server is handed a request in the place of one that is refused, so that the refusal is answered in
//! turn; that it is one, and why, is told beside the bytes ([`BodyGate::refusal`](super::BodyGate::refusal)), so that no
//! client can ask for a refusal by what it sends.

use super::request_framing::Fault;

/// The last request of its connection, in place of a head that is refused. Its answer says that the connection is closed; if it
/// did so itself, the answers before it would.
pub(super) const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: -\r\n\r\n";

/// Why a request is refused before its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The head is malformed.
    Malformed,
    /// The head is too large.
    TooLarge,
    /// The method is not served.
    Method,
    /// The head took too long to arrive.
    Late,
    /// The body is large, and this node is overloaded.
    Overloaded,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed => Self::Malformed,
            Fault::TooLarge => Self::TooLarge,
            Fault::Method => Self::Method,
            Fault::Late => Self::Late,
        }
    }
}

/// Takes the body from a head that announces one: the head is handed on, the body is discarded as it comes. The length
/// keeps its digits, so that no byte moves.
pub(super) fn discard_body(length: &mut [u8]) {
    length.fill(b'0');
}

#[cfg(test)]
mod tests {
    use super::super::request_framing::{RequestFraming, Rest};
    use super::*;

    #[test]
    fn the_stand_in_is_a_whole_request() {
        assert_eq!(RequestFraming::default().follow(STAND_IN, u64::MAX), (STAND_IN.len(), Rest::Nothing));
    }
}
