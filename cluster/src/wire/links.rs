//! The handle: all links of a node.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::handshake::{self, Fault};
use super::heard::Heard;
use super::hello::VERSIONS;
use super::limits::{LINKS_MAX, LOOK_AGAIN, LOOK_WITHIN};
use super::link::Link;
use super::log_dedup::Warnings;
use super::{
    Error, Frame, Lane, Limits, Listener, Outgoing, PeerHealth, PeerId, Phase, Reason, Secrets, Service, Tls,
    Transport, listener,
};

/// What the links of a node need to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// This node.
    pub node_id: PeerId,
    /// Nodes of another name are refused. At most 900 bytes.
    pub cluster: String,
    /// The number of this node's disk, which its peers compare with what they know of its id.
    pub storage: u128,
    /// Where all chance comes from: jitter, and the number that names this run. Another one every run, except
    /// in simulation.
    pub seed: u64,
    /// Mutual TLS. Without it, and without secrets, anybody who reaches the peer port can claim to be a node.
    pub tls: Option<Tls>,
    /// A secret that all nodes share and that both sides prove to have. It keeps strangers out; what is said is
    /// neither hidden nor sealed by it.
    pub secrets: Option<Secrets>,
    /// Bounds.
    pub limits: Limits,
}

impl Options {
    /// Options with disk number 0, without TLS or secrets, and with the usual limits.
    pub fn new(node_id: PeerId, cluster: impl Into<String>, seed: u64) -> Self {
        let (cluster, limits) = (cluster.into(), Limits::default());
        Self { node_id, cluster, storage: 0, seed, tls: None, secrets: None, limits }
    }
}

/// What every task of the links shares.
pub(super) struct Core {
    pub(super) options: Options,
    pub(super) transport: Arc<dyn Transport>,
    /// Names this run of the node.
    pub(super) run: u64,
    /// The oldest and the newest protocol that this node speaks.
    pub(super) versions: (u16, u16),
    /// Weak, because what serves may hold the links.
    service: OnceLock<Weak<dyn Service>>,
    /// A peer that dialed this node refused it, because its id is bound to another disk.
    pub(super) told_reused: AtomicBool,
    /// Whether this node calls nobody any more.
    silent: AtomicBool,
    pub(super) warnings: Warnings<(String, Reason)>,
    pub(super) heard: Heard,
    pub(super) tracker: TaskTracker,
    pub(super) token: CancellationToken,
}

impl Core {
    pub(super) fn new(options: Options, transport: Arc<dyn Transport>) -> Self {
        Self {
            run: SmallRng::seed_from_u64(options.seed).random(),
            versions: VERSIONS,
            service: OnceLock::new(),
            told_reused: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            options,
            transport,
            warnings: Warnings::default(),
            heard: Heard::default(),
            tracker: TaskTracker::new(),
            token: CancellationToken::new(),
        }
    }

    /// From now on this is asked which id is bound to which disk. The first one stays.
    pub(super) fn ask(&self, service: &Arc<dyn Service>) {
        let _ = self.service.set(Arc::downgrade(service));
    }

    /// The disk that a peer's id is bound to, if this node knows of one.
    pub(super) fn disk_of(&self, peer: PeerId) -> Option<u128> {
        self.service.get()?.upgrade()?.disk_of(peer)
    }
}

/// All links of a node. Cheap to clone; the last clone to go ends all tasks.
#[derive(Clone)]
pub struct Links(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    /// A std mutex: nothing awaits while it is held.
    links: Mutex<BTreeMap<(PeerId, Lane), Arc<Link>>>,
    _end: DropGuard,
}

impl Links {
    /// Starts nothing yet. A metrics recorder should be installed before.
    pub fn new(options: Options, transport: Arc<dyn Transport>) -> Self {
        let core = Arc::new(Core::new(options, transport));
        let end = core.token.clone().drop_guard();
        Self(Arc::new(Inner { core, links: Mutex::default(), _end: end }))
    }

    /// Accepts connections from peers and has `service` answer them, until shutdown. Returns at once.
    pub fn serve(&self, listener: Box<dyn Listener>, service: Arc<dyn Service>) {
        let core = self.0.core.clone();
        core.ask(&service);
        let token = core.token.clone();
        let accepting = listener::accept(core, listener, service);
        self.0.core.tracker.spawn(async move {
            token.run_until_cancelled(accepting).await;
        });
    }

    /// When anything was read of a peer last, on whichever connection; `None` if there never was one.
    pub fn last_heard(&self, peer: PeerId) -> Option<Instant> {
        self.0.core.heard.last(peer)
    }

