//! Proposals and answers as bytes, for the log and for the links between nodes.
//!
//! A value becomes a header and its bodies. The header is a version byte and the value in bincode, in which a
//! body is only its length; the bodies follow in the order of the value, untouched. So chunk bytes pass from the
//! socket to the disk without being copied by a codec. Decoding trusts nobody: every bound of
//! [`limits`](super::limits) is checked before anything is allocated by it.

use std::ops::RangeInclusive;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bytes::Bytes;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::body::Body;
use super::command::{Command, Op, Proposal};
use super::limits::{
    CHUNK_BYTES_MAX, COMMANDS_PER_PROPOSAL_MAX, ENVELOPE_BYTES_MAX, GRANT_BYTES_MAX, HEADER_BYTES_MAX,
    MESSAGE_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, SLOT_PART_BYTES_MAX,
};
use super::outcome::{Answer, Outcome};
use super::{handoff, mailbox, negotiation, placement, room, socket, ticket, transfer};

/// The versions read. A version is not only a layout: what apply decides belongs to it, too, and a proposal carries its
/// version to apply.
pub const READ: RangeInclusive<u8> = 6..=6;
/// The newest version written. A leader writes it once all members have read it for ten minutes, so that while a cluster is
/// upgraded node by node, or taken back, every node can read what any other writes.
pub const WRITTEN: u8 = 6;
/// The version of answers, and of commands on their way to the leader: nothing is decided by it, and every build reads it.
pub const EXCHANGED: u8 = 6;

pub(super) const CONFIG: Configuration<LittleEndian, Varint, Limit<HEADER_BYTES_MAX>> =
    bincode::config::standard().with_limit::<HEADER_BYTES_MAX>();

/// Why bytes are not a proposal or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Written in a format that is not known here.
    #[error("unknown format version {0}")]
    Version(u8),
    /// There is no header at all, or it says what can't be.
    #[error("malformed header")]
    Malformed,
    /// The payload is shorter than the header promises.
    #[error("payload too short")]
    Short,
    /// Bytes are left over in the header or the payload.
    #[error("trailing bytes")]
    Trailing,
    /// A body or a name is longer than it may be.
    #[error("over a limit")]
    Limit,
}

/// A value ready for the wire or the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The version byte and the value without its bodies.
    pub header: Vec<u8>,
    /// What follows the header, in order; slices of what came in, not copies.
    pub bodies: Vec<Bytes>,
}

impl Encoded {
    /// The bodies as one run of bytes, as `decode` takes it. Copies, unless there is at most one.
    pub fn payload(&self) -> Bytes {
        match self.bodies.as_slice() {
            [] => Bytes::new(),
            [body] => body.clone(),
            bodies => bodies.concat().into(),
        }
    }
}

impl Proposal {
    /// The proposal as bytes.
    pub fn encode(&self) -> Encoded {
        let bodies = self.commands.iter().filter_map(|command| command.op.body());
        Encoded {
            header: header(self.version, self),
            bodies: bodies.map(|(body, _)| body.bytes().clone()).collect(),
        }
    }

    /// The proposal that was encoded. The bodies become slices of `payload`.
    pub fn decode(header: &[u8], mut payload: Bytes) -> Result<Self, Error> {
        let (version, mut proposal): (u8, Self) = parse(header)?;
        proposal.version = version;
        for command in &mut proposal.commands {
            if command.op.names().into_iter().flatten().any(|name| name.len() > NAME_BYTES_MAX) {
                return Err(Error::Limit);
            }
            if let Some((body, len_max)) = command.op.body_mut() {
                fill(body, len_max, &mut payload)?;
            }
        }
        if payload.is_empty() { Ok(proposal) } else { Err(Error::Trailing) }
    }

    /// About how many bytes the proposal takes encoded; never less.
    pub fn size(&self) -> usize {
        PROPOSAL_BYTES + 20 * self.floors.len() + self.commands.iter().map(Command::size).sum::<usize>()
    }
}

impl Command {
    /// About how many bytes the command takes encoded, its body included; never less.
    pub fn size(&self) -> usize {
        let body = self.op.body().map_or(0, |(body, _)| body.len());
        let names = self.op.names().into_iter().flatten().map(str::len);
        let placement = if let Op::Placement(op) = &self.op { op.size() } else { 0 };
        COMMAND_BYTES + names.sum::<usize>() + placement + body
    }
}

/// What a proposal takes encoded beside its floors and commands: a stamp, the rules, two lengths.
const PROPOSAL_BYTES: usize = 144;
/// What a command takes encoded beside its body and its names: two keys, an owner, a digest, a charge, numbers.
const COMMAND_BYTES: usize = 320;

/// Answers as bytes.
pub fn encode_answers(answers: &[Answer]) -> Encoded {
    let mut bodies = Vec::new();
    for answer in answers {
        answer.each_body(&mut |body| bodies.push(body.bytes().clone()));
    }
    Encoded { header: header(EXCHANGED, answers), bodies }
}

