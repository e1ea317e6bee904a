//! Accepts connections, and lets only peers in.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::handshake::{self, Fault, Greeted};
use super::links::Core;
use super::{Listener, Reason, Service, Stream, inbound, metrics};

/// After a failed accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until dropped.
pub(super) async fn accept(core: Arc<Core>, mut listener: Box<dyn Listener>, service: Arc<dyn Service>) {
    let limits = &core.options.limits;
    let acceptor = Arc::new(Acceptor {
        core: core.clone(),
        service,
        connections: Arc::new(Semaphore::new(limits.connections_max)),
        handshakes: Arc::new(Semaphore::new(limits.handshakes_max)),
        by_address: Mutex::default(),
    });
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => acceptor.open(stream, remote),
            Err(error) => {
                tracing::warn!(%error, "peer connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Acceptor {
    core: Arc<Core>,
    service: Arc<dyn Service>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    /// Handshakes under way by remote address; never more than `handshakes` has permits. A std mutex: nothing
    /// awaits while it is held.
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
}

impl Acceptor {
    fn open(self: &Arc<Self>, stream: Box<dyn Stream>, remote: SocketAddr) {
        let Some(permit) = HandshakePermit::take(self, remote.ip()) else {
            return self.warn(remote, Reason::Busy, &Reason::Busy.into());
        };
        let acceptor = self.clone();
        let token = self.core.token.clone();
        self.core.tracker.spawn(async move {
            token.run_until_cancelled(acceptor.admit(stream, remote, permit)).await;
        });
    }

    async fn admit(self: Arc<Self>, stream: Box<dyn Stream>, remote: SocketAddr, permit: HandshakePermit) {
        let greeting = timeout(self.core.options.limits.handshake_timeout, self.greet(stream)).await;
        drop(permit);
        match greeting.unwrap_or(Err(Fault::Refused(Reason::Slow))) {
            Ok((greeted, _connection)) => {
                tracing::debug!(
                    peer = greeted.hello.from,
                    lane = greeted.hello.lane.name(),
                    "peer connected"
                );
                inbound::run(self.core.clone(), self.service.clone(), greeted).await;
            }
            Err(fault) => match fault.reason() {
                Some(reason) => self.warn(remote, reason, &fault),
                // Scanners and health checks open and close; that is nothing to warn about.
                None => tracing::debug!(%remote, error = %fault, "peer left before its greeting"),
            },
        }
    }

    async fn greet(&self, stream: Box<dyn Stream>) -> Result<(Greeted, OwnedSemaphorePermit), Fault> {
        let mut accepted = handshake::accept(&self.core, stream).await?;
        match self.connections.clone().try_acquire_owned() {
            Ok(connection) => Ok((handshake::welcome(accepted).await?, connection)),
            Err(_) => {
                handshake::refuse(&mut accepted.greeted.stream, Reason::Busy).await;
                Err(Reason::Busy.into())
            }
        }
    }

    fn warn(&self, remote: SocketAddr, reason: Reason, fault: &Fault) {
        metrics::refused(reason.into());
        if self.core.warnings.first((remote.ip().to_string(), reason), Instant::now()) {
            tracing::warn!(%remote, reason = %fault, "peer connection refused");
        }
    }
}

/// The right to be in a handshake.
struct HandshakePermit {
    acceptor: Arc<Acceptor>,
    address: IpAddr,
    _handshake: OwnedSemaphorePermit,
}

impl HandshakePermit {
    fn take(acceptor: &Arc<Acceptor>, address: IpAddr) -> Option<Self> {
        let handshake = acceptor.handshakes.clone().try_acquire_owned().ok()?;
        let mut by_address = acceptor.by_address.lock().expect("no panic while this is held");
        let count = by_address.entry(address).or_default();
        if *count >= acceptor.core.options.limits.handshakes_per_address_max {
            return None;
        }
        *count += 1;
        Some(Self { acceptor: acceptor.clone(), address, _handshake: handshake })
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        let mut by_address = self.acceptor.by_address.lock().expect("no panic while this is held");
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}
