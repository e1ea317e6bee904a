//! On whose account clients store: a few, two of them of one network.

use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::leader_rules::{Group, Owner, Share, Shares};

use crate::simulation::plan::Plan;

/// How many there are.
pub(crate) const CLIENTS: u64 = 3;

/// The client with this number.
pub(crate) fn of(number: u64) -> Owner {
    let client = number % CLIENTS;
    let key = Key::derive(Domain::Client, &[&client.to_be_bytes()]);
    Owner { client: key, group: (client > 0).then(|| Group::Network(network())) }
}

/// The network of all clients but the first.
pub(crate) fn network() -> Key {
    Key::derive(Domain::Client, &[b"network"])
}

/// What each of them may store, and the network.
pub(crate) fn shares(plan: &Plan) -> Option<Shares> {
    let share = |bytes| Share { bytes, keys: u32::MAX, mailboxes: u32::MAX, rooms: u32::MAX };
    plan.share_bytes.map(|bytes| Shares {
        client: share(bytes),
        network: share(bytes + bytes / 2),
        reserve_bytes: 0,
        reserve_client_bytes: 0,
    })
}

/// Whether what is asked is stored for a client, and not for a node.
pub(super) fn has_owner(op: &Op) -> bool {
    match op {
        Op::Transfer(_) | Op::Negotiation(_) | Op::Mailbox(_) | Op::Rendezvous(_) | Op::Device(_) => true,
        Op::Spend
        | Op::NodeIdentity(_)
        | Op::Incarnation(_)
        | Op::Socket(_)
        | Op::Room(_)
        | Op::Claim(_)
        | Op::Ticket(_)
        | Op::Pay
        | Op::Handoff(_)
        | Op::Revocation(_)
        | Op::Audit(_)
        | Op::Registration(_)
        | Op::Placement(_)
        | Op::Lease { .. }
        | Op::Reset { .. } => false,
    }
}
