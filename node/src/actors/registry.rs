//! Which actors live on this node.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::slot::Slot;
use conclave_cluster::{Cluster, Draft, Error, Interest};
use metrics::Gauge;
use tokio::sync::watch;

use super::StateKey;
use super::device::DeviceActor;
use super::idle_check::{Usage, WatchPermit};
use super::key_actor::{KeyActor, Kind, Subscribe, Wake};
use super::room::{Presence, RoomActor};
use super::session::SessionActor;

/// In how many parts the map is locked.
const SHARDS: usize = 64;

/// The gauge of living actors.
const ACTORS: &str = "conclave_actors_live";
/// The gauge of requests that wait for a change.
const WAITS: &str = "conclave_actors_waits";

/// How much may be going on here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Actors on this node.
    pub sessions_max: usize,
    /// Requests that wait for a change.
    pub waits_max: usize,
}

/// Finds the actor of a key or starts it. Cheap to clone; all clones are the same registry.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    limits: Limits,
    sessions: Shelf<SessionActor>,
    devices: Shelf<DeviceActor>,
    rooms: Shelf<RoomActor>,
    /// What the node follows for itself.
    own: watch::Sender<()>,
    live: AtomicUsize,
    waits: AtomicUsize,
    live_gauge: Gauge,
    waits_gauge: Gauge,
}

impl Registry {
    /// An empty registry. Install the metrics recorder before.
    pub fn new(cluster: Cluster, limits: Limits) -> Self {
        metrics::describe_gauge!(ACTORS, "actors that live on this node");
        metrics::describe_gauge!(WAITS, "requests that wait for a change on this node");
        Self(Arc::new(Inner {
            cluster,
            limits,
            sessions: Shelf::new(),
            devices: Shelf::new(),
            rooms: Shelf::new(),
            own: watch::Sender::new(()),
            live: AtomicUsize::new(0),
            waits: AtomicUsize::new(0),
            live_gauge: metrics::gauge!(ACTORS),
            waits_gauge: metrics::gauge!(WAITS),
        }))
    }

    /// Proposes the renewal of a key's lease, unless the last one is less than `rest` ago. Nobody waits for it; where too
    /// many actors live it is dropped, and the next one makes up for it.
    pub fn renew(&self, target: StateKey, draft: Draft, rest: Duration) {
        let due = self.find(&self.0.sessions, target, |usage| usage.renew_after(rest));
        if !due.is_ok_and(|(_, due)| due) {
            return;
        }
        let cluster = self.0.cluster.clone();
        tokio::spawn(async move {
            if let Err(error) = cluster.propose(draft).await {
                tracing::debug!(%error, "a lease was not renewed");
            }
        });
    }

    /// Registers a watcher. Look at the state after this, then wait.
    ///
    /// # Errors
    /// `Overloaded` if too many wait or live here.
    pub async fn watch(&self, target: StateKey) -> Result<Watch, Error> {
        let permit = WaitPermit::take(self).ok_or(Error::Overloaded)?;
        let watch = self.attend(target).await?;
        Ok(Watch { _permit: Some(permit), ..watch })
    }

    /// As [`Registry::watch`], for a socket: those are bounded at the door, and not counted among the waits.
    ///
    /// # Errors
    /// `Overloaded` if too many live here.
    pub async fn attend(&self, target: StateKey) -> Result<Watch, Error> {
        match side(target.domain) {
            Side::Device => self.watch_at(&self.0.devices, target).await,
            Side::Session => self.watch_at(&self.0.sessions, target).await,
            Side::Room => self.watch_at(&self.0.rooms, target).await,
            Side::Node => Ok(self.follow(&target.key)),
        }
    }

    /// A watcher of the node itself. It has no actor, and is not counted.
    fn follow(&self, key: &Key) -> Watch {
        let (interest, changes) = (self.0.cluster.interest(key), self.0.own.subscribe());
        Watch { changes, _watcher: None, _interest: Some(interest), _permit: None }
    }

