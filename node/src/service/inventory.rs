//! What is stored, as operators may see it, and how they end some of it.

use std::fmt;

use conclave_cluster::Draft;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::inventory::{Item, Kind, Listing, Wanted};
use conclave_cluster::state::limits::LISTED_MAX;
use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::{negotiation, query, socket, transfer};
use futures_util::stream::{self, StreamExt as _};

use super::{Error, Services, settle};

/// Things that are ended at a time.
const AT_ONCE: usize = 32;

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

/// Whether things of a kind can be ended before their time.
pub fn can_end(kind: Kind) -> bool {
    match kind {
        Kind::Transfer | Kind::Negotiation | Kind::Socket => true,
        Kind::Mailbox | Kind::Room | Kind::InviteCode | Kind::User => false,
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

/// Ends one thing; false if there is none under this id, or it is a session of a socket that is away.
///
/// # Errors
/// See [`Error`].
pub async fn end(services: &Services, kind: Kind, id: Id) -> Result<bool, Error> {
    let wanted = Wanted { after: Some(id.key(0)), until: Some(id.last_key()), ..Wanted::of(kind) };
    match &list(services, wanted).await?.items[..] {
        [item] => end_item(services, kind, item).await,
        _ => Ok(false),
    }
}

/// Ends all sessions of sockets that a list has; says how many.
///
/// # Errors
/// See [`Error`]; some may have ended then.
pub async fn end_sockets(services: &Services, wanted: Wanted) -> Result<u64, Error> {
    let mut ended = 0;
    let mut after = None;
    loop {
        let listing = list(services, Wanted { kind: Kind::Socket, after, ..wanted }).await?;
        let mut ends = stream::iter(&listing.items)
            .map(|item| end_item(services, Kind::Socket, item))
            .buffer_unordered(AT_ONCE);
        while let Some(done) = ends.next().await {
            ended += u64::from(done?);
        }
        after = listing.next;
        if after.is_none() {
            return Ok(ended);
        }
    }
}

async fn end_item(services: &Services, kind: Kind, item: &Item) -> Result<bool, Error> {
    let key = item.key;
    let op = match (kind, item.attached) {
        (Kind::Transfer, _) => {
            Op::Transfer(transfer::Op { key, ttl_ms: 0, action: transfer::Action::Discard })
        }
        (Kind::Negotiation, _) => {
            Op::Negotiation(negotiation::Op { key, ttl_ms: 0, action: negotiation::Action::Delete })
        }
        (Kind::Socket, Some(at)) => {
            Op::Socket(socket::Op { key, action: socket::Action::Close { connection: at.connection } })
        }
        (Kind::Socket | Kind::Mailbox | Kind::Room | Kind::InviteCode | Kind::User, _) => return Ok(false),
    };
    match services.cluster.propose(Draft::of(op)).await?.outcome {
        Ok(Outcome::Transfer(transfer::Outcome::Absent)) => Ok(false),
        Err(conclave_cluster::state::outcome::Refusal::Negotiation(negotiation::Refusal::Expired)) => {
            Ok(false)
        }
        other => settle(other).map(|_| true),
    }
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
