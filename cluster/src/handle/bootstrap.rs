//! How a node comes into its cluster: as one of the first members, as a learner added later, or back from a restart.
//!
//! A node id is bound to one disk for ever (`state::disk_binding`). A node that comes with an empty directory under an
//! id that the cluster already bound is refused, because the votes and entries it once promised to keep are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::founding::{Enrolled, Reply};
use super::table::Peers;
use super::{Draft, Error, Inner, Options, StartError};
use crate::raft::message::{self, kind};
use crate::state::command::Op;
use crate::state::disk_binding;
use crate::state::outcome::{Outcome, Refusal};
use crate::state::slot::CellId;
use crate::wire::{self, Lane, Links, Phase, Reason};

const ASK_EVERY: Duration = Duration::from_millis(100);
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// Waits until enough of the other first members say that they know no other disk under this node's id. If one of them
/// belongs to a cluster without this node, there would be two of one name.
///
/// The binding was committed on a majority, of which this node's lost disk may have been one; so a majority of
/// all must be asked besides this node, or all others where there are fewer.
pub(super) async fn ask_others(
    links: &Links,
    node_id: u64,
    storage: u128,
    members: &BTreeMap<u64, String>,
    seats: &Peers,
) -> Result<(), StartError> {
    let others: BTreeMap<u64, String> =
        members.iter().filter(|(id, _)| **id != node_id).map(|(id, at)| (*id, at.clone())).collect();
    let needed = (members.len() / 2 + 1).min(others.len());
    let mut clear = BTreeSet::new();
    let mut last_word = Instant::now();
    while clear.len() < needed {
        for (id, address) in &others {
            if clear.contains(id) {
                continue;
            }
            let request =
                message::of(kind::ENROLLED, &Enrolled { storage, seats: seats.keys().copied().collect() });
            let reply = match links.call(*id, address, Lane::Control, request, ASK_TIMEOUT).await {
                Ok(reply) => reply,
                Err(wire::Error::Refused(Reason::Reused)) => return Err(StartError::Reused(node_id)),
                Err(_) => continue,
            };
            match message::decode(&reply.header) {
                Ok(Reply::Reused) => return Err(StartError::Reused(node_id)),
                Ok(Reply::Stranger) => {
                    return Err(StartError::Stranger { node: node_id, peer: *id, address: address.clone() });
                }
                Ok(Reply::OtherSeats) => {
                    return Err(StartError::OtherSeats {
                        node: node_id,
                        peer: *id,
                        address: address.clone(),
                    });
                }
                Ok(Reply::Clear) => clear.insert(*id),
                // One that is about to start says nothing yet.
                Err(_) => continue,
            };
        }
        if clear.len() < needed {
            if last_word.elapsed() >= Duration::from_secs(5) {
                last_word = Instant::now();
                let missing = missing(links, &others, &clear);
                tracing::info!(heard = clear.len(), needed, missing, "waiting for the initial members");
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
    Ok(())
}

/// Who has not been heard of, where, and why.
fn missing(links: &Links, others: &BTreeMap<u64, String>, clear: &BTreeSet<u64>) -> String {
    let peers = links.peers();
    let missing = others.iter().filter(|(id, _)| !clear.contains(id)).map(|(id, address)| {
        let link = peers.iter().find(|link| link.peer == *id && link.lane == Lane::Control);
        let why = link.and_then(|link| link.fault.as_deref()).unwrap_or("no answer yet");
        format!("node {id} at {address} ({why})")
    });
    missing.collect::<Vec<_>>().join(", ")
}

/// Of the first members, those that found the cell, and those that begin as fronts: as many as the cell has replicas, the
/// lowest ids first. All of them are configured alike, and so decide alike.
pub(super) fn first_places(options: &Options) -> (Peers, Peers) {
    let mut members = options.members.iter().map(|(id, peer)| (*id, peer.clone()));
    (members.by_ref().take(options.replicas).collect(), members.collect())
}

/// Binds this node's id to its disk, as soon as there is a leader; fails if it is bound to another.
///
/// A node that came with a `blank` disk believes the others, too: those who know its id as bound to another disk speak
/// with it no more, so that it would not learn it from the log.
pub(super) async fn enroll(inner: &Inner, storage: u128, blank: bool) -> Result<(), StartError> {
    let node_id = inner.options.node_id;
    loop {
        match inner.topology.disk_of(node_id) {
            Some(bound) if bound == storage => return Ok(()),
            Some(_) => return Err(StartError::Reused(node_id)),
            None if blank && is_told_reused(inner) => return Err(StartError::Reused(node_id)),
            None if inner.removal.is_known() => return Err(StartError::Removed(node_id)),
            None => {}
        }
        let op = Op::NodeIdentity(disk_binding::Op::Enroll { node: node_id, storage });
        match inner.propose_in(CellId::FIRST, Draft::of(op)).await {
            Ok(answer) => match answer.outcome {
                Ok(Outcome::NodeIdentity(disk_binding::Outcome::Enrolled)) => return Ok(()),
                Err(Refusal::NodeIdentity(disk_binding::Refusal::Reused)) => {
                    return Err(StartError::Reused(node_id));
                }
                Ok(_) | Err(_) => {}
            },
            Err(Error::ShuttingDown) => return Ok(()),
            Err(Error::NoLeader | Error::Overloaded | Error::Behind) => {}
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Whether somebody whose word counts knows this node's id as bound to another disk: a member that it called; or, as long as
/// it knows of no members and calls nobody, whoever called it.
fn is_told_reused(inner: &Inner) -> bool {
    let refused = Phase::Waiting(Some(Reason::Reused));
    inner.links.peers().iter().any(|link| link.phase == refused)
        || (inner.is_joining() && inner.links.was_told_reused())
}
