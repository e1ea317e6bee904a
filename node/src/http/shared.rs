//! What all workers of one node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::HeaderValue;
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
use crate::access::Tiers;
use crate::access::allowance::{self, TIERS};
use crate::listener::Judge;
use crate::service::Services;
use crate::socket::Sockets;

/// What all workers of one node share. Make one, wrap it in `web::Data`, give it to every [`app`](super::app()).
pub struct Shared {
    pub(super) services: Arc<Services>,
    pub(crate) options: Options,
    pub(super) sockets: Sockets,
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
}

impl Shared {
    /// Install the metrics recorder before.
    pub fn new(services: Arc<Services>, options: Options, sockets: Sockets) -> Self {
        let policies = TIERS.map(|tier| policy(services.terms.allowance.as_ref(), tier));
        let intake = Intake::new(services.cluster.deadline());
        let dress = Dress::new(&options);
        Self {
            services,
            router: Router::new(&sockets.options.echo, options.page),
            sockets,
            metrics: Metrics::new(),
            brief: Brief::new(&dress, &options.allowed_origins),
            dress,
            intake,
            started: Instant::now(),
            readiness: Readiness::default(),
            nodes: Nodes::default(),
            policies,
            leaving: AtomicBool::new(false),
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
        self.metrics.in_flight.drain();
        self.services.drain();
    }

    /// Waits until no request is in flight that began before [`Shared::drain`]. Cancel safe.
    pub async fn drained(&self) {
        self.metrics.in_flight.none().await;
    }

    /// How many of those there are.
    pub fn in_flight(&self) -> usize {
        self.metrics.in_flight.count()
    }

    /// Sends the sockets of this node elsewhere; everything about them is over by `end`. Call [`Shared::drain`] before.
    pub async fn drain_sockets(&self, end: Instant) {
        let urls = self.nodes.elsewhere(self).await;
        self.sockets.drain(&urls, end).await;
    }

    /// Whether [`Shared::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.services.is_draining()
    }

    /// What `RateLimit-Policy` says of a tier.
    pub(super) fn policy(&self, tier: Tier) -> Option<HeaderValue> {
        let place = TIERS.iter().position(|other| *other == tier)?;
        self.policies[place].clone()
    }
}

impl Judge for Shared {
    fn is_pressed(&self) -> bool {
        !self.services.cluster.has_room() || self.intake.is_pressed()
    }

    fn refuse(&self, head: &[u8], secured: bool) -> Option<Vec<u8>> {
        self.brief.refuse(self, head, secured)
    }
}

fn policy(tiers: Option<&Tiers>, tier: Tier) -> Option<HeaderValue> {
    let rule = tiers?.rule(tier);
    let (name, limit, window) = (allowance::name(tier), rule.limit, rule.window.as_secs().max(1));
    HeaderValue::try_from(format!("\"{name}\";q={limit};w={window}")).ok()
}
