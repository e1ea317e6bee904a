//! One connection of a client: TCP, perhaps under TLS, with an eye on the heads of requests.

mod read;
mod write;

use std::io;
use std::task::{Context, Poll};

use actix_web::rt::net::TcpStream;
use bytes::BytesMut;
use tokio_rustls::server::TlsStream;

use super::ConnectionOptions;
use super::body_gate::{BodyGate, LARGE};
use super::client_gone::Closed;
use super::connection_permit::Permit;
use super::deadline::{Awaited, Deadline};
use super::evicting_limiter::{EvictablePermit, Standing};
use super::metrics::SLOW_CLOSED;
use super::pace::Watch;
use super::refused_head::{self, Refusal};
use super::request_framing::{Fault, Large, RequestFraming, Rest};
use super::tcp_or_tls::Io;
use crate::admission::buffers::{Buffers, Pressure};
use write::Parting;

/// Requests that are handed on while the one before them is being answered. What is behind them stays in the system's
/// buffers. The server would read as many as fit in 128 KiB, and keep 5 KiB for each.
const WAITING_MAX: u64 = 8;
/// Their bytes; the last one may go beyond it.
const WAITING_BYTES_MAX: usize = 16 << 10;
/// What the server keeps for a request beside its bytes.
const REQUEST_BYTES: usize = 5 << 10;

/// A connection.
///
/// Heads are handed on whole. In the place of one that is refused the server is handed another request (`refusal`), so that
/// the answer keeps its turn and looks as every other error does.
pub struct Stream {
    io: Io,
    /// The client's connection is under TLS, here or at a proxy that says so.
    pub(super) secured: bool,
    /// Its permit among its client's connections.
    permit: Option<Permit>,
    heads: RequestFraming,
    gate: BodyGate,
    closed: Closed,
    /// The last request whose body the gate was closed for.
    gated: u64,
    options: ConnectionOptions,
    /// The body that comes is nobody's.
    discarding: bool,
    /// Bytes of a large body that were handed on in one go.
    part: usize,
    /// What was read and not handed on: first what may be, then the beginning of a head.
    held: BytesMut,
    /// How much of it may be handed on.
    cleared: usize,
    /// What is held begins with heads for which there was no room.
    full: bool,
    /// Nothing is read because there is no room for another request.
    paused: bool,
    /// Bytes handed on since no request waited for the one before it.
    handed_bytes: usize,
    /// Bytes that the server could not write.
    unwritten: usize,
    watch: Watch,
    deadline: Option<Deadline>,
    refused: bool,
    /// Something stood behind a request that closes the connection.
    behind: bool,
    /// What was awaited did not come in time; nothing more is read.
    given_up: bool,
    parting: Option<Parting>,
}

/// What a connection is made of.
pub(super) struct Parts {
    pub(super) io: Io,
    /// What was read and not handed on.
    pub(super) held: BytesMut,
    pub(super) buffers: Buffers,
    pub(super) permit: Option<Permit>,
}

impl Stream {
    pub(super) fn plain(tcp: TcpStream, options: ConnectionOptions, permit: Option<Permit>) -> Self {
        Self::new(Io::Plain(tcp), options, permit)
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>, options: ConnectionOptions, permit: Option<Permit>) -> Self {
        Self::new(Io::Tls(Box::new(tls)), options, permit)
    }

    fn new(io: Io, options: ConnectionOptions, permit: Option<Permit>) -> Self {
        Self {
            secured: io.session().is_some(),
            io,
            heads: RequestFraming::default(),
            gate: BodyGate::new(options.buffers.part(permit.as_ref().map(Permit::client))),
            permit,
            closed: Closed::default(),
            gated: 0,
            discarding: false,
            part: 0,
            held: BytesMut::new(),
            cleared: 0,
            full: false,
            paused: false,
            handed_bytes: 0,
            unwritten: 0,
            watch: Watch::default(),
            deadline: Some(Deadline::new(Awaited::Head, options.patience)),
            options,
            refused: false,
            behind: false,
            given_up: false,
            parting: None,
        }
    }

    /// What holds back large bodies.
    pub(super) fn gate(&self) -> &BodyGate {
        &self.gate
    }

    /// Whether the client has closed its end.
    pub(super) fn closed(&self) -> &Closed {
        &self.closed
    }

    /// The session, if there is one.
    pub(crate) fn session(&self) -> Option<&rustls::ServerConnection> {
        self.io.session()
    }

    /// Its permit, where it can be taken away.
    pub(super) fn evictable(&self) -> Option<&EvictablePermit> {
        self.permit.as_ref().and_then(Permit::evictable)
    }

    /// Tells, where it can be taken away, what the connection is about.
    fn report(&self) {
        let Some(permit) = self.evictable() else { return };
        let is_waited_for =
            self.watch.is_blocked() || self.parting.is_some() || self.heads.in_body().is_some();
        permit.stand(if is_waited_for {
            Standing::Waits
        } else if self.handed() > self.gate.answered() {
            Standing::Answers
        } else if self.held.is_empty() {
            Standing::Rests
        } else {
            Standing::Waits
        });
    }

    /// Lets go of the connection. Whoever gets it only answers that there is no socket, or has it for long.
    pub(super) fn into_parts(self) -> Parts {
        if let Some(permit) = self.evictable() {
            permit.stand(Standing::Waits);
        }
        Parts { io: self.io, held: self.held, buffers: self.options.buffers, permit: self.permit }
    }

    /// How many requests were handed on.
    fn handed(&self) -> u64 {
        self.heads.requests()
    }

    /// How many of them wait until those before them are answered, and the answers written.
    fn waiting(&self) -> u64 {
        self.handed().saturating_sub(self.gate.settled())
    }

