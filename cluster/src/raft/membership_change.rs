//! Who belongs to the cluster, and changes of that.

use std::collections::{BTreeMap, BTreeSet};

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardToLeader, RaftError};

use super::disk_traits::Member;
use super::node::Node;

/// Why a change of members or of leadership did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum MembershipError {
    /// Nobody leads, this node leads no more, or the leader did not answer in time.
    #[error(
        "no leader is known of the first cell, or of the one that is concerned: `conclave cluster status` shows which"
    )]
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
    /// Not done in time; what is done so far stays, and asking again goes on from there.
    #[error("{0}")]
    Late(String),
}

impl Node {
    /// Adds a learner that is reached there.
    pub async fn add_learner(&self, id: u64, peer: String) -> Result<(), MembershipError> {
        let member = self.member_at(peer)?;
        self.raft.add_learner(id, member, true).await.map(drop).map_err(membership_error)
    }

    /// Makes the voters exactly these.
    pub async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), MembershipError> {
        self.raft.change_membership(voters, false).await.map(drop).map_err(membership_error)
    }

    /// Forgets a learner.
    pub async fn remove_learner(&self, id: u64) -> Result<(), MembershipError> {
        let change = openraft::ChangeMembers::RemoveNodes([id].into());
        self.raft.change_membership(change, false).await.map(drop).map_err(membership_error)
    }

    /// Whether `id` is a member: by the last change of members in this node's log, or by the last that is applied. A leader
    /// that leaves is one until its followers apply that it left; they learn from it that this is committed.
    pub fn knows(&self, id: u64) -> bool {
        self.is_latest_member(id) || self.replica().has_member(id)
    }

    /// Whether this node is a member, by the last change of members in its log.
    pub fn belongs(&self) -> bool {
        self.is_latest_member(self.id)
    }

    /// Whether this node never was a member of anything: there is no entry in its log.
    pub fn is_blank(&self) -> bool {
        self.last_log_id().is_none()
    }

    /// Whether this node is a voter, by the last change of members in its log.
    pub fn votes(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.voter_ids().any(|voter| voter == self.id)
    }

    /// Whether this node is a voter by the last change of members that it applied, which no later leader undoes.
    pub fn votes_for_good(&self) -> bool {
        self.replica().has_voter(self.id)
    }

    fn is_latest_member(&self, id: u64) -> bool {
        let metrics = self.raft.metrics();
        metrics.borrow_watched().membership_config.get_node(&id).is_some()
    }

    /// The voters, and everybody's address.
    pub fn members(&self) -> (BTreeSet<u64>, BTreeMap<u64, Member>) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let nodes = membership.nodes().map(|(id, member)| (*id, member.clone())).collect();
        (membership.voter_ids().collect(), nodes)
    }

    /// The voters by the last change of members that was applied, their addresses, and the index of that change.
    pub fn applied_voters(&self) -> (u64, BTreeMap<u64, String>) {
        let meta = self.replica().meta();
        let is_voter = |id: &u64| meta.membership.voters.iter().any(|voters| voters.contains(id));
        let voters = meta.membership.nodes.into_iter().filter(|(id, _)| is_voter(id));
        let voters = voters.map(|(id, member)| (id, member.peer)).collect();
        (meta.membership_at.map_or(0, |at| at.index), voters)
    }

    /// The address of a member.
    pub fn address_of(&self, id: u64) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.get_node(&id).map(|member| member.peer.clone())
    }

    /// Makes this the address of a known member.
    pub async fn set_address(&self, id: u64, peer: String) -> Result<(), MembershipError> {
        let member = self.member_at(peer)?;
        let change = openraft::ChangeMembers::SetNodes([(id, member)].into());
        self.raft.change_membership(change, true).await.map(drop).map_err(membership_error)
    }

    fn member_at(&self, peer: String) -> Result<Member, MembershipError> {
        Ok(Member::new(peer, self.cell().ok_or(MembershipError::NoLeader)?))
    }

    /// How many entries a member lacks, by what this node, the leader, heard of it; `None` if this node does not lead.
    /// A member that was not heard of lacks all of them.
    pub fn lacking(&self, id: u64) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.map_or(0, |last| last + 1);
        if id == self.id {
            return (metrics.state == openraft::ServerState::Leader).then_some(0);
        }
        let matched = metrics.replication.as_ref()?.get(&id).and_then(|matched| matched.as_ref());
        Some(last - matched.map_or(0, |matched| matched.index() + 1).min(last))
    }

    /// The voter that is the furthest along besides this node, if this node leads.
    pub fn best_successor(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        replication
            .iter()
            .filter(|(id, _)| **id != self.id && voters.contains(id))
            .max_by_key(|(_, matched)| matched.as_ref().map(|id| id.index()))
            .map(|(id, _)| *id)
    }
}

fn membership_error(
    error: RaftError<super::types::TypeConfig, ClientWriteError<super::types::TypeConfig>>,
) -> MembershipError {
    use openraft::errors::ChangeMembershipError as Change;
    match error {
        RaftError::APIError(
            ClientWriteError::ForwardToLeader(ForwardToLeader { .. })
            | ClientWriteError::LogEntryDiscarded(_),
        )
        | RaftError::Fatal(_) => MembershipError::NoLeader,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(Change::InProgress(_))) => {
            MembershipError::Busy
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(Change::LearnerNotFound(missing))) => {
            MembershipError::UnknownNode(missing.node_id)
        }
        RaftError::APIError(error) => MembershipError::Refused(error.to_string()),
    }
}
