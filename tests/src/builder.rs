//! What a cluster should be like.

use conclave_client_sim::chaos::cluster::Plan;

use crate::binary;
use crate::cluster::Cluster;
use crate::leaks;

/// A cluster to be.
#[derive(Debug)]
pub struct Builder {
    pub(crate) plan: Plan,
    pub(crate) shared: bool,
}

impl Default for Builder {
    /// Three nodes with nothing set.
    fn default() -> Self {
        // Where their files are is decided when they start.
        let builder =
            Self { plan: Plan::new(binary::conclave().to_owned(), Default::default()), shared: false };
        // No load balancer has to notice first.
        let builder = builder.set("shutdown.lame_duck", "0s");
        if leaks::are_sought() { builder.set("log.level", "trace") } else { builder }
    }
}

impl Builder {
    /// How many nodes it begins with, ids from 1 up. Three if nothing is said.
    pub fn nodes(mut self, nodes: u64) -> Self {
        self.plan.nodes = nodes;
        self
    }

    /// Sets a key of every node's configuration, as `--set KEY=VALUE` does.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.plan.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Switches allowances and shares off: for tests that ask and store more than any client should.
    pub fn unmetered(self) -> Self {
        self.set("allowance.enabled", "false").set("shares.enabled", "false")
    }

    /// Sets an environment variable of every node.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.plan.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many descriptors each node may have open when it starts, and at the most.
    pub fn descriptors(mut self, soft: u64, hard: u64) -> Self {
        self.plan.prelude = Some(format!("ulimit -S -n {soft} && ulimit -H -n {hard}"));
        self
    }

    /// Lets all traffic between the nodes pass through a [`Net`](crate::net::Net).
    pub fn intercepted(mut self) -> Self {
        self.plan.intercepted = true;
        self
    }

    /// Gives the nodes no shared secret, as on a single machine nobody has to. All others have one.
    pub fn unguarded(mut self) -> Self {
        self.plan.guarded = false;
        self
    }

    /// Does not count as a cluster of one test's own.
    pub(crate) fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Starts it, and waits until every node is ready.
    pub async fn start(self) -> Cluster {
        let all: Vec<u64> = (1..=self.plan.nodes).collect();
        let mut cluster = self.start_only(&all).await;
        cluster.wait_ready().await;
        cluster
    }

    /// Starts only these of its nodes, and waits for nothing.
    pub async fn start_only(self, ids: &[u64]) -> Cluster {
        let mut cluster = Cluster::install(self).await;
        for id in ids {
            cluster.restart(*id);
        }
        cluster
    }
}
