//! What an operator's backend does without a socket: says something in a room, and sends a signal.
//!
//! Both go the way that a client's go, within the same bounds, and are charged to nobody. Whoever hears them knows that they are
//! the backend's: in a room by a name that no client has, of a signal by how its sender's peer id begins, which no client may
//! send from.

use bytes::Bytes;
use conclave_cluster::Draft;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::generation::Generation;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::incarnation::Attachment;
use conclave_cluster::state::mailbox::{self, Kind};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::room::{self, Keep};
use futures_util::future::join3;

use super::endings::Ending;
use super::storage_keys::Namespace;
use super::{Error, Services, room_format, settle, signaling};
use crate::access::Tenant;
use crate::access::tier_limits::millis;

/// A member of a room for as long as it takes to say something.
struct BriefMember {
    room: Key,
    member: Key,
    at: Attachment,
}

impl BriefMember {
    fn ask(&self, action: room::Action) -> Op {
        Op::Room(room::Op { key: self.room, action })
    }

    fn join(&self) -> Op {
        let &Self { member, at, .. } = self;
        self.ask(room::Action::Join { member, generation: Generation::first(0), at, grace_ms: 0 })
    }

    fn say(&self, data: Bytes, keep: Keep) -> Op {
        let data = Body::new(data);
        self.ask(room::Action::Publish { member: self.member, message_id: None, data, keep })
    }

    fn leave(&self) -> Op {
        self.ask(room::Action::Leave { member: self.member, connection: self.at.connection })
    }
}

/// Says something in a room, which need not be there yet; `data` begins with the byte that says what it is
/// ([`room_format`]). The room's numbering and the message's number in it.
///
/// # Errors
/// See [`Error`]; refused if the room is full.
pub async fn publish(services: &Services, room: Key, data: Bytes, keep: Keep) -> Result<(u64, u64), Error> {
    let _lease = services.lease.guest();
    let at = services.lease.attachment(&room, rand::random()).await?;
    let member = BriefMember { room, member: room_format::backend(), at };
    // Whatever becomes of this call, it is a member no longer than that.
    let unsettled = services.lease.unsettled(Ending::new(at.incarnation, vec![member.leave()]));
    let propose = async |op| services.cluster.propose(Draft::of(op)).await;
    // In one batch as a rule, so that nobody sees it come and go.
    let (joined, said, left) =
        join3(propose(member.join()), propose(member.say(data, keep)), propose(member.leave())).await;
    if left.is_ok_and(|left| left.outcome != Err(Refusal::Stale)) {
        unsettled.settle();
    }
    settle(joined?.outcome)?;
    match settle(said?.outcome) {
        Ok(Outcome::Room(room::Outcome::Published { epoch, offset, .. })) => Ok((epoch, offset)),
        // The three were not carried out in their order, since the leader was lost meanwhile.
        Err(Error::Refused(Refusal::Room(room::Refusal::NotAMember))) => {
            Err(conclave_cluster::Error::NoLeader.into())
        }
        Ok(_) => Err(Error::Unexpected),
        Err(error) => Err(error),
    }
}

/// Sends a signal from a peer id of the backend, which [`is_backend`](crate::access::name_pattern::is_backend); its number in the mailbox.
///
/// # Errors
/// See [`Error`]; refused if the mailbox is full.
pub async fn signal(
    services: &Services,
    tenant: &Tenant,
    from: &str,
    to: &str,
    kind: Kind,
    payload: Bytes,
) -> Result<u64, Error> {
    let ttl_ms = millis(services.terms.ttl.of(tenant).signal);
    let op = signaling::signal(Namespace::of(tenant), from, to, kind, payload, ttl_ms);
    let outcome = settle(services.cluster.propose(Draft::of(op)).await?.outcome)?;
    let Outcome::Mailbox(mailbox::Outcome::Queued { seq }) = outcome else { return Err(Error::Unexpected) };
    Ok(seq)
}
