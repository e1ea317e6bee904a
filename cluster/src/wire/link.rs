//! A link: one peer's one lane, over all its connections.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::breaker::Verdict;
use super::connection::{self, Connection};
use super::handshake::{self, Fault, Greeted};
use super::limits::UNUSED_AFTER;
use super::link_health::{PeerHealth, PeerNote, Phase};
use super::links::Core;
use super::metrics::Meters;
use super::{Breaker, Error, Frame, Lane, Outgoing, PeerId, Reason};

/// What the link is doing; [`Phase`] with the connection in it.
#[derive(Clone)]
enum State {
    Connecting,
    Connected(Arc<Connection>),
    Waiting(Option<Reason>),
    Unused,
    Closed,
}

pub(super) struct Link {
    pub(super) core: Arc<Core>,
    pub(super) peer: PeerId,
    pub(super) lane: Lane,
    pub(super) meters: Meters,
    token: CancellationToken,
    state: watch::Sender<State>,
    /// A call found the link unused.
    called: Notify,
    /// The peer has another address now.
    moved: Notify,
    /// Calls under way.
    slots: Semaphore,
    /// Bytes not yet written.
    bytes: Arc<Semaphore>,
    /// A std mutex: nothing awaits while it is held.
    facts: Mutex<Facts>,
}

struct Facts {
    address: String,
    breaker: Breaker,
    /// Whether it was told that the peer does not answer, and not since that it does.
    told: bool,
    connects: u64,
    last_call: Instant,
    rtt: Option<Duration>,
    note: Option<PeerNote>,
    run: Option<u64>,
    /// The newest protocol that the peer has in common with this node, by its last greeting.
    protocol: Option<u16>,
    /// Why the last attempt to connect failed; empty once one succeeds.
    fault: Option<String>,
}

impl Link {
    /// Makes the link and starts to connect.
    pub(super) fn start(core: Arc<Core>, peer: PeerId, lane: Lane, address: &str) -> Arc<Self> {
        let limits = core.options.limits;
        let facts = Facts {
            address: address.to_owned(),
            breaker: Breaker::new(),
            told: false,
            connects: 0,
            last_call: Instant::now(),
            rtt: None,
            note: None,
            run: None,
            protocol: None,
            fault: None,
        };
        let link = Arc::new(Self {
            peer,
            lane,
            meters: Meters::new(peer, lane),
            token: core.token.child_token(),
            state: watch::Sender::new(State::Connecting),
            called: Notify::new(),
            moved: Notify::new(),
            slots: Semaphore::new(limits.in_flight_max),
            bytes: Arc::new(Semaphore::new(limits.queue_bytes_max(lane))),
            facts: Mutex::new(facts),
            core,
        });
        link.core.tracker.spawn(link.clone().live());
        link
    }

    /// Ends the link, its connection and its calls.
    pub(super) fn stop(&self) {
        self.token.cancel();
    }

    pub(super) async fn call(
        &self,
        address: &str,
        request: Outgoing,
        within: Duration,
    ) -> Result<Frame, Error> {
        let now = Instant::now();
        let mut attempt = Attempt { link: self, begun: now, probe: false, settled: false };
        let result = self.attempt(&mut attempt.probe, address, request, now, now + within).await;
        attempt.settle(&result);
        result
    }

    async fn attempt(
        &self,
        probe: &mut bool,
        address: &str,
        request: Outgoing,
        now: Instant,
        deadline: Instant,
    ) -> Result<Frame, Error> {
        let size = request.frame_bytes();
        if size > self.core.options.limits.frame_bytes_max(self.lane) {
            return Err(Error::TooLarge);
        }
        let _slot = self.slots.try_acquire().map_err(|_| Error::QueueFull)?;
        *probe = self.admit(address, now)? == Verdict::Probe;
        let connection = timeout_at(deadline, self.connection()).await.map_err(|_| Error::TimedOut)??;
        let bytes = self.bytes.clone().try_acquire_many_owned(size as u32).map_err(|_| Error::QueueFull)?;
        let waiting = connection.send(request, bytes)?;
        timeout_at(deadline, waiting.answer()).await.map_err(|_| Error::TimedOut)?
    }

    fn admit(&self, address: &str, now: Instant) -> Result<Verdict, Error> {
        self.expect_at(address, now).breaker.admit(now).ok_or(Error::CircuitOpen)
    }