    /// The newest protocol that this node and `peer` have in common; `None` while the peer was never greeted.
    pub fn protocol(&self, peer: PeerId) -> Option<u16> {
        let links = self.links();
        Lane::ALL.iter().filter_map(|lane| links.get(&(peer, *lane))?.protocol()).min()
    }

    /// Whether a peer that dialed this node would not have it, because it knows this node's id as bound to another disk. One
    /// that was dialed says so by [`Reason::Reused`].
    pub fn was_told_reused(&self) -> bool {
        self.0.core.told_reused.load(Ordering::Relaxed)
    }

    /// Sends a request to `peer`, reached at `address`, and waits for its answer.
    ///
    /// The first call connects. Calls on a connected link are sent in the order in which they are first polled.
    /// Dropping the future gives the wait up, not the request.
    pub async fn call(
        &self,
        peer: PeerId,
        address: &str,
        lane: Lane,
        request: Outgoing,
        timeout: Duration,
    ) -> Result<Frame, Error> {
        let link = self.link(peer, lane, address)?;
        link.call(address, request, timeout).await
    }

    /// Keeps a connection to `peer`, and waits until one is lost. Returns the run of the peer that it led to, which may be
    /// alive: see [`Links::has_ended`]. `None` once the links are shut down. Cancel safe.
    pub async fn lost(&self, peer: PeerId, address: &str) -> Option<u64> {
        self.link(peer, Lane::Control, address).ok()?.lost(address).await
    }

    /// Whether a run of `peer` has ended: nobody listens at its address any more, or another run does. Everything else, as
    /// a peer that cannot be reached, is no proof of that. Takes 300 ms at most.
    pub async fn has_ended(&self, peer: PeerId, address: &str, run: u64) -> bool {
        let core = &self.0.core;
        let look = async {
            loop {
                match handshake::connect(core, address, peer, Lane::Control).await {
                    Ok(greeted) => return greeted.hello.run != run,
                    Err(Fault::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return true,
                    // A process that ends closes its connections a moment before or after its listener.
                    Err(Fault::Io(_)) => sleep(LOOK_AGAIN).await,
                    Err(Fault::Refused(_) | Fault::Certificate(_)) => return false,
                }
            }
        };
        timeout(LOOK_WITHIN, look).await.unwrap_or(false)
    }

    fn link(&self, peer: PeerId, lane: Lane, address: &str) -> Result<Arc<Link>, Error> {
        let core = &self.0.core;
        let mut links = self.links();
        if let Some(link) = links.get(&(peer, lane)) {
            return Ok(link.clone());
        }
        if core.token.is_cancelled() || core.silent.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        if links.len() >= LINKS_MAX {
            return Err(Error::QueueFull);
        }
        let link = Link::start(core.clone(), peer, lane, address);
        links.insert((peer, lane), link.clone());
        Ok(link)
    }

    /// Ends all links to a peer. A later call begins anew.
    pub fn forget(&self, peer: PeerId) {
        let mut links = self.links();
        for lane in Lane::ALL {
            if let Some(link) = links.remove(&(peer, lane)) {
                link.stop();
            }
        }
    }

    /// From now on nobody is called: all links end, and calls get [`Error::Closed`]. Who calls this node is answered as before.
    pub fn fall_silent(&self) {
        let mut links = self.links();
        self.0.core.silent.store(true, Ordering::Relaxed);
        links.values().for_each(|link| link.stop());
        links.clear();
    }

    /// Why a peer could not be connected to last, if it could not.
    pub fn fault(&self, peer: PeerId) -> Option<String> {
        self.links().get(&(peer, Lane::Control))?.health().fault
    }

    /// Why one of the links to a peer is not there though it is wanted, in words: the reason of the lane for calls, or that of
    /// another lane with its name.
    pub fn trouble(&self, peer: PeerId) -> Option<String> {
        let links = self.links();
        let faults = Lane::ALL.iter().filter_map(|lane| {
            let health = links.get(&(peer, *lane))?.health();
            // What nobody calls is not tried, and its fault is an old one.
            let fault = health.fault.filter(|_| health.phase != Phase::Unused)?;
            Some(if *lane == Lane::Control { fault } else { format!("{} link: {fault}", lane.name()) })
        });
        faults.into_iter().next()
    }

    /// How each link is, by peer and lane.
    pub fn peers(&self) -> Vec<PeerHealth> {
        self.links().values().map(|link| link.health()).collect()
    }

    /// Ends everything and waits until it has ended. Calls under way get [`Error::Closed`].
    pub async fn shutdown(&self) {
        let core = &self.0.core;
        core.token.cancel();
        core.tracker.close();
        core.tracker.wait().await;
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<(PeerId, Lane), Arc<Link>>> {
        self.0.links.lock().expect("no panic while this is held")
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("node_id", &self.0.core.options.node_id).finish_non_exhaustive()
    }
}
