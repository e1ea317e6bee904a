//! Kinds of operations.

use strum::{IntoStaticStr, VariantArray};

/// What is measured apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Kind {
    /// Upload of a chunk.
    Send,
    /// Taking a chunk, or learning that all are delivered.
    Receive,
    /// Acknowledging a transfer.
    Ack,
    /// Holding an invite code.
    Register,
    /// Resolving an invite code.
    Lookup,
    /// Queueing a signal.
    Signal,
    /// Taking signals.
    Poll,
    /// Opening a session.
    Create,
    /// Resolving a session's pin.
    Resolve,
    /// Storing an offer.
    PutOffer,
    /// Reading an offer.
    GetOffer,
    /// Storing an answer.
    PutAnswer,
    /// Reading an answer.
    GetAnswer,
    /// Ending a session.
    Delete,
    /// Opening a socket until its session, and its place in a room, is there.
    Connect,
    /// Taking a session up again on another connection.
    Resume,
    /// Publishing in a room; only its failures, since what counts is its delivery.
    Publish,
    /// From publishing to the receipt by one member.
    Deliver,
    /// From the request that posts a signal to the frame that brings it.
    Push,
}

impl Kind {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; Self::VARIANTS.len()] =
        *Self::VARIANTS.first_chunk().expect("they are as many as they are");

    /// How reports call it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
