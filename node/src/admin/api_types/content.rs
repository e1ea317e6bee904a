//! What a backend says, and what a client has left.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Something to be said in a room.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The organisation that the room is of, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The room's name.
    pub room: String,
    /// What, letter by letter.
    pub data: Box<RawValue>,
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Names the room's numbering.
    pub epoch: u64,
    /// The message's number.
    pub offset: u64,
}

/// A signal to be sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The organisation of both peers, if they are of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Who sends it; receivers see `backend:` before that.
    pub from: String,
    /// The peer id that it goes to.
    pub to: String,
    /// `offer`, `answer`, `ice-candidate`, `ready` or `bye`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The payload, letter by letter.
    pub payload: Box<RawValue>,
}

/// How a signal was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signaled {
    /// Whom receivers see.
    pub from: String,
}

/// What a client has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowances {
    /// Whether anything is counted.
    pub enabled: bool,
    /// One for each class of requests; none if nothing is counted.
    pub tiers: Vec<Allowance>,
}

/// What a client has left of one class of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allowance {
    /// The class.
    pub tier: String,
    /// How many a window admits.
    pub limit: u32,
    /// How many are left.
    pub remaining: u32,
    /// When the window ends, in milliseconds since the Unix epoch; none while nothing is spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_ms: Option<u64>,
}
