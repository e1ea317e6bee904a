//! The connections of the admin and of the telemetry listener: how many there are, how long they may take, and who makes room.

use std::sync::Arc;
use std::time::Duration;

use crate::admission::buffers::Buffers;
use crate::admission::share::Bounds;
use crate::listener::{LoadShedder, Options, Places, Tls};

/// Operators and scrapers are few. Their descriptors are kept from the public's: `admission::descriptors`.
pub const CONNECTIONS_MAX: usize = 32;
/// Of these, how many one address may have, and one IPv6 /48.
const BOUNDS: Bounds = Bounds { all: CONNECTIONS_MAX, client: 16, site: 24 };
/// Connections that may be on their way in or out beside those: whoever comes makes room only once it is accepted.
const PASSING_MAX: usize = 32;
/// Within this time the head of a request must arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// For how many seconds connections may linger when the server stops.
const SHUTDOWN_SECONDS: u64 = 1;
/// Bytes that connections may make the node hold, all of them and those of one address. The longest answer, a list of all
/// revocations, fits in the latter.
const BUFFERS: Bounds = Bounds { all: 64 << 20, client: 40 << 20, site: 40 << 20 };

/// Operators are served under any load.
struct Always;

impl LoadShedder for Always {
    fn is_overloaded(&self) -> bool {
        false
    }
}

/// How such a listener is served.
pub(super) fn options(listener: &'static str, tls: Option<Tls>) -> Options {
    Options {
        listener,
        workers: 1,
        connections_max: CONNECTIONS_MAX + PASSING_MAX,
        keep_alive: KEEP_ALIVE,
        patience: PATIENCE,
        shutdown_seconds: SHUTDOWN_SECONDS,
        tls,
        shedder: Arc::new(Always),
        places: Places::Few(BOUNDS),
        buffers: Buffers::apart(BUFFERS),
        proxy_protocol: Vec::new(),
    }
}
