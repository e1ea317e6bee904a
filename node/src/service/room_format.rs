//! Rooms: what its members are called there, and what a message is.

use conclave_cluster::state::id::Key;

/// The first byte of a message that is JSON.
pub const TEXT: u8 = b'J';
/// The first byte of a message that is bytes.
pub const BYTES: u8 = b'B';

/// Bytes of a member's key that its public name shows.
const SHOWN: usize = 8;

/// What other members know a member by: the beginning of its session's key.
pub fn public_name(member: &Key) -> String {
    member.as_bytes().iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect()
}

/// A member that speaks for the operator's backend. All of them are called by sixteen zeros; beyond these no two are alike.
pub fn backend() -> Key {
    let mut bytes: [u8; 32] = rand::random();
    bytes[..SHOWN].fill(0);
    Key::from_bytes(bytes)
}

/// The key of a client's session, which never has the backend's name.
pub fn of_client(key: Key) -> Key {
    let mut bytes = *key.as_bytes();
    if bytes[..SHOWN].iter().all(|byte| *byte == 0) {
        bytes[0] = 1;
    }
    Key::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backend_s_name_is_nobody_else_s() {
        let (one, other) = (backend(), backend());
        assert_eq!((public_name(&one), public_name(&other)), ("0".repeat(16), "0".repeat(16)));
        assert_ne!(one, other);
        assert_ne!(public_name(&of_client(one)), public_name(&one));
        let client = Key::from_bytes([7; 32]);
        assert_eq!(of_client(client), client);
    }
}
