//! Signaling: invite codes that lead to peers, and signals between peers.

use bytes::Bytes;
use conclave_cluster::state::State;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::mailbox::{self, Kind, Message};
use conclave_cluster::state::rendezvous;

use super::keys;

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

/// Has an invite code lead to a peer for so many milliseconds.
pub fn register(code: &str, peer: &str, ttl_ms: u32) -> Ask {
    let verb = rendezvous::Verb::Register { peer: peer.to_owned(), ttl_ms };
    Ask::Rendezvous(rendezvous::Ask { key: keys::rendezvous(code).key, verb })
}

/// Has an invite code lead to this peer no more.
pub fn withdraw(code: &str, peer: &str) -> Ask {
    let verb = rendezvous::Verb::Withdraw { peer: peer.to_owned() };
    Ask::Rendezvous(rendezvous::Ask { key: keys::rendezvous(code).key, verb })
}

/// Where an invite code leads. A miss is a guess: it is asked by [`Guesses::look_up`](crate::access::Guesses::look_up).
pub fn look_up<M>(code: &str, missing: M) -> impl FnOnce(&State, u64) -> Result<String, M> + use<M> {
    let key = keys::rendezvous(code).key;
    move |state, now_ms| state.peer(&key, now_ms).ok_or(missing)
}

/// Queues a signal for a peer. The payload is JSON, and stays as it was written.
pub fn signal(from: &str, to: &str, kind: Kind, payload: Bytes, ttl_ms: u32) -> Ask {
    let verb = mailbox::Verb::Push { from: from.to_owned(), kind, payload: Body::new(payload), ttl_ms };
    Ask::Mailbox(mailbox::Ask { key: keys::mailbox(to).key, verb })
}

/// Appends what every reader of a signal is told, as fields of a JSON object: `"from":…,"type":…,"payload":…`.
pub fn push_fields(into: &mut String, signal: &Message) {
    let from = serde_json::to_string(&signal.from).expect("a string always serializes");
    let payload = String::from_utf8_lossy(signal.payload.bytes());
    into.reserve(32 + from.len() + payload.len());
    for part in [r#""from":"#, &from, r#","type":""#, kind_name(signal.kind), r#"","payload":"#, &payload] {
        into.push_str(part);
    }
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

    #[test]
    fn a_payload_comes_back_byte_for_byte() {
        let payload = Body::new(Bytes::from_static(br#"{ "x":1.0 }"#));
        let (from, kind) = ("a\"b".to_owned(), Kind::IceCandidate);
        let mut text = String::new();
        push_fields(&mut text, &Message { seq: 1, from, kind, payload, at_ms: 7, expires_ms: 9 });
        assert_eq!(text, r#""from":"a\"b","type":"ice-candidate","payload":{ "x":1.0 }"#);
    }
}
