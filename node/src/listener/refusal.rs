//! What stands in for a head that is refused: a request of a method that means nothing but its refusal. A client that
//! sends one itself gets what it asks for.

use actix_web::http::Method;

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
    /// What a request of this method stands for, if it does.
    pub(crate) fn of(method: &Method) -> Option<Self> {
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
            assert_eq!(Heads::default().follow(text.as_bytes()), (text.len(), Rest::Nothing));
            let method = Method::from_bytes(text.split(' ').next().unwrap().as_bytes()).unwrap();
            assert!(Refusal::of(&method).is_some());
        }
        assert_eq!(Refusal::of(&Method::GET), None);
    }
}
