//! openraft's network, on top of the links: this node as a caller.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::disk_traits::Member;
use super::message::{self, kind};
use super::plausibility::Horizon;
use super::state_machine::{RaftSnapshot, SnapshotData};
use super::types::{
    TypeConfig, Vote, entry_to_disk, log_id_from_disk, log_id_to_disk, meta_to_disk, vote_from_disk,
    vote_to_disk,
};
use crate::state::slot::CellId;
use crate::wire::{Error, Frame, Lane, Links, Outgoing};

/// How long a peer may take over appended entries. openraft's own time is a hint only: a follower whose disk is
/// slow must be waited for, or it would be sent the same entries for ever.
const APPEND_STALL: Duration = Duration::from_secs(5);
/// How long a peer may take over one piece of a snapshot, the last of which it also installs.
const PIECE_STALL: Duration = Duration::from_secs(10);
const INSTALL_STALL: Duration = Duration::from_secs(60);
/// Bytes of one piece; one is on its way at a time.
const PIECE_BYTES: usize = 256 << 10;
/// The longest rest after a piece. The sender rests as long as the piece took, so that a snapshot has at most half of
/// what it shares with the log, on either side; but a slow way is not made much slower. Much less than half would
/// not do: while a snapshot is under way the log goes on, and it is cut again after twice the snapshot's length.
const REST_MAX: Duration = Duration::from_millis(50);

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

#[derive(Clone)]
pub(super) struct Network {
    pub(super) node_id: u64,
    pub(super) links: Links,
    pub(super) addresses: Addresses,
}

/// Where members are reached now: one that moved is called at its new address though it was called at another before.
/// Clones are the same. A std mutex: nothing awaits while it is held.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses(Arc<Mutex<BTreeMap<u64, Member>>>);

impl Addresses {
    /// Takes the members as the log has them last.
    pub(super) fn set(&self, members: BTreeMap<u64, Member>) {
        *self.0.lock().expect("nothing panics while this is held") = members;
    }

    fn of(&self, id: u64) -> Option<String> {
        let members = self.0.lock().expect("nothing panics while this is held");
        members.get(&id).map(|member| member.peer.clone())
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        let Member { peer: address, cell } = node.clone();
        Peer { network: self.clone(), id: target, address, cell, beats: Beats::default() }
    }
}

/// One peer, to be called.
pub(super) struct Peer {
    network: Network,
    id: u64,
    address: String,
    cell: CellId,
    beats: Beats,
}

/// Which way heartbeats go.
///
/// On a way that loses packets a heartbeat waits for all that was sent before it on its connection, and a loss or
/// three in a row are an election. One that got no answer in its time is therefore followed by one on another connection,
/// whose packets are lost independently.
#[derive(Debug, Default)]
struct Beats {
    aside: bool,
    unanswered: bool,
}

impl Beats {
    /// The lane of the next one, which is unanswered until [`Beats::answered`].
    fn next(&mut self) -> Lane {
        self.aside ^= self.unanswered;
        self.unanswered = true;
        if self.aside { Lane::Snapshot } else { Lane::Control }
    }

    fn answered(&mut self) {
        self.unanswered = false;
    }
}

impl Peer {
    async fn call<Request: Serialize, Reply: DeserializeOwned>(
        &self,
        lane: Lane,
        kind: u8,
        request: &Request,
        payload: Vec<Bytes>,
        time: Duration,
    ) -> Rpc<Reply> {
        let cell = self.cell.number();
        let outgoing = Outgoing { kind, cell, header: message::encode(request), payload };
        let moved = self.network.addresses.of(self.id);
        let address = moved.as_ref().unwrap_or(&self.address);
        let frame = self.network.links.call(self.id, address, lane, outgoing, time).await;
        let frame: Frame = frame.map_err(|error| self.failed(kind, time, error))?;
        if frame.kind != kind {
            return Err(RPCError::Unreachable(Unreachable::from_string(
                "the peer could not serve the request",
            )));
        }
        message::decode(&frame.header).map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
    }

    fn failed(&self, kind: u8, time: Duration, error: Error) -> RPCError<TypeConfig> {
        match error {
            Error::TimedOut => RPCError::Timeout(Timeout {
                action: if kind == kind::APPEND { RPCTypes::AppendEntries } else { RPCTypes::Vote },
                id: self.network.node_id,
                target: self.id,
                timeout: time,
            }),
            error => RPCError::Unreachable(Unreachable::new(&error)),
        }
    }

