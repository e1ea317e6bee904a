//! How what is stored is ended before its time, by the commands that clients have.

use bytes::Bytes;
use conclave_cluster::Draft;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::inventory::{Item, Kind, Wanted};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::room::Keep;
use conclave_cluster::state::{
    device, invite_code, mailbox, mailbox_claim, negotiation, query, room, socket, transfer,
};
use futures_util::stream::{self, StreamExt as _};

use super::{Id, list};
use crate::service::endings::Ending;
use crate::service::{Error, Services, backend, settle};

/// Things that are ended at a time.
const AT_ONCE: usize = 32;
/// Payload bytes that are taken out of a mailbox at a time.
const DRAINED_BYTES: u32 = 1 << 20;
/// Times that a mailbox is drained for one call: what comes meanwhile would have it go on.
const DRAINS_MAX: usize = 16;
/// For how long a mailbox whose claim was ended is kept from everybody, so that the holder's node sees that it has it no more.
const CLAIM_REST_MS: u32 = 1_000;
/// What a room's history is left with: nothing, as JSON. The state keeps at least the last message.
const NOTHING: &[u8] = b"Jnull";

/// Ends one thing; false if there is none under this id, or it is a session of a socket that is away.
///
/// # Errors
/// See [`Error`]; a part of it may have ended then.
pub async fn end(services: &Services, kind: Kind, id: Id) -> Result<bool, Error> {
    let wanted = Wanted { after: Some(id.key(0)), until: Some(id.last_key()), ..Wanted::of(kind) };
    match &list(services, wanted).await?.items[..] {
        [item] => end_item(services, kind, item).await,
        _ => Ok(false),
    }
}

/// Ends all sessions of sockets that a list has; says how many.
///
/// # Errors
/// See [`Error`]; some may have ended then.
pub async fn end_sockets(services: &Services, wanted: Wanted) -> Result<u64, Error> {
    let mut ended = 0;
    let mut after = None;
    loop {
        let listing = list(services, Wanted { kind: Kind::Socket, after, ..wanted }).await?;
        let mut ends = stream::iter(&listing.items)
            .map(|item| end_item(services, Kind::Socket, item))
            .buffer_unordered(AT_ONCE);
        while let Some(done) = ends.next().await {
            ended += u64::from(done?);
        }
        after = listing.next;
        if after.is_none() {
            return Ok(ended);
        }
    }
}

async fn end_item(services: &Services, kind: Kind, item: &Item) -> Result<bool, Error> {
    let key = item.key;
    match kind {
        Kind::Transfer => end_transfer(services, key).await,
        Kind::Negotiation => end_negotiation(services, key).await,
        Kind::Socket => end_socket(services, item).await,
        Kind::Mailbox => end_mailbox(services, key).await,
        Kind::Room => end_room(services, key).await,
        Kind::InviteCode => end_invite_code(services, key).await,
        Kind::User => end_user(services, key).await,
    }
}

async fn ask(services: &Services, op: Op) -> Result<Outcome, Error> {
    settle(services.cluster.propose(Draft::of(op)).await?.outcome)
}

async fn end_transfer(services: &Services, key: Key) -> Result<bool, Error> {
    let op = Op::Transfer(transfer::Op { key, ttl_ms: 0, action: transfer::Action::Discard });
    Ok(ask(services, op).await? != Outcome::Transfer(transfer::Outcome::Absent))
}

async fn end_negotiation(services: &Services, key: Key) -> Result<bool, Error> {
    let op = Op::Negotiation(negotiation::Op { key, ttl_ms: 0, action: negotiation::Action::Delete });
    match ask(services, op).await {
        Err(Error::Refused(Refusal::Negotiation(negotiation::Refusal::Expired))) => Ok(false),
        other => other.map(|_| true),
    }
}

async fn end_socket(services: &Services, item: &Item) -> Result<bool, Error> {
    let Some(at) = item.attached else { return Ok(false) };
    let action = socket::Action::Close { connection: at.connection };
    ask(services, Op::Socket(socket::Op { key: item.key, action })).await?;
    Ok(true)
}

