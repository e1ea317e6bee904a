//! The handle: what the rest of a node may do with the cluster.

mod addresses;
mod admin;
mod cast;
mod clock;
mod entrance;
mod led;
mod limits;
mod options;
mod proposer;
mod queue;
mod quorum;
mod reads;
mod sequencer;
mod service;
mod spend;
mod standing;
mod status;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use admin::Change;
pub use clock::{Clock, SystemClock};
pub use options::{Options, StartError, World, is_loopback};
pub use status::{Majority, NodeStatus, Status};
pub use trace::Trace;

pub use crate::raft::MembershipError;
use crate::raft::message::{self, kind};
use crate::raft::{Hint, Lead, Node};
use crate::state::State;
use crate::state::allowance::{Balance, Charge};
use crate::state::command::{Ask, Memo};
use crate::state::outcome::Answer;
use crate::state::rules::Owner;
use crate::wire::{self, Lane, Links, Outgoing, PeerHealth};
use cast::Caster;
use clock::Consensus;
use proposer::Proposer;
use quorum::Quorum;
use sequencer::Sequencer;
use spend::Spending;

/// A command without a name yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it costs its client.
    pub charge: Option<Charge>,
    /// On whose account it stores.
    pub owner: Option<Owner>,
    /// Under which name the caller may ask for the same outcome again.
    pub memo: Option<Memo>,
    /// What is wished.
    pub ask: Ask,
}

impl Draft {
    /// A command that is nobody's: nothing is charged for it, and what it stores is on no account.
    pub fn of(ask: Ask) -> Self {
        Self { charge: None, owner: None, memo: None, ask }
    }
}

/// Why a wish got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A queue is full. The wish was not carried out and will not be.
    #[error("overloaded")]
    Overloaded,
    /// No leader, or none with a quorum, within the wish's time. If a leader had accepted the wish before it was
    /// lost, it may have been carried out; whether it was, a memo tells.
    #[error("no leader")]
    NoLeader,
    /// This node lacks far too much of what is committed to answer a read. Another node can.
    #[error("catching up")]
    Behind,
    /// This node is going away. The wish was not carried out and will not be.
    #[error("shutting down")]
    ShuttingDown,
}

/// How often a node looks after its due expiries and its uncharged reads.
const TICK: Duration = Duration::from_millis(250);
/// How long a peer may take over a word on its status.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);
/// How long it may take such a node to apply what the leader has committed.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// How long a node that goes away waits for the wishes it took on.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// One node's part of the cluster. Cheap to clone; all clones are the same node.
///
/// Every method may be called on any node. A wish or a read is retried inside, under one request id, over lost
/// connections and changes of leadership until its time is over, so what it reports happened exactly once.
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
    spending: Arc<Spending>,
    proposer: Arc<Proposer>,
    gate: Arc<reads::Gate>,
    quorum: Quorum,
    caster: Caster,
    strangers: standing::Strangers,
    stop: CancellationToken,
}

impl Cluster {
    /// Starts a node: listens for peers, opens its log, and finds or founds its cluster.
    ///
    /// Returns once the node takes part. It may have no leader yet: see [`Cluster::ready`].
    pub async fn start(options: Options, world: World) -> Result<Self, StartError> {
        Self::start_boxed(options, world).await
    }

