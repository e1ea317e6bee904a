//! Slots: the parts into which all keys are divided.
//!
//! A key's first ten bits are its slot. Keys are SHA-256, so slots fill evenly; and since tables are ordered by key, a slot
//! is one range of each of them.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::id::Key;

/// How many slots there are.
pub const SLOTS: u16 = 1 << SLOT_BITS;
/// The bits of a key that name its slot.
const SLOT_BITS: u32 = 10;
/// The bits of the last byte that a slot reaches into which are not the slot's.
const REST: u32 = 16 - SLOT_BITS;

/// A slot, below [`SLOTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct Slot(u16);

/// A cell: the nodes that hold a part of the slots, which are one Raft group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellId(u16);

impl CellId {
    /// The cell that every cluster begins with.
    pub const FIRST: Self = Self(1);

    /// The cell of this number, from 1.
    pub const fn of(number: u16) -> Self {
        Self(number)
    }

    /// Its number, from 1.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl Default for CellId {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number is [`SLOTS`] or above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no slot {0}")]
pub struct NoSuchSlot(u16);

impl TryFrom<u16> for Slot {
    type Error = NoSuchSlot;

    fn try_from(number: u16) -> Result<Self, NoSuchSlot> {
        if number < SLOTS { Ok(Self(number)) } else { Err(NoSuchSlot(number)) }
    }
}

impl Slot {
    /// The slot that is written into an id: its last ten bits, which are random ones in UUIDs of versions 4 and 7.
    pub fn of_id(id: u128) -> Self {
        Self(id as u16 % SLOTS)
    }

    /// The same id, but with this slot written into it.
    #[must_use]
    pub fn mark(self, id: u128) -> u128 {
        id - u128::from(Self::of_id(id).0) + u128::from(self.0)
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self.0
    }

    /// All slots, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).map(Self)
    }

    /// Its first and its last key.
    pub(super) fn keys(self) -> RangeInclusive<Key> {
        let of = |mut bytes| {
            self.write(&mut bytes);
            Key::from_bytes(bytes)
        };
        of([0; 32])..=of([u8::MAX; 32])
    }

    /// The slot of 32 bytes.
    pub(super) fn read(bytes: &[u8; 32]) -> Self {
        Self(u16::from_be_bytes([bytes[0], bytes[1]]) >> REST)
    }

    /// Has 32 bytes be in this slot.
    pub(super) fn write(self, bytes: &mut [u8; 32]) {
        let rest = u16::from_be_bytes([bytes[0], bytes[1]]) % (1 << REST);
        [bytes[0], bytes[1]] = (self.0 << REST | rest).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::id::Domain;
    use super::*;

    #[test]
    fn a_slot_is_the_first_ten_bits_of_its_keys() {
        let mut bytes = [0; 32];
        assert_eq!(Key::from_bytes(bytes).slot().number(), 0);
        bytes[1] = 0b0011_1111;
        assert_eq!(Key::from_bytes(bytes).slot().number(), 0);
        bytes[1] = 0b0100_0000;
        assert_eq!(Key::from_bytes(bytes).slot().number(), 1);
        assert_eq!(Key::from_bytes([255; 32]).slot().number(), SLOTS - 1);
        assert_eq!(Slot::try_from(SLOTS), Err(NoSuchSlot(SLOTS)));
    }

    proptest! {
        #[test]
        fn a_placed_key_lies_where_it_was_placed_and_is_its_own(
            number in 0..SLOTS, one in any::<u64>(), other in any::<u64>(),
        ) {
            let slot = Slot::try_from(number).unwrap();
            let placed = |name: u64| Key::placed(slot, Domain::IdempotencyKey, &[&name.to_be_bytes()]);
            prop_assert_eq!(placed(one).slot(), slot);
            prop_assert_eq!(placed(one) == placed(other), one == other);
            let derived = Key::derive(Domain::IdempotencyKey, &[&one.to_be_bytes()]);
            let rest = |key: Key| (key.as_bytes()[1] % 64, key.as_bytes()[2..].to_vec());
            prop_assert_eq!(rest(placed(one)), rest(derived));
            prop_assert!(slot.keys().contains(&placed(one)));
        }

        #[test]
        fn an_id_tells_the_slot_that_was_written_into_it(number in 0..SLOTS, id in any::<u128>()) {
            let slot = Slot::try_from(number).unwrap();
            prop_assert_eq!(Slot::of_id(slot.mark(id)), slot);
            prop_assert_eq!(slot.mark(id) >> 10, id >> 10);
        }
    }
}
