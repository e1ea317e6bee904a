//! What a cluster should be like.

use crate::cluster::Cluster;

/// A cluster to be.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) nodes: u64,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) descriptors: Option<(u64, u64)>,
    pub(crate) intercepted: bool,
    pub(crate) secured: bool,
    pub(crate) guarded: bool,
    pub(crate) shared: bool,
}

impl Default for Builder {
    /// Three nodes with nothing set.
    fn default() -> Self {
        Self {
            nodes: 3,
            settings: Vec::new(),
            variables: Vec::new(),
            descriptors: None,
            intercepted: false,
            secured: false,
            guarded: true,
            shared: false,
        }
    }
}

impl Builder {
    /// How many nodes it begins with, ids from 1 up. Three if nothing is said.
    pub fn nodes(mut self, nodes: u64) -> Self {
        self.nodes = nodes;
        self
    }

    /// Sets a key of every node's configuration, as `--set KEY=VALUE` does.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Switches allowances and shares off: for tests that ask and store more than any client should.
    pub fn unmetered(self) -> Self {
        self.set("allowance.enabled", "false").set("shares.enabled", "false")
    }

    /// Sets an environment variable of every node.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many descriptors each node may have open when it starts, and at the most.
    pub fn descriptors(mut self, soft: u64, hard: u64) -> Self {
        self.descriptors = Some((soft, hard));
        self
    }

    /// Lets all traffic between the nodes pass through a [`Net`](crate::net::Net).
    pub fn intercepted(mut self) -> Self {
        self.intercepted = true;
        self
    }

    /// Gives the nodes no shared secret, as on a single machine nobody has to. All others have one.
    pub fn unguarded(mut self) -> Self {
        self.guarded = false;
        self
    }

    /// Its public side speaks TLS, and so cannot be asked in the clear whether it is ready.
    pub(crate) fn secured(mut self) -> Self {
        self.secured = true;
        self
    }

    /// Does not count as a cluster of one test's own.
    pub(crate) fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Starts it, and waits until every node is ready.
    pub async fn start(self) -> Cluster {
        let mut cluster = Cluster::place(self).await;
        cluster.spawn_all();
        cluster.wait_ready().await;
        cluster
    }

    /// Starts only these of its nodes, and waits for nothing.
    pub async fn start_only(self, ids: &[u64]) -> Cluster {
        let mut cluster = Cluster::place(self).await;
        for id in ids {
            cluster.restart(*id);
        }
        cluster
    }
}
