//! The handle: what the rest of a node may do with the cluster.

mod address_mismatch;
mod admin;
mod beacon;
mod bootstrap;
mod clock;
mod commands;
mod datagram;
mod draft;
mod drain;
mod founding;
mod host;
mod interest;
mod leader_loss;
mod leader_wait;
mod limits;
mod membership;
mod mover;
mod newcomer;
mod options;
mod paths;
mod peer_permissions;
mod pipelining;
mod plan;
mod promotion;
mod proposer;
mod purse;
mod query;
mod queue;
mod quorum;
mod read_charges;
mod read_index;
mod remote_reads;
mod removal;
mod request_trace;
mod routes;
mod sequencer;
mod service;
mod silence;
mod start;
mod status;
mod steward;
mod table;
mod tokens;
mod topology;
mod upkeep;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use admin::Change;
pub use clock::{Clock, SystemClock};
pub use draft::{Draft, Error};
pub use interest::Interest;
pub use options::{Options, StartError, World, is_loopback, is_unspecified};
pub use request_trace::Trace;
pub use status::{CellStatus, Majority, NodeStatus, Status};

pub use crate::raft::MembershipError;
use crate::raft::{Hint, Lead, Node, Role};
use crate::state::allowance::{Balance, Charge};
use crate::state::id::Key;
use crate::state::outcome::Answer;
#[cfg(doc)]
use crate::state::query::Query;
use crate::state::slot::CellId;
use crate::wire::{Links, PeerHealth};
use beacon::Beacons;
use clock::Consensus;
use datagram::Datagrams;
use founding::Foundings;
use host::Listeners;
use interest::Interests;
use leader_loss::LeaderLoss;
use paths::Paths;
use read_charges::ReadCharges;
use read_index::ReadIndex;
use removal::Removal;
use routes::Routes;
use sequencer::Sequencer;
use tokens::Tokens;
use topology::Topology;

/// The interval at which a node proposes due expiries and uncharged reads.
const TICK: Duration = Duration::from_millis(250);
/// The time that a peer has to report its status.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);
/// The time that a node has to apply what the leader has committed before it is not ready.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// The time that shutdown waits for commands in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The handle to one node of the cluster. Cheap to clone; all clones are the same node.
///
/// Every method may be called on any node. Commands and reads are retried under one request id, across lost connections
/// and changes of leadership, until [`Cluster::deadline`]; a command is applied at most once.
///
/// ```no_run
/// # async fn example(cluster: conclave_cluster::Cluster) -> Result<(), conclave_cluster::Error> {
/// use conclave_cluster::Draft;
/// use conclave_cluster::state::command::Op;
/// use conclave_cluster::state::id::{Domain, Key};
/// use conclave_cluster::state::mailbox::{self, Action};
///
/// let key = Key::derive(Domain::Mailbox, &[b"alice"]);
/// let drain = mailbox::Op { key, action: Action::Drain { bytes_max: 64 << 10 } };
/// let answer = cluster.propose(Draft::of(Op::Mailbox(drain))).await?;
/// println!("{:?}", answer.outcome);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    node: Node,
    links: Links,
    clock: Arc<Consensus>,
    sequencer: Arc<Sequencer>,
    read_charges: Arc<ReadCharges>,
    paths: Paths,
    routes: Arc<Routes>,
    interests: Interests,
    tokens: Tokens,
    read_index: Arc<ReadIndex>,
    topology: Topology,
    /// The cell that this node founds with others, from the moment when it is asked to.
    founds_cell: OnceLock<CellId>,
    /// Rings when a slot was handed over, so that everybody hears of it soon.
    moved: Notify,
    random: Mutex<SmallRng>,
    beacons: Beacons,
    /// Held while the members are changed.
    changing: tokio::sync::Mutex<()>,
    listeners: Listeners,
    datagrams: Datagrams,
    leader_loss: LeaderLoss,
    strangers: peer_permissions::Strangers,
    foundings: Foundings,
    removal: Removal,
    /// Cells of which there is a gauge, which has to go back to 0 when the cell is closed.
    shown_cells: Mutex<BTreeSet<CellId>>,
    stop: CancellationToken,
}

impl Cluster {
    /// This node's id.
    pub fn node_id(&self) -> u64 {
        self.inner.options.node_id
    }

