//! What all workers of one node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::HeaderValue;
use conclave_cluster::state::allowance::Tier;
use tokio::time::Instant;

use super::edge_options::Options;
use super::metrics::Metrics;
use crate::access::tier_limits::{self, Rule, TIERS};
use crate::admission::large_body::BodyAdmission;
use crate::service::Services;

/// What all workers of one node share. Make one, wrap it in `web::Data`, give it to a [`Pipeline`](crate::transport::Pipeline).
pub struct AppState {
    pub(crate) services: Arc<Services>,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    pub(crate) bodies: BodyAdmission,
    pub(crate) started: Instant,
    policies: [Option<HeaderValue>; TIERS.len()],
    leaving: AtomicBool,
}

impl AppState {
    /// Install the metrics recorder before.
    pub fn new(services: Arc<Services>, options: Options) -> Self {
        let rule = |tier| services.terms.allowance.as_ref().map(|tiers| tiers.rule(tier));
        let policies = TIERS.map(|tier| rule(tier).and_then(|rule| policy(rule, tier)));
        let bodies = BodyAdmission::new(services.cluster.clone());
        let (metrics, started, leaving) = (Metrics::new(), Instant::now(), AtomicBool::new(false));
        Self { services, options, metrics, bodies, started, policies, leaving }
    }

    /// From now on `/readyz` says that this node is going away; everything else is served as before.
    pub fn announce_leaving(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// Whether [`AppState::announce_leaving`] or [`AppState::drain`] was called.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst) || self.is_draining()
    }

    /// Refuses new work from now on with 503 `shutting_down`, and lets whoever waits here go with what there is.
    pub fn drain(&self) {
        self.metrics.in_flight.drain();
        self.services.drain();
    }

    /// Waits until no request is in flight that began before [`AppState::drain`]. Cancel safe.
    pub async fn drained(&self) {
        self.metrics.in_flight.none().await;
    }

    /// How many of those there are.
    pub fn in_flight(&self) -> usize {
        self.metrics.in_flight.count()
    }

    /// Whether [`AppState::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.services.is_draining()
    }

    /// What `RateLimit-Policy` says of a tier to whoever has this limit there: an organisation may have one of its own.
    pub(crate) fn policy(&self, tier: Tier, limit: u32) -> Option<HeaderValue> {
        let rule = self.services.terms.allowance.as_ref()?.rule(tier);
        if limit != rule.limit {
            return policy(Rule { limit, ..rule }, tier);
        }
        let place = TIERS.iter().position(|other| *other == tier)?;
        self.policies[place].clone()
    }
}

fn policy(rule: Rule, tier: Tier) -> Option<HeaderValue> {
    let (name, limit, window) = (tier_limits::name(tier), rule.limit, rule.window.as_secs().max(1));
    HeaderValue::try_from(format!("\"{name}\";q={limit};w={window}")).ok()
}
