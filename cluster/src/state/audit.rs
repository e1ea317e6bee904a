//! The audit log: who changed what, in an order that cannot be changed afterwards.
//!
//! Each entry's hash covers the one before it, so that an entry which was changed or taken out shows. The head, how many
//! entries there were and the hash of the last, outlives all entries.

use serde::{Deserialize, Serialize};

use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::id::{Digest, Domain, Key};
use super::keyed_command::Keyed;
use super::limits::AUDIT_ENTRIES_MAX;
use super::outcome;
use super::query::Page;
use super::storage_quota::Load;
use super::table::{Entry, Stored, Table};

/// A command about the log under a key ([`Domain::Audit`]).
pub type Op = Keyed<Action>;

/// What can be done to a log. New actions are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Add an entry. The oldest goes if there are as many as there may be.
    Append {
        /// What happened, in the edge's own words.
        text: String,
        /// For how many seconds it is kept, unless newer entries push it out.
        keep_s: u32,
    },
}

/// What happened to a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The entry is the last one now.
    Appended(Head),
}

/// How many entries there were, and the hash of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the last entry; they are counted from 1.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

/// An entry, as readers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its number, from 1.
    pub seq: u64,
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub text: String,
    /// The hash of the entry before it; zeros before the first.
    pub before: Digest,
    /// [`hash`] of all of that.
    pub hash: Digest,
}

/// The hash of an entry: SHA-256 over the hash before it, its number and its instant (eight bytes each, big-endian), and its
/// text.
pub fn hash(before: &Digest, seq: u64, at_ms: u64, text: &str) -> Digest {
    Digest::of(&[&before.as_bytes()[..], &seq.to_be_bytes(), &at_ms.to_be_bytes(), text.as_bytes()].concat())
}

/// The hash before the first entry.
pub const ORIGIN: Digest = Digest::from_bytes([0; 32]);

/// The head in a table. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Log {
    head: Head,
}

/// An entry in a table, bounded by [`AUDIT_ENTRIES_MAX`] and on nobody's account. The fields' order is the snapshot format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    at_ms: u64,
    text: String,
    before: Digest,
    hash: Digest,
}

impl Stored for Log {
    type Key = Key;
    type Life = Lease;
    const EXPIRY: fn(Key) -> ExpiryKey = ExpiryKey::AuditLog;

    fn load(&self) -> Load {
        Load::NONE
    }
}

impl Stored for Line {
    type Key = (Key, Key);
    type Life = Lease;
    const EXPIRY: fn((Key, Key)) -> ExpiryKey = |(log, seq)| ExpiryKey::AuditLine(log, seq);

    fn load(&self) -> Load {
        Load::NONE
    }
}

/// A number as a key; keys are in the order of their numbers.
fn numbered(seq: u64) -> Key {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seq.to_be_bytes());
    Key::from_bytes(bytes)
}

fn number(key: &Key) -> u64 {
    u64::from_be_bytes(*key.as_bytes().first_chunk().expect("a key has 32 bytes"))
}

/// All logs.
#[derive(Debug, Clone, Default)]
pub(super) struct Audit {
    pub(super) logs: Table<Log>,
    pub(super) lines: Table<Line>,
}

impl Audit {
    pub(super) fn carry_out(&mut self, op: Op, ctx: &mut ApplyContext) -> Result<Outcome, outcome::Refusal> {
        let Op { key, action: Action::Append { text, keep_s } } = op;
        let last = self.logs.get(&key).map_or(Head { seq: 0, hash: ORIGIN }, |log| log.head);
        let (seq, at_ms) = (last.seq + 1, ctx.now_ms);
        let hash = hash(&last.hash, seq, at_ms, &text);
        let head = Head { seq, hash };
        match self.logs.get_mut(&key) {
            Some(log) => log.head = head,
            // It never ends.
            None => self.logs.add(key, Log { head }, u64::MAX, ctx),
        }
        if self.lines.len() >= AUDIT_ENTRIES_MAX {
            let oldest = self.lines.under(&(key..=key)).next().map(|(name, _)| *name);
            oldest.map(|oldest| self.lines.free(oldest, ctx));
        }
        let expires_ms = at_ms.saturating_add(u64::from(keep_s.max(1)) * 1000);
        let line = Line { at_ms, text, before: last.hash, hash };
        self.lines.add((key, numbered(seq)), line, expires_ms, ctx);
        ctx.wakes.wake(Domain::Audit, key);
        Ok(Outcome::Appended(head))
    }

    /// The head of a log; `None` if there never was an entry.
    pub(super) fn head(&self, key: &Key) -> Option<Head> {
        self.logs.get(key).map(|log| log.head)
    }

    /// A page of a log, oldest first.
    pub(super) fn page(&self, key: &Key, page: Page, now_ms: u64) -> Vec<View> {
        let view = |((_, seq), line): (&(Key, Key), &Entry<Line>)| View {
            seq: number(seq),
            at_ms: line.at_ms,
            text: line.text.clone(),
            before: line.before,
            hash: line.hash,
        };
        self.lines
            .under(&(*key..=*key))
            .filter(|((_, seq), line)| number(seq) > page.after && line.life.expires_ms > now_ms)
            .take(page.count_max)
            .map(view)
            .collect()
    }

    /// Removes the logs under keys of a range.
    pub(super) fn free_under(&mut self, keys: &std::ops::RangeInclusive<Key>, ctx: &mut ApplyContext) {
        self.logs.free_under(keys, ctx);
        self.lines.free_under(keys, ctx);
    }
}