/// Throws away what waits. Where the mailbox is pushed to somebody, that ends, too: its socket is closed, its event stream is
/// `replaced`.
async fn end_mailbox(services: &Services, key: Key) -> Result<bool, Error> {
    match services.cluster.read_linearizable(query::Holder(key)).await? {
        Some((holder, _)) => end_claim(services, key, holder).await?,
        None => drain(services, key).await?,
    }
    Ok(true)
}

async fn drain(services: &Services, key: Key) -> Result<(), Error> {
    for _ in 0..DRAINS_MAX {
        let action = mailbox::Action::Drain { bytes_max: DRAINED_BYTES };
        match ask(services, Op::Mailbox(mailbox::Op { key, action })).await? {
            Outcome::Mailbox(mailbox::Outcome::Messages(messages)) if !messages.is_empty() => {}
            _ => break,
        }
    }
    Ok(())
}

/// Takes the claim away from whoever holds it, and empties the mailbox while nobody else is pushed anything.
async fn end_claim(services: &Services, key: Key, holder: Key) -> Result<(), Error> {
    let _lease = services.lease.guest();
    let at = services.lease.attachment(&key, rand::random()).await?;
    let session = Key::from_bytes(rand::random());
    let claim = |action| Op::Claim(mailbox_claim::Op { key, action });
    // By whatever way this ends, nobody holds it a second later.
    let let_go = claim(mailbox_claim::Action::Detach { session, connection: at.connection });
    let unsettled = services.lease.unsettled(Ending::new(at.incarnation, vec![let_go.clone()]));
    let lease_ms = CLAIM_REST_MS;
    let take = mailbox_claim::Action::Take { session, generation: None, at, lease_ms, seize: true };
    ask(services, claim(take)).await?;
    let all = mailbox::Action::Acknowledge { session, seq: u64::MAX };
    ask(services, Op::Mailbox(mailbox::Op { key, action: all })).await?;
    ask(services, let_go).await?;
    unsettled.settle();
    let id = Id::of(&holder);
    let wanted = Wanted { after: Some(id.key(0)), until: Some(id.last_key()), ..Wanted::of(Kind::Socket) };
    for item in list(services, wanted).await?.items.iter().filter(|item| item.key == holder) {
        end_socket(services, item).await?;
    }
    Ok(())
}

/// Sends its members away and throws its history away, but for one message that says nothing. A member whose connection is
/// lost just now stays for its grace.
async fn end_room(services: &Services, key: Key) -> Result<bool, Error> {
    let members = services.cluster.read_linearizable(query::RoomMembers(key)).await?;
    let mut ends =
        stream::iter(members).map(|member| send_away(services, key, member)).buffer_unordered(AT_ONCE);
    while let Some(done) = ends.next().await {
        done?;
    }
    let Some(view) = services.cluster.read_linearizable(query::Room(key)).await? else { return Ok(true) };
    if view.first <= view.last {
        let keep = Keep { count: 1, bytes: 0, age_ms: 0 };
        backend::publish(services, key, Bytes::from_static(NOTHING), keep).await?;
    }
    Ok(true)
}

async fn send_away(services: &Services, key: Key, member: Key) -> Result<(), Error> {
    let at = services.cluster.read_linearizable(query::RoomMember(key, member)).await?;
    let Some(at) = at else { return Ok(()) };
    let action = room::Action::Leave { member, connection: at.connection };
    ask(services, Op::Room(room::Op { key, action })).await.map(drop)
}

async fn end_invite_code(services: &Services, key: Key) -> Result<bool, Error> {
    let Some(peer) = services.cluster.read_linearizable(query::Peer(key)).await? else { return Ok(false) };
    let action = invite_code::Action::Withdraw { peer };
    ask(services, Op::Rendezvous(invite_code::Op { key, action })).await?;
    Ok(true)
}

/// Has the time of each of a user's devices be over.
async fn end_user(services: &Services, key: Key) -> Result<bool, Error> {
    let devices = services.cluster.read_linearizable(query::Devices(key)).await?;
    let is_known = !devices.is_empty();
    for device::Device { device_id, onion, port, .. } in devices {
        let action = device::Action::Register { device_id, onion, port, ttl_ms: 0 };
        ask(services, Op::Device(device::Op { key, action })).await?;
    }
    Ok(is_known)
}
