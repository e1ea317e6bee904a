//! The permit of a connection: its client's part of many, or one of few.

use std::net::IpAddr;

use super::connection_gate::ConnectionGate;
use super::evicting_limiter::{EvictablePermit, EvictingLimiter};
use super::force_close::Hangup;
use crate::access::Network;
use crate::admission::client_identity::Client;
use crate::admission::share::{Bounds, Refused, Share, Slot};

/// How connections are shared out.
#[derive(Debug, Clone)]
pub enum Places {
    /// Each client may have a part, and is refused more.
    Parts {
        /// All of them.
        connections: Share,
        /// Proxies: their connections are many clients'.
        trusted_proxies: Vec<Network>,
    },
    /// There are few. A client that has as many as it may, or all clients together, lose the one that has let the node wait
    /// for longest. Whoever has shown who it is loses none that is in use, and nobody one on which
    /// something is being changed.
    Few(Bounds),
}

/// Where permits are given out. Clones are the same.
#[derive(Clone)]
pub(super) enum Entrance {
    Gate(ConnectionGate),
    Few(EvictingLimiter),
}

impl Entrance {
    /// The entrance of a listener, by its name.
    pub(super) fn new(listener: &'static str, places: Places) -> Self {
        match places {
            Places::Parts { connections, trusted_proxies } => {
                Self::Gate(ConnectionGate::new(connections, trusted_proxies))
            }
            Places::Few(bounds) => Self::Few(EvictingLimiter::new(listener, bounds)),
        }
    }

    /// A permit for a connection from `address`; none for whoever needs none.
    pub(super) async fn enter(&self, address: Option<IpAddr>) -> Result<Option<Permit>, Refused> {
        match self {
            Self::Gate(gate) => Ok(gate.enter(address)?.map(Permit::Slot)),
            // Without an address it is gone already.
            Self::Few(limiter) => match address {
                Some(address) => Ok(Some(Permit::Evictable(limiter.enter(address).await?))),
                None => Ok(None),
            },
        }
    }
}

/// A connection's permit, until this is dropped.
#[derive(Debug)]
pub(super) enum Permit {
    Slot(Slot),
    Evictable(EvictablePermit),
}

impl Permit {
    /// Whose it is.
    pub(super) fn client(&self) -> Client {
        match self {
            Self::Slot(slot) => slot.client(),
            Self::Evictable(permit) => permit.client(),
        }
    }

    pub(super) fn evictable(&self) -> Option<&EvictablePermit> {
        match self {
            Self::Slot(_) => None,
            Self::Evictable(permit) => Some(permit),
        }
    }

    /// Asked when the permit is somebody else's, where that may happen.
    pub(super) fn hangup(&self) -> Option<Hangup> {
        self.evictable().map(|permit| permit.hangup().clone())
    }
}
