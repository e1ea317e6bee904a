//! Which actors live on this node.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::outcome::Answer;
use conclave_cluster::{Cluster, Draft, Error, Trace};
use metrics::Gauge;
use tokio::sync::watch;

use super::Place;
use super::desk::{Carry, Listen, Refresh, Wake};
use super::device::DeviceActor;
use super::front::{Front, Kind};
use super::line::{Line, Seat};
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
    /// Calls in flight for one key.
    pub calls_per_session_max: usize,
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
            live: AtomicUsize::new(0),
            waits: AtomicUsize::new(0),
            live_gauge: metrics::gauge!(ACTORS),
            waits_gauge: metrics::gauge!(WAITS),
        }))
    }

    /// Has a wish carried out by the actor of its key.
    ///
    /// # Errors
    /// `Overloaded` if too many actors live here or too many calls for this key are in flight; else the cluster's.
    pub async fn carry(&self, place: Place, draft: Draft) -> Result<Answer, Error> {
        self.carry_traced(place, draft, None).await
    }

    /// As [`Registry::carry`], saying which request it is for.
    ///
    /// # Errors
    /// As for [`Registry::carry`].
    pub async fn carry_traced(
        &self,
        place: Place,
        draft: Draft,
        trace: Option<Trace>,
    ) -> Result<Answer, Error> {
        match side(place.domain) {
            Side::Device => self.carry_by(&self.0.devices, place, draft, trace).await,
            Side::Session => self.carry_by(&self.0.sessions, place, draft, trace).await,
            Side::Room => self.carry_by(&self.0.rooms, place, draft, trace).await,
        }
    }

    async fn carry_by<K: Kind>(
        &self,
        shelf: &Shelf<Front<K>>,
        place: Place,
        draft: Draft,
        trace: Option<Trace>,
    ) -> Result<Answer, Error> {
        let max = self.0.limits.calls_per_session_max;
        let (address, call) = self.find(shelf, place, |line| line.call(max))?;
        let call = call.ok_or(Error::Overloaded)?;
        // An actor's mailbox closes under a message only when its thread ends or it panicked; then nobody can say
        // whether the wish was carried out, which is what `NoLeader` tells a caller.
        address.send(Carry { draft, trace, call }).await.unwrap_or(Err(Error::NoLeader))
    }

    /// Has a wish carried out unless the same actor did so within `rest`. Nobody waits for it; under load it is dropped.
    pub fn refresh(&self, place: Place, draft: Draft, rest: Duration) {
        let max = self.0.limits.calls_per_session_max;
        if let Ok((address, Some(call))) = self.find(&self.0.sessions, place, |line| line.call(max)) {
            address.do_send(Refresh { draft, rest, call });
        }
    }

    /// Registers a watcher. Look at the state after this, then wait.
    ///
    /// # Errors
    /// `Overloaded` if too many wait or live here.
    pub async fn watch(&self, place: Place) -> Result<Watch, Error> {
        let ticket = Ticket::take(self).ok_or(Error::Overloaded)?;
        let watch = self.attend(place).await?;
        Ok(Watch { _ticket: Some(ticket), ..watch })
    }

    /// As [`Registry::watch`], for a socket: those are bounded at the door, and not counted among the waits.
    ///
    /// # Errors
    /// `Overloaded` if too many live here.
    pub async fn attend(&self, place: Place) -> Result<Watch, Error> {
        match side(place.domain) {
            Side::Device => self.watch_at(&self.0.devices, place).await,
            Side::Session => self.watch_at(&self.0.sessions, place).await,
            Side::Room => self.watch_at(&self.0.rooms, place).await,
        }
    }

    /// A place in a room for a member that is connected here. It hears nothing before it attaches.
    ///
    /// # Errors
    /// `Overloaded` if too many live here.
    pub fn enter(&self, room: Key, member: Key, connection: u64) -> Result<Presence, Error> {
        let place = Place { domain: Domain::Room, key: room };
        let (address, seat) = self.find(&self.0.rooms, place, Line::seat)?;
        Ok(Presence::new(address, seat, member, connection))
    }

    /// The actor of a room that has members here, if there is one.
    pub(super) fn room(&self, room: &Key) -> Option<Addr<RoomActor>> {
        let place = Place { domain: Domain::Room, key: *room };
        let shard = self.0.rooms.shard(&place);
        let entry = shard.get(&place).filter(|entry| entry.line.is_watched())?;
        Some(entry.address.clone())
    }

    async fn watch_at<K: Kind>(&self, shelf: &Shelf<Front<K>>, place: Place) -> Result<Watch, Error> {
        let (address, seat) = self.find(shelf, place, Line::seat)?;
        let bell = address.send(Listen).await.map_err(|_| Error::Overloaded)?;
        Ok(Watch { bell, _seat: seat, _ticket: None })
    }

    /// Wakes whoever waits for a key here.
    pub fn wake(&self, place: &Place) {
        match side(place.domain) {
            Side::Device => self.0.devices.wake(place),
            Side::Session => self.0.sessions.wake(place),
            Side::Room => self.0.rooms.wake(place),
        }
    }

    /// Wakes everybody who waits here.
    pub fn wake_all(&self) {
        self.0.sessions.wake_all();
        self.0.devices.wake_all();
        self.0.rooms.wake_all();
    }

    /// How many actors live here.
    pub fn live(&self) -> usize {
        self.0.live.load(Ordering::Relaxed)
    }

    /// Takes an actor out if nobody needs it; true if it is out and may stop.
    pub(super) fn forget(&self, place: &Place, line: &Arc<Line>) -> bool {
        let out = match side(place.domain) {
            Side::Device => self.0.devices.remove_idle(place, line),
            Side::Session => self.0.sessions.remove_idle(place, line),
            Side::Room => self.0.rooms.remove_idle(place, line),
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
        shelf: &Shelf<Front<K>>,
        place: Place,
        count_in: impl FnOnce(&Arc<Line>) -> R,
    ) -> Result<(Addr<Front<K>>, R), Error> {
        let mut shard = shelf.shard(&place);
        if let Some(entry) = shard.get(&place) {
            // A closed address counts as absent: an actor that panicked is not revived by anybody else.
            if entry.address.connected() {
                entry.line.touch();
                return Ok((entry.address.clone(), count_in(&entry.line)));
            }
        }
        let line = Arc::new(Line::default());
        line.touch();
        let counted = count_in(&line);
        if !shard.contains_key(&place) {
            let before = self.0.live.fetch_add(1, Ordering::Relaxed);
            if before >= self.0.limits.sessions_max {
                self.0.live.fetch_sub(1, Ordering::Relaxed);
                return Err(Error::Overloaded);
            }
            self.0.live_gauge.increment(1.0);
        }
        let address = self.start::<K>(place, line.clone());
        shard.insert(place, Entry { address: address.clone(), line });
        Ok((address, counted))
    }

    /// Starts an actor on the thread that needs it first. Where there is no arbiter (a simulation), the current task
    /// already runs in a `LocalSet`, and the actor joins it.
    fn start<K: Kind>(&self, place: Place, line: Arc<Line>) -> Addr<Front<K>> {
        let (registry, cluster) = (self.clone(), self.0.cluster.clone());
        match Arbiter::try_current() {
            Some(arbiter) => {
                Front::start_in_arbiter(&arbiter, move |_| Front::new(place, line, cluster, registry))
            }
            None => Front::new(place, line, cluster, registry).start(),
        }
    }
}

