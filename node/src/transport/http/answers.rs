//! What the API answers, as it is written and as the OpenAPI document describes it. Relay's answers are in
//! [`relay::description`](super::relay).

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::transport::request::fields::{ChunkIndex, DeviceId, Onion, Port, TotalChunks};

/// Words that answers of their own consist of.
macro_rules! words {
    ($($name:ident $word:ident;)+) => {$(
        #[doc = concat!("`", stringify!($word), "`")]
        #[derive(Debug, Clone, Copy, Serialize, ToSchema)]
        #[cfg_attr(test, derive(serde::Deserialize, PartialEq))]
        #[serde(rename_all = "lowercase")]
        pub(crate) enum $name {
            $word,
        }
    )+};
}

words! {
    Fine Ok;
    Gone Deleted;
    Kept Stored;
    Serving Ready;
    Begun Pending;
}

/// A session that begins.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionBegun {
    /// Whoever has it may use the session.
    #[schema(value_type = String, format = "uuid")]
    pub(crate) session_id: Uuid,
    /// For how many seconds it lives unless it is used.
    pub(crate) ttl_sec: u64,
}

/// The session of a pin.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionFound {
    /// Whoever has it may use the session.
    #[schema(value_type = String, format = "uuid")]
    pub(crate) session_id: Uuid,
}

/// An envelope that was stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnvelopeStored {
    #[schema(inline)]
    pub(crate) status: Fine,
    /// For how many seconds the session lives from now on.
    pub(crate) ttl_sec: u64,
}

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Deleted {
    #[schema(inline)]
    pub(crate) status: Gone,
}

/// A transfer that begins, or lived already.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TransferBegun {
    /// Made of pin and password hash. Whoever has it may use the transfer, so it is a secret.
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$")]
    pub(crate) transfer_id: String,
    /// For how many seconds it lives unless it is used.
    pub(crate) ttl_sec: u64,
}

/// What arrived of a transfer so far.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transfer {
    #[schema(value_type = TotalChunks)]
    pub(crate) total_chunks: u16,
    /// What is stored: first and last index of each range, ascending.
    #[schema(value_type = Vec<Vec<ChunkIndex>>)]
    pub(crate) received: Vec<(u16, u16)>,
    /// How many chunks were handed out by relay's `receive`.
    pub(crate) delivered: u16,
    /// Whether its receiver has everything.
    pub(crate) acknowledged: bool,
    /// In milliseconds since the Unix epoch.
    pub(crate) expires_at: u64,
}

/// A chunk that is stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChunkStored {
    #[schema(inline)]
    pub(crate) status: Kept,
    /// That the same bytes were stored before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) duplicate: Option<bool>,
}

/// A device that is registered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceRegistered {
    #[schema(inline)]
    pub(crate) status: Fine,
    /// How it stands, where a public key was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) approval: Option<Approval>,
}

/// How a device stands that showed a public key.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Approval {
    Pending,
    Approved,
    Revoked,
}

/// A user's devices.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceList {
    /// By their ids, at most 256.
    pub(crate) devices: Vec<Device>,
}

/// A device that can be reached.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Device {
    #[schema(value_type = DeviceId)]
    pub(crate) device_id: String,
    #[schema(value_type = Onion)]
    pub(crate) onion: String,
    /// Absent where none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Port>, nullable = false)]
    pub(crate) port: Option<u16>,
    /// In milliseconds since the Unix epoch.
    pub(crate) expires: u64,
}

/// A credential for one use.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ticket {
    /// Put it into `?ticket=`.
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$")]
    pub(crate) ticket: String,
    /// For how many seconds it can be used.
    pub(crate) ttl_sec: u64,
}

/// STUN and TURN servers, for `RTCPeerConnection` as they are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IceServers {
    /// Empty where the operator configured none.
    pub(crate) ice_servers: Vec<IceServer>,
    /// For how many seconds the credential holds.
    pub(crate) ttl: u64,
}

/// Addresses that one credential is for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IceServer {
    pub(crate) urls: Vec<String>,
    /// Seconds since the Unix epoch until which it holds, a colon, and a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) credential: Option<String>,
}

/// What this server can.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Edition)]
pub(crate) struct EditionAnswer {
    /// `consumer` or `enterprise`.
    pub(crate) edition: &'static str,
    pub(crate) is_enterprise: bool,
    pub(crate) version: &'static str,
    /// Those that are there, each true.
    pub(crate) features: BTreeMap<&'static str, bool>,
    /// In milliseconds since the Unix epoch.
    pub(crate) timestamp: u64,
}

/// Where the nodes of a cluster are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Nodes {
    /// Members with a public URL; one that is away for the moment is still among them.
    pub(crate) nodes: Vec<Node>,
}

/// Where a node is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Node {
    pub(crate) id: u64,
    /// Scheme, host and port.
    #[schema(format = "uri")]
    pub(crate) url: String,
}

/// That the process runs, and for how long.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    #[schema(inline)]
    pub(crate) status: Fine,
    /// `consumer` or `enterprise`.
    pub(crate) edition: &'static str,
    /// In seconds.
    pub(crate) uptime: f64,
    /// In milliseconds since the Unix epoch.
    pub(crate) timestamp: u64,
}

/// That the process turns its event loop.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alive {
    #[schema(inline)]
    pub(crate) status: Fine,
}

/// That clients should be sent here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    #[schema(inline)]
    pub(crate) status: Serving,
}

/// A request that was accepted before its outcome.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pending {
    #[schema(inline)]
    pub(crate) status: Begun,
    /// By which its outcome is asked for.
    #[schema(value_type = String, format = "uuid")]
    pub(crate) job_id: Uuid,
}
