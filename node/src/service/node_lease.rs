//! Keeps this run's lease: while it lives, everything that is attached here counts as attached. What ends before it is told
//! to the cluster, by [`LeaseKeeper::end`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::incarnation::{self, Attachment, Incarnation};
use conclave_cluster::state::slot::CellId;
use conclave_cluster::state::socket;
use conclave_cluster::{Cluster, Draft, Error};
use futures_util::future::{join_all, ready};
use futures_util::{StreamExt as _, stream};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::endings::{Ending, Endings};

/// How long the lease is.
const TTL: Duration = Duration::from_secs(10);
/// How often it is renewed.
const PERIOD: Duration = Duration::from_secs(3);

/// How often it is looked whether it is due, or there is a new cell.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Clients whose progress is written down at a time.
const MARKS_AT_ONCE: usize = 256;

/// The sockets that the lease is kept for.
pub trait Sockets {
    /// How many there are.
    fn count(&self) -> usize;

    /// How far clients got in their rooms that cannot say so themselves: the session, its connection, and the mark.
    fn marks(&self) -> Vec<(Key, u64, socket::Mark)>;
}

/// The keeper. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct LeaseKeeper(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    /// What ended here and was not heard, and the incarnation by which things are attached.
    endings: Endings,
    /// What is known of each cell's lease. Held while one is renewed, so that a crowd of newcomers waits for one renewal
    /// together.
    leases: Mutex<Leases>,
    /// The last renewals that came back, to be looked at without waiting. A std mutex: nothing awaits while it is held.
    certain: std::sync::Mutex<BTreeMap<CellId, Renewal>>,
    /// Counts the times that the lease may have lapsed although sockets are here.
    lapses: watch::Sender<u64>,
    /// Whoever is attached here beside the sockets.
    guests: AtomicUsize,
}

/// The lease of this node in each cell: what is attached here may be in any of them.
#[derive(Default)]
struct Leases {
    /// The last renewals that came back.
    renewed: BTreeMap<CellId, Renewal>,
    /// Cells in which something may be attached that the lease was not renewed for.
    missed: BTreeSet<CellId>,
}

/// A renewal that came back.
#[derive(Debug, Clone, Copy)]
struct Renewal {
    incarnation: Incarnation,
    sent: Instant,
}

/// Has what was begun ended, unless it is settled before this is dropped.
pub struct Unsettled {
    keeper: LeaseKeeper,
    ending: Option<Ending>,
}

impl Unsettled {
    /// It stands, or nothing was begun.
    pub fn settle(mut self) {
        self.ending = None;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            self.keeper.0.endings.keep(ending);
        }
    }
}

