//! Accepts connections, and lets only peers in.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

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
        handshakes: Mutex::default(),
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
    /// A std mutex: nothing awaits while it is held.
    handshakes: Mutex<Handshakes>,
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
        let greeting = tokio::select! {
            greeting = timeout(self.core.options.limits.handshake_timeout, self.greet(stream)) => {
                greeting.unwrap_or(Err(Fault::Refused(Reason::Slow)))
            }
            () = permit.evicted.cancelled() => Err(Fault::Refused(Reason::Busy)),
        };
        drop(permit);
        match greeting {
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

    fn handshakes(&self) -> MutexGuard<'_, Handshakes> {
        self.handshakes.lock().expect("nothing panics while this is held")
    }

    fn warn(&self, remote: SocketAddr, reason: Reason, fault: &Fault) {
        metrics::refused(reason.into());
        if self.core.warnings.first((remote.ip().to_string(), reason), Instant::now()) {
            tracing::warn!(%remote, reason = %fault, "peer connection refused");
        }
    }
}

/// Handshakes under way.
#[derive(Default)]
struct Handshakes {
    /// How many there have been.
    begun: u64,
    /// By their numbers, the oldest first.
    under_way: BTreeMap<u64, (IpAddr, CancellationToken)>,
    by_address: BTreeMap<IpAddr, usize>,
}

impl Handshakes {
    fn end(&mut self, number: u64) {
        let Some((address, _)) = self.under_way.remove(&number) else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// Has the oldest one give way. A peer's takes milliseconds: whoever has been here longest says nothing.
    fn evict_oldest(&mut self) {
        if let Some((number, (_, evicted))) = self.under_way.first_key_value() {
            evicted.cancel();
            let number = *number;
            self.end(number);
        }
    }
}

/// The right to be in a handshake, until it is over or another one needs its place.
struct HandshakePermit {
    acceptor: Arc<Acceptor>,
    number: u64,
    evicted: CancellationToken,
}

impl HandshakePermit {
    /// `None` if this address has as many as one may. Where all together are as many as there may be, the oldest gives way.
    fn take(acceptor: &Arc<Acceptor>, address: IpAddr) -> Option<Self> {
        let limits = &acceptor.core.options.limits;
        let mut handshakes = acceptor.handshakes();
        let count = handshakes.by_address.get(&address).copied().unwrap_or_default();
        if count >= limits.handshakes_per_address_max {
            return None;
        }
        if handshakes.under_way.len() >= limits.handshakes_max {
            handshakes.evict_oldest();
        }
        handshakes.begun += 1;
        *handshakes.by_address.entry(address).or_default() += 1;
        let (number, evicted) = (handshakes.begun, CancellationToken::new());
        handshakes.under_way.insert(number, (address, evicted.clone()));
        Some(Self { acceptor: acceptor.clone(), number, evicted })
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        self.acceptor.handshakes().end(self.number);
    }
}
