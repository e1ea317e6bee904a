//! Rooms: what its members are called there, and what a message is.

use conclave_cluster::state::id::Key;

/// The first byte of a message that is JSON.
pub const TEXT: u8 = b'J';
/// The first byte of a message that is bytes.
pub const BYTES: u8 = b'B';

/// What other members know a member by: the beginning of its session's key.
pub fn public_name(member: &Key) -> String {
    member.as_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
