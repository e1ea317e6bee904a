//! One operation.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::proof::Family;

/// What one client asked and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Counts the operations of a run in the order of their starts.
    pub id: u64,
    /// What it belongs to.
    pub family: Family,
    /// The thing it is about; things of different keys have nothing to do with each other.
    pub key: Arc<str>,
    /// Who asked. A client asks one thing at a time.
    pub client: u32,
    /// Which of the targets was asked last.
    pub target: u16,
    /// What was asked.
    pub wish: Wish,
    /// When, in nanoseconds since the run began. No two instants of a run are equal.
    pub start: u64,
    /// When the answer was there or the client gave up waiting for one.
    pub end: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server said what is.
    Answered(Answer),
    /// Nothing happened, and nothing will.
    Refused(Box<str>),
    /// It may have happened, may happen yet, or never.
    Unknown(Box<str>),
}

/// The two sides of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Side {
    /// The one who opens.
    Offer,
    /// The one who replies.
    Answer,
}

impl Side {
    /// As in paths.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What can be asked. Each belongs to one family or two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "kebab-case")]
pub enum Wish {
    /// Open the exchange that the key is named after.
    Create,
    /// Store an envelope that is known by a number.
    Put {
        /// Whose.
        side: Side,
        /// Unlike any other of the run.
        value: u64,
    },
    /// Read an envelope.
    Get {
        /// Whose.
        side: Side,
    },
    /// End the exchange.
    Delete,
    /// Hold the invite code for a peer.
    Register {
        /// Which.
        peer: u64,
    },
    /// Ask who holds the invite code.
    Lookup,
    /// Open an exchange under the pin.
    Acquire,
    /// Ask which exchange the pin stands for.
    Resolve,
    /// End the exchange that was opened under the pin.
    Release {
        /// Its id.
        session: Arc<str>,
    },
    /// Queue a signal in the mailbox.
    Signal {
        /// Unlike any other of the run.
        number: u64,
    },
    /// Take what waits in the mailbox.
    Poll,
    /// Begin the transfer.
    Open,
    /// Store a chunk by the relay's door.
    Send {
        /// Which chunk.
        index: u16,
        /// Which of two possible contents.
        variant: u8,
    },
    /// Store a chunk by the other door.
    Store {
        /// Which chunk.
        index: u16,
        /// Which of two possible contents.
        variant: u8,
    },
    /// Take the next chunk.
    Receive,
    /// Read a chunk without taking it.
    Read {
        /// Which.
        index: u16,
    },
    /// Look at the transfer.
    View,
    /// Say by the relay's door that everything arrived.
    Ack,
    /// Ask whether that was said.
    AckStatus,
    /// Say by the other door that everything arrived.
    Finish,
    /// Take something of the allowance.
    Spend,
    /// Enter the room or claim the mailbox, or come back to it.
    Enter,
    /// Say something in the room.
    Publish {
        /// Unlike any other of the run.
        number: u64,
    },
    /// Not asked but told: a message of the room, or a signal of the mailbox.
    Hear,
    /// Say that all signals up to one have arrived.
    Confirm {
        /// Its place.
        seq: u64,
    },
    /// Listen until everything that was said has been heard, then go.
    Part,
}

/// What a server can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "kebab-case")]
pub enum Answer {
    /// It is done.
    Done,
    /// There is nothing, yet.
    Nothing,
    /// It is over, or never was.
    Gone,
    /// The envelope known by this number.
    Value(u64),
    /// Somebody else holds it.
    Taken,
    /// This peer.
    Peer(u64),
    /// This session.
    Session(Arc<str>),
    /// These signals, in this order.
    Letters(Vec<u64>),
    /// It was there already.
    Duplicate,
    /// Something else is there already.
    Conflict,
    /// It was there and was taken; over HTTP this is a conflict as well.
    Delivered,
    /// This chunk.
    Chunk {
        /// Which.
        index: u16,
        /// Which of two possible contents.
        variant: u8,
    },
    /// Everything was taken.
    Complete,
    /// How a transfer looks.
    Sight {
        /// A bit for each stored chunk.
        received: u64,
        /// How many were taken.
        delivered: u16,
        /// Whether the receiver said that everything arrived.
        acknowledged: bool,
    },
    /// Yes or no.
    Flag(bool),
    /// In the room, or back in it, behind this place.
    Entered {
        /// Of the room's numbering; empty for a mailbox, which has one.
        epoch: Arc<str>,
        /// The last place that is not told any more.
        offset: u64,
        /// Whether everything since the last visit is told.
        recovered: bool,
    },
    /// This, in this place.
    Placed {
        /// Of the room's numbering; empty for a mailbox, which has one.
        epoch: Arc<str>,
        /// Grows by one.
        offset: u64,
        /// Which message or signal.
        number: u64,
    },
    /// Something that no server of the contract says; wrong whatever came before.
    Wrong(Box<str>),
}

impl Operation {
    /// Whether it may still happen after its end.
    pub fn is_open(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }

