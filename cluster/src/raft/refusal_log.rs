//! What was refused to whom: counted always, logged once per peer, reason and minute.

use std::fmt::Display;

use tokio::time::Instant;

use crate::wire::{Warnings, refused};

/// Why a peer's request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Refusal {
    /// The peer does not belong to the cluster, as far as this node knows.
    NotMember,
    /// The request is about another cell than this node's.
    Cell,
    /// A term or an index lies further ahead than any honest cluster comes.
    Absurd,
    /// A snapshot is larger than what this node may store.
    TooLarge,
    /// The frame does not mean anything.
    Malformed,
    /// There is no such request.
    Unknown,
    /// The request is sound and could not be carried out.
    Failed,
}

/// Counts and tells.
#[derive(Default)]
pub(crate) struct Refusals(Warnings<(u64, Refusal)>);

impl Refusals {
    pub(crate) fn note(&self, peer: u64, kind: u8, refusal: Refusal, why: &dyn Display) {
        let reason = refusal.into();
        refused(reason);
        if self.0.first((peer, refusal), Instant::now()) {
            tracing::warn!(peer, kind, reason, %why, "peer request refused");
        }
    }
}
