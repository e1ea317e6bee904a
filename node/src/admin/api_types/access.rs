//! Who may do what, and who did.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Whose credentials a revocation is about: a token's, a subject's, or those of one device of a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Whose {
    /// The organisation, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    pub tenant: Option<String>,
    /// The token's `jti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub token: Option<String>,
    /// The `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub subject: Option<String>,
    /// The device of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub device: Option<String>,
}

/// Something to be revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Revoke {
    /// Whose.
    pub whose: Whose,
    /// For how many seconds; absent: a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub for_seconds: Option<u32>,
}

/// A revocation to be lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lift {
    /// Whose.
    pub whose: Whose,
}

/// Something that is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// Whose.
    pub whose: Whose,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Until when.
    pub expires_ms: u64,
}

/// All that is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revocations {
    /// In no particular order.
    pub revocations: Vec<Revocation>,
}

/// Until when something is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// In milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// What lifting a revocation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lifted {
    /// Whether there was one.
    pub was_revoked: bool,
}

/// A device that showed a public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// The organisation, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whose device.
    pub subject: String,
    /// Its name.
    pub device: String,
    /// Its public key, as it spelled it.
    pub public_key: String,
    /// The SHA-256 of that, in hexadecimal digits.
    pub key_digest: String,
    /// `pending`, `approved` or `revoked`.
    pub standing: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// All devices that showed a public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Devices {
    /// By their subjects.
    pub devices: Vec<Device>,
}

/// Which device is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichDevice {
    /// The organisation, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    pub tenant: Option<String>,
    /// Whose device.
    #[schema(min_length = 1, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub subject: String,
    /// Its name.
    #[schema(min_length = 1, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub device: String,
}

/// A device to be let in. With the key that was seen, or its digest, it is let in only if that is still its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ApproveDevice {
    /// The organisation, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    pub tenant: Option<String>,
    /// Whose device.
    #[schema(min_length = 1, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub subject: String,
    /// Its name.
    #[schema(min_length = 1, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub device: String,
    /// The public key that was seen, as the device spelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 512)]
    pub public_key: Option<String>,
    /// In place of it, its SHA-256 in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9A-Fa-f]{64}$")]
    pub key_digest: Option<String>,
}

/// What was decided about a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decided {
    /// `approved` or `revoked`.
    pub standing: String,
}

/// A device that is not registered any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forgotten {
    /// Whether it was.
    pub was_known: bool,
}

/// A page of the audit log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Audit {
    /// The last entry of all; none if there never was one.
    pub head: Option<AuditHead>,
    /// Oldest first.
    pub entries: Vec<AuditEntry>,
}

/// The last entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditHead {
    /// Its number.
    pub seq: u64,
    /// Its hash, in hexadecimal digits.
    pub hash: String,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Its number, from 1.
    pub seq: u64,
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened, letter by letter as its hash covers it.
    #[schema(value_type = Object)]
    pub entry: Box<RawValue>,
    /// The hash of the entry before it, in hexadecimal digits; zeros before the first.
    pub before: String,
    /// Its hash.
    pub hash: String,
}

/// Organisations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenants {
    /// By name.
    pub tenants: Vec<Tenant>,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Its name.
    pub tenant: String,
    /// The host names that mean it.
    pub hosts: Vec<String>,
    /// How much of a cell's storage it may hold, in percent.
    pub storage_percent: u8,
    /// How much each of its clients may ask, in percent of what others may.
    pub allowance_percent: u32,
    /// How long what it stores lives; none: as everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<SecondsRange>,
    /// The origins that its pages may come from; none: those of everybody.
    pub origins: Vec<String>,
    /// Whether its devices have to be let in.
    pub require_approved_device: bool,
    /// What it holds in each cell.
    pub cells: Vec<Holding>,
}

/// A range of seconds, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecondsRange {
    /// The least.
    pub from: u32,
    /// The most.
    pub to: u32,
}

/// What is stored on an account in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holding {
    /// Bytes, as `storage.bytes_max` counts them.
    pub stored_bytes: u64,
    /// Mailboxes.
    pub mailboxes: u32,
    /// Rooms.
    pub rooms: u32,
    /// Remembered idempotency keys.
    pub idempotency_keys: u32,
}
