//! Changes of members and of leadership, carried out by whoever leads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Inner;
use crate::raft::disk::Member;
use crate::raft::message::{self, kind};
use crate::raft::{MembershipError, Node};
use crate::wire::{Lane, Outgoing};

/// Why a change of members was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AdminError {
    /// Nobody leads, or the leader did not answer in time.
    #[error("no leader is known")]
    NoLeader,
    /// The node is no member.
    #[error("node {0} is not a member")]
    UnknownNode(u64),
    /// Another change is under way.
    #[error("another change of members is under way")]
    Busy,
    /// The change makes no sense, or Raft refuses it.
    #[error("{0}")]
    Refused(String),
}

impl From<MembershipError> for AdminError {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::NotLeader => Self::NoLeader,
            MembershipError::UnknownNode(id) => Self::UnknownNode(id),
            MembershipError::Busy => Self::Busy,
            MembershipError::Refused(why) => Self::Refused(why),
        }
    }
}

/// What an operator may ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Request {
    Add { id: u64, peer: String },
    Promote { id: u64 },
    Remove { id: u64 },
    TransferLeader { to: Option<u64> },
}

/// A learner may have gigabytes to catch up with.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(120);
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);

impl Inner {
    /// Carries a request out here if this node leads, else has the leader do it.
    pub(super) async fn administer(&self, request: Request) -> Result<(), AdminError> {
        let lead = self.node.lead().borrow().clone().ok_or(AdminError::NoLeader)?;
        if lead.local {
            return carry_out(&self.node, request).await;
        }
        let frame =
            Outgoing { kind: kind::ADMIN, group: 0, header: message::encode(&request), payload: Vec::new() };
        let reply = self.links.call(lead.id, &lead.address, Lane::Control, frame, CHANGE_TIMEOUT).await;
        let reply = reply.map_err(|_| AdminError::NoLeader)?;
        message::decode::<Result<(), AdminError>>(&reply.header).unwrap_or(Err(AdminError::NoLeader))
    }
}

pub(super) async fn serve(inner: Arc<Inner>, header: &[u8]) -> Outgoing {
    let done = match message::decode::<Request>(header) {
        Ok(request) => carry_out(&inner.node, request).await,
        Err(error) => Err(AdminError::Refused(error.to_string())),
    };
    Outgoing { kind: kind::ADMIN, group: 0, header: message::encode(&done), payload: Vec::new() }
}

async fn carry_out(node: &Node, request: Request) -> Result<(), AdminError> {
    let (voters, nodes) = node.members();
    let known = |id: u64| nodes.contains_key(&id).then_some(id).ok_or(AdminError::UnknownNode(id));
    match request {
        Request::Add { id, peer } => match nodes.get(&id) {
            Some(member) if member.peer != peer => Err(AdminError::Refused(format!(
                "node {id} is a member at {}; remove it first, or choose a fresh id",
                member.peer
            ))),
            Some(_) => Ok(()),
            None => Ok(node.add_learner(id, Member { peer }).await?),
        },
        Request::Promote { id } => {
            let voters: BTreeSet<u64> = voters.into_iter().chain([known(id)?]).collect();
            Ok(node.set_voters(voters).await?)
        }
        Request::Remove { id } => {
            known(id)?;
            if !voters.contains(&id) {
                return Ok(node.remove_learner(id).await?);
            }
            let rest: BTreeSet<u64> = voters.into_iter().filter(|voter| *voter != id).collect();
            if rest.is_empty() {
                return Err(AdminError::Refused("the last voter cannot be removed".to_owned()));
            }
            Ok(node.set_voters(rest).await?)
        }
        Request::TransferLeader { to } => transfer(node, to, &voters).await,
    }
}

/// Hands leadership to `to`, or to the voter that is the furthest along, and waits until it is there.
pub(super) async fn transfer(node: &Node, to: Option<u64>, voters: &BTreeSet<u64>) -> Result<(), AdminError> {
    let to = to.or_else(|| node.best_successor());
    let to = to.ok_or_else(|| AdminError::Refused("there is nobody to hand leadership to".to_owned()))?;
    if !voters.contains(&to) {
        return Err(AdminError::UnknownNode(to));
    }
    let mut lead = node.lead();
    node.transfer_leader(to).await.map_err(|_| AdminError::NoLeader)?;
    let arrived = lead.wait_for(|lead| lead.as_ref().is_some_and(|lead| lead.id == to));
    match tokio::time::timeout(TRANSFER_TIMEOUT, arrived).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(AdminError::Refused(format!("node {to} did not take over in time"))),
    }
}
