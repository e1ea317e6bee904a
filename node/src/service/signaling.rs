//! Signaling: invite codes that lead to peers, and signals between peers.

use bytes::Bytes;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::invite_code;
use conclave_cluster::state::mailbox::{self, Kind, Message};
use conclave_cluster::state::query;

use super::storage_keys::Namespace;
use crate::json_field::text_of;

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
pub fn register(within: Namespace, code: &str, peer: &str, ttl_ms: u32) -> Op {
    let action = invite_code::Action::Register { peer: peer.to_owned(), ttl_ms };
    Op::Rendezvous(invite_code::Op { key: within.rendezvous(code).key, action })
}

/// Has an invite code lead to this peer no more.
pub fn withdraw(within: Namespace, code: &str, peer: &str) -> Op {
    let action = invite_code::Action::Withdraw { peer: peer.to_owned() };
    Op::Rendezvous(invite_code::Op { key: within.rendezvous(code).key, action })
}

/// Where an invite code leads. A miss is a guess: it is asked by [`Guesses::look_up`](crate::access::Guesses::look_up).
pub fn look_up(within: Namespace, code: &str) -> query::Peer {
    query::Peer(within.rendezvous(code).key)
}

/// Queues a signal for a peer. The payload is JSON, and stays as it was written.
pub fn signal(within: Namespace, from: &str, to: &str, kind: Kind, payload: Bytes, ttl_ms: u32) -> Op {
    let action = mailbox::Action::Push { from: from.to_owned(), kind, payload: Body::new(payload), ttl_ms };
    Op::Mailbox(mailbox::Op { key: within.mailbox(to).key, action })
}

/// Appends what every reader of a signal is told, as fields of a JSON object: `"from":…,"type":…,"payload":…`.
pub fn push_fields(into: &mut String, signal: &Message) {
    let from = serde_json::to_string(&signal.from).expect("a string always serializes");
    let payload = text_of(signal.payload.bytes());
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
