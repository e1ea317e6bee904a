//! What one stored thing weighs beside the bytes it carries: the memory that its entry takes on a node, with its
//! places in the expiry queue and in other maps. Measured, see `tests/memory.rs`; part of the log's meaning as all bounds are.

/// A kind of stored thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A transfer without its chunks.
    Transfer,
    /// A chunk's place in its transfer.
    Chunk,
    /// A body, kept once however many chunks hold it.
    Body,
    /// A remembered acknowledgement.
    Acknowledgement,
    /// A negotiation without its envelopes.
    Negotiation,
    /// One side's envelope.
    Envelope,
    /// A pin of a negotiation.
    Pin,
    /// A mailbox without its signals.
    Mailbox,
    /// A waiting signal.
    Signal,
    /// An invite code.
    Rendezvous,
    /// A device.
    Device,
    /// An outcome remembered under a caller's key.
    IdempotencyKey,
    /// A socket session.
    Socket,
    /// A room without its members and messages.
    Room,
    /// A member of a room.
    Member,
    /// A message of a room.
    RoomMessage,
    /// A claim on a mailbox.
    Claim,
    /// A ticket.
    Ticket,
    /// An open allowance window.
    Window,
    /// A node that leased of a window.
    Holder,
    /// The account of an owner.
    Account,
}

impl Kind {
    /// Bytes beside those that it carries.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Transfer => 330,
            Self::Chunk => 160,
            Self::Body => 240,
            Self::Acknowledgement => 280,
            Self::Negotiation => 450,
            Self::Envelope => 80,
            Self::Pin => 360,
            Self::Mailbox => 290,
            Self::Signal => 215,
            Self::Rendezvous => 300,
            // Most of it is the map of the user's devices.
            Self::Device => 1900,
            Self::IdempotencyKey => 415,
            Self::Socket => 540,
            Self::Room => 330,
            Self::Member => 370,
            Self::RoomMessage => 320,
            Self::Claim => 380,
            Self::Ticket => 310,
            Self::Window => 300,
            Self::Holder => 8,
            Self::Account => 210,
        }
    }

    /// Whether it has no place in the reserve: what a store is filled with, as opposed to what keeps a cluster usable.
    pub(super) const fn is_bulk(self) -> bool {
        match self {
            Self::Transfer | Self::Chunk | Self::Body | Self::RoomMessage => true,
            Self::Acknowledgement
            | Self::Negotiation
            | Self::Envelope
            | Self::Pin
            | Self::Mailbox
            | Self::Signal
            | Self::Rendezvous
            | Self::Device
            | Self::IdempotencyKey
            | Self::Socket
            | Self::Room
            | Self::Member
            | Self::Claim
            | Self::Ticket
            | Self::Window
            | Self::Holder
            | Self::Account => false,
        }
    }
}
