//! Keeps this run's lease: while it lives, everything that is attached here counts as attached. What ends before it is told
//! to the cluster, by [`LeaseKeeper::end`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::incarnation::{self, Attachment, Incarnation};
use conclave_cluster::state::socket;
use conclave_cluster::{Cluster, Draft, Error};
use futures_util::{StreamExt as _, stream};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::endings::{Ending, Endings};

/// How long the lease is.
const TTL: Duration = Duration::from_secs(10);
/// How often it is renewed.
const PERIOD: Duration = Duration::from_secs(3);

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
    /// The last renewal that came back. Held while one is under way, so that a crowd of newcomers waits for one renewal
    /// together.
    renewed: Mutex<Option<Renewal>>,
    /// The same, to be looked at without waiting. A std mutex: nothing awaits while it is held.
    certain: std::sync::Mutex<Option<Renewal>>,
    /// Counts the times that the lease may have lapsed although sockets are here.
    lapses: watch::Sender<u64>,
    /// Whoever is attached here beside the sockets.
    guests: AtomicUsize,
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
            renewed: Mutex::default(),
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

    /// What a connection here is attached by, once the lease lives.
    ///
    /// # Errors
    /// If the lease cannot be renewed now.
    pub async fn attachment(&self, connection: u64) -> Result<Attachment, Error> {
        let mut renewed = self.0.renewed.lock().await;
        let incarnation = self.0.endings.incarnation();
        let fresh = |last: &Renewal| {
            last.incarnation == incarnation && last.sent.elapsed() < PERIOD + Duration::from_secs(1)
        };
        let Renewal { incarnation, .. } = match renewed.filter(fresh) {
            Some(last) => last,
            None => self.renew(&mut renewed).await?,
        };
        Ok(Attachment { incarnation, connection })
    }

    /// Whether the lease of what is attached so surely lives. A node that was cut off or stood still may know nothing of
    /// its end, nor of what was handed out elsewhere since; its own clock tells that it may have.
    pub fn is_certain(&self, at: &Attachment) -> bool {
        let certain = self.0.certain.lock().unwrap_or_else(PoisonError::into_inner);
        certain.is_some_and(|last| last.incarnation == at.incarnation && last.sent.elapsed() < TTL)
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
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.endings.replaced() => {}
            }
            if sockets.count() == 0 && self.0.guests.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut renewed = self.0.renewed.lock().await;
            if let Err(error) = self.renew(&mut renewed).await {
                tracing::warn!(%error, sockets = sockets.count(), "lease renewal failed for the sockets of this node");
            }
            drop(renewed);
            self.mark(&sockets).await;
        }
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
        let Some(Renewal { incarnation, .. }) = self.0.renewed.lock().await.take() else { return };
        let op = Op::Incarnation(incarnation::Op::Leave { incarnation });
        if let Err(error) = self.0.cluster.propose(Draft::of(op)).await {
            tracing::debug!(%error, "the lease of this node's sockets runs out by itself");
        }
    }

    async fn renew(&self, renewed: &mut Option<Renewal>) -> Result<Renewal, Error> {
        let renewal = Renewal { incarnation: self.0.endings.incarnation(), sent: Instant::now() };
        let ttl_ms = u32::try_from(TTL.as_millis()).unwrap_or(u32::MAX);
        let op = Op::Incarnation(incarnation::Op::Renew { incarnation: renewal.incarnation, ttl_ms });
        let answer = self.0.cluster.propose(Draft::of(op)).await?;
        if answer.outcome.is_err() {
            return Err(Error::Overloaded);
        }
        // By the cluster's clock the lease may have lapsed if more than its length passed between two that came back. An
        // incarnation that was replaced does for certain.
        let lapsed =
            renewed.is_some_and(|last| last.incarnation != renewal.incarnation || last.sent.elapsed() >= TTL);
        if lapsed {
            // What was handed out meanwhile is seen here before anything is pushed again.
            self.0.cluster.read_linearizable(()).await?;
        }
        *self.0.certain.lock().unwrap_or_else(PoisonError::into_inner) = Some(renewal);
        *renewed = Some(renewal);
        if lapsed {
            self.0.lapses.send_modify(|count| *count += 1);
        }
        Ok(renewal)
    }
}
