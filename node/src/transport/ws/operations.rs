//! What clients ask over a socket, and what they are told, whatever the encoding.

use bytes::Bytes;
use bytestring::ByteString;
use conclave_cluster::state::mailbox::{self, Kind};
use conclave_cluster::state::outcome::Refusal;
use conclave_cluster::state::{invite_code, mailbox_claim, room};

use crate::access::Scope;
use crate::access::auth::Unverified;
use crate::service;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    /// Begin, or go on.
    Hello { token: Option<String>, resume: Option<Resume> },
    /// Be called by a peer id, and get its signals.
    Claim { peer: String, invite_code: Option<String> },
    /// Whose invite code is this?
    Lookup { invite_code: String },
    /// Send a signal.
    Signal { to: String, kind: Kind, payload: Bytes },
    /// Everything up to this signal arrived.
    Ack { seq: u64 },
    /// Enter a room.
    Join { room: String, from: Option<Position> },
    /// Leave it.
    Leave { room: Option<String> },
    /// Say something in it.
    Publish { room: Option<String>, data: Bytes, volatile: bool, message_id: Option<u64> },
    /// Who is in it?
    Members { room: Option<String> },
    /// Tell me when this changes.
    Watch(Target),
    /// Tell me no more.
    Unwatch(Target),
    /// Go on under a newer token of the same subject.
    Renew { token: String },
    /// Are you there?
    Ping,
    /// The session ends, with all that it holds.
    Bye,
}

impl Op {
    /// The kind of thing that it is, beside being one over a socket: the same as over HTTP, where the table of routes names it.
    pub(super) fn scope(&self) -> Option<Scope> {
        match self {
            Self::Claim { .. } | Self::Lookup { .. } | Self::Signal { .. } | Self::Ack { .. } => {
                Some(Scope::Signal)
            }
            Self::Watch(target) | Self::Unwatch(target) => Some(target.scope()),
            Self::Hello { .. }
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::Publish { .. }
            | Self::Members { .. }
            | Self::Renew { .. }
            | Self::Ping
            | Self::Bye => None,
        }
    }
}

/// What a client knows of the session it goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resume {
    /// The session's secret id.
    pub(super) session: String,
    /// What it has of the room's history.
    pub(super) from: Option<Position>,
}

/// A place in a room's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Names the numbering.
    pub(super) epoch: u64,
    /// The last offset that arrived.
    pub(super) offset: u64,
}

impl Position {
    /// Of whoever heard of the room before it was there. A numbering is named by when it began, so that none is called so.
    pub(super) const BEFORE_ALL: Self = Self { epoch: 0, offset: 0 };
}

/// What can be watched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// A transfer, by its id.
    Transfer(String),
    /// A negotiation, by its session id.
    Negotiation(String),
}

impl Target {
    /// The kind of thing that it is.
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Transfer(_) => Scope::Relay,
            Self::Negotiation(_) => Scope::Signal,
        }
    }
}

/// A client's own name for a request: a JSON string or number, as it was spelled.
pub(super) type Id = Option<ByteString>;

/// Bytes of an [`Id`].
pub(super) const ID_BYTES_MAX: usize = 128;

macro_rules! codes {
    ($($variant:ident $name:literal $message:literal;)*) => {
        /// Why something was not done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(clippy::enum_variant_names, reason = "the names are the protocol's")]
        pub(super) enum Code { $($variant),* }

        impl Code {
            /// The name that programs read, and a sentence for people. Neither needs escaping.
            pub(super) fn spec(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => ($name, $message)),* }
            }
        }
    };
}