/// The answers that were encoded. Their bodies become slices of `payload`.
pub fn decode_answers(header: &[u8], mut payload: Bytes) -> Result<Vec<Answer>, Error> {
    let (_, Answers(mut answers)) = parse(header)?;
    for answer in &mut answers {
        answer.each_body_mut(&mut |body, len_max| fill(body, len_max, &mut payload))?;
    }
    if payload.is_empty() { Ok(answers) } else { Err(Error::Trailing) }
}

#[derive(Deserialize)]
struct Answers(#[serde(deserialize_with = "at_most::<_, _, { COMMANDS_PER_PROPOSAL_MAX }>")] Vec<Answer>);

fn header<T: Serialize + ?Sized>(version: u8, value: &T) -> Vec<u8> {
    let mut header = vec![version];
    bincode::serde::encode_into_std_write(value, &mut header, CONFIG)
        .expect("the words of the state are plain data, and a vector takes all that is written");
    header
}

fn parse<'a, T: Deserialize<'a>>(header: &'a [u8]) -> Result<(u8, T), Error> {
    let (&version, rest) = header.split_first().ok_or(Error::Malformed)?;
    if !READ.contains(&version) {
        return Err(Error::Version(version));
    }
    let (value, read) =
        bincode::serde::borrow_decode_from_slice(rest, CONFIG).map_err(|_| Error::Malformed)?;
    if read == rest.len() { Ok((version, value)) } else { Err(Error::Trailing) }
}

/// Keeps a body's promise with the next bytes of `payload`.
pub(super) fn fill(body: &mut Body, len_max: usize, payload: &mut Bytes) -> Result<(), Error> {
    if body.len() > len_max {
        return Err(Error::Limit);
    }
    if body.fill(payload) { Ok(()) } else { Err(Error::Short) }
}

/// Reads a list that may not be longer than `MAX`, and allocates nothing for one that says it is.
pub(super) fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct AtMost<T, const MAX: usize>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {MAX}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let promised = items.size_hint().unwrap_or(0);
            if promised > MAX {
                return Err(serde::de::Error::invalid_length(promised, &self));
            }
            // A list may promise more than the header holds; what is there decides how much is allocated.
            let mut list = Vec::with_capacity(promised.min(256));
            while let Some(item) = items.next_element()? {
                list.push(item);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, MAX>(std::marker::PhantomData))
}

/// The one body that a command may carry, and how long it may be, borrowed as the command is.
macro_rules! body_of {
    ($op:expr) => {
        match $op {
            Op::Transfer(transfer::Op { action, .. }) => match action {
                transfer::Action::Put { body, .. } => Some((body, CHUNK_BYTES_MAX)),
                transfer::Action::Open { .. }
                | transfer::Action::Take
                | transfer::Action::Acknowledge { .. }
                | transfer::Action::Discard
                | transfer::Action::Touch => None,
            },
            Op::Negotiation(negotiation::Op { action, .. }) => match action {
                negotiation::Action::Put { envelope, .. } => Some((envelope, ENVELOPE_BYTES_MAX)),
                negotiation::Action::Create { .. } | negotiation::Action::Delete => None,
            },
            Op::Mailbox(mailbox::Op { action, .. }) => match action {
                mailbox::Action::Push { payload, .. } => Some((payload, PAYLOAD_BYTES_MAX)),
                mailbox::Action::Drain { .. } | mailbox::Action::Acknowledge { .. } => None,
            },
            Op::Room(room::Op { action, .. }) => match action {
                room::Action::Publish { data, .. } => Some((data, MESSAGE_BYTES_MAX)),
                room::Action::Join { .. } | room::Action::Detach { .. } | room::Action::Leave { .. } => None,
            },
            Op::Ticket(ticket::Op { action, .. }) => match action {
                ticket::Action::Issue { grant, .. } => Some((grant, GRANT_BYTES_MAX)),
                ticket::Action::Redeem => None,
            },
            Op::Handoff(op) => match op {
                handoff::Op::Import { bytes, .. } => Some((bytes, SLOT_PART_BYTES_MAX)),
                handoff::Op::Begin
                | handoff::Op::Seal { .. }
                | handoff::Op::Forget { .. }
                | handoff::Op::Reopen { .. } => None,
            },
            Op::Spend
            | Op::Pay
            | Op::Lease { .. }
            | Op::Reset { .. }
            | Op::Rendezvous(_)
            | Op::Device(_)
            | Op::NodeIdentity(_)
            | Op::Incarnation(_)
            | Op::Socket(_)
            | Op::Claim(_)
            | Op::Placement(_)
            | Op::Revocation(_)
            | Op::Audit(_)
            | Op::Registration(_) => None,
        }
    };
}

