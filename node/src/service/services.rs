//! What all transports of one node share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conclave_cluster::Cluster;

use super::full_shares::FullShares;
use super::node_lease::LeaseKeeper;
use super::nodes::Nodes;
use super::readiness::Readiness;
use super::security_events::SecurityEvents;
use super::webhooks::Webhooks;
use crate::access::auth::Auth;
use crate::access::{Guesses, Tenant, Tiers};
use crate::actors::Registry;

/// What all transports of one node share.
pub struct Services {
    /// The node's part of the cluster.
    pub cluster: Cluster,
    /// The actors of this node.
    pub registry: Registry,
    /// Tries at codes and pins that are under way.
    pub guesses: Guesses,
    /// Judges credentials.
    pub auth: Auth,
    /// What clients are granted.
    pub terms: Terms,
    /// Keeps the lease of everything that is attached to this node.
    pub lease: LeaseKeeper,
    /// Where the other nodes are.
    pub nodes: Nodes,
    /// Whether this node is ready.
    pub readiness: Readiness,
    /// What was tried here.
    pub security_events: SecurityEvents,
    /// Tells others what happens here.
    pub webhooks: Webhooks,
    /// Who was just refused for want of room.
    pub(super) full_shares: FullShares,
    draining: AtomicBool,
}

/// What clients are granted.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How long things live.
    pub ttl: Ttl,
    /// How much each client may ask; `None`: as much as it likes.
    pub allowance: Option<Tiers>,
    /// For how long the session of a socket or an event stream outlives its connection.
    pub lease: Duration,
    /// Whether it is written down who signs in and who is refused.
    pub security_events: bool,
}

impl Services {
    /// The services of a node that has just started.
    pub fn new(cluster: Cluster, registry: Registry, auth: Auth, terms: Terms, webhooks: Webhooks) -> Self {
        Self {
            lease: LeaseKeeper::new(cluster.clone()),
            cluster,
            registry,
            guesses: Guesses::default(),
            auth,
            security_events: SecurityEvents::new(terms.security_events),
            terms,
            nodes: Nodes::default(),
            readiness: Readiness::default(),
            webhooks,
            full_shares: FullShares::default(),
            draining: AtomicBool::new(false),
        }
    }

    /// From now on new work is refused, and whoever waits here goes with what there is.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.registry.wake_all();
    }

    /// Whether [`Services::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// The clocks' time, by which credentials are judged, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.cluster.wall_ms()
    }

    /// The time by which the state is read and windows end; ahead of the clocks after they were wrong and were corrected.
    pub fn log_ms(&self) -> u64 {
        self.cluster.log_ms()
    }
}

/// How long things live, from their last touch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    /// Chunks and acknowledgements.
    pub chunk: Duration,
    /// Signals.
    pub signal: Duration,
    /// Invite codes.
    pub register: Duration,
    /// Offers and answers.
    pub session: Duration,
    /// Devices that ask for no other time.
    pub device_default: Duration,
    /// Outcomes remembered under an `Idempotency-Key` or as a job.
    pub memo: Duration,
}

impl Ttl {
    /// The same within an organisation, whose policy may bound what is stored for its clients.
    pub fn of(self, tenant: &Tenant) -> Self {
        let Self { chunk, signal, register, session, device_default, memo } = self;
        Self {
            chunk: tenant.ttl(chunk),
            signal: tenant.ttl(signal),
            register: tenant.ttl(register),
            session: tenant.ttl(session),
            device_default: tenant.ttl(device_default),
            memo,
        }
    }
}
