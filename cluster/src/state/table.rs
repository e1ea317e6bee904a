//! Tables: what all stored things that expire have in common.
//!
//! A thing in a [`Table`] is on the account of whoever stored it, weighs what its noun says, and has an entry in the expiry
//! queue. It begins, changes, ends and comes out of a snapshot here, with all of these together, so that a noun can't do
//! one without the others.

use std::fmt::Debug;
use std::ops::{Deref, DerefMut, RangeBounds, RangeInclusive};

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::account::Payer;
use super::allowance::Tier;
use super::context::ApplyContext;
use super::expiry::ExpiryKey;
use super::id::Key;
use super::outcome::Refusal;
use super::storage_quota::Load;

/// What names a thing in a table: it begins with the key that the thing is under.
pub(super) trait TableKey: Copy + Ord + Debug {
    /// All names under keys of this range.
    fn under(keys: &RangeInclusive<Key>) -> RangeInclusive<Self>;
}

impl TableKey for Key {
    fn under(keys: &RangeInclusive<Key>) -> RangeInclusive<Self> {
        keys.clone()
    }
}

impl TableKey for (Key, Key) {
    fn under(keys: &RangeInclusive<Key>) -> RangeInclusive<Self> {
        (*keys.start(), Key::FIRST)..=(*keys.end(), Key::LAST)
    }
}

impl TableKey for (Key, Tier) {
    fn under(keys: &RangeInclusive<Key>) -> RangeInclusive<Self> {
        (*keys.start(), Tier::FIRST)..=(*keys.end(), Tier::LAST)
    }
}

/// A noun: what is in its table.
pub(super) trait Stored: Clone {
    /// What names one.
    type Key: TableKey;
    /// How long one lives.
    type Life: Life;
    /// What names one in the expiry queue.
    const EXPIRY: fn(Self::Key) -> ExpiryKey;

    /// What one weighs; nothing if it is on nobody's account. Only [`Table::replace`] may change it.
    fn load(&self) -> Load;

    /// Drops what it refers to, now that it goes.
    fn drop_parts(&self, _: &mut ApplyContext) {}

    /// Counts what it refers to, as a snapshot has it; false if it can't be.
    fn restore_parts(&self, _: &mut ApplyContext) -> bool {
        true
    }
}

/// How long a thing lives, and where its entry stands in the expiry queue.
pub(super) trait Life: Copy + Debug {
    /// What it begins with.
    type Term;

    /// Begins, and enters the thing.
    fn begin(term: Self::Term, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> Self;

    /// Whether the thing still counts.
    fn alive(&self, now_ms: u64) -> bool;

    /// The entry came up; false if the thing is over. Else it is entered anew.
    fn on_expiry(&mut self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> bool;

    /// When it is over if nothing happens to it; `None`: not before a connection is lost.
    fn ends_ms(&self) -> Option<u64>;

    /// Takes the thing out of the expiry queue.
    fn end(&self, expiry_key: ExpiryKey, ctx: &mut ApplyContext);

    /// Enters the thing as a snapshot has it; false if that can't be.
    fn restore(&self, expiry_key: ExpiryKey, ctx: &mut ApplyContext) -> bool;
}

/// What a noun's things begin to live with.
type Term<V> = <<V as Stored>::Life as Life>::Term;

/// A thing in a table. The fields' order is the snapshot format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry<V: Stored> {
    value: V,
    pub(super) life: V::Life,
    payer: Payer,
}

impl<V: Stored> Entry<V> {
    /// An entry of which a snapshot has the parts by themselves.
    pub(super) fn of(value: V, life: V::Life, payer: Payer) -> Self {
        Self { value, life, payer }
    }

    pub(super) fn payer(&self) -> Payer {
        self.payer
    }

    pub(super) fn payer_mut(&mut self) -> &mut Payer {
        &mut self.payer
    }
}

impl<V: Stored> Deref for Entry<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V: Stored> DerefMut for Entry<V> {
    fn deref_mut(&mut self) -> &mut V {
        &mut self.value
    }
}

/// All things of one noun.
#[derive(Debug, Clone)]
pub(super) struct Table<V: Stored>(OrdMap<V::Key, Entry<V>>);

impl<V: Stored> Default for Table<V> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<V: Stored> Table<V> {
    pub(super) fn get(&self, key: &V::Key) -> Option<&Entry<V>> {
        self.0.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &V::Key) -> Option<&mut Entry<V>> {
        self.0.get_mut(key)
    }

    /// The thing under a key, if it still counts.
    pub(super) fn alive(&self, key: &V::Key, now_ms: u64) -> Option<&Entry<V>> {
        self.0.get(key).filter(|entry| entry.life.alive(now_ms))
    }

