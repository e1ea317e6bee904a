//! What keeps a socket's things: a connection while there is one, a lease after it.

use serde::{Deserialize, Serialize};

use super::expiry::Thing;
use super::ground::Ground;
use super::host::{Attachment, Hosts};

/// A hold on a thing. While it is attached and its host lives, it does not expire; from the moment the connection
/// or its host is lost, it lives for one more lease. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tether {
    attached: Option<Attachment>,
    lease_ms: u32,
    /// When it is over, if it is not attached.
    expires_ms: u64,
    /// Where it stands in the agenda: not after the next instant at which something may change by itself.
    due_ms: u64,
}

impl Tether {
    /// Ties a thing that was not there to a connection.
    pub(super) fn begin(at: Attachment, lease_ms: u32, thing: Thing, ground: &mut Ground) -> Self {
        // A host that is not there is found dead at the next look.
        let due_ms = ground.hosts.until(&at.host, ground.now_ms).unwrap_or(ground.now_ms);
        ground.agenda.enter(due_ms, thing);
        Self { attached: Some(at), lease_ms, expires_ms: 0, due_ms }
    }

    /// Ties the thing to another connection.
    pub(super) fn attach(&mut self, at: Attachment, lease_ms: u32, thing: Thing, ground: &mut Ground) {
        self.attached = Some(at);
        self.lease_ms = lease_ms;
        let due_ms = ground.hosts.until(&at.host, ground.now_ms).unwrap_or(ground.now_ms);
        self.hasten(due_ms, thing, ground);
    }

    /// Unties it; its lease begins.
    pub(super) fn detach(&mut self, thing: Thing, ground: &mut Ground) {
        self.attached = None;
        self.expires_ms = ground.after(self.lease_ms);
        self.hasten(self.expires_ms, thing, ground);
    }

    /// Moves the entry in the agenda if it stands too late.
    fn hasten(&mut self, due_ms: u64, thing: Thing, ground: &mut Ground) {
        if due_ms < self.due_ms {
            ground.agenda.strike(self.due_ms, thing);
            ground.agenda.enter(due_ms, thing);
            self.due_ms = due_ms;
        }
    }

    /// The agenda says that it is due; false if it is over. Else it is entered anew.
    pub(super) fn lapse(&mut self, thing: Thing, ground: &mut Ground) -> bool {
        self.due_ms = match self.attached {
            Some(at) => ground.hosts.until(&at.host, ground.now_ms).unwrap_or_else(|| {
                self.attached = None;
                self.expires_ms = ground.after(self.lease_ms);
                self.expires_ms
            }),
            None if ground.now_ms < self.expires_ms => self.expires_ms,
            None => return false,
        };
        ground.agenda.enter(self.due_ms, thing);
        true
    }

    /// Takes it out of the agenda.
    pub(super) fn end(&self, thing: Thing, ground: &mut Ground) {
        ground.agenda.strike(self.due_ms, thing);
    }

    /// The connection it is tied to, if the host of that lives.
    pub(super) fn attachment(&self, hosts: &Hosts, now_ms: u64) -> Option<Attachment> {
        self.attached.filter(|at| hosts.until(&at.host, now_ms).is_some())
    }

    /// Whether it is tied to this connection, its host alive or not.
    pub(super) fn is_at(&self, connection: u64) -> bool {
        self.attached.is_some_and(|at| at.connection == connection)
    }

    /// Whether it still counts.
    pub(super) fn alive(&self, now_ms: u64) -> bool {
        self.attached.is_some() || now_ms < self.expires_ms
    }

    /// Enters it as a snapshot has it; false if that cannot be.
    pub(super) fn restore(&self, thing: Thing, ground: &mut Ground) -> bool {
        (self.attached.is_some() || self.due_ms <= self.expires_ms) && ground.agenda.enter(self.due_ms, thing)
    }
}
