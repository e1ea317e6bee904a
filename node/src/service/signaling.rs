//! Signaling: what signals are called.

use conclave_cluster::state::mailbox::Kind;

/// The types of signals, as clients spell them.
pub const KINDS: [&str; 5] = ["offer", "answer", "ice-candidate", "ready", "bye"];

/// How clients spell a type.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Offer => KINDS[0],
        Kind::Answer => KINDS[1],
        Kind::IceCandidate => KINDS[2],
        Kind::Ready => KINDS[3],
        Kind::Bye => KINDS[4],
    }
}

/// The type of that name.
pub fn kind_of(name: &str) -> Option<Kind> {
    [Kind::Offer, Kind::Answer, Kind::IceCandidate, Kind::Ready, Kind::Bye]
        .into_iter()
        .find(|kind| kind_name(*kind) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_their_names() {
        for name in KINDS {
            assert_eq!(kind_name(kind_of(name).unwrap()), name);
        }
        assert_eq!(kind_of("Offer"), None);
    }
}
