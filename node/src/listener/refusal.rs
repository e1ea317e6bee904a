//! What stands in for a head that is refused: a request that means nothing but its refusal, by its method or by the way
//! in which it says that it has no body. A client that sends one itself gets what it asks for.

use actix_web::http::Method;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};

use super::heads::Fault;

const MALFORMED: &str = "X-MALFORMED";
const TOO_LARGE: &str = "X-TOO-LARGE";
const METHOD: &str = "X-METHOD";
const LATE: &str = "X-LATE";

/// Why a request stands for one that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The head is not written as it must be.
    Malformed,
    /// The head is too large.
    TooLarge,
    /// The method is none of ours.
    Method,
    /// The head took too long.
    Late,
    /// Its body is large, and this node has too many of them.
    Overloaded,
}

/// Makes a head that announces a large body one of a request that is refused for it, and has none: digits are as many as
/// before, and all nothing. A client that writes so itself gets what it asks for.
pub(super) fn disown(length: &mut [u8]) {
    length.fill(b'0');
}

pub(super) fn request(fault: Fault) -> String {
    let method = match fault {
        Fault::Malformed => MALFORMED,
        Fault::TooLarge => TOO_LARGE,
        Fault::Method => METHOD,
        Fault::Late => LATE,
    };
    format!("{method} / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n")
}

impl Refusal {
    /// What a request of this method and with these headers stands for, if it does.
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        let length = headers.get(CONTENT_LENGTH).map_or(&[][..], HeaderValue::as_bytes);
        if length.len() > 1 && length.iter().all(|digit| *digit == b'0') {
            return Some(Self::Overloaded);
        }
        match method.as_str() {
            MALFORMED => Some(Self::Malformed),
            TOO_LARGE => Some(Self::TooLarge),
            METHOD => Some(Self::Method),
            LATE => Some(Self::Late),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::heads::{Heads, Rest};
    use super::*;

    #[test]
    fn what_stands_in_is_in_order_itself() {
        for fault in [Fault::Malformed, Fault::TooLarge, Fault::Method, Fault::Late] {
            let text = request(fault);
            assert_eq!(Heads::default().follow(text.as_bytes(), u64::MAX), (text.len(), Rest::Nothing));
            let method = Method::from_bytes(text.split(' ').next().unwrap().as_bytes()).unwrap();
            assert!(Refusal::of(&method, &HeaderMap::new()).is_some());
        }
        let with = |length: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LENGTH, HeaderValue::from_bytes(length).unwrap());
            Refusal::of(&Method::POST, &headers)
        };
        let mut length = *b"58700";
        assert_eq!((with(&length), with(b"0"), with(b"010")), (None, None, None));
        disown(&mut length);
        assert_eq!(with(&length), Some(Refusal::Overloaded));
    }
}
