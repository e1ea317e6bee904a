//! Clusters that all contract tests of one run have in common.
//!
//! Each is started by the first test that needs it and lives until the test process ends: then the pipes that are its
//! nodes' standard inputs close, and the nodes exit. Tests share them by using names nobody else uses.

use std::ops::Deref;
use std::sync::LazyLock;
use std::thread;

use tokio::sync::OnceCell;

use crate::builder::Builder;
use crate::cluster::Cluster;
use crate::http::Api;
use crate::issuer::Issuer;

/// The origins that the clusters' browsers may come from.
pub const ORIGINS: [&str; 2] = ["https://app.example", "https://desk.example"];

/// How long things live in [`brief`], in milliseconds.
pub const BRIEF_TTL_MS: u64 = 1_500;

/// How many nodes each cluster has, if it is set.
pub(crate) const NODES: &str = "CONCLAVE_NODES";

/// How many requests each tier of [`metered`] admits.
pub const METERED_LIMIT: u32 = 5;

/// How long a window of [`metered`]'s signal tier stays open, in milliseconds. All others stay open for a minute.
pub const METERED_BRIEF_WINDOW_MS: u64 = 2_000;

/// All tiers.
pub const TIERS: [&str; 6] = ["create", "lookup", "chunk", "signal", "poll", "socket"];

/// A loan of a shared cluster. Shows the nodes' logs if the test that holds it fails.
#[derive(Debug)]
pub struct Lease(&'static Cluster);

impl Lease {
    /// With a node that does not lead. Whoever asks it keeps the loan.
    pub async fn and_node(self) -> (Self, Api) {
        let node = self.follower().await;
        (self, node)
    }

    /// With two nodes that do not lead.
    pub async fn and_two_nodes(self) -> (Self, Api, Api) {
        let (one, other) = self.two_followers().await;
        (self, one, other)
    }
}

impl Deref for Lease {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.ask_for_leaks();
        if thread::panicking() {
            self.0.show_logs();
        }
    }
}

/// Defaults, with allowances no test can spend.
pub async fn standard() -> Lease {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    lease(&CLUSTER, generous(Cluster::builder()).env("ALLOWED_ORIGINS", &ORIGINS.join(","))).await
}

/// The enterprise edition.
pub async fn enterprise() -> Lease {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let edition = generous(Cluster::builder())
        .env("QSAFEVAULT_EDITION", "enterprise")
        .env("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "true");
    lease(&CLUSTER, edition).await
}

/// Everything expires after [`BRIEF_TTL_MS`].
pub async fn brief() -> Lease {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let brief = ["chunk", "signal", "register", "session"]
        .iter()
        .fold(generous(Cluster::builder()), |builder, kind| {
            builder.set(&format!("ttl.{kind}"), &format!("{BRIEF_TTL_MS}ms"))
        });
    lease(&CLUSTER, brief).await
}

/// Each tier admits [`METERED_LIMIT`] requests. Tests take a client address of their own.
pub async fn metered() -> Lease {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let metered = limits(Cluster::builder(), METERED_LIMIT, "60s")
        .set("allowance.tiers.signal.window", &format!("{METERED_BRIEF_WINDOW_MS}ms"));
    lease(&CLUSTER, metered).await
}

/// Nobody gets in without a token of the issuer that comes with it.
pub async fn guarded() -> (Lease, &'static Issuer) {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    static ISSUER: LazyLock<Issuer> = LazyLock::new(Issuer::new);
    let guarded = ISSUER.guard(generous(Cluster::builder())).env("ALLOWED_ORIGINS", &ORIGINS.join(","));
    (lease(&CLUSTER, guarded).await, &ISSUER)
}

/// `CONCLAVE_FRONTS=1` gives each cluster two nodes without a seat, and has every test that asks for a node which does not
/// lead meet those. `CONCLAVE_CELLS=1` has each node be a cell of its own; the slots move while the first tests run.
/// `CONCLAVE_NODES=9` gives each cluster so many nodes, and each test others of them ([`Cluster::followers`]).
async fn lease(cell: &'static OnceCell<Cluster>, builder: Builder) -> Lease {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|set| set == "1");
    let builder = if is_set("CONCLAVE_FRONTS") { builder.nodes(5) } else { builder };
    let builder = match std::env::var(NODES) {
        Ok(nodes) => builder.nodes(nodes.parse().expect("CONCLAVE_NODES is a number")),
        Err(_) => builder,
    };
    let builder = if is_set("CONCLAVE_CELLS") { builder.set("cluster.replicas", "1") } else { builder };
    Lease(cell.get_or_init(|| builder.shared().start()).await)
}

fn generous(builder: Builder) -> Builder {
    limits(builder, 1_000_000, "60s")
}

/// The same limit and window in every tier.
pub fn limits(builder: Builder, limit: u32, window: &str) -> Builder {
    TIERS.iter().fold(builder, |builder, tier| {
        builder
            .set(&format!("allowance.tiers.{tier}.limit"), &limit.to_string())
            .set(&format!("allowance.tiers.{tier}.window"), window)
    })
}
