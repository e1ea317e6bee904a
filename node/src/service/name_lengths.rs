//! Bounds of what requests may say, in characters.

/// The pin of a transfer.
pub const TRANSFER_PIN_CHARS_MAX: usize = 128;
/// The password hash of a transfer.
pub const PASSWORD_HASH_CHARS_MAX: usize = 512;
/// The pin of a session.
pub const SESSION_PIN_CHARS_MAX: usize = 64;
/// A room's name.
pub const ROOM_CHARS_MAX: usize = 128;
/// A peer id.
pub const PEER_CHARS_MAX: usize = 256;
