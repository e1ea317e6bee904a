//! openraft's type parameters, and the way between its structs and ours.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use openraft::type_config::alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use openraft::vote::leader_id_std;

use super::disk_traits;
use super::seeded_runtime::Runtime;
use crate::state::codec;
use crate::state::command::Proposal;
use crate::state::outcome::Answer;

openraft::declare_raft_types!(
    /// Raft, as this crate uses it.
    pub(super) TypeConfig:
        D = Batch,
        R = Answers,
        NodeId = u64,
        Node = disk_traits::Member,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

pub(super) type LogId = LogIdOf<TypeConfig>;
pub(super) type Vote = VoteOf<TypeConfig>;
pub(super) type Entry = EntryOf<TypeConfig>;
pub(super) type Membership = openraft::Membership<u64, disk_traits::Member>;
pub(super) type StoredMembership = StoredMembershipOf<TypeConfig>;
pub(super) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;

impl fmt::Display for disk_traits::Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.peer)
    }
}

/// A proposal inside an entry: encoded once where it is made, decoded at most once where it is applied.
#[derive(Clone)]
pub(super) struct Batch {
    header: Bytes,
    bodies: Vec<Bytes>,
    decoded: Arc<Mutex<Option<Proposal>>>,
}

impl Batch {
    /// Encodes a proposal. It stays at hand for the apply on this node.
    pub(super) fn new(proposal: Proposal) -> Self {
        let encoded = proposal.encode();
        Self {
            header: encoded.header.into(),
            bodies: encoded.bodies,
            decoded: Arc::new(Mutex::new(Some(proposal))),
        }
    }

    /// Takes the bytes of a proposal as they came from a link or a disk.
    pub(super) fn from_parts(header: Bytes, bodies: Vec<Bytes>) -> Self {
        Self { header, bodies, decoded: Arc::default() }
    }

    /// How many bytes.
    pub(super) fn size(&self) -> usize {
        self.header.len() + self.bodies.iter().map(Bytes::len).sum::<usize>()
    }

    /// The proposal, to be applied.
    pub(super) fn proposal(&self) -> Result<Proposal, codec::Error> {
        let kept = self.decoded.lock().expect("nothing panics while this is held").take();
        match kept {
            Some(proposal) => Ok(proposal),
            None => Proposal::decode(&self.header, join(&self.bodies)),
        }
    }
}

/// One buffer of many slices; without a copy if there is only one.
pub(super) fn join(slices: &[Bytes]) -> Bytes {
    match slices {
        [] => Bytes::new(),
        [only] => only.clone(),
        many => many.concat().into(),
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} bytes)", self.size())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The answers to a proposal's commands, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers(pub(super) Vec<Answer>);

pub(super) fn log_id_to_disk(id: &LogId) -> disk_traits::LogId {
    disk_traits::LogId { term: id.committed_leader_id().term, index: id.index() }
}

pub(super) fn log_id_from_disk(id: disk_traits::LogId) -> LogId {
    LogId::new(leader_id_std::CommittedLeaderId::new(id.term), id.index)
}

pub(super) fn vote_to_disk(vote: &Vote) -> disk_traits::Vote {
    disk_traits::Vote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
}

pub(super) fn vote_from_disk(vote: disk_traits::Vote) -> Vote {
    Vote {
        leader_id: leader_id_std::LeaderId { term: vote.term, voted_for: vote.node },
        committed: vote.committed,
    }
}

pub(super) fn membership_to_disk(membership: &Membership) -> disk_traits::Membership {
    disk_traits::Membership {
        voters: membership.get_joint_config().iter().map(|set| set.iter().copied().collect()).collect(),
        nodes: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
    }
}

/// Fails on a membership that names a voter without an address, as no sound disk or peer does.
pub(super) fn membership_from_disk(membership: disk_traits::Membership) -> std::io::Result<Membership> {
    let voters: Vec<BTreeSet<u64>> =
        membership.voters.into_iter().map(|set| set.into_iter().collect()).collect();
    if voters.is_empty() && membership.nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(voters, membership.nodes)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string()))
}

pub(super) fn entry_to_disk(entry: &Entry) -> disk_traits::Record {
    let payload = match &entry.payload {
        openraft::EntryPayload::Blank => disk_traits::Payload::Blank,
        openraft::EntryPayload::Membership(membership) => {
            disk_traits::Payload::Membership(membership_to_disk(membership))
        }
        openraft::EntryPayload::Normal(batch) => {
            disk_traits::Payload::Proposal { header: batch.header.clone(), bodies: batch.bodies.clone() }
        }
    };
    disk_traits::Record { id: log_id_to_disk(&entry.log_id), payload }
}

pub(super) fn entry_from_disk(record: disk_traits::Record) -> std::io::Result<Entry> {
    let payload = match record.payload {
        disk_traits::Payload::Blank => openraft::EntryPayload::Blank,
        disk_traits::Payload::Membership(membership) => {
            openraft::EntryPayload::Membership(membership_from_disk(membership)?)
        }
        disk_traits::Payload::Proposal { header, bodies } => {
            openraft::EntryPayload::Normal(Batch::from_parts(header, bodies))
        }
    };
    Ok(Entry { log_id: log_id_from_disk(record.id), payload })
}

pub(super) fn meta_to_disk(meta: &SnapshotMeta) -> disk_traits::SnapshotMeta {
    disk_traits::SnapshotMeta {
        last: meta.last_log_id.as_ref().map(log_id_to_disk),
        membership_at: meta.last_membership.log_id().as_ref().map(log_id_to_disk),
        membership: membership_to_disk(meta.last_membership.membership()),
    }
}

pub(super) fn meta_from_disk(meta: &disk_traits::SnapshotMeta) -> std::io::Result<SnapshotMeta> {
    Ok(SnapshotMeta {
        last_log_id: meta.last.map(log_id_from_disk),
        last_membership: StoredMembership::new(
            meta.membership_at.map(log_id_from_disk),
            membership_from_disk(meta.membership.clone())?,
        ),
    })
}
