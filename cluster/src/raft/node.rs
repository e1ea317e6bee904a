//! One Raft member: starts openraft, writes proposals, finds read indices, changes members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::raft::{ReadPolicy, TransferLeaderRequest};
use openraft::{Config, ServerState, SnapshotPolicy};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::applied_state::Replica;
use super::disk_traits::{Disk, LogId, Member, SnapshotDisk};
use super::files;
use super::last_appends::LastAppends;
use super::log_aging::{Age, staggered};
use super::log_storage::Log;
use super::message::kind;
use super::open_error::OpenError;
use super::refusal_log::Refusals;
use super::rpc_client::{Addresses, Network};
use super::rpc_server::{Raft, Served};
use super::state_machine::{Machine, read_state};
use super::types::{Answers, Batch};
use crate::state::command::Proposal;
use crate::state::outcome::Answer;
use crate::state::slot::CellId;
use crate::wire::{Frame, Links, Outgoing};

/// How Raft paces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between a leader's heartbeats.
    pub heartbeat: Duration,
    /// A follower trusts a silent leader for [`election_max`](Self::election_max). Then the voters agree on a successor.
    /// Where they do not, each stands for election after a time between this and that.
    pub election_min: Duration,
    /// See [`election_min`](Self::election_min).
    pub election_max: Duration,
    /// Log bytes after which a snapshot is taken and the log cut; twice the stored bytes, if that is more. Each node
    /// deviates by up to a quarter, so that not all take theirs at once.
    pub snapshot_log_bytes: u64,
    /// The log is rewritten at this age at the latest, if anything is in it, so that what expired leaves the disk.
    pub snapshot_age_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(650),
            snapshot_log_bytes: 64 << 20,
            snapshot_age_max: Duration::from_secs(4 * 3600),
        }
    }
}

/// Entries kept behind a snapshot, so that a follower that is a little late need not be sent the whole of it.
const ENTRIES_KEPT: u64 = 128;
/// How often leadership is looked at besides when it changes, and log growth is measured.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Who leads, as far as this node may rely on it: a leader that fell silent, or lost its quorum, does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// The leader's id.
    pub id: u64,
    /// Its peer address.
    pub address: String,
    /// Its term.
    pub term: u64,
    /// Whether it is this node.
    pub local: bool,
}

/// Why a proposal has no answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// This node does not lead; the proposal was not appended.
    #[error("not the leader")]
    NotLeader,
    /// Leadership was lost on the way: the proposal may or may not come to be applied.
    #[error("outcome unknown")]
    Unknown,
    /// This node's Raft stopped.
    #[error("stopped")]
    Stopped,
}

/// Cheap to clone; all clones are the same member.
#[derive(Clone)]
pub struct Node {
    pub(super) id: u64,
    pub(super) raft: Raft,
    served: Served,
    pub(super) log: Log,
    replica: Arc<Replica>,
    addresses: Addresses,
    lead: watch::Receiver<Option<Lead>>,
    heard: Arc<LastAppends>,
    refusals: Arc<Refusals>,
    pub(super) stop: CancellationToken,
    /// Raft has stopped, by itself or because it was told to.
    stopped: CancellationToken,
}

/// What to tell of the snapshot on this disk, if it cannot be read: Raft, which reads it first, only says that it failed.
async fn damage(snapshots: &Arc<dyn SnapshotDisk>) -> Option<OpenError> {
    let error = read_state(&snapshots.current()?).await.err()?;
    Some(if files::is_damage(&error) { OpenError::Damaged(error) } else { OpenError::Unreadable(error) })
}