/// Somebody for whom the lease is kept until this is dropped.
pub struct LeaseGuard(LeaseKeeper);

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.0.0.guests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LeaseKeeper {
    /// A keeper of a lease that nobody needs yet.
    pub fn new(cluster: Cluster) -> Self {
        let endings = Endings::new(cluster.node_id());
        let (lapses, guests) = (watch::Sender::new(0), AtomicUsize::new(0));
        Self(Arc::new(Inner {
            cluster,
            endings,
            leases: Mutex::default(),
            certain: Default::default(),
            lapses,
            guests,
        }))
    }

    /// Keeps the lease for something that is no socket.
    pub fn guest(&self) -> LeaseGuard {
        self.0.guests.fetch_add(1, Ordering::Relaxed);
        LeaseGuard(self.clone())
    }

    /// What a connection here is attached by, once the lease lives in the cell of `key` and in all others that have a leader.
    ///
    /// # Errors
    /// If the lease cannot be renewed now in the cell of `key`.
    pub async fn attachment(&self, key: &Key, connection: u64) -> Result<Attachment, Error> {
        // Nobody waits for a cell without a leader while others wait behind.
        self.0.cluster.wait_unless_leaderless(Some(key), Instant::now(), ready(())).await?;
        let mut leases = self.0.leases.lock().await;
        let incarnation = self.0.endings.incarnation();
        let home = self.0.cluster.cell_of(key);
        self.renew_due(&mut leases, PERIOD + Duration::from_secs(1), Some(home)).await?;
        Ok(Attachment { incarnation, connection })
    }

    /// Whether the lease of what is attached so surely lives in the cell of `key`. A node that was cut off or stood still may
    /// know nothing of its end, nor of what was handed out elsewhere since; its own clock tells that it may have.
    pub fn is_certain(&self, key: &Key, at: &Attachment) -> bool {
        let certain = self.certain();
        let is_fresh = |last: &Renewal| last.incarnation == at.incarnation && last.sent.elapsed() < TTL;
        match certain.get(&self.0.cluster.cell_of(key)) {
            Some(last) => is_fresh(last),
            // A new cell has the leases that came with the slots.
            None => !certain.is_empty() && certain.values().all(is_fresh),
        }
    }

    /// Ends what was attached here. What the cluster does not answer now is kept, and proposed until it does.
    ///
    /// # Errors
    /// The cluster's, if not all of it is done yet.
    pub async fn end(&self, mut ending: Ending) -> Result<(), Error> {
        let ended = ending.attempt(&async |op| self.0.cluster.propose(Draft::of(op)).await).await;
        self.0.endings.keep(ending);
        ended
    }

    /// For something that is about to be attached here: `ending` ends it, if it comes to nothing and it is not known
    /// whether the cluster knows of it.
    pub fn unsettled(&self, ending: Ending) -> Unsettled {
        Unsettled { keeper: self.clone(), ending: Some(ending) }
    }

    /// Rings when whatever was attached here may count as detached: attach it anew.
    pub fn lapses(&self) -> watch::Receiver<u64> {
        self.0.lapses.subscribe()
    }

    /// Renews the lease while there are sockets or guests, and has told what was not heard. Runs until dropped.
    pub async fn run(self, sockets: impl Sockets) {
        let propose = async |op| self.0.cluster.propose(Draft::of(op)).await;
        tokio::join!(self.renew_in_time(sockets), self.0.endings.run(propose));
    }

    async fn renew_in_time(&self, sockets: impl Sockets) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut marked = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.endings.replaced() => {}
            }
            if sockets.count() == 0 && self.0.guests.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut leases = self.0.leases.lock().await;
            // That it failed in one cell is told there.
            let _ = self.renew_due(&mut leases, PERIOD, None).await;
            drop(leases);
            if marked.elapsed() >= PERIOD {
                marked = Instant::now();
                self.mark(&sockets).await;
            }
        }
    }

    fn certain(&self) -> MutexGuard<'_, BTreeMap<CellId, Renewal>> {
        self.0.certain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lease in all cells in which the last renewal is older than `age`: in `home` in any case, in the others if they
    /// have a leader.
    async fn renew_due(&self, leases: &mut Leases, age: Duration, home: Option<CellId>) -> Result<(), Error> {
        let incarnation = self.0.endings.incarnation();
        let cells = self.0.cluster.cells();
        leases.renewed.retain(|cell, _| cells.contains(cell));
        leases.missed.retain(|cell| cells.contains(cell));
        self.certain().retain(|cell, _| cells.contains(cell));
        let is_due = |cell: &CellId| {
            let last = leases.renewed.get(cell);
            last.is_none_or(|last| last.incarnation != incarnation || last.sent.elapsed() >= age)
        };
        let due = cells.iter().copied().filter(is_due);
        let (tried, missed): (Vec<_>, Vec<_>) =
            due.partition(|cell| home == Some(*cell) || self.0.cluster.leader_of(*cell).is_some());
        // Nothing was attached by a node that begins; and what came to a new cell came with its lease.
        if !leases.renewed.is_empty() || home.is_some() {
            leases.missed.extend(missed);
        }
        let renewals = join_all(tried.iter().map(|cell| self.renew(*cell, leases))).await;
        let mut lapsed = false;
        let mut failed = Ok(());
        for (cell, renewal) in tried.into_iter().zip(renewals) {
            match renewal {
                Ok((renewal, has_lapsed)) => {
                    lapsed |= has_lapsed;
                    leases.missed.remove(&cell);
                    leases.renewed.insert(cell, renewal);
                    self.certain().insert(cell, renewal);
                }
                Err(error) => {
                    tracing::warn!(%error, %cell, "lease renewal failed for the sockets of this node");
                    leases.missed.insert(cell);
                    if home == Some(cell) {
                        failed = Err(error);
                    }
                }
            }
        }
        if lapsed {
            self.0.lapses.send_modify(|count| *count += 1);
        }
        failed
    }

    /// Writes down how far the clients got in their rooms that cannot say so themselves. What is not heard now is written
    /// with the next messages that arrive: until then they would be told something twice.
    async fn mark(&self, sockets: &impl Sockets) {
        let marks = sockets.marks().into_iter().map(|(key, connection, mark)| {
            Draft::of(Op::Socket(socket::Op { key, action: socket::Action::Mark { connection, mark } }))
        });
        let mut marks =
            stream::iter(marks).map(|draft| self.0.cluster.propose(draft)).buffer_unordered(MARKS_AT_ONCE);
        while let Some(marked) = marks.next().await {
            if let Err(error) = marked {
                return tracing::debug!(%error, "how far clients got was not written down");
            }
        }
    }

    /// Ends the lease: everything that is attached here counts as detached at once.
    pub async fn leave(&self) {
        let renewed = std::mem::take(&mut self.0.leases.lock().await.renewed);
        let left = renewed.into_iter().map(async |(cell, Renewal { incarnation, .. })| {
            let op = Op::Incarnation(incarnation::Op::Leave { incarnation });
            if let Err(error) = self.0.cluster.propose_in(cell, Draft::of(op)).await {
                tracing::debug!(%error, %cell, "the lease of this node's sockets runs out by itself");
            }
        });
        join_all(left).await;
    }

    /// Renews the lease in a cell. Whether what is attached there may count as detached meanwhile.
    async fn renew(&self, cell: CellId, leases: &Leases) -> Result<(Renewal, bool), Error> {
        let renewal = Renewal { incarnation: self.0.endings.incarnation(), sent: Instant::now() };
        let ttl_ms = u32::try_from(TTL.as_millis()).unwrap_or(u32::MAX);
        let op = Op::Incarnation(incarnation::Op::Renew { incarnation: renewal.incarnation, ttl_ms });
        let answer = self.0.cluster.propose_in(cell, Draft::of(op)).await?;
        if answer.outcome.is_err() {
            return Err(Error::Overloaded);
        }
        // By the cell's clock the lease may have lapsed if more than its length passed between two that came back. An
        // incarnation that was replaced does for certain.
        let lapsed = match leases.renewed.get(&cell) {
            Some(last) => last.incarnation != renewal.incarnation || last.sent.elapsed() >= TTL,
            None => leases.missed.contains(&cell),
        };
        if lapsed {
            // What was handed out meanwhile is seen here before anything is pushed again.
            self.0.cluster.reach(cell).await?;
        }
        Ok((renewal, lapsed))
    }
}
