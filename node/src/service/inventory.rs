//! What is stored, as operators may see it, and how they end it.

mod ending;

use std::fmt;

use conclave_cluster::state::id::Key;
use conclave_cluster::state::inventory::{Item, Listing, Wanted};
use conclave_cluster::state::limits::LISTED_MAX;
use conclave_cluster::state::query;

use super::{Error, Services};

pub use ending::{end, end_sockets};

/// The start of the key that something lies under: enough to name it, too little to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(u64);

impl Id {
    /// The id of what lies under a key.
    pub fn of(key: &Key) -> Self {
        Self(u64::from_be_bytes(*key.as_bytes().first_chunk().expect("a key has 32 bytes")))
    }

    /// Reads what [`fmt::Display`] wrote: 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_spelled = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_spelled).map(Self)
    }

    fn key(self, rest: u8) -> Key {
        let mut bytes = [rest; 32];
        bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        Key::from_bytes(bytes)
    }

    /// The last key of all that begin so.
    pub fn last_key(self) -> Key {
        self.key(u8::MAX)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A part of the list of a kind, over all cells. While slots move, what is on its way may be missing.
///
/// # Errors
/// See [`Error`]; [`no_leader`](conclave_cluster::Error::NoLeader) if one of the cells cannot be asked.
pub async fn list(services: &Services, wanted: Wanted) -> Result<Listing, Error> {
    let parts = services.cluster.read_each_cell(query::Inventory(wanted)).await?;
    let count_max = usize::from(wanted.count_max).clamp(1, LISTED_MAX);
    Ok(merged(parts, count_max))
}

/// What several cells tell, in one order. Behind the first place at which one of them stopped nothing is known of all.
fn merged(parts: Vec<Listing>, count_max: usize) -> Listing {
    let stopped = parts.iter().filter_map(|part| part.next).min();
    let mut items: Vec<Item> = parts.into_iter().flat_map(|part| part.items).collect();
    items.retain(|item| stopped.is_none_or(|stopped| item.key <= stopped));
    items.sort_by_key(|item| item.key);
    // A slot on its way is told by both.
    items.dedup_by_key(|item| item.key);
    let is_cut = items.len() > count_max;
    items.truncate(count_max);
    let next = if is_cut { items.last().map(|item| item.key) } else { stopped };
    Listing { items, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8) -> Key {
        Key::from_bytes([first; 32])
    }

    fn part(keys: &[u8], next: Option<u8>) -> Listing {
        let item =
            |first: &u8| Item { key: key(*first), expires_ms: None, parts: 0, of: None, attached: None };
        Listing { items: keys.iter().map(item).collect(), next: next.map(key) }
    }

    #[test]
    fn an_id_is_the_start_of_a_key() {
        let id = Id::of(&key(0xab));
        assert_eq!(id.to_string(), "abababababababab");
        assert_eq!(Id::parse("abababababababab"), Some(id));
        assert!(key(0xab) <= id.last_key() && key(0xab) > id.key(0));
        for wrong in ["", "abc", "+babababababababa", "abababababababag", "abababababababab0"] {
            assert_eq!(Id::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_page_over_cells_ends_where_the_first_of_them_stopped() {
        let (one, other) = (part(&[1, 4, 9], Some(9)), part(&[2, 3, 5], Some(5)));
        assert_eq!(merged(vec![one.clone(), other.clone()], 10), part(&[1, 2, 3, 4, 5], Some(5)));
        assert_eq!(merged(vec![one.clone(), other], 2), part(&[1, 2], Some(2)));
        assert_eq!(merged(vec![one, part(&[4, 7], None)], 10), part(&[1, 4, 7, 9], Some(9)));
        assert_eq!(merged(vec![part(&[3], None), part(&[], None)], 1), part(&[3], None));
    }
}
