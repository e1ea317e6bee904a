//! The storage bound: what is stored, what it weighs, and whether there is a place for more.
//!
//! Each thing weighs what its kind does ([`Kind::bytes`]) and the bytes it carries. All of it together is held below
//! the storage bound; what one owner has of it below a share; and the last of it, the reserve, is kept for small things,
//! so that nobody who fills the store with chunks takes signals, sessions and tickets from the others.
//!
//! Open windows are weighed, too, because they take memory, but never refused for the store's sake: what a client may not
//! avoid storing must not depend on what others store. They have a bound of their own, a part of the same memory.
//! Origins with their outcomes, incarnations, members and revocations are bounded by themselves and not counted.

use super::account::{Accounts, Exceeded, Holding, Payer, Within, Writer};
use super::id::Key;
use super::leader_rules::{Owner, Rules};
use super::limits::{WINDOWS_FRACTION, WINDOWS_MAX, WINDOWS_MIN};
use super::outcome::Refusal;
use super::weight::Kind;

/// What storing something takes: of the store, and of its owner's share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Of the store.
    stored: u64,
    /// Of the owner's share.
    pub(super) own: Holding,
}

impl Load {
    pub(super) const NONE: Self = Self { stored: 0, own: Holding::NONE };

    /// A thing of this kind that carries `bytes`.
    pub(super) const fn of(kind: Kind, bytes: u64) -> Self {
        Self::NONE.and(kind, bytes)
    }

    /// The same with another thing.
    pub(super) const fn and(self, kind: Kind, bytes: u64) -> Self {
        let weight = kind.bytes() + bytes;
        let mut with = self.and_own(kind, weight);
        with.stored += weight;
        with
    }

    /// The same with a body that the store has already for somebody else: the owner has it all the same.
    pub(super) const fn and_shared(self, kind: Kind, bytes: u64) -> Self {
        self.and_own(kind, kind.bytes() + bytes)
    }

    const fn and_own(mut self, kind: Kind, weight: u64) -> Self {
        self.own.bytes += weight;
        if !kind.is_bulk() {
            self.own.small_bytes += weight;
        }
        match kind {
            Kind::IdempotencyKey => self.own.keys += 1,
            Kind::Mailbox => self.own.mailboxes += 1,
            Kind::Room => self.own.rooms += 1,
            _ => {}
        }
        self
    }

    /// What this takes more than `old` does, of the store; and of the owner's share, if `old` was the same owner's.
    fn beyond(self, old: &Self, same_owner: bool) -> Self {
        let (own, old_own) = (self.own, if same_owner { old.own } else { Holding::NONE });
        let bytes = own.bytes.saturating_sub(old_own.bytes);
        let small_bytes = own.small_bytes.saturating_sub(old_own.small_bytes);
        let stored = self.stored.saturating_sub(old.stored);
        Self { stored, own: Holding { bytes, small_bytes, ..own } }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { stored: self.stored + other.stored, own: self.own.plus(&other.own) }
    }

    fn is_bulk(&self) -> bool {
        self.own.bytes > self.own.small_bytes
    }
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        match exceeded {
            Exceeded::Client => Self::ShareFull,
            Exceeded::Tenant => Self::TenantShareFull,
        }
    }
}

/// What is stored, and by whom.
#[derive(Debug, Clone, Default)]
pub(super) struct Storage {
    /// Of the proposal under way.
    pub(super) rules: Rules,
    things: u64,
    windows: u64,
    /// Of all windows together.
    holders: u64,
    accounts: Accounts,
    writer: Writer,
    /// What the command under way will store at its end whatever it comes to (its idempotency key).
    reserved: Load,
}

impl Storage {
    /// A command begins that stores for `owner`, and remembers its outcome if `idempotency_key`.
    pub(super) fn begin(&mut self, owner: Option<Owner>, idempotency_key: bool) {
        self.writer = self.accounts.writer(owner);
        self.reserved = if idempotency_key { Load::of(Kind::IdempotencyKey, 0) } else { Load::NONE };
    }

    /// The same for somebody who has not begun a command, by the rules of the last proposal.
    pub(super) fn seen_by(&self, owner: Owner, idempotency_key: bool) -> Self {
        let mut seen = self.clone();
        seen.begin(Some(owner), idempotency_key);
        seen
    }

    /// Whether `load` more may be stored; asked before anything is changed.
    pub(super) fn admit(&self, load: Load) -> Result<(), Refusal> {
        if load == Load::NONE {
            return Ok(());
        }
        self.admit_all(load.plus(self.reserved))
    }