/// A registered watcher.
#[derive(Debug)]
pub struct Watch {
    bell: watch::Receiver<()>,
    _seat: Seat,
    _ticket: Option<Ticket>,
}

impl Watch {
    /// Waits until the key changed since the last time this returned, or since the watcher was registered. False if
    /// the actor is gone, so that nobody will ring any more: register anew.
    pub async fn changed(&mut self) -> bool {
        self.bell.changed().await.is_ok()
    }
}

/// One of the waits that may be held on this node.
struct Ticket(Registry);

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket")
    }
}

impl Ticket {
    fn take(registry: &Registry) -> Option<Self> {
        let before = registry.0.waits.fetch_add(1, Ordering::Relaxed);
        registry.0.waits_gauge.increment(1.0);
        let ticket = Self(registry.clone());
        (before < registry.0.limits.waits_max).then_some(ticket)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.0.waits.fetch_sub(1, Ordering::Relaxed);
        self.0.0.waits_gauge.decrement(1.0);
    }
}

struct Entry<A: Actor> {
    address: Addr<A>,
    line: Arc<Line>,
}

/// Which kind of actor fronts a domain.
enum Side {
    Session,
    Device,
    Room,
}

fn side(domain: Domain) -> Side {
    match domain {
        Domain::Mailbox => Side::Device,
        Domain::Room => Side::Room,
        Domain::Transfer
        | Domain::Exchange
        | Domain::Pin
        | Domain::Rendezvous
        | Domain::Devices
        | Domain::Client
        | Domain::Memo
        | Domain::Socket
        | Domain::Ticket => Side::Session,
    }
}

enum Removal {
    Removed,
    Replaced,
    Busy,
}

/// The actors of one kind. The mutexes are std's: nothing is awaited while one is held.
struct Shelf<A: Actor> {
    shards: Vec<Mutex<HashMap<Place, Entry<A>>>>,
}

impl<K: Kind> Shelf<Front<K>> {
    fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, place: &Place) -> MutexGuard<'_, HashMap<Place, Entry<Front<K>>>> {
        // Keys are SHA-256, so that any byte of them spreads well.
        let shard = usize::from(place.key.as_bytes()[31]) % self.shards.len();
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, place: &Place) {
        if let Some(entry) = self.shard(place).get(place)
            && entry.line.is_watched()
        {
            entry.address.do_send(Wake);
        }
    }

    fn wake_all(&self) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in shard.values().filter(|entry| entry.line.is_watched()) {
                entry.address.do_send(Wake);
            }
        }
    }

    fn remove_idle(&self, place: &Place, line: &Arc<Line>) -> Removal {
        let mut shard = self.shard(place);
        if !line.is_idle() {
            return Removal::Busy;
        }
        match shard.get(place) {
            Some(entry) if Arc::ptr_eq(&entry.line, line) => {
                shard.remove(place);
                Removal::Removed
            }
            Some(_) | None => Removal::Replaced,
        }
    }
}
