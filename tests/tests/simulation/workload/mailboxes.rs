//! Mailboxes: signals that are pushed and drained.

use bytes::Bytes;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Domain;
use conclave_cluster::state::mailbox;

use super::{FOREVER_MS, lasting};

/// Mailboxes in use.
pub(crate) const MAILBOXES: u8 = 3;
/// The mailbox that is flooded, on some seeds.
pub(crate) const FLOODED: u8 = 9;

/// Queues a signal.
pub(super) fn push(mailbox: u8, value: u64) -> Op {
    about(mailbox, signal(value, FOREVER_MS))
}

/// Takes out what waits.
pub(super) fn drain(mailbox: u8, bytes_max: u32) -> Op {
    about(mailbox, mailbox::Action::Drain { bytes_max })
}

fn about(mailbox: u8, action: mailbox::Action) -> Op {
    Op::Mailbox(mailbox::Op { key: lasting(Domain::Mailbox, mailbox), action })
}

/// A signal that carries a number.
pub(super) fn signal(value: u64, ttl_ms: u32) -> mailbox::Action {
    let payload = Body::new(Bytes::copy_from_slice(&value.to_be_bytes()));
    mailbox::Action::Push { from: "peer".to_owned(), kind: mailbox::Kind::Offer, payload, ttl_ms }
}