codes! {
    InvalidJson "invalid_json" "The message is not a JSON object.";
    UnknownOp "unknown_op" "There is no such op.";
    UnknownField "unknown_field" "The op has no such field.";
    MissingFields "missing_fields" "A required field is absent or of the wrong type.";
    InvalidInput "invalid_input" "A field is malformed or out of range.";
    Unauthorized "unauthorized" "A credential is required, and this is none.";
    Forbidden "forbidden" "The credential does not cover this.";
    DeviceNotApproved "device_not_approved" "The device is not registered, not approved yet, or revoked.";
    OriginNotAllowed "origin_not_allowed" "Pages of this origin may not use the organisation's tokens.";
    AlreadyOpen "already_open" "The session is open already.";
    NotClaimed "not_claimed" "No peer id is claimed.";
    PeerInUse "peer_in_use" "Another session holds this peer id.";
    PeerNotFound "peer_not_found" "No peer is registered under this invite code.";
    InviteCodeInUse "invite_code_in_use" "Another peer holds this invite code.";
    InvalidInviteCode "invalid_invite_code" "An invite code is 8 to 16 letters or digits.";
    InvalidSignalType "invalid_signal_type" "A signal is offer, answer, ice-candidate, ready or bye.";
    PayloadTooLarge "payload_too_large" "The payload is larger than allowed.";
    MailboxFull "mailbox_full" "Too many signals wait for this peer.";
    NotInRoom "not_in_room" "The session is in no such room.";
    RoomFull "room_full" "The room has as many members as it may.";
    TooManyWatches "too_many_watches" "A socket watches at most 16 things.";
    NotWatched "not_watched" "This is not watched.";
    RateLimited "rate_limited" "Too much at once; slow down.";
    Overloaded "overloaded" "The server is overloaded; try again later.";
    KeysUnavailable "keys_unavailable" "The keys that credentials are checked with cannot be had at the moment; try again.";
    NoLeader "no_leader" "The cluster has no leader at the moment; whether it was done is not known.";
    ShuttingDown "shutting_down" "This node is going away; try another one.";
    StorageFull "storage_full" "The storage quota of the cluster is exhausted.";
    ShareFull "storage_full" "The storage quota of this client is exhausted.";
    TenantShareFull "tenant_storage_full" "The storage quota of the organisation is exhausted.";
    Internal "internal_error" "Something went wrong on our side.";
}

impl From<service::Error> for Code {
    fn from(error: service::Error) -> Self {
        match error {
            service::Error::Limited { .. } => Self::RateLimited,
            service::Error::StorageFull => Self::StorageFull,
            service::Error::ShareFull => Self::ShareFull,
            service::Error::TenantShareFull => Self::TenantShareFull,
            service::Error::Refused(refusal) => refused(&refusal),
            service::Error::Unexpected => Self::Internal,
            service::Error::Cluster(error) => error.into(),
        }
    }
}

/// What each refusal is called.
fn refused(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Mailbox(mailbox::Refusal::Full) => Code::MailboxFull,
        Refusal::Mailbox(mailbox::Refusal::NotHeld) => Code::NotClaimed,
        Refusal::Rendezvous(invite_code::Refusal::InUse) => Code::InviteCodeInUse,
        Refusal::Claim(mailbox_claim::Refusal::Held) => Code::PeerInUse,
        Refusal::Room(room::Refusal::Full) => Code::RoomFull,
        Refusal::Room(room::Refusal::NotAMember) => Code::NotInRoom,
        // Told apart before, the session's own affair, or of no command that a socket makes.
        Refusal::Allowance { .. }
        | Refusal::StorageFull
        | Refusal::ShareFull
        | Refusal::TenantShareFull
        | Refusal::Registration(_)
        | Refusal::Stale
        | Refusal::Moved { .. }
        | Refusal::Unready
        | Refusal::Lapsed
        | Refusal::Handoff(_)
        | Refusal::Revocation(_)
        | Refusal::Placement(_)
        | Refusal::Socket(_)
        | Refusal::Transfer(_)
        | Refusal::Negotiation(_)
        | Refusal::Device(_)
        | Refusal::NodeIdentity(_)
        | Refusal::Incarnation(_)
        | Refusal::Ticket(_) => Code::Internal,
    }
}

impl From<Unverified> for Code {
    fn from(error: Unverified) -> Self {
        match error {
            Unverified::Unauthorized(_) | Unverified::Expired(_) | Unverified::Revoked(_) => {
                Self::Unauthorized
            }
            Unverified::DeviceNotApproved => Self::DeviceNotApproved,
            Unverified::Tenant => Self::Forbidden,
            Unverified::KeysUnavailable => Self::KeysUnavailable,
        }
    }
}

impl From<conclave_cluster::Error> for Code {
    fn from(error: conclave_cluster::Error) -> Self {
        match error {
            conclave_cluster::Error::Overloaded | conclave_cluster::Error::Behind => Self::Overloaded,
            conclave_cluster::Error::NoLeader => Self::NoLeader,
            conclave_cluster::Error::ShuttingDown => Self::ShuttingDown,
        }
    }
}