    /// The answer, if there was one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }
}

impl Wish {
    /// Whether it changes nothing, whatever comes of it.
    pub const fn reads(&self) -> bool {
        match self {
            Self::Get { .. }
            | Self::Lookup
            | Self::Resolve
            | Self::Read { .. }
            | Self::View
            | Self::AckStatus
            | Self::Enter
            | Self::Hear
            | Self::Part => true,
            Self::Create
            | Self::Put { .. }
            | Self::Delete
            | Self::Register { .. }
            | Self::Acquire
            | Self::Release { .. }
            | Self::Signal { .. }
            | Self::Poll
            | Self::Open
            | Self::Send { .. }
            | Self::Store { .. }
            | Self::Receive
            | Self::Ack
            | Self::Finish
            | Self::Spend
            | Self::Publish { .. }
            | Self::Confirm { .. } => false,
        }
    }

    /// Whether how long it takes says something of the servers.
    pub const fn is_timed(&self) -> bool {
        !matches!(self, Self::Enter | Self::Hear | Self::Part)
    }
}

/// Enough of a UUID to tell it from others.
fn short(session: &str) -> &str {
    session.get(..8).unwrap_or(session)
}

/// How contents are told apart.
fn letter(variant: u8) -> char {
    char::from(b'a' + variant % 26)
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create
            | Self::Delete
            | Self::Lookup
            | Self::Acquire
            | Self::Resolve
            | Self::Poll
            | Self::Open
            | Self::Receive
            | Self::View
            | Self::Ack
            | Self::AckStatus
            | Self::Finish
            | Self::Spend
            | Self::Enter
            | Self::Hear
            | Self::Part => f.write_str(self.into()),
            Self::Put { side, value } => write!(f, "put {} {value}", side.name()),
            Self::Get { side } => write!(f, "get {}", side.name()),
            Self::Register { peer } => write!(f, "register {peer}"),
            Self::Release { session } => write!(f, "release {}", short(session)),
            Self::Signal { number } => write!(f, "signal {number}"),
            Self::Send { index, variant } => write!(f, "send {index}{}", letter(*variant)),
            Self::Store { index, variant } => write!(f, "store {index}{}", letter(*variant)),
            Self::Read { index } => write!(f, "read {index}"),
            Self::Publish { number } => write!(f, "publish {number}"),
            Self::Confirm { seq } => write!(f, "confirm {seq}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done
            | Self::Nothing
            | Self::Gone
            | Self::Taken
            | Self::Duplicate
            | Self::Conflict
            | Self::Delivered
            | Self::Complete => f.write_str(self.into()),
            Self::Value(value) => write!(f, "{value}"),
            Self::Peer(peer) => write!(f, "{peer}"),
            Self::Session(session) => f.write_str(short(session)),
            Self::Letters(numbers) => write!(f, "{numbers:?}"),
            Self::Chunk { index, variant } => write!(f, "{index}{}", letter(*variant)),
            Self::Sight { received, delivered, acknowledged } => {
                let said = if *acknowledged { ", acknowledged" } else { "" };
                write!(f, "received {received:b}, {delivered} delivered{said}")
            }
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Entered { offset, recovered, .. } => {
                let word = if *recovered { "nothing missed" } else { "anew" };
                write!(f, "behind {offset}, {word}")
            }
            Self::Placed { offset, number, .. } => write!(f, "{number} at {offset}"),
            Self::Wrong(what) => write!(f, "wrong: {what}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(answer) => write!(f, "{answer}"),
            Self::Refused(code) => write!(f, "refused ({code})"),
            Self::Unknown(code) => write!(f, "unknown ({code})"),
        }
    }
}

impl fmt::Display for Operation {
    /// One line: when, who, where, what, and what came of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, target, wish, start, end, outcome, .. } = self;
        let (start, end) = (*start as f64 / 1e6, *end as f64 / 1e6);
        write!(f, "{start:>11.3} .. {end:>11.3} ms  client {client:<4} node {target:<2} {wish} -> {outcome}")
    }
}