    /// Whether what the command stores at its end whatever it comes to has a place.
    pub(super) fn admit_reserved(&self) -> Result<(), Refusal> {
        self.admit_all(self.reserved)
    }

    fn admit_all(&self, load: Load) -> Result<(), Refusal> {
        let opened = self.accounts.missing(&self.writer) * Kind::Account.bytes();
        let wanted = self.bytes().saturating_add(load.stored).saturating_add(opened);
        let most = self.rules.storage_bytes_max;
        if let Some(shares) = &self.rules.shares {
            let scarce = wanted > most.saturating_sub(shares.reserve_bytes);
            let within = Within { shares, storage_bytes_max: most, scarce };
            self.accounts.admit(&self.writer, &load.own, within)?;
            if scarce && load.is_bulk() {
                return Err(Refusal::StorageFull);
            }
        }
        if wanted > most { Err(Refusal::StorageFull) } else { Ok(()) }
    }

    /// Whether the writer may have one more key remembered, whatever else is asked.
    pub(super) fn admit_key(&self) -> Result<(), Refusal> {
        let key = Holding { keys: 1, ..Holding::NONE };
        let Some(shares) = &self.rules.shares else { return Ok(()) };
        let within = Within { shares, storage_bytes_max: self.rules.storage_bytes_max, scarce: false };
        Ok(self.accounts.admit(&self.writer, &key, within)?)
    }

    /// Counts a new thing, on the writer's account if it weighs anything.
    pub(super) fn add(&mut self, load: Load) -> Payer {
        if load == Load::NONE {
            return Payer::NOBODY;
        }
        self.things += load.stored;
        self.accounts.add(&mut self.writer, &load.own)
    }

    /// Counts a thing no more.
    pub(super) fn drop(&mut self, payer: Payer, load: Load) {
        self.things -= load.stored;
        self.accounts.drop(payer, &load.own);
    }

    /// Whether a thing on an account may become another one, on the writer's.
    pub(super) fn admit_instead(&self, payer: Payer, old: &Load, new: Load) -> Result<(), Refusal> {
        self.admit(new.beyond(old, payer == self.writer.client()))
    }

    /// Counts a thing that becomes another one, and moves it to the writer's account.
    pub(super) fn replace(&mut self, payer: Payer, old: Load, new: Load) -> Payer {
        self.drop(payer, old);
        self.add(new)
    }

    /// Counts a body, which is on the accounts of those who hold it.
    pub(super) fn add_body(&mut self, len: u64) {
        self.things += Kind::Body.bytes() + len;
    }

    /// Counts a body no more.
    pub(super) fn drop_body(&mut self, len: u64) {
        self.things -= Kind::Body.bytes() + len;
    }

    /// Counts a thing as a snapshot has it, after its account; false if that cannot be.
    pub(super) fn restore(&mut self, payer: Payer, load: Load) -> bool {
        self.things += load.stored;
        self.accounts.restore_thing(payer, &load.own)
    }

    /// Whether one more window may be opened, or a holder noted.
    pub(super) fn has_window(&self) -> bool {
        let part = self.rules.storage_bytes_max / WINDOWS_FRACTION / Kind::Window.bytes();
        let holders = (self.holders * Kind::Holder.bytes()).div_ceil(Kind::Window.bytes());
        self.windows + holders < part.clamp(WINDOWS_MIN, WINDOWS_MAX as u64)
    }

    pub(super) fn add_window(&mut self, holders: usize) {
        self.windows += 1;
        self.holders += holders as u64;
    }

    pub(super) fn drop_window(&mut self, holders: usize) {
        self.windows -= 1;
        self.drop_holders(holders);
    }

    pub(super) fn add_holder(&mut self) {
        self.holders += 1;
    }

    pub(super) fn drop_holders(&mut self, holders: usize) {
        self.holders -= holders as u64;
    }

    /// All that is stored, with the accounts and the windows.
    pub(super) fn bytes(&self) -> u64 {
        let windows = self.windows * Kind::Window.bytes() + self.holders * Kind::Holder.bytes();
        self.things + self.accounts.len() as u64 * Kind::Account.bytes() + windows
    }

    /// What is on the account under a key.
    pub(super) fn holding(&self, key: &Key) -> Holding {
        self.accounts.holding(key)
    }

    pub(super) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub(super) fn accounts_mut(&mut self) -> &mut Accounts {
        &mut self.accounts
    }
}
