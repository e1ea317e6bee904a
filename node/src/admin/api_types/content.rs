//! What a backend says, and what a client has left.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Something to be said in a room.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The organisation that the room is of, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    pub tenant: Option<String>,
    /// The room's name.
    #[schema(min_length = 1, max_length = 128)]
    pub room: String,
    /// What, letter by letter.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// Names the room's numbering.
    pub epoch: u64,
    /// The message's number.
    pub offset: u64,
}

/// A signal to be sent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The organisation of both peers, if they are of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    pub tenant: Option<String>,
    /// Who sends it; receivers see `backend:` before that.
    #[schema(min_length = 1, max_length = 248)]
    pub from: String,
    /// The peer id that it goes to.
    #[schema(min_length = 1, max_length = 256)]
    pub to: String,
    /// `offer`, `answer`, `ice-candidate`, `ready` or `bye`.
    #[serde(rename = "type")]
    #[schema(pattern = "^(offer|answer|ice-candidate|ready|bye)$")]
    pub kind: String,
    /// The payload, letter by letter.
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
}

/// How a signal was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Signaled {
    /// Whom receivers see.
    pub from: String,
}

/// What a client has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Allowances {
    /// Whether anything is counted.
    pub enabled: bool,
    /// One for each class of requests; none if nothing is counted.
    pub tiers: Vec<Allowance>,
}

/// What a client has left of one class of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// Whose allowances are reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetAllowances {
    /// The client's address, IPv4 or IPv6, without a port; of IPv6 all of its /64 are one client.
    pub address: String,
}

/// What resetting them came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WindowsReset {
    /// Of how many classes of requests something was spent.
    pub windows: u32,
}