    /// [`Cluster::start`] behind a pointer. The body of an async function is compiled in every crate that awaits it, and this one
    /// holds all tasks of a node.
    #[inline(never)]
    fn start_boxed(options: Options, world: World) -> BoxFuture<'static, Result<Self, StartError>> {
        Box::pin(Self::assemble(options, world))
    }

    async fn assemble(mut options: Options, world: World) -> Result<Self, StartError> {
        let World { transport, clock, disk, seed } = world;
        let listener = transport.listen(&options.listen).await;
        let listener =
            listener.map_err(|error| StartError::Listen { address: options.listen.clone(), error })?;
        options.bind_port(&*listener)?;
        let clock = Arc::new(Consensus::new(clock));
        let mut wire = wire::Options::new(options.node_id, options.cluster_name.clone(), seed);
        wire.tls = options.tls.clone();
        wire.secrets = options.secrets.clone();
        let links = Links::new(wire, transport);
        let service = service::Service::new(clock.clone());
        links.serve(listener, service.clone());

        let (storage, fresh) = (disk.storage, disk.fresh);
        if fresh && options.members.len() > 1 {
            entrance::ask_others(&links, options.node_id, storage, &options.members).await?;
        }
        let snapshot_bytes_max = limits::snapshot_bytes_max(options.rules.storage_bytes_max);
        let node =
            Node::start(options.node_id, options.timing, snapshot_bytes_max, disk, links.clone()).await;
        let node = node.map_err(StartError::Raft)?;
        let stop = CancellationToken::new();
        let sequencer = Arc::new(Sequencer::new(node.clone(), clock.clone(), options.rules));
        let spending = Arc::new(Spending::new(node.replica().clone(), clock.clone()));
        let quorum = Quorum::new();
        let proposer = Arc::new(Proposer::new(
            seed,
            options.deadline,
            links.clone(),
            node.lead(),
            quorum.clone(),
            sequencer.clone(),
            spending.clone(),
        ));
        let gate =
            reads::Gate::new(node.clone(), links.clone(), clock.clone(), quorum.clone(), options.deadline);
        let gate = Arc::new(gate);
        let caster = Caster::new(links.clone(), stop.clone());
        let strangers = standing::Strangers::default();
        let inner = Inner {
            options,
            node,
            links,
            clock,
            sequencer,
            spending,
            proposer,
            gate,
            quorum,
            caster,
            strangers,
            stop,
        };
        let inner = Arc::new(inner);
        inner.clock.open(&inner);
        service.open(&inner);
        tokio::spawn(inner.sequencer.clone().run(inner.stop.clone()));
        tokio::spawn(inner.proposer.clone().run(inner.stop.clone()));
        tokio::spawn(inner.gate.clone().run(inner.stop.clone()));
        tokio::spawn(inner.quorum.clone().run(inner.node.clone(), inner.links.clone(), inner.stop.clone()));
        tokio::spawn(inner.clone().tick());

        let this = Self { inner };
        let inner = &this.inner;
        if !inner.options.members.is_empty() && !inner.node.is_initialized().await {
            let members = entrance::first_members(&inner.options.members);
            inner.node.initialize(members).await.map_err(StartError::Raft)?;
        }
        let known = !inner.node.members().1.is_empty();
        inner.compare_addresses();
        let id = inner.options.node_id;
        if let Err(error) = entrance::enroll(&inner.proposer, &inner.node, id, storage).await {
            this.stop().await;
            return Err(error);
        }
        if !known {
            // Added just now, at an address that somebody typed.
            this.inner.compare_addresses();
        }
        Ok(this)
    }

    /// This node's id.
    pub fn node_id(&self) -> u64 {
        self.inner.options.node_id
    }

    /// Has the wish carried out once, on a quorum, and returns its answer.
    pub async fn propose(&self, draft: Draft) -> Result<Answer, Error> {
        self.propose_traced(draft, None).await
    }

    /// As [`Cluster::propose`]; whoever leads can tell in its log which request this was.
    pub async fn propose_traced(&self, draft: Draft, trace: Option<Trace>) -> Result<Answer, Error> {
        self.inner.proposer.propose(draft, trace).await
    }

    /// For how long a wish is tried.
    pub fn deadline(&self) -> Duration {
        self.inner.options.deadline
    }

    /// Waits for `turn`, as whoever lets wishes wait before they are made. Nobody's comes while nobody leads: then who waits
    /// since `since` is refused when a wish of that age would be.
    ///
    /// # Errors
    /// [`Error::NoLeader`] then, and [`Error::Overloaded`] if it takes longer than a wish may.
    pub async fn while_led<T>(&self, since: Instant, turn: impl Future<Output = T>) -> Result<T, Error> {
        let inner = &self.inner;
        led::while_led(inner.node.lead(), &inner.quorum, since, self.deadline(), turn).await
    }

    /// Whether a wish would be taken in now, or refused as [`Error::Overloaded`]. Whoever asks before it has read a large
    /// wish saves the work.
    pub fn has_room(&self) -> bool {
        self.inner.proposer.has_room()
    }

    /// Looks at the state, linearizably: what was answered anywhere before this call is seen. `look` gets the
    /// state and the clock to read it by, in milliseconds since the Unix epoch.
    pub async fn read<R>(&self, look: impl FnOnce(&State, u64) -> R) -> Result<R, Error> {
        let now_ms = self.inner.gate.pass().await?;
        Ok(self.inner.node.replica().look(|state| look(state, now_ms.max(state.now_ms()))))
    }

    /// Looks at this node's replica as it is, perhaps stale; good for deciding whether to ask at all.
    pub fn glance<R>(&self, look: impl FnOnce(&State, u64) -> R) -> R {
        let now_ms = self.inner.clock.now_ms();
        self.inner.node.replica().look(|state| look(state, now_ms.max(state.now_ms())))
    }

    /// Looks at this node's replica and at how many entries are applied to it: two nodes at the same number hold
    /// the same state, which is what audits compare.
    pub fn inspect<R>(&self, look: impl FnOnce(&State, u64) -> R) -> R {
        self.inner.node.replica().inspect(look)
    }

    /// The clocks' time in milliseconds since the Unix epoch, whatever the log says: what credentials are judged by. Time in
    /// the log, by which things expire, may be ahead of it after wrong clocks were corrected.
    pub fn wall_ms(&self) -> u64 {
        self.inner.clock.wall_ms()
    }

    /// Charges a read by what this node knows; the log learns of it in bulk. `Err` is a refusal.
    pub fn charge_read(&self, charge: Charge) -> Result<Balance, Balance> {
        self.inner.spending.charge(charge)
    }

    /// Whether this node would admit the charge; a flood is refused here, before consensus.
    pub fn admits(&self, charge: &Charge) -> Result<Balance, Balance> {
        self.inner.spending.admits(charge)
    }

    /// What changed on this node from now on. Bounded: a reader that lags gets one `WakeAll`. There is one
    /// reader at a time; the last to call is it.
    pub fn hints(&self) -> mpsc::Receiver<Hint> {
        self.inner.node.replica().hints()
    }

    /// Sends bytes to other nodes past the log: at most once, in order from one node to another while nothing is
    /// lost, and dropped where it is too long, a queue is full or a peer is not reached. Costs no consensus and promises nothing.
    pub fn cast(&self, nodes: &[u64], cast: &Bytes) {
        let inner = &self.inner;
        let (_, members) = inner.node.members();
        for node in nodes.iter().filter(|node| **node != inner.options.node_id) {
            if let Some(member) = members.get(node) {
                inner.caster.send(*node, &member.peer, cast.clone());
            }
        }
    }

    /// What other nodes cast to this one from now on, and who did. Bounded: what a slow reader leaves behind is
    /// dropped. There is one reader at a time; the last to call is it.
    pub fn casts(&self) -> mpsc::Receiver<(u64, Bytes)> {
        self.inner.caster.receive()
    }

    /// The leader, if one is known that can be relied on.
    pub fn leader(&self) -> Option<u64> {
        self.inner.node.lead().borrow().as_ref().map(|lead| lead.id)
    }

    /// Whether this node can serve now; else which checks fail. Asks the leader: a node that comes back knows only of
    /// what it has itself, however far the others have gone meanwhile.
    pub async fn caught_up(&self) -> Result<(), Vec<&'static str>> {
        self.ready()?;
        match tokio::time::timeout(CATCH_UP_MAX, self.inner.gate.pass()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Error::NoLeader)) => Err(vec!["no_leader"]),
            Ok(Err(Error::Overloaded)) => Err(vec!["overloaded"]),
            Ok(Err(Error::ShuttingDown)) => Err(vec!["stopped"]),
            Ok(Err(Error::Behind)) | Err(_) => Err(vec!["applying"]),
        }
    }

    /// As far as this node knows by itself, whether it can serve now; else which checks fail.
    pub fn ready(&self) -> Result<(), Vec<&'static str>> {
        let position = self.inner.node.position();
        let failing: Vec<_> = [
            (self.leader().is_none(), "no_leader"),
            (position.committed.saturating_sub(position.applied) > limits::LAG_MAX, "applying"),
            (position.role == "stopped", "stopped"),
        ]
        .into_iter()
        .filter_map(|(fails, name)| fails.then_some(name))
        .collect();
        if failing.is_empty() { Ok(()) } else { Err(failing) }
    }

    /// Who belongs to the cluster and where everybody stands. Members that do not answer within half a second
    /// are listed as unreachable.
    pub async fn status(&self) -> Status {
        let inner = &self.inner;
        let (voters, nodes) = inner.node.members();
        let words = nodes.into_iter().map(|(id, member)| {
            let voter = voters.contains(&id);
            async move {
                match inner.word_of(id, &member.peer).await.ok() {
                    Some(word) => NodeStatus::heard(id, member.peer, voter, word),
                    None => NodeStatus::unreachable(id, member.peer, voter),
                }
            }
        });
        let nodes: Vec<NodeStatus> = futures_util::future::join_all(words).await;
        let reached = |id| nodes.iter().any(|node| node.id == id && node.is_reachable());
        let majority = Majority::of(voters.into_iter(), reached);
        Status { majority, leader: self.leader(), term: inner.node.position().term, nodes }
    }

    /// Adds a node that was started without first members, as a learner; returns when it has caught up.
    ///
    /// # Errors
    /// Refused if no node of this cluster answers at `peer` under `id`, if the id was removed before, or if this node has an
    /// address that the new one cannot reach.
    /// Refused, too, if the address is not on loopback while nothing keeps strangers from the peer ports.
    pub async fn add(&self, id: u64, peer: String, change: Change) -> Result<(), MembershipError> {
        if self.inner.options.loopback_only && !is_loopback(&peer) {
            return Err(MembershipError::Refused(format!(
                "{peer} is not a loopback address: first give every node the same cluster.secret_file, or cluster.tls"
            )));
        }
        self.inner.administer(admin::Request::Add { id, peer, change }).await
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// Unless forced, refused if the learner does not answer or lacks entries, or if too few voters could be reached
    /// afterwards for a majority.
    pub async fn promote(&self, id: u64, change: Change) -> Result<(), MembershipError> {
        self.inner.administer(admin::Request::Promote { id, change }).await
    }

    /// Removes a voter or a learner. Its process goes on until it is stopped, but takes no part.
    ///
    /// # Errors
    /// Unless forced, refused if too few voters could be reached afterwards for a majority.
    pub async fn remove(&self, id: u64, change: Change) -> Result<(), MembershipError> {
        self.inner.administer(admin::Request::Remove { id, change }).await
    }

    /// Hands leadership to the voter `to`; returns when it leads.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), MembershipError> {
        self.inner.administer(admin::Request::TransferLeader { to: Some(to) }).await
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

    /// Publishes what has no event of its own: positions and counts.
    pub fn record_metrics(&self) {
        self.inner.record_metrics();
    }

    /// Waits until the node cannot go on, as when its disk failed, and says why.
    pub async fn failed(&self) -> String {
        self.inner.node.failed().await
    }

    /// Hands leadership over, if this node leads and another voter can take it. Returns when that one leads; this node
    /// goes on serving.
    pub async fn hand_over(&self) {
        let inner = &self.inner;
        let leads = inner.node.lead().borrow().as_ref().is_some_and(|lead| lead.local);
        let (voters, _) = inner.node.members();
        if leads && voters.len() > 1 {
            match admin::transfer(&inner.node, None, &voters).await {
                Ok(()) => tracing::info!("handed leadership over"),
                Err(error) => tracing::warn!(%error, "could not hand leadership over"),
            }
        }
    }

    /// Leaves in good order: refuses new wishes, answers those it took on, hands leadership over, stops.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.proposer.close();
        let drained = async {
            while !inner.proposer.is_idle() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            tracing::warn!("stopped with commands still in flight");
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

impl Inner {
    async fn tick(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.sequencer.tick();
            self.proposer.nudge();
        }
    }

    /// What a member says of itself.
    async fn word_of(&self, id: u64, peer: &str) -> Result<status::Word, wire::Error> {
        if id == self.options.node_id {
            return Ok(self.word());
        }
        let ask = Outgoing { kind: kind::STATUS, group: 0, header: Vec::new(), payload: Vec::new() };
        let reply = self.links.call(id, peer, Lane::Control, ask, STATUS_TIMEOUT).await?;
        message::decode(&reply.header).map_err(|_| wire::Error::Unreachable)
    }

    fn word(&self) -> status::Word {
        status::Word {
            http: self.options.http_url.clone(),
            admin: self.options.admin_url.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            position: self.node.position(),
        }
    }

    fn record_metrics(&self) {
        let position = self.node.position();
        metrics::gauge!("conclave_raft_term").set(position.term as f64);
        metrics::gauge!("conclave_raft_is_leader").set(f64::from(u8::from(position.role == "leader")));
        metrics::gauge!("conclave_raft_applied_index").set(position.applied as f64);
        metrics::gauge!("conclave_raft_committed_index").set(position.committed as f64);
        metrics::gauge!("conclave_raft_last_log_index").set(position.last_log as f64);
        metrics::gauge!("conclave_raft_log_bytes").set(position.log_bytes as f64);
        metrics::gauge!("conclave_clock_ahead_seconds").set(self.clock.ahead_ms() as f64 / 1000.0);
    }
}
