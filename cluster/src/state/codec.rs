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
use super::command::{Ask, Command, Proposal};
use super::limits::{
    CHUNK_BYTES_MAX, COMMANDS_PER_PROPOSAL_MAX, ENVELOPE_BYTES_MAX, GRANT_BYTES_MAX, HEADER_BYTES_MAX,
    MESSAGE_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX,
};
use super::outcome::{Answer, Outcome};
use super::{exchange, mailbox, room, socket, ticket, transfer};

/// The versions read. A version is not only a layout: what apply decides belongs to it, too, and a proposal carries its
/// version to apply. The highest one is raised a release before [`WRITTEN`], so that while a cluster is upgraded
/// node by node every node can read what any other writes.
pub const READ: RangeInclusive<u8> = 2..=2;
/// The version written.
pub const WRITTEN: u8 = 2;

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
        let bodies = self.commands.iter().filter_map(|command| command.ask.body());
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
            if command.ask.names().into_iter().flatten().any(|name| name.len() > NAME_BYTES_MAX) {
                return Err(Error::Limit);
            }
            if let Some((body, len_max)) = command.ask.body_mut() {
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
        let body = self.ask.body().map_or(0, |(body, _)| body.len());
        let names = self.ask.names().into_iter().flatten().map(str::len);
        COMMAND_BYTES + names.sum::<usize>() + body
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
    Encoded { header: header(WRITTEN, answers), bodies }
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

/// The one body that a wish may carry, and how long it may be, borrowed as the wish is.
macro_rules! body_of {
    ($ask:expr) => {
        match $ask {
            Ask::Transfer(transfer::Ask { verb, .. }) => match verb {
                transfer::Verb::Put { body, .. } => Some((body, CHUNK_BYTES_MAX)),
                transfer::Verb::Open { .. }
                | transfer::Verb::Take
                | transfer::Verb::Acknowledge { .. }
                | transfer::Verb::Discard
                | transfer::Verb::Touch => None,
            },
            Ask::Exchange(exchange::Ask { verb, .. }) => match verb {
                exchange::Verb::Put { envelope, .. } => Some((envelope, ENVELOPE_BYTES_MAX)),
                exchange::Verb::Create { .. } | exchange::Verb::Delete => None,
            },
            Ask::Mailbox(mailbox::Ask { verb, .. }) => match verb {
                mailbox::Verb::Push { payload, .. } => Some((payload, PAYLOAD_BYTES_MAX)),
                mailbox::Verb::Drain { .. } | mailbox::Verb::Acknowledge { .. } => None,
            },
            Ask::Room(room::Ask { verb, .. }) => match verb {
                room::Verb::Publish { data, .. } => Some((data, MESSAGE_BYTES_MAX)),
                room::Verb::Join { .. } | room::Verb::Detach { .. } | room::Verb::Leave { .. } => None,
            },
            Ask::Ticket(ticket::Ask { verb, .. }) => match verb {
                ticket::Verb::Issue { grant, .. } => Some((grant, GRANT_BYTES_MAX)),
                ticket::Verb::Redeem => None,
            },
            Ask::Spend
            | Ask::Pay
            | Ask::Rendezvous(_)
            | Ask::Device(_)
            | Ask::Member(_)
            | Ask::Host(_)
            | Ask::Socket(_)
            | Ask::Claim(_) => None,
        }
    };
}

impl Ask {
    /// The one body a wish may carry, and how long it may be.
    pub fn body(&self) -> Option<(&Body, usize)> {
        body_of!(self)
    }

    /// [`Ask::body`], to be filled.
    pub fn body_mut(&mut self) -> Option<(&mut Body, usize)> {
        body_of!(self)
    }

    /// The names a wish carries as they came; each is bounded by [`NAME_BYTES_MAX`].
    pub fn names(&self) -> [Option<&str>; 2] {
        match self {
            Self::Mailbox(ask) => match &ask.verb {
                mailbox::Verb::Push { from, .. } => [Some(from), None],
                mailbox::Verb::Drain { .. } | mailbox::Verb::Acknowledge { .. } => [None, None],
            },
            Self::Socket(ask) => match &ask.verb {
                socket::Verb::Enter { room: name, .. } | socket::Verb::Hold { peer: name, .. } => {
                    [name.as_deref(), None]
                }
                socket::Verb::Open { .. }
                | socket::Verb::Resume { .. }
                | socket::Verb::Detach { .. }
                | socket::Verb::Close { .. }
                | socket::Verb::Mark { .. } => [None, None],
            },
            Self::Rendezvous(ask) => {
                use super::rendezvous::Verb;
                let (Verb::Register { peer, .. } | Verb::Withdraw { peer }) = &ask.verb;
                [Some(peer), None]
            }
            Self::Device(ask) => {
                let super::device::Verb::Register { device_id, onion, .. } = &ask.verb;
                [Some(device_id), Some(onion)]
            }
            Self::Spend
            | Self::Pay
            | Self::Transfer(_)
            | Self::Exchange(_)
            | Self::Member(_)
            | Self::Host(_)
            | Self::Room(_)
            | Self::Claim(_)
            | Self::Ticket(_) => [None, None],
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
            Ok(Outcome::Socket(socket::Outcome::Resumed { room, peer })) => {
                [room, peer].into_iter().flatten().map(String::len).sum()
            }
            Ok(_) | Err(_) => 0,
        };
        48 + messages + names + bodies
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