impl Node {
    /// The cell that it is a member of, by the last change of members in its log; none if it is of none.
    pub fn cell(&self) -> Option<CellId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.nodes().next().map(|(_, member)| member.cell)
    }

    /// Starts Raft on this disk. It votes from now on. Snapshots of peers are taken up to `snapshot_bytes_max`.
    pub async fn start(
        id: u64,
        timing: Timing,
        snapshot_bytes_max: u64,
        disk: Disk,
        links: Links,
    ) -> Result<Self, OpenError> {
        let config = Config {
            cluster_name: "conclave".to_owned(),
            heartbeat_interval: timing.heartbeat.as_millis() as u64,
            election_timeout_min: timing.election_min.as_millis() as u64,
            election_timeout_max: timing.election_max.as_millis() as u64,
            install_snapshot_timeout: 60_000,
            max_payload_entries: 256,
            max_append_entries: Some(256),
            replication_lag_threshold: u64::MAX,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: ENTRIES_KEPT,
            api_channel_size: Some(1024),
            api_batch_capacity: 128,
            notification_channel_size: Some(16_384),
            enable_pre_vote: Some(true),
            // A disk that lost a flushed tail is sent it again; without this the leader would stop instead.
            allow_log_reversion: Some(true),
            // Entries go to the followers before they are flushed here. A leader that comes back may have lost the
            // last of them; if it went on leading in the same term it would give their places away a second time.
            enable_leader_restore: Some(false),
            backoff: "50ms 100ms 200ms ..400ms".to_owned(),
            ..Config::default()
        };
        let config = Arc::new(config.validate()?);
        let log = Log::new(disk.log);
        let replica = Arc::new(Replica::new());
        let machine = Machine::new(replica.clone(), disk.snapshots.clone(), log.clone());
        let addresses = Addresses::default();
        let network = Network { node_id: id, links, addresses: addresses.clone() };
        let raft = match Raft::new(id, config, network, log.clone(), machine).await {
            Ok(raft) => raft,
            Err(error) => {
                return Err(damage(&disk.snapshots).await.unwrap_or_else(|| OpenError::Log(error.into())));
            }
        };
        let (sender, lead) = watch::channel(None);
        let refusals = Arc::new(Refusals::default());
        let node = Self {
            id,
            served: Served::new(raft.clone(), disk.snapshots, snapshot_bytes_max, refusals.clone()),
            raft,
            log,
            replica,
            addresses,
            lead,
            heard: Arc::default(),
            refusals,
            stop: CancellationToken::new(),
            stopped: CancellationToken::new(),
        };
        tokio::spawn(node.clone().watch(timing, sender));
        Ok(node)
    }

    /// Keeps [`Node::lead`] true for as long as somebody may ask. A Raft that stopped by itself leaves no leader
    /// behind; the channel stays open, since whoever waits for a change would spin on a closed one.
    async fn watch(self, timing: Timing, sender: watch::Sender<Option<Lead>>) {
        self.watch_raft(timing, &sender).await;
        sender.send_replace(None);
        self.stopped.cancel();
        self.stop.cancelled().await;
    }

    /// Tells changes of leadership, and takes snapshots when the log has grown, until Raft stops.
    async fn watch_raft(&self, timing: Timing, sender: &watch::Sender<Option<Lead>>) {
        let (mut metrics, mut state) = (self.raft.metrics(), self.raft.server_metrics());
        // Longer than a few lost heartbeats; shorter than a caller's timeout, so that a minority says so in time.
        let silence_max = timing.election_min + timing.heartbeat * 2;
        let mut tick = tokio::time::interval(WATCH_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut changes = 0_u64;
        let mut age = Age::new(self.id, timing.snapshot_age_max);
        let mut rewriting: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                // Something changes with every entry. Once there is a leader, most of it is of no interest.
                changed = metrics.changed(), if sender.borrow().is_none() => if changed.is_err() { return },
                changed = state.changed(), if sender.borrow().is_some() => if changed.is_err() { return },
                _ = tick.tick() => if self.has_failed() {
                    return;
                } else if self.log.appended() >= self.snapshot_due(timing) {
                    self.log.snapshot_taken();
                    if self.raft.trigger().snapshot().await.is_err() { return }
                } else if age.is_due(self.log.appended() > 0)
                    && rewriting.as_ref().is_none_or(tokio::task::JoinHandle::is_finished)
                {
                    rewriting = Some(tokio::spawn(self.clone().rewrite_log()));
                },
            }
            self.addresses.set(self.members().1);
            let lead = self.current_lead(silence_max);
            sender.send_if_modified(|known| {
                let modified = *known != lead;
                if modified {
                    changes += 1;
                    metrics::counter!("conclave_raft_leader_changes_total").absolute(changes);
                    tracing::info!(leader = lead.as_ref().map(|lead| lead.id), "leadership changed");
                    *known = lead;
                }
                modified
            });
        }
    }

    /// Log bytes after which a snapshot is worth its writing: as configured, and no less than twice what there is to
    /// write, so that snapshots write about half of what the log does.
    fn snapshot_due(&self, timing: Timing) -> u64 {
        let stored = self.replica.read(|state| state.stored_bytes());
        staggered(self.id, timing.snapshot_log_bytes.max(2 * stored))
    }

    fn current_lead(&self, silence_max: Duration) -> Option<Lead> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.running_state.as_ref().ok()?;
        let id = metrics.current_leader?;
        let local = id == self.id;
        let fresh = if local {
            let alone = metrics.membership_config.voter_ids().eq([self.id]);
            let acked = metrics.last_quorum_acked.as_deref();
            metrics.state == ServerState::Leader
                && (alone || acked.is_some_and(|at| openraft::Instant::elapsed(at) <= silence_max))
        } else {
            self.heard.last(id).is_some_and(|at| at.elapsed() <= silence_max)
        };
        let address = metrics.membership_config.get_node(&id)?.peer.clone();
        fresh.then_some(Lead { id, address, term: metrics.current_term, local })
    }

    /// Where refused requests of peers are counted and told.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Who leads, and its changes. Once the node was shut down there are no more changes, and the channel is closed.
    pub fn lead(&self) -> watch::Receiver<Option<Lead>> {
        self.lead.clone()
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        self.lead.borrow().as_ref().is_some_and(|lead| lead.local)
    }

    /// This node's id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether somebody leads who was heard of within this time; a leader, from a quorum.
    pub fn is_led_within(&self, silence_max: Duration) -> bool {
        self.current_lead(silence_max).is_some()
    }

    /// This node's copy of the state.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Serves a peer's frame, if its kind is one of Raft's.
    pub fn serve(&self, from: u64, frame: Frame) -> Option<BoxFuture<'static, Outgoing>> {
        if frame.kind == kind::APPEND {
            self.heard.note(from);
        }
        self.served.serve(from, frame)
    }

    /// Appends a proposal, waits until it is committed and applied here, and returns its answers.
    ///
    /// Only the leader of `term` can; what a lost leadership leaves behind is [`WriteError::Unknown`]. Proposals are appended in
    /// the order in which these futures are first polled.
    pub async fn write(&self, term: u64, proposal: Proposal) -> Result<Vec<Answer>, WriteError> {
        let (responder, written) = ProgressResponder::complete_only();
        let request = self.raft.write(Batch::new(proposal)).with_leader(term).responder(responder);
        request.await.map_err(|_| WriteError::Stopped)?;
        match written.await {
            Ok(Ok(response)) => {
                let Answers(answers) = response.data;
                Ok(answers)
            }
            Ok(Err(ClientWriteError::LogEntryDiscarded(_))) => Err(WriteError::Unknown),
            Ok(Err(
                ClientWriteError::ForwardToLeader(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            )) => Err(WriteError::NotLeader),
            Err(_) => Err(WriteError::Stopped),
        }
    }

    /// Confirms with a quorum that this node leads, and returns how many entries a reader must see applied.
    pub async fn read_index(&self) -> Result<u64, WriteError> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((id, _)) => Ok(id.index() + 1),
            Err(RaftError::APIError(
                LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_),
            )) => Err(WriteError::NotLeader),
            Err(RaftError::Fatal(_)) => Err(WriteError::Stopped),
        }
    }

    /// Makes this node and the other first members a cluster. Harmless if it is one already.
    pub async fn initialize(&self, members: BTreeMap<u64, Member>) -> Result<(), OpenError> {
        match self.raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(OpenError::Members(error.into())),
        }
    }

    /// Whether this node ever was part of a cluster.
    pub async fn is_initialized(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(false)
    }

    /// Asks a follower to take over. Does nothing unless this node leads.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), WriteError> {
        self.raft.trigger().transfer_leader(to).await.map_err(|_| WriteError::Stopped)
    }

    /// Stands for election at once, whatever lease the last leader has. Only for when a majority of the voters found that
    /// leader lost: it would be deposed otherwise.
    pub async fn stand(&self) -> Result<(), WriteError> {
        let own_vote = self.raft.metrics().borrow_watched().vote;
        let request = TransferLeaderRequest::new(own_vote, self.id, None);
        // Refused if this node has voted for another meanwhile.
        self.raft.handle_transfer_leader(request).await.map(drop).map_err(|_| WriteError::Stopped)
    }

    /// The last entry of this node's log.
    pub fn last_log_id(&self) -> Option<LogId> {
        self.log.last()
    }

    /// Takes a snapshot now.
    pub async fn snapshot(&self) -> Result<(), WriteError> {
        self.raft.trigger().snapshot().await.map_err(|_| WriteError::Stopped)
    }

    fn has_failed(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_err()
    }

    /// Waits until Raft stopped, as it does by itself when its disk fails, and says why.
    pub async fn failed(&self) -> String {
        self.stopped.cancelled().await;
        match &self.raft.metrics().borrow_watched().running_state {
            Err(fatal) => fatal.to_string(),
            Ok(()) => "raft went away".to_owned(),
        }
    }

    /// Stops Raft. What was acknowledged is on disk already.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft shut down with an error");
        }
    }
}