    /// Applies a command on a quorum and returns its answer.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::NoLeader`] or [`Error::ShuttingDown`]; see there what each says of the command.
    ///
    /// # Cancel safety
    /// Not cancel safe: a command whose future is dropped may still be applied, once. Give it an idempotency key if its
    /// outcome matters.
    pub async fn propose(&self, draft: Draft) -> Result<Answer, Error> {
        self.propose_traced(draft, None).await
    }

    /// As [`Cluster::propose`]. The leader logs `trace`, so that a request can be followed across nodes.
    ///
    /// # Errors
    /// As [`Cluster::propose`].
    pub async fn propose_traced(&self, draft: Draft, trace: Option<Trace>) -> Result<Answer, Error> {
        self.inner.propose(draft, trace).await
    }

    /// How long a command or a read is retried.
    pub fn deadline(&self) -> Duration {
        self.inner.options.deadline
    }

    /// Awaits `future`, but only while there is a leader of the cell that holds a key (without one: of any cell): a caller
    /// that queues before it proposes fails here as early as its command would. `since` is when the caller began to wait.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if there is none for as long as a command would wait, [`Error::Overloaded`] after
    /// [`Cluster::deadline`].
    ///
    /// # Cancel safety
    /// As cancel safe as `future`.
    pub async fn wait_unless_leaderless<T>(
        &self,
        key: Option<&Key>,
        since: Instant,
        future: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let inner = &self.inner;
        let cell = key.map_or_else(|| inner.topology.led_cell(), |key| inner.routes.cell_of(key));
        let (lead, path) = (inner.topology.lead(cell), inner.paths.to(cell));
        leader_wait::wait_unless_leaderless(lead, &path.quorum, since, self.deadline(), future).await
    }

    /// Whether a command would be queued now rather than refused as [`Error::Overloaded`]. Ask before reading a large
    /// body, and save the work.
    pub fn has_room(&self) -> bool {
        self.inner.paths.to(self.inner.topology.own_cell().unwrap_or_default()).proposer.has_room()
    }

    /// Wall-clock time in milliseconds since the Unix epoch; credentials are judged by it. The log's time, by which things
    /// expire, may be ahead of it after a wrong clock was corrected.
    pub fn wall_ms(&self) -> u64 {
        self.inner.clock.wall_ms()
    }

    /// Charges a read by what this node knows; the log learns of it in bulk.
    ///
    /// # Errors
    /// The balance, if the client's window is spent.
    pub fn charge_read(&self, charge: Charge) -> Result<Balance, Balance> {
        match self.inner.read_charges.charge(charge) {
            // What this node leased is its own to spend.
            Err(spent) if charge.count == 1 => match self.inner.take_token(&charge) {
                Some(token) => Ok(self.inner.spend_token(token, &charge).unwrap_or(spent)),
                None => Err(spent),
            },
            charged => charged,
        }
    }

    /// Whether this node would admit the charge. A flood is refused here, before consensus.
    ///
    /// # Errors
    /// The balance, if the client's window is spent.
    pub fn admits(&self, charge: &Charge) -> Result<Balance, Balance> {
        match self.inner.read_charges.admits(charge) {
            Err(spent) => match self.inner.tokens.balance(charge, self.inner.clock.now_ms()) {
                Some(balance) if balance.remaining >= charge.count => Ok(balance),
                Some(_) | None => Err(spent),
            },
            admitted => admitted,
        }
    }

    /// Somebody on this node waits for changes of a key, until what is returned is dropped. To be said before the first look;
    /// without it, what changes in another cell is not told here.
    pub fn interest(&self, key: &Key) -> Interest {
        self.inner.interests.add(key)
    }

    /// What changes on this node from now on. The queue is bounded: a reader that lags gets one `WakeAll`.
    pub fn hints(&self) -> mpsc::Receiver<Hint> {
        self.inner.node.replica().hints()
    }

    /// Sends bytes to other nodes outside the log, at most once. Datagrams from one node to another stay in order. One is
    /// dropped if it is longer than 80 KiB, if the peer's queue is full, or if the peer can't be reached.
    pub fn send_datagram(&self, nodes: &[u64], datagram: &Bytes) {
        let inner = &self.inner;
        for node in nodes.iter().filter(|node| **node != inner.options.node_id) {
            if let Some(peer) = inner.topology.address_of(*node) {
                inner.datagrams.send(*node, &peer, datagram.clone());
            }
        }
    }

