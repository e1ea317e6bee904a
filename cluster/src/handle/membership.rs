//! Who belongs to the cluster, who leads it, and how that is changed.

use std::collections::{BTreeMap, BTreeSet};

use super::status::{CellStatus, NodeInfo};
use super::{Change, Cluster, Inner, Majority, NodeStatus, STATUS_TIMEOUT, Status, admin};
use crate::raft::message::{self, kind};
use crate::raft::{MembershipError, Position, Role};
use crate::state::slot::CellId;
use crate::wire::{self, Lane};

impl Cluster {
    /// The members of the cluster and the state of each. Members that do not answer within half a second are listed as
    /// unreachable.
    pub async fn status(&self) -> Status {
        let inner = &self.inner;
        if let Some(status) = inner.status_once_removed() {
            return status;
        }
        let seats: BTreeMap<CellId, BTreeSet<u64>> =
            inner.topology.cells().into_iter().map(|cell| (cell, inner.topology.seats(cell).0)).collect();
        let nodes = inner.topology.everybody();
        let infos = nodes.into_iter().map(|(id, peer)| {
            let cell = seats.iter().find(|(_, voters)| voters.contains(&id)).map(|(cell, _)| cell.number());
            async move {
                let node = match inner.info_of(id, &peer).await {
                    Ok(info) => NodeStatus {
                        fault: inner.links.trouble(id),
                        ..NodeStatus::heard(id, peer, cell.is_some(), info)
                    },
                    Err(error) => NodeStatus::silent(id, peer, cell.is_some(), inner.why_silent(id, error)),
                };
                NodeStatus { cell, ..node }
            }
        });
        let nodes: Vec<NodeStatus> = futures_util::future::join_all(infos).await;
        let reached = |id| nodes.iter().any(|node| node.id == id && node.is_reachable());
        let cells: Vec<CellStatus> = seats
            .into_iter()
            .map(|(cell, voters)| {
                let (slots, moving) = inner.topology.held(cell);
                let lead = inner.topology.lead(cell).borrow().clone();
                CellStatus {
                    cell: cell.number(),
                    leader: lead.as_ref().map(|lead| lead.id),
                    term: lead.map_or(0, |lead| lead.term),
                    majority: Majority::of(voters.into_iter(), reached),
                    slots,
                    moving,
                }
            })
            .collect();
        let first = cells.iter().find(|cell| cell.cell == CellId::FIRST.number());
        let majority = first.map_or(Majority::of([].into_iter(), reached), |first| first.majority);
        let term = match self.leader() {
            Some(_) => first.map_or(0, |first| first.term),
            None if inner.node.cell() == Some(CellId::FIRST) => inner.node.position().term,
            None => 0,
        };
        Status { removed: false, majority, leader: self.leader(), term, cells, next_step: None, nodes }
    }

    /// What the leader of the first cell does next by itself; none if all is as it should be.
    pub async fn next_step(&self) -> Option<String> {
        if self.is_removed() {
            return None;
        }
        let plan = self.inner.topology.plan();
        self.inner.next_step(&plan).await.map(|step| step.to_string())
    }

    /// Adds a node that was started without first members, as a front; returns when it knows who is where.
    ///
    /// # Errors
    /// Refused if no node of this cluster answers at `peer` under `id`, if the id was removed before, if this node has an
    /// address that the new one can't reach, or if `peer` is not on loopback while the peer ports are open to strangers.
    pub async fn add(&self, id: u64, peer: String, change: Change) -> Result<(), MembershipError> {
        self.inner.administer(admin::Request::Add { id, peer, change }).await
    }

    /// Gives a front a seat: it becomes a voter once it has all entries.
    ///
    /// # Errors
    /// Unless forced, refused if the node does not answer, or if too few voters could be reached afterwards for a majority.
    pub async fn promote(&self, id: u64, change: Change) -> Result<(), MembershipError> {
        self.inner.administer(admin::Request::Promote { id, change }).await
    }

    /// Gives the seat of a member to a front, and removes the member then. A front is removed at once.
    ///
    /// # Errors
    /// Refused if no front answers, else as [`Cluster::promote`] and [`Cluster::remove`].
    pub async fn drain(&self, id: u64, change: Change) -> Result<(), MembershipError> {
        self.inner.administer(admin::Request::Drain { id, change }).await
    }

    /// Removes a node, with a seat or without. Its process goes on until it is stopped, but takes no part, and
    /// learns within about two seconds that it does not ([`Cluster::removed`]).
    ///
    /// # Errors
    /// Unless forced, refused if too few voters could be reached afterwards for a majority.
    pub async fn remove(&self, id: u64, change: Change) -> Result<(), MembershipError> {
        self.inner.administer(admin::Request::Remove { id, change }).await
    }

    /// Hands leadership to the voter `to`; returns when it leads.
    ///
    /// # Errors
    /// Refused if `to` is not a voter, or does not take over.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), MembershipError> {
        self.inner.administer(admin::Request::TransferLeader { to: Some(to) }).await
    }

    /// Hands leadership over, if this node leads and another voter can take it. Returns when that one leads; this node
    /// goes on serving.
    pub async fn hand_over(&self) {
        let inner = &self.inner;
        let (voters, _) = inner.node.members();
        if inner.node.leads() && voters.len() > 1 {
            match admin::transfer(&inner.node, None, &voters).await {
                Ok(()) => tracing::info!("handed leadership over"),
                Err(error) => tracing::warn!(%error, "could not hand leadership over"),
            }
        }
    }
}

/// Why a member said nothing of itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoInfo {
    /// The link has no answer.
    #[error("{0}")]
    Unheard(#[from] wire::Error),
    /// It answered, and with nothing.
    #[error("it does not know this node as a member")]
    Refused,
}

impl Inner {
    /// What a member says of itself.
    pub(super) async fn info_of(&self, id: u64, peer: &str) -> Result<NodeInfo, NoInfo> {
        if id == self.options.node_id {
            return Ok(self.info());
        }
        let op = message::bare(kind::STATUS);
        let reply = self.links.call(id, peer, Lane::Control, op, STATUS_TIMEOUT).await?;
        message::decode(&reply.header).map_err(|_| NoInfo::Refused)
    }

    /// Why a member does not say how it is.
    fn why_silent(&self, id: u64, error: NoInfo) -> String {
        match error {
            NoInfo::Refused if self.foundings.has(id) => {
                "it belongs to another cluster of this name".to_owned()
            }
            NoInfo::Refused => "it does not know this node as a member".to_owned(),
            NoInfo::Unheard(error) => self.links.trouble(id).unwrap_or_else(|| error.to_string()),
        }
    }

    pub(super) fn info(&self) -> NodeInfo {
        NodeInfo {
            http: self.options.http_url.clone(),
            admin: self.options.admin_url.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            position: self.position(),
            is_blank: self.node.is_blank(),
        }
    }

    fn position(&self) -> Position {
        let position = self.node.position();
        let role = match position.role {
            role if self.removal.is_known() && role != Role::Stopped => Role::Removed,
            // A node without a log is to Raft a learner of nobody.
            Role::Learner if !self.topology.is_seated() => Role::Front,
            role => role,
        };
        Position { role, ..position }
    }
}
