//! Looks at the cluster all the while: who leads since when, and how much memory the nodes hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::AbortHandle;
use tokio::time::interval;

use super::cluster::Cluster;
use crate::client::Target;
use crate::cluster_status::ClusterStatus;
use crate::sample::process;

const LOOK: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_millis(500);
const FIRST_CELL: u16 = 1;

/// What was seen since the beginning was called.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Terms in which somebody led a cell, beyond the first one of each.
    pub(super) leader_changes: usize,
    /// Resident bytes of the largest node.
    pub(super) rss_most: u64,
}

#[derive(Debug, Default)]
struct Inner {
    admins: Vec<Target>,
    /// In which somebody led, of each cell.
    terms: BTreeMap<u16, BTreeSet<u64>>,
    rss_most: u64,
}

/// A task that looks; ends when dropped.
#[derive(Debug)]
pub(super) struct Observer {
    inner: Arc<Mutex<Inner>>,
    looking: AbortHandle,
}

impl Observer {
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
        for terms in inner.terms.values_mut() {
            let last = terms.pop_last();
            *terms = last.into_iter().collect();
        }
        inner.rss_most = 0;
    }

    /// There are other nodes now.
    pub(super) fn nodes(&self, cluster: &Cluster) {
        self.inner().admins = cluster.admins();
    }

    pub(super) fn seen(&self) -> Seen {
        let inner = self.inner();
        let changes = inner.terms.values().map(|terms| terms.len().saturating_sub(1));
        Seen { leader_changes: changes.sum(), rss_most: inner.rss_most }
    }
}

impl Drop for Observer {
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
        let seen = join_all(admins.iter().map(|admin| ClusterStatus::of(admin, ANSWER))).await;
        let mut inner = lock(&inner);
        for cluster_status in seen.into_iter().flatten() {
            inner.note(&cluster_status);
        }
    }
}

impl Inner {
    fn note(&mut self, cluster_status: &ClusterStatus) {
        if cluster_status.leader.is_some() {
            self.terms.entry(FIRST_CELL).or_default().insert(cluster_status.term);
        }
        // The first one is told of above, by the term that the node itself is in where it sits there.
        let others =
            cluster_status.cells.iter().filter(|cell| cell.cell != FIRST_CELL && cell.leader.is_some());
        for cell in others {
            self.terms.entry(cell.cell).or_default().insert(cell.term);
        }
        let sizes = cluster_status.nodes.iter().filter_map(|node| process(node.pid));
        self.rss_most = sizes.map(|process| process.rss_bytes).max().unwrap_or_default().max(self.rss_most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_leaders_are_counted_in_each_cell() {
        let mut inner = Inner::default();
        for (term, other) in [(1, 1), (2, 1), (2, 7), (2, 7)] {
            let text = format!(
                r#"{{"leader":1,"term":{term},"nodes":[],"cells":[
                    {{"cell":1,"leader":1,"term":{term},"slots":512,"moving":0}},
                    {{"cell":2,"leader":4,"term":{other},"slots":512,"moving":0}},
                    {{"cell":3,"leader":null,"term":9,"slots":0,"moving":0}}]}}"#
            );
            inner.note(&ClusterStatus::parse(text.as_bytes()).unwrap());
        }
        let counts: Vec<_> = inner.terms.iter().map(|(cell, terms)| (*cell, terms.len())).collect();
        assert_eq!(counts, [(1, 2), (2, 2)]);
    }
}