    pub(super) fn contains(&self, key: &V::Key) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&V::Key, &Entry<V>)> {
        self.0.iter()
    }

    /// The things under keys of a range, in order.
    pub(super) fn under<'a>(
        &'a self,
        keys: &RangeInclusive<Key>,
    ) -> impl Iterator<Item = (&'a V::Key, &'a Entry<V>)> + use<'a, V> {
        self.0.range(V::Key::under(keys))
    }

    /// The things whose names are in a range, in order.
    pub(super) fn named<'a, R: RangeBounds<V::Key>>(
        &'a self,
        names: R,
    ) -> impl Iterator<Item = (&'a V::Key, &'a Entry<V>)> + use<'a, V, R> {
        self.0.range(names)
    }

    /// The names of the things under keys of a range.
    pub(super) fn names_under(&self, keys: &RangeInclusive<Key>) -> Vec<V::Key> {
        self.under(keys).map(|(name, _)| *name).collect()
    }

    /// Removes the things under keys of a range.
    pub(super) fn free_under(&mut self, keys: &RangeInclusive<Key>, ctx: &mut ApplyContext) {
        for name in self.names_under(keys) {
            self.free(name, ctx);
        }
    }

    /// Adds a thing that is not there, whatever there is room for.
    pub(super) fn add(&mut self, key: V::Key, value: V, term: Term<V>, ctx: &mut ApplyContext) {
        let payer = ctx.storage.add(value.load());
        let life = V::Life::begin(term, V::EXPIRY(key), ctx);
        self.0.insert(key, Entry { value, life, payer });
    }

    /// Adds a thing that is not there, if there is room for it.
    pub(super) fn try_add(
        &mut self,
        key: V::Key,
        value: V,
        term: Term<V>,
        ctx: &mut ApplyContext,
    ) -> Result<(), Refusal> {
        ctx.storage.admit(value.load())?;
        self.add(key, value, term, ctx);
        Ok(())
    }

    /// Removes a thing, if it is there.
    pub(super) fn free(&mut self, key: V::Key, ctx: &mut ApplyContext) -> Option<V> {
        let entry = self.0.remove(&key)?;
        entry.life.end(V::EXPIRY(key), ctx);
        Some(freed(entry, ctx))
    }

    /// Removes a thing that is over, though its entry has not come up yet.
    pub(super) fn free_if_over(&mut self, key: V::Key, ctx: &mut ApplyContext) -> Option<V> {
        let over = ctx.overdue && self.0.get(&key).is_some_and(|entry| !entry.life.alive(ctx.now_ms));
        if over { self.free(key, ctx) } else { None }
    }

    /// The entry of a thing came up. Returns the thing if it was over, and is gone now.
    pub(super) fn expire(&mut self, key: V::Key, ctx: &mut ApplyContext) -> Option<V> {
        if self.0.get_mut(&key)?.life.on_expiry(V::EXPIRY(key), ctx) {
            return None;
        }
        Some(freed(self.0.remove(&key)?, ctx))
    }

    /// The same for nouns to which nothing else happens then; returns how many things were looked at.
    pub(super) fn on_expiry(&mut self, key: V::Key, ctx: &mut ApplyContext) -> usize {
        self.expire(key, ctx);
        1
    }

    /// Takes a thing as a snapshot has it, after its account; false if that can't be.
    pub(super) fn restore(&mut self, key: V::Key, entry: Entry<V>, ctx: &mut ApplyContext) -> bool {
        entry.life.restore(V::EXPIRY(key), ctx)
            && ctx.storage.restore(entry.payer, entry.load())
            && entry.restore_parts(ctx)
            && self.0.insert(key, entry).is_none()
    }

    /// Has a thing that is there become another one, on the writer's account, whatever there is room for.
    pub(super) fn replace(&mut self, key: V::Key, value: V, ctx: &mut ApplyContext) {
        if let Some(entry) = self.0.get_mut(&key) {
            entry.payer = ctx.storage.replace(entry.payer, entry.load(), value.load());
            entry.value = value;
        }
    }

    /// The same, if there is room for it.
    pub(super) fn try_replace(
        &mut self,
        key: V::Key,
        value: V,
        ctx: &mut ApplyContext,
    ) -> Result<(), Refusal> {
        if let Some(entry) = self.0.get(&key) {
            ctx.storage.admit_instead(entry.payer, &entry.load(), value.load())?;
        }
        self.replace(key, value, ctx);
        Ok(())
    }
}

fn freed<V: Stored>(entry: Entry<V>, ctx: &mut ApplyContext) -> V {
    ctx.storage.drop(entry.payer, entry.load());
    entry.drop_parts(ctx);
    entry.value
}
