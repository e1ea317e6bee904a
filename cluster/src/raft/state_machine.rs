//! openraft's state machine, on top of [`Replica`] and a [`SnapshotDisk`].

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, Snapshot};

use super::applied_state::Replica;
use super::disk_traits::{SnapshotDisk, SnapshotFile};
use super::log_storage::Log;
use super::types::{
    Answers, LogId, SnapshotMeta, StoredMembership, TypeConfig, log_id_from_disk, log_id_to_disk,
    membership_from_disk, membership_to_disk, meta_from_disk, meta_to_disk,
};
use crate::state::State;

/// A snapshot as openraft passes it around: a handle, never the bytes.
pub(super) type SnapshotData = Arc<dyn SnapshotFile>;
pub(super) type RaftSnapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

pub(super) struct Machine {
    replica: Arc<Replica>,
    snapshots: Arc<dyn SnapshotDisk>,
    log: Log,
}

impl Machine {
    pub(super) fn new(replica: Arc<Replica>, snapshots: Arc<dyn SnapshotDisk>, log: Log) -> Self {
        Self { replica, snapshots, log }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let meta = self.replica.meta();
        let membership = membership_from_disk(meta.membership)?;
        let stored = StoredMembership::new(meta.membership_at.map(log_id_from_disk), membership);
        Ok((meta.last.map(log_id_from_disk), stored))
    }

    async fn apply<Entries>(&mut self, mut entries: Entries) -> io::Result<()>
    where
        Entries: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let (proposal, membership) = match &entry.payload {
                EntryPayload::Blank => (None, None),
                EntryPayload::Membership(membership) => (None, Some(membership_to_disk(membership))),
                EntryPayload::Normal(batch) => {
                    // A committed entry that cannot be read means a damaged log or a newer format: this node
                    // must stop rather than skip it.
                    let proposal = batch
                        .proposal()
                        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                    (Some(proposal), None)
                }
            };
            let answers = self.replica.apply(log_id_to_disk(&entry.log_id), proposal, membership);
            if let Some(responder) = responder {
                responder.send(Answers(answers));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.log.snapshot_taken();
        Builder { replica: self.replica.clone(), snapshots: self.snapshots.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let state = read_state(&snapshot).await?;
        self.snapshots.install(snapshot).await?;
        let replaced = self.replica.install(state, meta_to_disk(meta));
        self.snapshots.discard(Box::new(replaced));
        self.log.snapshot_taken();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        self.snapshots.current().map(wrap).transpose()
    }
}

/// Writes a frozen view to the disk while apply goes on.
pub(super) struct Builder {
    replica: Arc<Replica>,
    snapshots: Arc<dyn SnapshotDisk>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let (state, meta) = self.replica.freeze();
        let begun = tokio::time::Instant::now();
        let file = self
            .snapshots
            .create(
                meta,
                Box::new(move |mut out| {
                    let mut buffered = io::BufWriter::with_capacity(1 << 16, &mut out);
                    state.write_out(&mut buffered)?;
                    io::Write::flush(&mut buffered)
                }),
            )
            .await?;
        tracing::info!(bytes = file.len(), seconds = begun.elapsed().as_secs_f64(), "snapshot written");
        metrics::counter!("conclave_raft_snapshots_total").increment(1);
        metrics::gauge!("conclave_raft_snapshot_bytes").set(file.len() as f64);
        wrap(file)
    }
}

fn wrap(file: SnapshotData) -> io::Result<RaftSnapshot> {
    Ok(Snapshot { meta: meta_from_disk(file.meta())?, snapshot: file })
}

/// Decodes a snapshot, which also checks its hash.
pub(super) async fn read_state(snapshot: &SnapshotData) -> io::Result<State> {
    let read = Arc::new(Mutex::new(None));
    let slot = read.clone();
    snapshot
        .drain(Box::new(move |reader| {
            let state = State::read_from(&mut io::BufReader::with_capacity(1 << 16, reader))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            *slot.lock().expect("nothing panics while this is held") = Some(state);
            Ok(())
        }))
        .await?;
    let state = read.lock().expect("nothing panics while this is held").take();
    state.ok_or_else(|| io::Error::other("the disk did not read its snapshot"))
}
