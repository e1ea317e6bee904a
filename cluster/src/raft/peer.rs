//! Raft's requests from peers, served: this node as the called one.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use openraft::Snapshot;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, VoteRequest,
};
use serde::Serialize;
use tokio::sync::Mutex;

use super::disk::{SnapshotDisk, SnapshotMeta, SnapshotSink};
use super::machine::Machine;
use super::message::{self, Malformed, kind};
use super::types::{
    TypeConfig, entry_from_disk, log_id_from_disk, log_id_to_disk, meta_from_disk, vote_from_disk,
    vote_to_disk,
};
use crate::wire::{Frame, Outgoing};

pub(super) type Raft = openraft::Raft<TypeConfig, Machine>;

/// Why a peer gets no proper reply; it will ask again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("raft: {0}")]
    Raft(String),
    #[error("disk: {0}")]
    Disk(#[from] std::io::Error),
}

/// Serves the requests whose kinds Raft owns.
#[derive(Clone)]
pub(super) struct Served {
    raft: Raft,
    snapshots: Arc<dyn SnapshotDisk>,
    /// The one snapshot that is on its way here. A tokio mutex: pieces are written to disk while it is held.
    receiving: Arc<Mutex<Option<Receiving>>>,
}

struct Receiving {
    meta: SnapshotMeta,
    written: u64,
    sink: Box<dyn SnapshotSink>,
}

impl Served {
    pub(super) fn new(raft: Raft, snapshots: Arc<dyn SnapshotDisk>) -> Self {
        Self { raft, snapshots, receiving: Arc::default() }
    }

    /// The reply to a frame, or nothing if the kind is not Raft's.
    pub(super) fn serve(&self, from: u64, frame: Frame) -> Option<BoxFuture<'static, Outgoing>> {
        let this = self.clone();
        let kind = frame.kind;
        let reply: BoxFuture<'static, Result<Outgoing, Failure>> = match kind {
            kind::APPEND => Box::pin(async move { this.append(frame).await }),
            kind::VOTE | kind::PRE_VOTE => Box::pin(async move { this.ballot(frame).await }),
            kind::SNAPSHOT => Box::pin(async move { this.snapshot(frame).await }),
            kind::TRANSFER => Box::pin(async move { this.transfer(frame).await }),
            _ => return None,
        };
        Some(Box::pin(async move {
            reply.await.unwrap_or_else(|failure| {
                tracing::warn!(peer = from, kind, error = %failure, "a peer's request could not be served");
                Outgoing { kind: kind::FAILED, group: 0, header: Vec::new(), payload: Vec::new() }
            })
        }))
    }

    async fn append(self, frame: Frame) -> Result<Outgoing, Failure> {
        let append: message::Append = message::decode(&frame.header)?;
        let records = message::join(append.entries, frame.payload)?;
        let request = AppendEntriesRequest {
            vote: vote_from_disk(append.vote),
            prev_log_id: append.previous.map(log_id_from_disk),
            entries: records.into_iter().map(entry_from_disk).collect::<std::io::Result<_>>()?,
            leader_commit: append.commit.map(log_id_from_disk),
        };
        let reply = match self.raft.append_entries(request).await.map_err(raft_failure)? {
            AppendEntriesResponse::Success => message::AppendReply::Success,
            AppendEntriesResponse::PartialSuccess(id) => {
                message::AppendReply::Partial(id.as_ref().map(log_id_to_disk))
            }
            AppendEntriesResponse::Conflict => message::AppendReply::Conflict,
            AppendEntriesResponse::HigherVote(vote) => message::AppendReply::HigherVote(vote_to_disk(&vote)),
        };
        Ok(outgoing(kind::APPEND, &reply))
    }

    async fn ballot(self, frame: Frame) -> Result<Outgoing, Failure> {
        let ballot: message::Ballot = message::decode(&frame.header)?;
        let request = VoteRequest {
            vote: vote_from_disk(ballot.vote),
            last_log_id: ballot.last.map(log_id_from_disk),
            leadership_transfer: ballot.transfer,
        };
        let reply = if frame.kind == kind::VOTE {
            self.raft.vote(request).await
        } else {
            self.raft.pre_vote(request).await
        };
        let reply = reply.map_err(raft_failure)?;
        let reply = message::BallotReply {
            vote: vote_to_disk(&reply.vote),
            granted: reply.vote_granted,
            last: reply.last_log_id.as_ref().map(log_id_to_disk),
        };
        Ok(outgoing(frame.kind, &reply))
    }

    async fn snapshot(self, frame: Frame) -> Result<Outgoing, Failure> {
        let part: message::SnapshotPart = message::decode(&frame.header)?;
        let mut receiving = self.receiving.lock().await;
        if part.offset == 0 {
            let sink = self.snapshots.receive(part.meta.clone()).await?;
            *receiving = Some(Receiving { meta: part.meta.clone(), written: 0, sink });
        }
        let expected = receiving.as_ref().is_some_and(|it| it.meta == part.meta && it.written == part.offset);
        let Some(mut place) = receiving.take().filter(|_| expected) else {
            return Ok(outgoing(kind::SNAPSHOT, &message::SnapshotReply::Restart));
        };
        place.written += frame.payload.len() as u64;
        place.sink.write(frame.payload).await?;
        if !part.last {
            *receiving = Some(place);
            return Ok(outgoing(kind::SNAPSHOT, &message::SnapshotReply::More));
        }
        let file = place.sink.finish().await?;
        let snapshot = Snapshot { meta: meta_from_disk(&place.meta)?, snapshot: file };
        let installed = self
            .raft
            .install_full_snapshot(vote_from_disk(part.vote), snapshot)
            .await
            .map_err(raft_failure)?;
        tracing::info!(bytes = place.written, "a snapshot was installed");
        Ok(outgoing(kind::SNAPSHOT, &message::SnapshotReply::Done(vote_to_disk(&installed.vote))))
    }

    async fn transfer(self, frame: Frame) -> Result<Outgoing, Failure> {
        let transfer: message::Transfer = message::decode(&frame.header)?;
        let request = TransferLeaderRequest::new(
            vote_from_disk(transfer.from),
            transfer.to,
            transfer.last.map(log_id_from_disk),
        );
        let reply = match self.raft.handle_transfer_leader(request).await.map_err(raft_failure)? {
            Ok(()) => message::TransferReply::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                message::TransferReply::VoteChanged {
                    expected: vote_to_disk(&expected),
                    actual: vote_to_disk(&actual),
                }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                message::TransferReply::LogNotFlushed {
                    expected: expected.as_ref().map(log_id_to_disk),
                    actual: actual.as_ref().map(log_id_to_disk),
                }
            }
        };
        Ok(outgoing(kind::TRANSFER, &reply))
    }
}

pub(super) fn outgoing<T: Serialize>(kind: u8, reply: &T) -> Outgoing {
    Outgoing { kind, group: 0, header: message::encode(reply), payload: Vec::new() }
}

fn raft_failure(error: impl std::fmt::Display) -> Failure {
    Failure::Raft(error.to_string())
}
