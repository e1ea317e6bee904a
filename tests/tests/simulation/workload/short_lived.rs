//! What lives for a short while, of every kind.

use bytes::Bytes;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::{State, device, exchange, mailbox, rendezvous, transfer};

use super::mailboxes::signal;
use super::registers::device_verb;
use super::transfers::put_verb;
use crate::simulation::history::{Kind, Sight};

fn short(domain: Domain, name: u64) -> Key {
    Key::derive(domain, &[b"short", &name.to_be_bytes()])
}

fn domain(kind: Kind) -> Domain {
    match kind {
        Kind::Rendezvous => Domain::Rendezvous,
        Kind::Exchange => Domain::Exchange,
        Kind::Device => Domain::Devices,
        Kind::Chunk => Domain::Transfer,
        Kind::Signal => Domain::Mailbox,
    }
}

/// Makes one.
pub(super) fn plant(kind: Kind, name: u64, ttl_ms: u32) -> Ask {
    let key = short(domain(kind), name);
    match kind {
        Kind::Rendezvous => {
            let verb = rendezvous::Verb::Register { peer: "peer".to_owned(), ttl_ms };
            Ask::Rendezvous(rendezvous::Ask { key, verb })
        }
        Kind::Exchange => {
            let verb = exchange::Verb::Create { id: u128::from(name), pin: None };
            Ask::Exchange(exchange::Ask { key, ttl_ms, verb })
        }
        Kind::Device => Ask::Device(device::Ask { key, verb: device_verb("device", name, ttl_ms) }),
        Kind::Chunk => {
            let bytes = Bytes::copy_from_slice(&name.to_be_bytes());
            Ask::Transfer(transfer::Ask { key, ttl_ms, verb: put_verb(bytes, 0, 1) })
        }
        Kind::Signal => Ask::Mailbox(mailbox::Ask { key, verb: signal(name, ttl_ms) }),
    }
}

/// Looks whether one is there.
pub(super) fn probe(kind: Kind, name: u64, state: &State, now_ms: u64) -> Sight {
    let key = short(domain(kind), name);
    Sight::Present(match kind {
        Kind::Rendezvous => state.peer(&key, now_ms).is_some(),
        Kind::Exchange => state.envelope(&key, exchange::Role::Offer, now_ms) != exchange::Envelope::Expired,
        Kind::Device => !state.devices(&key, now_ms).is_empty(),
        Kind::Chunk => state.chunk(&key, 0, now_ms).is_some(),
        Kind::Signal => state.waiting(&key, now_ms) > 0,
    })
}
