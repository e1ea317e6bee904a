//! Kinds of operations.

/// What is measured apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    pub const ALL: [Self; 19] = [
        Self::Send,
        Self::Receive,
        Self::Ack,
        Self::Register,
        Self::Lookup,
        Self::Signal,
        Self::Poll,
        Self::Create,
        Self::Resolve,
        Self::PutOffer,
        Self::GetOffer,
        Self::PutAnswer,
        Self::GetAnswer,
        Self::Delete,
        Self::Connect,
        Self::Resume,
        Self::Publish,
        Self::Deliver,
        Self::Push,
    ];

    /// How reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Ack => "ack",
            Self::Register => "register",
            Self::Lookup => "lookup",
            Self::Signal => "signal",
            Self::Poll => "poll",
            Self::Create => "create",
            Self::Resolve => "resolve",
            Self::PutOffer => "put-offer",
            Self::GetOffer => "get-offer",
            Self::PutAnswer => "put-answer",
            Self::GetAnswer => "get-answer",
            Self::Delete => "delete",
            Self::Connect => "connect",
            Self::Resume => "resume",
            Self::Publish => "publish",
            Self::Deliver => "deliver",
            Self::Push => "push",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_the_order_of_discriminants() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }
}
