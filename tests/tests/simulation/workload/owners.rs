//! On whose account clients store: a few, two of them of one network.

use conclave_cluster::state::command::Ask;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::rules::{Owner, Share, Shares};

use crate::simulation::plan::Plan;

/// How many there are.
pub(crate) const CLIENTS: u64 = 3;

/// The client with this number.
pub(crate) fn of(number: u64) -> Owner {
    let client = number % CLIENTS;
    let key = Key::derive(Domain::Client, &[&client.to_be_bytes()]);
    Owner { client: key, network: (client > 0).then(network) }
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
pub(super) fn has_owner(ask: &Ask) -> bool {
    match ask {
        Ask::Transfer(_) | Ask::Exchange(_) | Ask::Mailbox(_) | Ask::Rendezvous(_) | Ask::Device(_) => true,
        Ask::Spend
        | Ask::Member(_)
        | Ask::Host(_)
        | Ask::Socket(_)
        | Ask::Room(_)
        | Ask::Claim(_)
        | Ask::Ticket(_)
        | Ask::Pay => false,
    }
}
