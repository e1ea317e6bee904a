//! Keeps this run's lease: while it lives, everything that is attached here counts as attached.

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
    incarnation: Incarnation,
    cluster: Cluster,
    /// When the last renewal that came back was sent. Held while one is under way, so that a crowd of newcomers waits
    /// for one renewal together.
    renewed: Mutex<Option<Instant>>,
    /// The same instant, to be looked at without waiting. A std mutex: nothing awaits while it is held.
    certain: std::sync::Mutex<Option<Instant>>,
    /// Counts the times that the lease may have lapsed although sockets are here.
    lapses: watch::Sender<u64>,
    /// Whoever is attached here beside the sockets.
    guests: AtomicUsize,
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
        let incarnation = Incarnation { node: cluster.node_id(), run: rand::random() };
        let (lapses, guests) = (watch::Sender::new(0), AtomicUsize::new(0));
        Self(Arc::new(Inner {
            incarnation,
            cluster,
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
        if !renewed.is_some_and(|at| at.elapsed() < PERIOD + Duration::from_secs(1)) {
            self.renew(&mut renewed).await?;
        }
        Ok(Attachment { incarnation: self.0.incarnation, connection })
    }

    /// Whether the lease surely lives. A node that was cut off or stood still may know nothing of its end, nor of what
    /// was handed out elsewhere since; its own clock tells that it may have.
    pub fn is_certain(&self) -> bool {
        let certain = self.0.certain.lock().unwrap_or_else(PoisonError::into_inner);
        certain.is_some_and(|at| at.elapsed() < TTL)
    }

    /// Rings when whatever was attached here may count as detached: attach it anew.
    pub fn lapses(&self) -> watch::Receiver<u64> {
        self.0.lapses.subscribe()
    }

    /// Renews the lease while there are sockets or guests. Runs until dropped.
    pub async fn run(self, sockets: impl Sockets) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
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
        let op = Op::Incarnation(incarnation::Op::Leave { incarnation: self.0.incarnation });
        if self.0.renewed.lock().await.take().is_some()
            && let Err(error) = self.0.cluster.propose(Draft::of(op)).await
        {
            tracing::debug!(%error, "the lease of this node's sockets runs out by itself");
        }
    }

    async fn renew(&self, renewed: &mut Option<Instant>) -> Result<(), Error> {
        let sent = Instant::now();
        let ttl_ms = u32::try_from(TTL.as_millis()).unwrap_or(u32::MAX);
        let op = Op::Incarnation(incarnation::Op::Renew { incarnation: self.0.incarnation, ttl_ms });
        let answer = self.0.cluster.propose(Draft::of(op)).await?;
        if answer.outcome.is_err() {
            return Err(Error::Overloaded);
        }
        // By the cluster's clock the lease may have lapsed if more than its length passed between two that came back.
        let lapsed = renewed.is_some_and(|last| last.elapsed() >= TTL);
        if lapsed {
            // What was handed out meanwhile is seen here before anything is pushed again.
            self.0.cluster.read_linearizable(()).await?;
        }
        *self.0.certain.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
        *renewed = Some(sent);
        if lapsed {
            self.0.lapses.send_modify(|count| *count += 1);
        }
        Ok(())
    }
}
