//! Sockets: hosts that live by leases, sessions that move between them, and the peer ids that sessions hold.

use conclave_cluster::state::command::Ask;
use conclave_cluster::state::host::{Attachment, Host};
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::{State, claim, host, socket};

use super::lasting;
use crate::simulation::history::{Sight, Tie};
use crate::simulation::plan::Plan;

/// Socket sessions in use, on all nodes by turns.
pub(crate) const SESSIONS: u8 = 5;
/// Peer ids that they hold by turns.
pub(crate) const PEERS: u8 = 2;

/// The key of a session, which is also its name as a member of a room.
pub(super) fn session_key(session: u8) -> Key {
    lasting(Domain::Socket, session)
}

/// Has a host live for so long from now.
pub(super) fn renew(host: Host, ttl_ms: u32) -> Ask {
    Ask::Host(host::Ask::Renew { host, ttl_ms })
}

/// Has a session on a connection.
pub(super) fn attach(plan: &Plan, session: u8, at: Attachment, resume: bool) -> Ask {
    let lease_ms = plan.grace_ms;
    let verb = match resume {
        true => socket::Verb::Resume { subject: None, at, lease_ms },
        false => socket::Verb::Open { subject: None, at, lease_ms },
    };
    Ask::Socket(socket::Ask { key: session_key(session), verb })
}

/// Says that a connection is lost.
pub(super) fn detach(session: u8, connection: u64) -> Ask {
    Ask::Socket(socket::Ask { key: session_key(session), verb: socket::Verb::Detach { connection } })
}

/// Has a peer id be a session's.
pub(super) fn claim(plan: &Plan, peer: u8, session: u8, at: Attachment, seize: bool) -> Ask {
    let session = session_key(session);
    about(peer, claim::Verb::Take { session, at, lease_ms: plan.grace_ms, seize })
}

/// Gives it up.
pub(super) fn release(peer: u8, session: u8, connection: u64) -> Ask {
    about(peer, claim::Verb::Release { session: session_key(session), connection })
}

fn about(peer: u8, verb: claim::Verb) -> Ask {
    Ask::Claim(claim::Ask { key: peer_key(peer), verb })
}

/// Apart from the mailboxes that are drained, since nothing comes out of one that is held.
fn peer_key(peer: u8) -> Key {
    lasting(Domain::Mailbox, 100 + peer)
}

/// Where a session is.
pub(super) fn locate(session: u8, state: &State, now_ms: u64) -> Sight {
    Sight::Tie(state.socket(&session_key(session), now_ms).map_or(Tie::Gone, |view| {
        match (view.host, view.connection) {
            (Some(host), Some(connection)) => Tie::At(Attachment { host, connection }),
            _ => Tie::Loose,
        }
    }))
}

/// Where a peer id is.
pub(super) fn holder(peer: u8, state: &State, now_ms: u64) -> Sight {
    let holder = state.holder(&peer_key(peer), now_ms);
    Sight::Tie(holder.map_or(Tie::Gone, |(_, at)| at.map_or(Tie::Loose, Tie::At)))
}