    /// A place in a room for a member that is connected here. It hears nothing before it attaches.
    ///
    /// # Errors
    /// `Overloaded` if too many live here.
    pub fn enter(&self, room: Key, member: Key, connection: u64) -> Result<Presence, Error> {
        let target = StateKey { domain: Domain::Room, key: room };
        let interest = self.0.cluster.interest(&target.key);
        let (address, watcher) = self.find(&self.0.rooms, target, |usage| usage.watch(Some(interest)))?;
        Ok(Presence::new(address, watcher, member, connection))
    }

    /// The actor of a room that has members here, if there is one.
    pub(super) fn room(&self, room: &Key) -> Option<Addr<RoomActor>> {
        let target = StateKey { domain: Domain::Room, key: *room };
        let shard = self.0.rooms.shard(&target);
        let entry = shard.get(&target).filter(|entry| entry.usage.is_watched())?;
        Some(entry.address.clone())
    }

    async fn watch_at<K: Kind>(&self, shelf: &Shelf<KeyActor<K>>, target: StateKey) -> Result<Watch, Error> {
        let interest = self.0.cluster.interest(&target.key);
        let (address, watcher) = self.find(shelf, target, |usage| usage.watch(Some(interest)))?;
        let changes = address.send(Subscribe).await.map_err(|_| Error::Overloaded)?;
        Ok(Watch { changes, _watcher: Some(watcher), _interest: None, _permit: None })
    }

    /// Wakes whoever waits for a key here.
    pub fn wake(&self, target: &StateKey) {
        match side(target.domain) {
            Side::Device => self.0.devices.wake(target),
            Side::Session => self.0.sessions.wake(target),
            Side::Room => self.0.rooms.wake(target),
            Side::Node => self.0.own.send_replace(()),
        }
    }

    /// Wakes whoever waits here for a key in a slot.
    pub fn wake_slot(&self, slot: Slot) {
        self.0.sessions.wake_slot(slot);
        self.0.devices.wake_slot(slot);
        self.0.rooms.wake_slot(slot);
        self.0.own.send_replace(());
    }

    /// Wakes everybody who waits here.
    pub fn wake_all(&self) {
        self.0.sessions.wake_all();
        self.0.devices.wake_all();
        self.0.rooms.wake_all();
        self.0.own.send_replace(());
    }

    /// How many actors live here.
    pub fn live(&self) -> usize {
        self.0.live.load(Ordering::Relaxed)
    }

    /// Takes an actor out if nobody needs it; true if it is out and may stop.
    pub(super) fn forget(&self, target: &StateKey, usage: &Arc<Usage>) -> bool {
        let out = match side(target.domain) {
            Side::Device => self.0.devices.remove_idle(target, usage),
            Side::Session => self.0.sessions.remove_idle(target, usage),
            Side::Room => self.0.rooms.remove_idle(target, usage),
            // It has no actors.
            Side::Node => Removal::Replaced,
        };
        match out {
            Removal::Removed => {
                self.0.live.fetch_sub(1, Ordering::Relaxed);
                self.0.live_gauge.decrement(1.0);
                true
            }
            Removal::Replaced => true,
            Removal::Busy => false,
        }
    }

    /// Finds the actor of a place or starts it, and lets `count_in` count the caller in before anybody else can look.
    fn find<K: Kind, R>(
        &self,
        shelf: &Shelf<KeyActor<K>>,
        target: StateKey,
        count_in: impl FnOnce(&Arc<Usage>) -> R,
    ) -> Result<(Addr<KeyActor<K>>, R), Error> {
        let mut shard = shelf.shard(&target);
        if let Some(entry) = shard.get(&target) {
            // A closed address counts as absent: an actor that panicked is not revived by anybody else.
            if entry.address.connected() {
                entry.usage.touch();
                return Ok((entry.address.clone(), count_in(&entry.usage)));
            }
        }
        let usage = Arc::new(Usage::default());
        usage.touch();
        let counted = count_in(&usage);
        if !shard.contains_key(&target) {
            let before = self.0.live.fetch_add(1, Ordering::Relaxed);
            if before >= self.0.limits.sessions_max {
                self.0.live.fetch_sub(1, Ordering::Relaxed);
                return Err(Error::Overloaded);
            }
            self.0.live_gauge.increment(1.0);
        }
        let address = self.start::<K>(target, usage.clone());
        shard.insert(target, Entry { address: address.clone(), usage });
        Ok((address, counted))
    }

