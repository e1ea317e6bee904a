//! The place of a connection: its client's part of many, or one of few seats.

use std::net::IpAddr;

use super::connection_gate::ConnectionGate;
use super::force_close::Hangup;
use super::seats::{EvictablePermit, EvictingLimiter};
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

/// Where a connection's place is given out. Clones are the same.
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

    /// A place for a connection from `address`; none for whoever needs none.
    pub(super) async fn enter(&self, address: Option<IpAddr>) -> Result<Option<Permit>, Refused> {
        match self {
            Self::Gate(gate) => Ok(gate.enter(address)?.map(Permit::Slot)),
            // Without an address it is gone already.
            Self::Few(seats) => match address {
                Some(address) => Ok(Some(Permit::Evictable(seats.enter(address).await?))),
                None => Ok(None),
            },
        }
    }
}

/// A connection's place, until this is dropped.
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
            Self::Evictable(seat) => seat.client(),
        }
    }

    pub(super) fn seat(&self) -> Option<&EvictablePermit> {
        match self {
            Self::Slot(_) => None,
            Self::Evictable(seat) => Some(seat),
        }
    }

    /// Asked when the place is somebody else's, where that may happen.
    pub(super) fn hangup(&self) -> Option<Hangup> {
        self.seat().map(|seat| seat.hangup().clone())
    }
}