    async fn ballot(
        &self,
        kind: u8,
        rpc: VoteRequest<TypeConfig>,
        time: Duration,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        let ballot = message::Ballot {
            vote: vote_to_disk(&rpc.vote),
            last: rpc.last_log_id.as_ref().map(log_id_to_disk),
            transfer: rpc.leadership_transfer,
        };
        let reply: message::BallotReply = self.call(Lane::Control, kind, &ballot, Vec::new(), time).await?;
        Ok(VoteResponse {
            vote: heard(reply.vote, &rpc.vote)?,
            vote_granted: reply.granted,
            last_log_id: reply.last.map(log_id_from_disk),
        })
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: RaftSnapshot,
    ) -> Result<Vote, StreamingError<TypeConfig>> {
        let file = snapshot.snapshot;
        let meta = meta_to_disk(&snapshot.meta);
        let mut offset = 0;
        loop {
            let begun = Instant::now();
            let piece = file.read_at(offset, PIECE_BYTES).await.map_err(|error| {
                StreamingError::Unreachable(Unreachable::from_string(format!("snapshot unreadable: {error}")))
            })?;
            let next = offset + piece.len() as u64;
            let last = next >= file.len();
            let part = message::SnapshotPart {
                vote: vote_to_disk(&vote),
                meta: meta.clone(),
                offset,
                total: file.len(),
                last,
            };
            let time = if last { INSTALL_STALL } else { PIECE_STALL };
            let reply: message::SnapshotReply =
                self.call(Lane::Snapshot, kind::SNAPSHOT, &part, vec![piece], time).await?;
            match reply {
                message::SnapshotReply::More if !last => {
                    // Not before: to a peer that is away it is tried several times a second.
                    if offset == 0 {
                        tracing::info!(peer = self.id, bytes = file.len(), "sending a snapshot");
                    }
                    offset = next;
                }
                message::SnapshotReply::Done(theirs) => return Ok(heard(theirs, &vote)?),
                message::SnapshotReply::More | message::SnapshotReply::Restart => {
                    let error = Unreachable::from_string("the peer lost its place in the snapshot");
                    return Err(StreamingError::Unreachable(error));
                }
            }
            sleep(begun.elapsed().min(REST_MAX)).await;
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let beat = rpc.entries.is_empty();
        let (lane, time) = if beat {
            // All the time there is: openraft itself gives up on a heartbeat then, and this is not polled again.
            (self.beats.next(), option.hard_ttl())
        } else {
            (Lane::Bulk, APPEND_STALL)
        };
        let (entries, payload) = message::split(rpc.entries.iter().map(entry_to_disk).collect());
        let append = message::Append {
            vote: vote_to_disk(&rpc.vote),
            previous: rpc.prev_log_id.as_ref().map(log_id_to_disk),
            commit: rpc.leader_commit.as_ref().map(log_id_to_disk),
            entries,
        };
        let reply = self.call(lane, kind::APPEND, &append, payload, time).await?;
        if beat {
            self.beats.answered();
        }
        Ok(match reply {
            message::AppendReply::Success => AppendEntriesResponse::Success,
            message::AppendReply::Partial(id) => {
                AppendEntriesResponse::PartialSuccess(id.map(log_id_from_disk))
            }
            message::AppendReply::Conflict => AppendEntriesResponse::Conflict,
            message::AppendReply::HigherVote(vote) => {
                AppendEntriesResponse::HigherVote(heard(vote, &rpc.vote)?)
            }
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.ballot(kind::VOTE, rpc, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.ballot(kind::PRE_VOTE, rpc, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sending = pin!(self.send_snapshot(vote, snapshot));
        match select(sending, pin!(cancel)).await {
            Either::Left((sent, _)) => sent.map(SnapshotResponse::new),
            Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let transfer = message::Transfer {
            from: vote_to_disk(request.from_leader()),
            to: *request.to_node_id(),
            last: request.last_log_id().map(log_id_to_disk),
        };
        let time = option.soft_ttl();
        Ok(match self.call(Lane::Control, kind::TRANSFER, &transfer, Vec::new(), time).await? {
            message::TransferReply::Accepted => Ok(()),
            message::TransferReply::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged {
                    expected: vote_from_disk(expected),
                    actual: vote_from_disk(actual),
                })
            }
            message::TransferReply::LogNotFlushed { expected, actual } => {
                Err(TransferLeaderError::LogNotFlushed {
                    expected: expected.map(log_id_from_disk),
                    actual: actual.map(log_id_from_disk),
                })
            }
        })
    }
}

/// A vote that a peer answers with, unless its term is absurd: it would become this node's.
fn heard(vote: super::disk_traits::Vote, own: &Vote) -> Rpc<Vote> {
    let horizon = Horizon { term: own.leader_id.term, index: 0 };
    match horizon.vote(vote) {
        Ok(()) => Ok(vote_from_disk(vote)),
        Err(absurd) => {
            crate::wire::refused("absurd");
            Err(RPCError::Unreachable(Unreachable::from_string(format!("the peer's answer: {absurd}"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_without_an_answer_is_followed_by_one_on_another_way() {
        let mut beats = Beats::default();
        for _ in 0..3 {
            assert_eq!(beats.next(), Lane::Control);
            beats.answered();
        }
        assert_eq!([beats.next(), beats.next()], [Lane::Control, Lane::Snapshot]);
        beats.answered();
        assert_eq!(beats.next(), Lane::Snapshot, "the way that works is kept");
        assert_eq!(beats.next(), Lane::Control);
    }
}