    /// Datagrams that other nodes send to this one from now on, with their senders' ids. The queue is bounded: a slow
    /// reader loses some. There is one reader; the last caller is it.
    pub fn datagrams(&self) -> mpsc::Receiver<(u64, Bytes)> {
        self.inner.datagrams.receive()
    }

    /// The id of the current leader of the first cell, if there is one.
    pub fn leader(&self) -> Option<u64> {
        self.leader_of(CellId::FIRST)
    }

    /// The id of the current leader of a cell, if there is one.
    pub fn leader_of(&self, cell: CellId) -> Option<u64> {
        self.inner.topology.lead(cell).borrow().as_ref().map(|lead| lead.id)
    }

    /// The cells that hold slots, or may come to.
    pub fn cells(&self) -> BTreeSet<CellId> {
        self.inner.topology.serving_cells()
    }

    /// The cell that holds a key, as far as this node knows.
    pub fn cell_of(&self, key: &Key) -> CellId {
        self.inner.routes.cell_of(key)
    }

    /// Has a command about no key carried out by a cell.
    ///
    /// # Errors
    /// As [`Cluster::propose`].
    pub async fn propose_in(&self, cell: CellId, draft: Draft) -> Result<Answer, Error> {
        self.inner.propose_in(cell, draft).await
    }

    /// Whether this node can serve now. Asks the leader: a node that was away can't know by itself how far behind it is.
    ///
    /// # Errors
    /// The names of the checks that fail.
    pub async fn caught_up(&self) -> Result<(), Vec<&'static str>> {
        self.ready()?;
        match tokio::time::timeout(CATCH_UP_MAX, self.read_linearizable(())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Error::NoLeader)) => Err(vec!["no_leader"]),
            Ok(Err(Error::Overloaded)) => Err(vec!["overloaded"]),
            Ok(Err(Error::ShuttingDown)) => Err(vec!["stopped"]),
            Ok(Err(Error::Behind)) | Err(_) => Err(vec!["applying"]),
        }
    }

    /// Whether this node can serve now, as far as it knows by itself.
    ///
    /// # Errors
    /// The names of the checks that fail.
    pub fn ready(&self) -> Result<(), Vec<&'static str>> {
        let position = self.inner.node.position();
        let (seated, removed) = (self.is_seated(), self.is_removed());
        let failing: Vec<_> = [
            (removed, "removed"),
            (!removed && self.leader_of(self.cell().unwrap_or_default()).is_none(), "no_leader"),
            (
                !removed && seated && position.committed.saturating_sub(position.applied) > limits::LAG_MAX,
                "applying",
            ),
            (!removed && !seated && !self.inner.paths.to(CellId::FIRST).remote_reads.is_hosted(), "no_host"),
            (position.role == Role::Stopped, "stopped"),
        ]
        .into_iter()
        .filter_map(|(fails, name)| fails.then_some(name))
        .collect();
        if failing.is_empty() { Ok(()) } else { Err(failing) }
    }

    /// Takes a snapshot on this node now, as it does by itself when the log has grown.
    pub async fn snapshot(&self) {
        // A node that stopped has nothing to save.
        let _ = self.inner.node.snapshot().await;
    }

    /// The state of the links to the peers.
    pub fn peers(&self) -> Vec<PeerHealth> {
        self.inner.links.peers()
    }

    /// Sets the gauges that no event updates: log positions and counts.
    pub fn record_metrics(&self) {
        self.inner.record_metrics();
    }

    /// Waits until the node can't go on, as when its disk failed, and returns the reason. Cancel safe.
    pub async fn failed(&self) -> String {
        self.inner.node.failed().await
    }

    /// Shuts down: refuses new commands, answers those in flight, hands leadership over, stops.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        let paths = inner.paths.all();
        paths.iter().for_each(|path| path.proposer.close());
        let drained = async {
            while !paths.iter().all(|path| path.proposer.is_idle()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            tracing::warn!("shutdown timed out with commands still in flight");
        }
        self.hand_over().await;
        self.stop().await;
    }

    async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.node.shutdown().await;
        self.inner.links.shutdown().await;
    }
}

/// Waits until leadership changes; for ever once it cannot any more.
async fn changed(lead: &mut watch::Receiver<Option<Lead>>) {
    if lead.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
