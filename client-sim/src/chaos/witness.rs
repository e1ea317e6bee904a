//! Looks at the cluster all the while: who leads since when, and how much memory the nodes hold.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use hyper::Uri;
use tokio::task::AbortHandle;
use tokio::time::{interval, timeout};

use super::cluster::Cluster;
use crate::client::Target;
use crate::fleet::Fleet;
use crate::sample::{get, process};

const LOOK: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_millis(500);

/// What was seen since the beginning was called.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Terms in which somebody led, beyond the first one.
    pub(super) leader_changes: usize,
    /// Resident bytes of the largest node.
    pub(super) rss_most: u64,
}

#[derive(Debug, Default)]
struct Inner {
    admins: Vec<Target>,
    /// In which somebody led.
    terms: BTreeSet<u64>,
    rss_most: u64,
}

/// A task that looks; ends when dropped.
#[derive(Debug)]
pub(super) struct Witness {
    inner: Arc<Mutex<Inner>>,
    looking: AbortHandle,
}

impl Witness {
    pub(super) fn start(cluster: &Cluster) -> Self {
        let inner = Arc::new(Mutex::new(Inner { admins: cluster.admins(), ..Inner::default() }));
        let looking = tokio::spawn(look(inner.clone())).abort_handle();
        Self { inner, looking }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// What was seen so far does not count; who leads now is known from before.
    pub(super) fn begin(&self) {
        let mut inner = self.inner();
        let last = inner.terms.pop_last();
        inner.terms = last.into_iter().collect();
        inner.rss_most = 0;
    }

    /// There are other nodes now.
    pub(super) fn nodes(&self, cluster: &Cluster) {
        self.inner().admins = cluster.admins();
    }

    pub(super) fn seen(&self) -> Seen {
        let inner = self.inner();
        Seen { leader_changes: inner.terms.len().saturating_sub(1), rss_most: inner.rss_most }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn look(inner: Arc<Mutex<Inner>>) {
    let mut ticks = interval(LOOK);
    loop {
        ticks.tick().await;
        let admins = lock(&inner).admins.clone();
        let seen = join_all(admins.iter().map(status)).await;
        let mut inner = lock(&inner);
        for fleet in seen.into_iter().flatten() {
            inner.note(&fleet);
        }
    }
}

async fn status(admin: &Target) -> Option<Fleet> {
    let reply = timeout(ANSWER, get(admin, &Uri::from_static("/cluster/status"))).await.ok()?.ok()?;
    Fleet::parse(&reply.body).ok()
}

impl Inner {
    fn note(&mut self, fleet: &Fleet) {
        if let (Some(term), Some(_)) = (fleet.term, fleet.leader) {
            self.terms.insert(term);
        }
        let sizes = fleet.nodes.iter().filter_map(|node| process(node.pid));
        self.rss_most = sizes.map(|process| process.rss_bytes).max().unwrap_or_default().max(self.rss_most);
    }
}