    /// Starts an actor on the thread that needs it first. Where there is no arbiter (a simulation), the current task
    /// already runs in a `LocalSet`, and the actor joins it.
    fn start<K: Kind>(&self, target: StateKey, usage: Arc<Usage>) -> Addr<KeyActor<K>> {
        let (registry, cluster) = (self.clone(), self.0.cluster.clone());
        match Arbiter::try_current() {
            Some(arbiter) => {
                KeyActor::start_in_arbiter(&arbiter, move |_| KeyActor::new(target, usage, cluster, registry))
            }
            None => KeyActor::new(target, usage, cluster, registry).start(),
        }
    }
}

/// A registered watcher.
#[derive(Debug)]
pub struct Watch {
    changes: watch::Receiver<()>,
    _watcher: Option<WatchPermit>,
    _interest: Option<Interest>,
    _permit: Option<WaitPermit>,
}

impl Watch {
    /// Waits until the key changed since the last time this returned, or since the watcher was registered. False if
    /// the actor is gone, so that nobody will ring any more: register anew.
    pub async fn changed(&mut self) -> bool {
        self.changes.changed().await.is_ok()
    }
}

/// One of the waits that may be held on this node.
struct WaitPermit(Registry);

impl std::fmt::Debug for WaitPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket")
    }
}

impl WaitPermit {
    fn take(registry: &Registry) -> Option<Self> {
        let before = registry.0.waits.fetch_add(1, Ordering::Relaxed);
        registry.0.waits_gauge.increment(1.0);
        let permit = Self(registry.clone());
        (before < registry.0.limits.waits_max).then_some(permit)
    }
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        self.0.0.waits.fetch_sub(1, Ordering::Relaxed);
        self.0.0.waits_gauge.decrement(1.0);
    }
}

struct Entry<A: Actor> {
    address: Addr<A>,
    usage: Arc<Usage>,
}

/// Which kind of actor fronts a domain.
enum Side {
    Session,
    Device,
    Room,
    /// None: the node itself follows it.
    Node,
}

fn side(domain: Domain) -> Side {
    match domain {
        Domain::Mailbox => Side::Device,
        Domain::Room => Side::Room,
        Domain::Transfer
        | Domain::Negotiation
        | Domain::Pin
        | Domain::Rendezvous
        | Domain::Devices
        | Domain::Client
        | Domain::IdempotencyKey
        | Domain::Socket
        | Domain::Ticket => Side::Session,
        Domain::Revocations | Domain::Audit | Domain::Registrations => Side::Node,
    }
}

enum Removal {
    Removed,
    Replaced,
    Busy,
}

/// The actors of one kind. The mutexes are std's: nothing is awaited while one is held.
struct Shelf<A: Actor> {
    shards: Vec<Mutex<HashMap<StateKey, Entry<A>>>>,
}

impl<K: Kind> Shelf<KeyActor<K>> {
    fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, target: &StateKey) -> MutexGuard<'_, HashMap<StateKey, Entry<KeyActor<K>>>> {
        // Keys are SHA-256, so that any byte of them spreads well.
        let shard = usize::from(target.key.as_bytes()[31]) % self.shards.len();
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, target: &StateKey) {
        if let Some(entry) = self.shard(target).get(target)
            && entry.usage.is_watched()
        {
            entry.address.do_send(Wake);
        }
    }

    fn wake_all(&self) {
        self.wake_where(|_| true);
    }

    fn wake_slot(&self, slot: Slot) {
        self.wake_where(|target| target.key.slot() == slot);
    }

    fn wake_where(&self, is_meant: impl Fn(&StateKey) -> bool) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, entry) in
                shard.iter().filter(|(target, entry)| entry.usage.is_watched() && is_meant(target))
            {
                entry.address.do_send(Wake);
            }
        }
    }

    fn remove_idle(&self, target: &StateKey, usage: &Arc<Usage>) -> Removal {
        let mut shard = self.shard(target);
        if usage.is_watched() {
            return Removal::Busy;
        }
        match shard.get(target) {
            Some(entry) if Arc::ptr_eq(&entry.usage, usage) => {
                shard.remove(target);
                Removal::Removed
            }
            Some(_) | None => Removal::Replaced,
        }
    }
}
