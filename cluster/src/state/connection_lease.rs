//! What keeps a socket's things: a connection while there is one, a lease after it.

use serde::{Deserialize, Serialize};

use super::context::ApplyContext;
use super::expiry::{Due, ExpiryKey};
use super::incarnation::{Attachment, Incarnation, Incarnations};
use super::table::Life;

/// A hold on a thing. While it is attached and its incarnation lives, it does not expire; from the moment the connection
/// or its incarnation is lost, it lives for one more lease. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    attached: Option<Attachment>,
    lease_ms: u32,
    /// When it is over, if it is not attached.
    expires_ms: u64,
    /// Where it stands in the expiry queue: not after the next instant at which something may change by itself.
    due: Due,
}

impl Hold {
    /// Ties the thing to another connection.
    pub(super) fn attach(
        &mut self,
        at: Attachment,
        lease_ms: u32,
        expiry_key: ExpiryKey,
        ctx: &mut ApplyContext,
    ) {
        self.attached = Some(at);
        self.lease_ms = lease_ms;
        let due_ms = ctx.incarnations.until(&at.incarnation, ctx.now_ms).unwrap_or(ctx.now_ms);
        self.due.hasten(due_ms, expiry_key, ctx);
    }

    /// Unties it; its lease begins.
    pub(super) fn detach(&mut self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) {
        self.attached = None;
        self.expires_ms = ctx.after(self.lease_ms);
        self.due.hasten(self.expires_ms, expiry_key, ctx);
    }

    /// The connection it is tied to, if the incarnation of that lives.
    pub(super) fn attachment(&self, incarnations: &Incarnations, now_ms: u64) -> Option<Attachment> {
        self.attached.filter(|at| incarnations.until(&at.incarnation, now_ms).is_some())
    }

    /// The incarnation that it is tied to, alive or not.
    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.attached.map(|at| at.incarnation)
    }

    /// Whether it is tied to this connection, its incarnation alive or not.
    pub(super) fn is_at(&self, connection: u64) -> bool {
        self.attached.is_some_and(|at| at.connection == connection)
    }
}

impl Life for Hold {
    /// The connection it is tied to, and the lease after that.
    type Term = (Attachment, u32);

    fn begin((at, lease_ms): (Attachment, u32), expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> Self {
        // An incarnation that is not there is found dead at the next look.
        let due_ms = ctx.incarnations.until(&at.incarnation, ctx.now_ms).unwrap_or(ctx.now_ms);
        Self { attached: Some(at), lease_ms, expires_ms: 0, due: Due::begin(due_ms, expiry_key, ctx) }
    }

    fn on_expiry(&mut self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> bool {
        let due_ms = match self.attached {
            Some(at) => ctx.incarnations.until(&at.incarnation, ctx.now_ms).unwrap_or_else(|| {
                self.attached = None;
                self.expires_ms = ctx.after(self.lease_ms);
                self.expires_ms
            }),
            None if ctx.now_ms < self.expires_ms => self.expires_ms,
            None => return false,
        };
        self.due = Due::begin(due_ms, expiry_key, ctx);
        true
    }

    fn ends_ms(&self) -> Option<u64> {
        self.attached.is_none().then_some(self.expires_ms)
    }

    fn end(&self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) {
        self.due.end(expiry_key, ctx);
    }

    fn alive(&self, now_ms: u64) -> bool {
        self.attached.is_some() || now_ms < self.expires_ms
    }

    fn restore(&self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> bool {
        (self.attached.is_some() || self.due.due_ms <= self.expires_ms) && self.due.restore(expiry_key, ctx)
    }
}
