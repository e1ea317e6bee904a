//! One operation.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The one who opens.
    Offer,
    /// The one who replies.
    Answer,
}

impl Side {
    /// As in paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
        }
    }
}

/// What can be asked. Each belongs to one family or two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
}

/// What a server can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// There is nothing, yet.
    Nothing,
    /// It is over, or never was.
    Gone,
    /// The envelope known by this number.
    Value(u64),
    /// Something that no server of the contract says; wrong whatever came before.
    Wrong(Box<str>),
}

/// A signal in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Letter {
    /// Which client sent it.
    pub from: u32,
    /// Unlike any other of the run.
    pub number: u64,
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
            Self::Get { .. } => true,
            Self::Create | Self::Put { .. } | Self::Delete => false,
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => f.write_str("create"),
            Self::Put { side, value } => write!(f, "put {} {value}", side.name()),
            Self::Get { side } => write!(f, "get {}", side.name()),
            Self::Delete => f.write_str("delete"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Nothing => f.write_str("nothing"),
            Self::Gone => f.write_str("gone"),
            Self::Value(value) => write!(f, "{value}"),
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
