//! What all workers of one node share.

use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::HeaderValue;
use conclave_cluster::Cluster;
use conclave_cluster::state::allowance::Tier;
use tokio::time::Instant;

use super::brief::Brief;
use super::guard::Dress;
use super::intake::Intake;
use super::metrics::Metrics;
use super::nodes::Nodes;
use super::options::Options;
use super::router::Router;
use super::server::Readiness;
use crate::access::Guesses;
use crate::access::allowance::{self, TIERS};
use crate::actors::Registry;
use crate::listener::Judge;
use crate::socket::Sockets;

/// What all workers of one node share. Make one, wrap it in `web::Data`, give it to every [`app`](super::app()).
pub struct Shared {
    pub(crate) cluster: Cluster,
    pub(crate) options: Options,
    pub(crate) registry: Registry,
    pub(crate) sockets: Sockets,
    pub(crate) guesses: Guesses,
    pub(super) metrics: Metrics,
    pub(super) dress: Dress,
    brief: Brief,
    pub(super) router: Router,
    pub(super) intake: Intake,
    pub(super) started: Instant,
    pub(super) readiness: Readiness,
    pub(super) nodes: Nodes,
    policies: [Option<HeaderValue>; TIERS.len()],
    leaving: AtomicBool,
    draining: AtomicBool,
}

impl Shared {
    /// Install the metrics recorder before.
    pub fn new(cluster: Cluster, options: Options, registry: Registry, sockets: Sockets) -> Self {
        let policies = TIERS.map(|tier| policy(&options, tier));
        let intake = Intake::new(cluster.deadline());
        let dress = Dress::new(&options);
        Self {
            cluster,
            registry,
            router: Router::new(&sockets.options.echo, options.page),
            sockets,
            guesses: Guesses::default(),
            metrics: Metrics::new(),
            brief: Brief::new(&dress, &options.allowed_origins),
            dress,
            intake,
            started: Instant::now(),
            readiness: Readiness::default(),
            nodes: Nodes::default(),
            policies,
            leaving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            options,
        }
    }

    /// From now on `/readyz` says that this node is going away; everything else is served as before.
    pub fn announce_leaving(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// Whether [`Shared::announce_leaving`] or [`Shared::drain`] was called.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst) || self.is_draining()
    }

    /// Refuses new work from now on with 503 `shutting_down`, and lets whoever waits here go with what there is.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.registry.wake_all();
    }

    /// Sends the sockets of this node elsewhere; everything about them is over by `end`. Call [`Shared::drain`] before.
    pub async fn drain_sockets(&self, end: Instant) {
        let urls = self.nodes.elsewhere(self).await;
        self.sockets.drain(&urls, end).await;
    }

    /// Whether [`Shared::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// The clocks' time, by which credentials are judged, in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        self.cluster.wall_ms()
    }

    /// The time by which the state is read and windows end; ahead of the clocks after they were wrong and were corrected.
    pub(crate) fn log_ms(&self) -> u64 {
        self.cluster.glance(|_, now_ms| now_ms)
    }

    /// What `RateLimit-Policy` says of a tier.
    pub(super) fn policy(&self, tier: Tier) -> Option<HeaderValue> {
        let place = TIERS.iter().position(|other| *other == tier)?;
        self.policies[place].clone()
    }
}

impl Judge for Shared {
    fn is_pressed(&self) -> bool {
        !self.cluster.has_room() || self.intake.is_pressed()
    }

    fn refuse(&self, head: &[u8], secured: bool) -> Option<Vec<u8>> {
        self.brief.refuse(self, head, secured)
    }
}

fn policy(options: &Options, tier: Tier) -> Option<HeaderValue> {
    let rule = options.allowance?.rule(tier);
    let (name, limit, window) = (allowance::name(tier), rule.limit, rule.window.as_secs().max(1));
    HeaderValue::try_from(format!("\"{name}\";q={limit};w={window}")).ok()
}