    /// How many more may be handed on.
    fn room(&mut self) -> u64 {
        self.heads.answered(self.gate.answered());
        if self.heads.awaits_answers() {
            return 0;
        }
        let waiting = self.waiting();
        let most = if self.gate.buffers().pressure() == Pressure::Low { WAITING_MAX } else { 1 };
        if waiting > 0 && self.handed_bytes >= WAITING_BYTES_MAX { 0 } else { most.saturating_sub(waiting) }
    }

    /// What the server keeps with the connection for the longest head that came, if that was large.
    fn kept_bytes(&self) -> usize {
        Some(self.heads.longest_head()).filter(|bytes| *bytes >= LARGE).unwrap_or(0)
    }

    /// Counts what this connection makes the node hold. A single request on its way is not counted.
    fn count(&self) {
        let waiting = self.waiting() as usize;
        let requests = if waiting > 1 { waiting * REQUEST_BYTES + self.handed_bytes } else { 0 };
        self.gate.buffers().set_waiting(requests + self.kept_bytes() + self.held.len() + self.unwritten);
    }

    /// The server has written all it had.
    fn settle(&mut self, cx: &Context<'_>) {
        self.watch.done();
        self.unwritten = 0;
        self.gate.settle();
        if self.waiting() == 0 {
            self.handed_bytes = 0;
        }
        self.count();
        if self.waiting() == 0 && self.kept_bytes() > 0 && self.gate.buffers().pressure() != Pressure::Low {
            // It would keep that for as long as it rests. The server closes a connection whose client sends no more.
            self.given_up = true;
            cx.waker().wake_by_ref();
        }
        if self.paused && self.room() > 0 {
            self.paused = false;
            cx.waker().wake_by_ref();
        }
        self.report();
    }

    /// The server could not write so many bytes now. An error if its client is given up.
    fn poll_blocked(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Error> {
        if self.unwritten != bytes {
            self.unwritten = bytes;
            self.count();
        }
        let given_up = self.watch.poll_blocked(cx, self.gate.buffers().pressure());
        self.report();
        given_up.map(|()| {
            metrics::counter!(SLOW_CLOSED).increment(1);
            io::ErrorKind::TimedOut.into()
        })
    }

    fn refuse(&mut self, fault: Fault) {
        self.refused = true;
        self.deadline = None;
        self.held.clear();
        self.stand_in(fault);
    }

    /// Hands the server a last request, behind what is held, for one that is refused.
    fn stand_in(&mut self, fault: Fault) {
        self.gate.refuse(self.handed() + 1, fault.into());
        self.held.extend_from_slice(refused_head::STAND_IN);
        self.cleared = self.held.len();
    }

    /// Takes note of what was found behind the first `cleared` bytes of `held`.
    fn found(&mut self, cleared: usize, rest: Rest) {
        self.cleared = cleared;
        match rest {
            Rest::Nothing => self.pass_all(),
            // Empty lines are no reason to wait for longer, or to take the connection for one in use.
            Rest::Blank => {
                self.held.truncate(cleared);
                if cleared > 0 {
                    self.deadline = None;
                }
            }
            Rest::Full => {
                self.full = true;
                self.deadline = None;
            }
            Rest::Head => {
                // The head that came whole is over with; the next one has its own time.
                let same = self.deadline.as_ref().is_some_and(|one| one.awaited == Awaited::Head);
                if cleared > 0 || !same {
                    self.deadline = Some(Deadline::new(Awaited::Head, self.options.patience));
                }
            }
            Rest::Broken => {
                // The server is told that its body ended too early, and answers so.
                self.held.truncate(cleared);
                self.given_up = true;
                self.deadline = None;
            }
            Rest::Refused(fault) => {
                if cleared > 0 {
                    // What is in order goes first.
                    self.held.truncate(cleared);
                    self.refused = true;
                    self.deadline = None;
                    self.stand_in(fault);
                } else {
                    self.refuse(fault);
                }
            }
        }
    }

    /// How much may pass of `bytes`, what was looked at last, if it ends in a head whose large body is more than this node
    /// can do with: the head passes without its body, which is thrown away.
    fn turn_away(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let request = self.heads.in_large_body().filter(|request| *request > self.gated)?;
        let Large { length, end, .. } = self.heads.large().filter(|large| !large.expects)?.clone();
        if !self.options.shedder.is_overloaded() {
            return None;
        }
        self.gated = request;
        self.discarding = true;
        self.gate.refuse(self.handed(), Refusal::Overloaded);
        refused_head::discard_body(&mut bytes[length]);
        Some(end)
    }

    /// All that was read may pass. If more of a large body must come, it is held back.
    fn pass_all(&mut self) {
        if let Some(request) = self.heads.in_held_body().filter(|request| *request > self.gated) {
            self.gated = request;
            self.gate.close(self.handed());
        }
        let awaited = self.heads.in_body().map(Awaited::Body);
        if self.deadline.as_ref().map(|deadline| deadline.awaited) != awaited {
            self.deadline = None;
        }
    }

    /// Finds out how much of what is held may pass, with no more heads than there is room for.
    fn look_at_held(&mut self, room: u64) {
        let mut held = std::mem::take(&mut self.held);
        let (mut cleared, rest) = self.heads.follow(&held, room);
        self.heads.hide(&mut held);
        if rest == Rest::Nothing
            && let Some(passed) = self.turn_away(&mut held)
        {
            held.truncate(passed);
            cleared = passed;
        }
        self.held = held;
        self.handed_bytes += cleared;
        self.found(cleared, rest);
        self.count();
    }

    /// Reads and throws away what comes after a refusal, or after the last request.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.io.poll_discard(cx, usize::MAX).map(|read| read.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests;