    /// Notes that the peer is wanted, and where it is.
    fn expect_at(&self, address: &str, now: Instant) -> MutexGuard<'_, Facts> {
        let mut facts = self.facts();
        facts.last_call = now;
        if facts.address != address {
            address.clone_into(&mut facts.address);
            self.moved.notify_one();
        }
        facts
    }

    /// The connection, waiting for an attempt under way but not for the next one.
    async fn connection(&self) -> Result<Arc<Connection>, Error> {
        if let State::Connected(connection) = &*self.state.borrow() {
            return Ok(connection.clone());
        }
        let mut states = self.state.subscribe();
        loop {
            match &*states.borrow_and_update() {
                State::Connected(connection) => return Ok(connection.clone()),
                State::Connecting => {}
                State::Unused => self.called.notify_one(),
                State::Waiting(None) => return Err(Error::Unreachable),
                State::Waiting(Some(reason)) => return Err(Error::Refused(*reason)),
                State::Closed => return Err(Error::Closed),
            }
            states.changed().await.expect("the link itself holds the sender");
        }
    }

    /// Waits for a connection and for its end; returns the run of the peer that it led to. `None` if the link is stopped.
    pub(super) async fn lost(&self, address: &str) -> Option<u64> {
        drop(self.expect_at(address, Instant::now()));
        let mut states = self.state.subscribe();
        let mut had: Option<(Arc<Connection>, u64)> = None;
        loop {
            match &*states.borrow_and_update() {
                State::Connected(connection) => match &had {
                    // Gone, and here again before this was looked at.
                    Some((before, run)) if !Arc::ptr_eq(before, connection) => return Some(*run),
                    Some(_) => {}
                    None => had = self.facts().run.map(|run| (connection.clone(), run)),
                },
                State::Closed => return None,
                State::Connecting | State::Waiting(_) | State::Unused if had.is_some() => {
                    return had.map(|(_, run)| run);
                }
                State::Unused => self.called.notify_one(),
                State::Connecting | State::Waiting(_) => {}
            }
            states.changed().await.ok()?;
        }
    }

    /// Keeps the link connected until it is stopped.
    async fn live(self: Arc<Self>) {
        self.token.run_until_cancelled(self.clone().keep_connected()).await;
        self.state.send_replace(State::Closed);
        self.meters.circuit.set(0.0);
    }

    async fn keep_connected(self: Arc<Self>) {
        let options = &self.core.options;
        let seed = options.seed ^ self.peer.rotate_left(1) ^ (self.lane as u64);
        let mut backoff = Backoff::new(seed, options.limits.backoff_min, options.limits.backoff_max);
        loop {
            self.state.send_replace(State::Connecting);
            let refused = match self.dial().await {
                Ok(greeted) => {
                    let begun = Instant::now();
                    self.run(greeted).await;
                    // One that ends at once is no better than a failed attempt.
                    if begun.elapsed() >= options.limits.backoff_max {
                        backoff.reset();
                    }
                    None
                }
                Err(fault) => self.failed(fault),
            };
            self.state.send_replace(State::Waiting(refused));
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = self.moved.notified() => sleep(options.limits.backoff_min).await,
            }
            if self.facts().last_call.elapsed() >= UNUSED_AFTER {
                self.state.send_replace(State::Unused);
                // Nobody's calls are refused any more, and the next one should try.
                drop(self.breaker(|breaker| *breaker = Breaker::new()));
                self.called.notified().await;
            }
        }
    }

    async fn dial(&self) -> Result<Greeted, Fault> {
        let address = self.facts().address.clone();
        handshake::connect(&self.core, &address, self.peer, self.lane).await
    }

    async fn run(self: &Arc<Self>, greeted: Greeted) {
        {
            let mut facts = self.facts();
            facts.connects += 1;
            facts.run = Some(greeted.hello.run);
            facts.protocol = Some(greeted.hello.common());
            facts.fault = None;
        }
        self.succeeded();
        self.meters.connects.increment(1);
        tracing::debug!(peer = self.peer, lane = self.lane.name(), "link connected");
        let (connection, frames) =
            Connection::new(2 * self.core.options.limits.in_flight_max, self.core.heard.of(self.peer));
        self.state.send_replace(State::Connected(connection.clone()));
        connection::run(self.clone(), connection, frames, greeted).await;
        self.meters.queue.set(0.0);
    }

    /// Notes a failed attempt to connect; returns the reason if it was a refusal.
    fn failed(&self, fault: Fault) -> Option<Reason> {
        self.fail(Instant::now());
        self.facts().fault = Some(match &fault {
            Fault::Refused(_) | Fault::Certificate(_) => format!("refused: {fault}"),
            Fault::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => "timed out".to_owned(),
            Fault::Io(error) => error.to_string(),
        });
        let reason = fault.reason();
        match reason {
            Some(reason) => {
                let address = self.facts().address.clone();
                if self.core.warnings.first((address.clone(), reason), Instant::now()) {
                    tracing::warn!(peer = self.peer, %address, reason = %fault, "peer link refused");
                }
            }
            None => tracing::debug!(peer = self.peer, error = %fault, "peer not reached"),
        }
        reason
    }

    fn succeeded(&self) {
        let mut facts = self.breaker(Breaker::succeed);
        // The circuit may be closed since nobody called any more, and not by a word from the peer.
        if std::mem::take(&mut facts.told) {
            tracing::info!(peer = self.peer, "peer is no longer given up");
        }
    }

    fn fail(&self, now: Instant) {
        let limits = &self.core.options.limits;
        drop(self.breaker(|breaker| breaker.fail(now, limits.failures_max, limits.cool_down)));
    }

    /// Changes the breaker, and tells if the peer is given up by that.
    fn breaker(&self, change: impl FnOnce(&mut Breaker)) -> MutexGuard<'_, Facts> {
        let mut facts = self.facts();
        let before = facts.breaker.is_open();
        change(&mut facts.breaker);
        let open = facts.breaker.is_open();
        if open == before {
            return facts;
        }
        self.meters.circuit.set(if open { 1.0 } else { 0.0 });
        if self.lane == Lane::Control && open {
            facts.told = true;
            let reason = facts.fault.as_deref().unwrap_or("no answer in time");
            tracing::warn!(peer = self.peer, address = %facts.address, reason, "peer does not answer");
        }
        facts
    }

    pub(super) fn ponged(&self, rtt: Duration, note: u64) {
        let mut facts = self.facts();
        facts.rtt = Some(rtt);
        facts.note = Some(PeerNote { value: note, at: Instant::now() });
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.core.options.limits.queue_bytes_max(self.lane) - self.bytes.available_permits()
    }

    pub(super) fn protocol(&self) -> Option<u16> {
        self.facts().protocol
    }

    pub(super) fn health(&self) -> PeerHealth {
        let phase = match &*self.state.borrow() {
            State::Connecting => Phase::Connecting,
            State::Connected(_) => Phase::Connected,
            State::Waiting(reason) => Phase::Waiting(*reason),
            State::Unused => Phase::Unused,
            State::Closed => Phase::Closed,
        };
        let facts = self.facts();
        PeerHealth {
            peer: self.peer,
            lane: self.lane,
            address: facts.address.clone(),
            phase,
            breaker: facts.breaker,
            connects: facts.connects,
            queued_bytes: self.queued_bytes(),
            in_flight: self.core.options.limits.in_flight_max - self.slots.available_permits(),
            rtt: facts.rtt,
            note: facts.note,
            run: facts.run,
            fault: facts.fault.clone(),
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().expect("no panic while this is held")
    }
}

/// A call under way. Settled or dropped, it tells the breaker and the meters.
struct Attempt<'a> {
    link: &'a Link,
    begun: Instant,
    probe: bool,
    settled: bool,
}

impl Attempt<'_> {
    fn settle(mut self, result: &Result<Frame, Error>) {
        self.settled = true;
        self.tell(Some(result));
    }

    /// `None`: the caller went away.
    fn tell(&self, result: Option<&Result<Frame, Error>>) {
        let (link, now) = (self.link, Instant::now());
        link.meters.call(result, now.duration_since(self.begun).as_secs_f64());
        match result {
            Some(Ok(_)) => link.succeeded(),
            Some(Err(Error::TimedOut)) => link.fail(now),
            // Failed attempts to connect are counted where they are made; here they only decide a probe.
            Some(Err(Error::Unreachable | Error::Refused(_) | Error::Closed)) if self.probe => link.fail(now),
            Some(Err(_)) | None if self.probe => {
                drop(link.breaker(|breaker| breaker.abandon(now)));
            }
            Some(Err(_)) | None => {}
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.tell(None);
        }
    }
}
