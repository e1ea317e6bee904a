//! Incarnations: runs of nodes that hold sockets, each a lease.
//!
//! One lease stands for all sockets of a node, so that ten thousand idle ones cost one small command every few
//! seconds. When it lapses, whatever was attached by that run counts as detached.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::limits::INCARNATIONS_MAX;
use super::outcome;
use super::table::Life as _;

/// One run of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// The node's id.
    pub node: u64,
    /// A random number drawn once per run.
    pub run: u64,
}

/// A connection, and the incarnation that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Where the connection ends.
    pub incarnation: Incarnation,
    /// A random number drawn once per connection.
    pub connection: u64,
}

/// A command about an incarnation. New kinds are added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Let the incarnation live for so long from now.
    Renew {
        /// Which one.
        incarnation: Incarnation,
        /// How long, in milliseconds.
        ttl_ms: u32,
    },
    /// The incarnation holds no socket any more, and will not.
    Leave {
        /// Which one.
        incarnation: Incarnation,
    },
}

/// What happened to an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It lives.
    Renewed,
    /// It is no more.
    Left,
}

/// Why nothing happened to an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There are as many incarnations as there may be.
    Full,
}

/// All incarnations.
#[derive(Debug, Clone, Default)]
pub(super) struct Incarnations(OrdMap<Incarnation, Lease>);

impl Incarnations {
    /// Until when an incarnation lives; `None` if it does not.
    pub(super) fn until(&self, incarnation: &Incarnation, now_ms: u64) -> Option<u64> {
        self.0.get(incarnation).filter(|lease| lease.alive(now_ms)).map(|lease| lease.expires_ms)
    }

    pub(super) fn get(&self, incarnation: &Incarnation) -> Option<&Lease> {
        self.0.get(incarnation)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Incarnation, &Lease)> {
        self.0.iter()
    }
}

/// Incarnations are part of the context, because whatever is attached asks after them.
pub(super) fn carry_out(op: &Op, ctx: &mut ApplyContext) -> Result<Outcome, outcome::Refusal> {
    match *op {
        Op::Renew { incarnation, ttl_ms } => {
            let (expires_ms, expiry_key) = (ctx.after(ttl_ms), ExpiryKey::Incarnation(incarnation));
            let incarnations = ctx.incarnations.len();
            let lease = match ctx.incarnations.0.get(&incarnation).copied() {
                Some(mut lease) => {
                    lease.renew(expires_ms, expiry_key, ctx);
                    lease
                }
                None if incarnations >= INCARNATIONS_MAX => return Err(Refusal::Full.into()),
                None => Lease::begin(expires_ms, expiry_key, ctx),
            };
            ctx.incarnations.0.insert(incarnation, lease);
            Ok(Outcome::Renewed)
        }
        Op::Leave { incarnation } => {
            if let Some(lease) = ctx.incarnations.0.remove(&incarnation) {
                lease.end(ExpiryKey::Incarnation(incarnation), ctx);
            }
            Ok(Outcome::Left)
        }
    }
}

/// The expiry queue says that an incarnation is due.
pub(super) fn on_expiry(incarnation: &Incarnation, ctx: &mut ApplyContext) -> usize {
    let Some(mut lease) = ctx.incarnations.0.get(incarnation).copied() else { return 1 };
    if lease.on_expiry(ExpiryKey::Incarnation(*incarnation), ctx) {
        ctx.incarnations.0.insert(*incarnation, lease);
    } else {
        ctx.incarnations.0.remove(incarnation);
    }
    1
}

/// Takes an incarnation as another cell knows it: the later of two leases counts.
pub(super) fn learn(incarnation: Incarnation, expires_ms: u64, ctx: &mut ApplyContext) {
    let expiry_key = ExpiryKey::Incarnation(incarnation);
    let lease = match ctx.incarnations.0.get(&incarnation).copied() {
        Some(known) if known.expires_ms >= expires_ms => return,
        Some(mut known) => {
            known.renew(expires_ms, expiry_key, ctx);
            known
        }
        // What is attached to one that is not known here counts as detached.
        None if ctx.incarnations.len() >= INCARNATIONS_MAX => return,
        None => Lease::begin(expires_ms, expiry_key, ctx),
    };
    ctx.incarnations.0.insert(incarnation, lease);
}

/// Takes an incarnation as a snapshot has it; false if that cannot be.
pub(super) fn restore(incarnation: Incarnation, lease: Lease, ctx: &mut ApplyContext) -> bool {
    lease.restore(ExpiryKey::Incarnation(incarnation), ctx)
        && ctx.incarnations.0.insert(incarnation, lease).is_none()
}
