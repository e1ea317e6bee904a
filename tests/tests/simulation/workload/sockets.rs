//! Sockets: incarnations that live by leases, sessions that move between them, and the peer ids that sessions hold.

use conclave_cluster::Error;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::generation::Generation;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::incarnation::{Attachment, Incarnation};
use conclave_cluster::state::{incarnation, mailbox_claim, query, socket};

use super::{Reader, lasting};
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

/// Has an incarnation live for so long from now.
pub(super) fn renew(incarnation: Incarnation, ttl_ms: u32) -> Op {
    Op::Incarnation(incarnation::Op::Renew { incarnation, ttl_ms })
}

/// Has a session on a connection.
pub(super) fn attach(plan: &Plan, session: u8, at: Attachment, resume: bool) -> Op {
    let lease_ms = plan.grace_ms;
    let action = match resume {
        true => socket::Action::Resume { subject: None, at, lease_ms, takes_over: true },
        false => socket::Action::Open { subject: None, at, lease_ms },
    };
    Op::Socket(socket::Op { key: session_key(session), action })
}

/// Says that a connection is lost.
pub(super) fn detach(session: u8, connection: u64) -> Op {
    Op::Socket(socket::Op { key: session_key(session), action: socket::Action::Detach { connection } })
}

/// Has a peer id be a session's, unless a later connection of that was here. Event streams say no generation: nobody looks after
/// their sessions.
pub(super) fn claim(
    plan: &Plan,
    peer: u8,
    session: u8,
    generation: Option<Generation>,
    at: Attachment,
    seize: bool,
) -> Op {
    let session = session_key(session);
    about(peer, mailbox_claim::Action::Take { session, generation, at, lease_ms: plan.grace_ms, seize })
}

/// A generation that none comes after.
pub(super) fn latest() -> Generation {
    Generation::first(u64::MAX)
}

/// Gives it up.
pub(super) fn release(peer: u8, session: u8, connection: u64) -> Op {
    about(peer, mailbox_claim::Action::Release { session: session_key(session), connection })
}

fn about(peer: u8, action: mailbox_claim::Action) -> Op {
    Op::Claim(mailbox_claim::Op { key: peer_key(peer), action })
}

/// Apart from the mailboxes that are drained, since nothing comes out of one that is held.
fn peer_key(peer: u8) -> Key {
    lasting(Domain::Mailbox, 100 + peer)
}

/// Where a session is.
pub(super) async fn locate(session: u8, reader: Reader<'_>) -> Result<Sight, Error> {
    let view = reader.read(query::Socket(session_key(session))).await?;
    Ok(Sight::Tie(view.map_or(Tie::Gone, |view| match (view.incarnation, view.connection) {
        (Some(incarnation), Some(connection)) => Tie::At(Attachment { incarnation, connection }),
        _ => Tie::Loose,
    })))
}

/// Where a peer id is.
pub(super) async fn holder(peer: u8, reader: Reader<'_>) -> Result<Sight, Error> {
    let holder = reader.read(query::Holder(peer_key(peer))).await?;
    Ok(Sight::Tie(holder.map_or(Tie::Gone, |(_, at)| at.map_or(Tie::Loose, Tie::At))))
}
