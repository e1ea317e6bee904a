//! What the admin listener may look at and touch. It is there before the cluster part is, so that a node that waits
//! for its peers can already be asked how it is.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use conclave_cluster::Cluster;

use crate::service::{Services, readiness};
use crate::telemetry::metrics::{About, Metrics, Reading};
use crate::transport::ws::Sockets;

/// Where the node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not answering the public yet.
    Starting,
    /// Answering.
    Serving,
    /// Going away.
    Draining,
}

struct Inside {
    phase: AtomicU8,
    cluster: OnceLock<Cluster>,
    services: OnceLock<Arc<Services>>,
    sockets: OnceLock<Sockets>,
    metrics: Metrics,
    about: About,
}

/// The node, as operators see it. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct AdminState(Arc<Inside>);

impl AdminState {
    /// The state of a node that is about to start.
    pub fn new(metrics: Metrics, about: About) -> Self {
        let (phase, cluster) = (AtomicU8::new(Phase::Starting as u8), OnceLock::new());
        let (services, sockets) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Inside { phase, cluster, services, sockets, metrics, about }))
    }

    /// The cluster part is up. Set once; a second call changes nothing.
    pub fn attach(&self, cluster: Cluster) {
        let _ = self.0.cluster.set(cluster);
    }

    /// The services are up. Set once; a second call changes nothing.
    pub fn serve(&self, services: Arc<Services>) {
        let _ = self.0.services.set(services);
    }

    pub(super) fn services(&self) -> Option<&Services> {
        self.0.services.get().map(AsRef::as_ref)
    }

    /// The node accepts sockets. Set once; a second call changes nothing.
    pub fn seat(&self, sockets: Sockets) {
        let _ = self.0.sockets.set(sockets);
    }

    pub(super) fn sockets(&self) -> Option<&Sockets> {
        self.0.sockets.get()
    }

    /// The node has come to `phase`. It never goes back.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.fetch_max(phase as u8, Ordering::SeqCst);
    }

    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.0.cluster.get()
    }

    /// The names of the checks that fail; none, if the node is ready. Asks the leader, too.
    pub(super) async fn unready(&self) -> Vec<&'static str> {
        let failing = self.failing();
        match self.services() {
            Some(services) if failing.is_empty() => {
                readiness::check(&services.cluster, &services.auth).await.err().unwrap_or_default()
            }
            Some(_) | None => failing,
        }
    }

    /// The names of the checks that fail as far as the node knows by itself.
    pub(super) fn failing(&self) -> Vec<&'static str> {
        let mut failing = Vec::new();
        let phase = self.0.phase.load(Ordering::SeqCst);
        if phase < Phase::Serving as u8 {
            failing.push("starting");
        }
        if phase >= Phase::Draining as u8 {
            failing.push("draining");
        }
        if let Some(cluster) = self.cluster()
            && let Err(why) = cluster.ready()
        {
            failing.extend(why);
        }
        if let Some(services) = self.services() {
            failing.extend(readiness::unknown(&services.auth));
        }
        failing
    }

    pub(super) fn metrics(&self) -> String {
        let glance = self.cluster().map(|cluster| {
            let leader = cluster.leader();
            cluster.record_metrics();
            Reading {
                totals: cluster.totals(),
                has_leader: leader.is_some(),
                leads: leader == Some(cluster.node_id()),
                ready: self.failing().is_empty(),
            }
        });
        self.0.metrics.render(&self.0.about, glance.as_ref())
    }
}
