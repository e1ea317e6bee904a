//! What lives for a short while, of every kind.

use bytes::Bytes;
use conclave_cluster::Error;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::{device, invite_code, mailbox, negotiation, query, transfer};

use super::Reader;
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
        Kind::Negotiation => Domain::Negotiation,
        Kind::Device => Domain::Devices,
        Kind::Chunk => Domain::Transfer,
        Kind::Signal => Domain::Mailbox,
    }
}

/// Makes one.
pub(super) fn plant(kind: Kind, name: u64, ttl_ms: u32) -> Op {
    let key = short(domain(kind), name);
    match kind {
        Kind::Rendezvous => {
            let action = invite_code::Action::Register { peer: "peer".to_owned(), ttl_ms };
            Op::Rendezvous(invite_code::Op { key, action })
        }
        Kind::Negotiation => {
            let action = negotiation::Action::Create { id: u128::from(name), pin: None };
            Op::Negotiation(negotiation::Op { key, ttl_ms, action })
        }
        Kind::Device => Op::Device(device::Op { key, action: device_verb("device", name, ttl_ms) }),
        Kind::Chunk => {
            let bytes = Bytes::copy_from_slice(&name.to_be_bytes());
            Op::Transfer(transfer::Op { key, ttl_ms, action: put_verb(bytes, 0, 1) })
        }
        Kind::Signal => Op::Mailbox(mailbox::Op { key, action: signal(name, ttl_ms) }),
    }
}

/// Looks whether one is there.
pub(super) async fn probe(kind: Kind, name: u64, reader: Reader<'_>) -> Result<Sight, Error> {
    let key = short(domain(kind), name);
    Ok(Sight::Present(match kind {
        Kind::Rendezvous => reader.read(query::Peer(key)).await?.is_some(),
        Kind::Negotiation => {
            let envelope = reader.read(query::Envelope(key, negotiation::Role::Offer)).await?;
            envelope != negotiation::Envelope::Expired
        }
        Kind::Device => !reader.read(query::Devices(key)).await?.is_empty(),
        Kind::Chunk => reader.read(query::Chunk(key, 0)).await?.is_some(),
        Kind::Signal => reader.read(query::Waiting(key)).await? > 0,
    }))
}
