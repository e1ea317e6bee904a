//! Raft's requests from peers, served: this node as the called one.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use openraft::Snapshot;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, VoteRequest,
};
use tokio::sync::Mutex;

use super::disk_traits::{LogId, SnapshotDisk, SnapshotMeta, SnapshotSink};
use super::message::{self, Malformed, kind};
use super::plausibility::{Absurd, Horizon};
use super::refusal_log::{Refusal, Refusals};
use super::state_machine::Machine;
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
    #[error(transparent)]
    Absurd(#[from] Absurd),
    #[error(
        "a snapshot of {total} bytes is more than the {bytes_max} that storage.bytes_max allows here; all nodes need the same"
    )]
    TooLarge { total: u64, bytes_max: u64 },
    #[error("raft: {0}")]
    Raft(String),
    #[error("disk: {0}")]
    Disk(#[from] std::io::Error),
}

impl Failure {
    fn refusal(&self) -> Refusal {
        match self {
            Failure::Malformed(_) => Refusal::Malformed,
            Failure::Absurd(_) => Refusal::Absurd,
            Failure::TooLarge { .. } => Refusal::TooLarge,
            Failure::Raft(_) | Failure::Disk(_) => Refusal::Failed,
        }
    }
}

/// Serves the requests whose kinds Raft owns.
#[derive(Clone)]
pub(super) struct Served {
    raft: Raft,
    snapshots: Arc<dyn SnapshotDisk>,
    /// The one snapshot that is on its way here. A tokio mutex: pieces are written to disk while it is held.
    receiving: Arc<Mutex<Option<Receiving>>>,
    /// Bytes of a snapshot that is taken from a peer.
    snapshot_bytes_max: u64,
    refusals: Arc<Refusals>,
}

struct Receiving {
    meta: SnapshotMeta,
    /// How many bytes the sender said there are.
    total: u64,
    written: u64,
    sink: Box<dyn SnapshotSink>,
}

impl Served {
    pub(super) fn new(
        raft: Raft,
        snapshots: Arc<dyn SnapshotDisk>,
        snapshot_bytes_max: u64,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self { raft, snapshots, receiving: Arc::default(), snapshot_bytes_max, refusals }
    }

    /// What this node knows, for judging what a peer says.
    fn horizon(&self) -> Horizon {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Horizon { term: metrics.current_term, index: metrics.last_log_index.unwrap_or(0) }
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
        let refusals = self.refusals.clone();
        Some(Box::pin(async move {
            reply.await.unwrap_or_else(|failure| {
                refusals.note(from, kind, failure.refusal(), &failure);
                message::bare(kind::FAILED)
            })
        }))
    }

    async fn append(self, frame: Frame) -> Result<Outgoing, Failure> {
        let append: message::Append = message::decode(&frame.header)?;
        let horizon = self.horizon();
        horizon.vote(append.vote)?;
        horizon.id(append.previous)?;
        horizon.id(append.commit)?;
        let records = message::join(append.entries, frame.kept_payload())?;
        follow_each_other(append.previous, records.iter().map(|record| record.id), append.vote.term)?;
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
        Ok(message::of(kind::APPEND, &reply))
    }

    async fn ballot(self, frame: Frame) -> Result<Outgoing, Failure> {
        let ballot: message::Ballot = message::decode(&frame.header)?;
        let horizon = self.horizon();
        horizon.vote(ballot.vote)?;
        horizon.id(ballot.last)?;
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
        Ok(message::of(frame.kind, &reply))
    }

    async fn snapshot(self, frame: Frame) -> Result<Outgoing, Failure> {
        let part: message::SnapshotPart = message::decode(&frame.header)?;
        let horizon = self.horizon();
        horizon.vote(part.vote)?;
        horizon.id(part.meta.last)?;
        horizon.id(part.meta.membership_at)?;
        if part.total > self.snapshot_bytes_max {
            return Err(Failure::TooLarge { total: part.total, bytes_max: self.snapshot_bytes_max });
        }
        let end = part.offset.checked_add(frame.payload.len() as u64).ok_or(Malformed)?;
        if end > part.total || part.last != (end == part.total) {
            return Err(Malformed.into());
        }
        let mut receiving = self.receiving.lock().await;
        if part.offset == 0 {
            let sink = self.snapshots.receive(part.meta.clone()).await?;
            *receiving = Some(Receiving { meta: part.meta.clone(), total: part.total, written: 0, sink });
        }
        let expected = receiving
            .as_ref()
            .is_some_and(|it| (&it.meta, it.total, it.written) == (&part.meta, part.total, part.offset));
        let Some(mut place) = receiving.take().filter(|_| expected) else {
            return Ok(message::of(kind::SNAPSHOT, &message::SnapshotReply::Restart));
        };
        place.written += frame.payload.len() as u64;
        place.sink.write(frame.payload).await?;
        if !part.last {
            *receiving = Some(place);
            return Ok(message::of(kind::SNAPSHOT, &message::SnapshotReply::More));
        }
        let file = place.sink.finish().await?;
        let snapshot = Snapshot { meta: meta_from_disk(&place.meta)?, snapshot: file };
        let installed = self
            .raft
            .install_full_snapshot(vote_from_disk(part.vote), snapshot)
            .await
            .map_err(raft_failure)?;
        tracing::info!(bytes = place.written, "a snapshot was installed");
        Ok(message::of(kind::SNAPSHOT, &message::SnapshotReply::Done(vote_to_disk(&installed.vote))))
    }

    async fn transfer(self, frame: Frame) -> Result<Outgoing, Failure> {
        let transfer: message::Transfer = message::decode(&frame.header)?;
        let horizon = self.horizon();
        horizon.vote(transfer.from)?;
        horizon.id(transfer.last)?;
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
        Ok(message::of(kind::TRANSFER, &reply))
    }
}

/// Whether entries follow `previous` and each other without a gap, in terms that never fall nor exceed their leader's.
fn follow_each_other(
    previous: Option<LogId>,
    entries: impl Iterator<Item = LogId>,
    term_max: u64,
) -> Result<(), Malformed> {
    let mut before = previous;
    for id in entries {
        let expected = before.map_or(0, |before| before.index + 1);
        let least = before.map_or(0, |before| before.term);
        if id.index != expected || id.term < least || id.term > term_max {
            return Err(Malformed);
        }
        before = Some(id);
    }
    Ok(())
}

fn raft_failure(error: impl std::fmt::Display) -> Failure {
    Failure::Raft(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term, index }
    }

    fn follow(previous: Option<LogId>, entries: &[LogId]) -> bool {
        follow_each_other(previous, entries.iter().copied(), 5).is_ok()
    }

    #[test]
    fn entries_of_one_message_follow_each_other() {
        assert!(follow(None, &[]) && follow(Some(id(3, 9)), &[]));
        assert!(follow(None, &[id(0, 0), id(1, 1), id(5, 2)]));
        assert!(follow(Some(id(3, 9)), &[id(3, 10), id(4, 11)]));
        for entries in [
            &[id(3, 9)][..],
            &[id(3, 11)],
            &[id(2, 10)],
            &[id(6, 10)],
            &[id(3, 10), id(3, 12)],
            &[id(4, 10), id(3, 11)],
            &[id(u64::MAX, u64::MAX)],
        ] {
            assert!(!follow(Some(id(3, 9)), entries), "{entries:?}");
        }
        assert!(!follow(None, &[id(1, 1)]));
    }
}
