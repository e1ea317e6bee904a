//! Inventory: what operators may see of what is stored.
//!
//! Of each thing the key that it lies under, how long it lives and how much there is of it; nothing that a client wrote. Keys
//! are in order, so that a list is paged by the last key that was looked at.

use serde::{Deserialize, Serialize};

use super::State;
use super::id::Key;
use super::incarnation::Attachment;
use super::limits::{LISTED_MAX, LOOKED_AT_MAX};
use super::table::{Entry, Life as _, Stored, Table};

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Transfers; parts are the chunks that came.
    Transfer,
    /// Negotiations; parts are envelopes.
    Negotiation,
    /// Mailboxes; parts are waiting signals.
    Mailbox,
    /// Rooms; parts are members.
    Room,
    /// Sessions of sockets.
    Socket,
    /// Invite codes.
    InviteCode,
    /// Users with devices; parts are live devices.
    User,
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Of what.
    pub kind: Kind,
    /// Of keys behind this one.
    pub after: Option<Key>,
    /// Of keys up to this one.
    pub until: Option<Key>,
    /// Sockets of this subject alone.
    pub subject: Option<Key>,
    /// Sockets at this node alone.
    pub node: Option<u64>,
    /// At most so many, and at most [`LISTED_MAX`].
    pub count_max: u16,
}

impl Wanted {
    /// The start of the list of a kind.
    pub fn of(kind: Kind) -> Self {
        Self { kind, after: None, until: None, subject: None, node: None, count_max: LISTED_MAX as u16 }
    }
}

/// A thing that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What it lies under. A whole key may be a capability: only its start is shown to anybody.
    pub key: Key,
    /// When it is over, in milliseconds since the Unix epoch, if nobody uses it until then; `None`: it is held by a connection.
    pub expires_ms: Option<u64>,
    /// How many parts it has.
    pub parts: u64,
    /// How many it will have, if that is known.
    pub of: Option<u64>,
    /// The connection that holds it.
    pub attached: Option<Attachment>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// By their keys.
    pub items: Vec<Item>,
    /// The last key that was looked at, if there may be more behind it.
    pub next: Option<Key>,
}

impl State {
    /// A part of the list of a kind. What is over by `now_ms` is not in it.
    pub(super) fn inventory(&self, wanted: &Wanted, now_ms: u64) -> Listing {
        let bare = |item: Item| Some(item);
        match wanted.kind {
            Kind::Transfer => list(&self.transfers.transfers, wanted, now_ms, |_, transfer, item| {
                let (received, total) = transfer.progress();
                bare(Item { parts: received, of: Some(total), ..item })
            }),
            Kind::Negotiation => {
                list(&self.negotiations.negotiations, wanted, now_ms, |_, negotiation, item| {
                    bare(Item { parts: negotiation.envelopes.iter().count() as u64, of: Some(2), ..item })
                })
            }
            Kind::Mailbox => list(&self.mailboxes.heads, wanted, now_ms, |key, _, item| {
                bare(Item { parts: self.mailboxes.waiting(key, now_ms) as u64, ..item })
            }),
            Kind::Room => list(&self.rooms.heads, wanted, now_ms, |key, _, item| {
                bare(Item { parts: self.rooms.members(key).count() as u64, ..item })
            }),
            Kind::Socket => list(&self.sockets, wanted, now_ms, |_, session, item| {
                let attached = session.life.attachment(&self.ctx.incarnations, now_ms);
                let here =
                    wanted.node.is_none_or(|node| attached.is_some_and(|at| at.incarnation.node == node));
                let theirs = wanted.subject.is_none_or(|subject| session.is_of(&subject));
                (here && theirs).then_some(Item { attached, ..item })
            }),
            Kind::InviteCode => list(&self.register, wanted, now_ms, |_, _, item| bare(item)),
            // Without devices it is nobody's, though something of it may be kept.
            Kind::User => list(self.devices.users(), wanted, now_ms, |key, _, item| {
                let parts = self.devices.of(key, now_ms).len() as u64;
                if parts == 0 { None } else { bare(Item { parts, ..item }) }
            }),
        }
    }
}

fn list<V: Stored<Key = Key>>(
    table: &Table<V>,
    wanted: &Wanted,
    now_ms: u64,
    fill: impl Fn(&Key, &Entry<V>, Item) -> Option<Item>,
) -> Listing {
    let count_max = usize::from(wanted.count_max).clamp(1, LISTED_MAX);
    let (from, until) = (wanted.after.unwrap_or(Key::FIRST), wanted.until.unwrap_or(Key::LAST));
    let mut listing = Listing::default();
    if from > until {
        return listing;
    }
    let behind = table.under(&(from..=until)).filter(|(key, _)| Some(**key) != wanted.after);
    for (looked_at, (key, entry)) in behind.enumerate() {
        if listing.items.len() == count_max || looked_at == LOOKED_AT_MAX {
            return listing;
        }
        listing.next = Some(*key);
        if entry.life.alive(now_ms) {
            let item =
                Item { key: *key, expires_ms: entry.life.ends_ms(), parts: 0, of: None, attached: None };
            listing.items.extend(fill(key, entry, item));
        }
    }
    listing.next = None;
    listing
}