impl Op {
    /// The one body a command may carry, and how long it may be.
    pub fn body(&self) -> Option<(&Body, usize)> {
        body_of!(self)
    }

    /// [`Op::body`], to be filled.
    pub fn body_mut(&mut self) -> Option<(&mut Body, usize)> {
        body_of!(self)
    }

    /// The names a command carries as they came; each is bounded by [`NAME_BYTES_MAX`].
    pub fn names(&self) -> [Option<&str>; 3] {
        match self {
            Self::Mailbox(op) => match &op.action {
                mailbox::Action::Push { from, .. } => [Some(from), None, None],
                mailbox::Action::Drain { .. } | mailbox::Action::Acknowledge { .. } => [None, None, None],
            },
            Self::Socket(op) => match &op.action {
                socket::Action::Enter { room: name, .. } | socket::Action::Hold { peer: name, .. } => {
                    [name.as_deref(), None, None]
                }
                socket::Action::Open { .. }
                | socket::Action::Resume { .. }
                | socket::Action::Detach { .. }
                | socket::Action::Close { .. }
                | socket::Action::Mark { .. } => [None, None, None],
            },
            Self::Rendezvous(op) => {
                use super::invite_code::Action;
                let (Action::Register { peer, .. } | Action::Withdraw { peer }) = &op.action;
                [Some(peer), None, None]
            }
            Self::Device(op) => {
                let super::device::Action::Register { device_id, onion, .. } = &op.action;
                [Some(device_id), Some(onion), None]
            }
            Self::Audit(op) => {
                let super::audit::Action::Append { text, .. } = &op.action;
                [Some(text), None, None]
            }
            Self::Registration(op) => op.action.names(),
            Self::Revocation(op) => {
                use super::revocation::Action;
                let (Action::Revoke { revoked, .. } | Action::Lift { revoked }) = &op.action;
                let [one, other] = revoked.names();
                [one, other, None]
            }
            Self::Spend
            | Self::Pay
            | Self::Lease { .. }
            | Self::Reset { .. }
            | Self::Transfer(_)
            | Self::Negotiation(_)
            | Self::NodeIdentity(_)
            | Self::Incarnation(_)
            | Self::Room(_)
            | Self::Claim(_)
            | Self::Ticket(_)
            | Self::Handoff(_)
            | Self::Placement(
                placement::Op::Found { .. }
                | placement::Op::Withdraw { .. }
                | placement::Op::Change { .. }
                | placement::Op::Copy(_),
            ) => [None, None, None],
            Self::Placement(placement::Op::Place { peer, .. }) => [Some(peer), None, None],
        }
    }
}

impl Answer {
    /// About how many bytes the answer takes encoded, its bodies included; never less.
    pub fn size(&self) -> usize {
        let mut bodies = 0;
        self.each_body(&mut |body| bodies += body.len());
        let messages = match &self.outcome {
            Ok(Outcome::Mailbox(mailbox::Outcome::Messages(messages))) => {
                messages.iter().map(|message| 48 + message.from.len()).sum()
            }
            Ok(_) | Err(_) => 0,
        };
        let names: usize = match &self.outcome {
            Ok(Outcome::Socket(socket::Outcome::Resumed { room, peer, .. })) => {
                [room, peer].into_iter().flatten().map(String::len).sum()
            }
            Ok(_) | Err(_) => 0,
        };
        let holders = match &self.outcome {
            Ok(Outcome::Leased { holders, .. }) => 9 * holders.len(),
            Ok(_) | Err(_) => 0,
        };
        48 + messages + names + holders + bodies
    }

    /// Shows every body, in order.
    pub(super) fn each_body<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
        match &self.outcome {
            Ok(Outcome::Transfer(transfer::Outcome::Chunk { body, .. })) => visit(body),
            Ok(Outcome::Mailbox(mailbox::Outcome::Messages(messages))) => {
                messages.iter().for_each(|message| visit(&message.payload));
            }
            Ok(Outcome::Ticket(ticket::Outcome::Redeemed { grant })) => visit(grant),
            Ok(_) | Err(_) => {}
        }
    }

    /// Shows every body, in order, with how long it may be, until one is refused.
    pub(super) fn each_body_mut(
        &mut self,
        visit: &mut dyn FnMut(&mut Body, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match &mut self.outcome {
            Ok(Outcome::Transfer(transfer::Outcome::Chunk { body, .. })) => visit(body, CHUNK_BYTES_MAX),
            Ok(Outcome::Mailbox(mailbox::Outcome::Messages(messages))) => {
                messages.iter_mut().try_for_each(|message| visit(&mut message.payload, PAYLOAD_BYTES_MAX))
            }
            Ok(Outcome::Ticket(ticket::Outcome::Redeemed { grant })) => visit(grant, GRANT_BYTES_MAX),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
