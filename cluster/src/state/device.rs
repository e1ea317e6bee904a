//! Devices: registered endpoints of a user, each a lease.

use serde::{Deserialize, Serialize};

use super::id::Key;

/// A wish about the devices under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Derived from the user id ([`Domain::Devices`](super::id::Domain::Devices)).
    pub key: Key,
    /// What is wished.
    pub verb: Verb,
}

/// What can be done to a user's devices. New verbs are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Add the device, or renew and replace it.
    Register {
        /// The device, without its expiry.
        device_id: String,
        /// Its onion address.
        onion: String,
        /// Its port.
        port: Option<u16>,
        /// How long the lease runs.
        ttl_ms: u32,
    },
}

/// One live device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The user's name for it.
    pub device_id: String,
    /// Its onion address.
    pub onion: String,
    /// Its port.
    pub port: Option<u16>,
    /// When the lease ends, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// What happened to a user's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The device is live.
    Registered,
}

/// Why nothing happened to a user's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The user has as many devices as one may.
    Full,
}
