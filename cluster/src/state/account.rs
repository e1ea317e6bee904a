//! Accounts: what each owner holds, counted to the thing.
//!
//! Whatever is stored for somebody is on the account of its owner, and on those of the owner's network and organisation if it
//! has them. What a client without a credential stores in an organisation is on an account of its own there, on that of the
//! organisation, and on those that the client and its network have outside of all organisations. The thing keeps the number of the account, so that it comes off the same account when it goes, whoever lets it
//! go. An account is there as long as something is on it.

use std::collections::BTreeSet;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::id::Key;
use super::leader_rules::{Group, Owner, Share, Shares};

/// The number of an account, never used twice; or nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(super) struct Payer(u64);

impl Payer {
    /// Things that are on no account.
    pub(super) const NOBODY: Self = Self(0);
}

/// Whose account is meant. Whoever stores has one in each cell, wherever the slot of this key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned(pub Key);

/// What one owner holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    key: Key,
    over: Over,
    things: u64,
    holds: Holding,
}

/// The accounts that what is on an account is on as well. Their numbers are lower, since they are opened first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Over {
    /// Of its network; for an account within an organisation: of the client outside of it.
    pub(super) network: Payer,
    /// Of its organisation.
    pub(super) tenant: Payer,
}

impl Over {
    pub(super) fn payers(self) -> [Payer; 2] {
        [self.network, self.tenant]
    }
}

/// What is on an account, or comes to it: sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holding {
    /// Bytes, as they are weighed; a chunk with its whole body, though others hold the same one.
    pub bytes: u64,
    /// Of them, those of small things.
    pub small_bytes: u64,
    /// Remembered keys.
    pub keys: u32,
    /// Mailboxes.
    pub mailboxes: u32,
    /// Rooms.
    pub rooms: u32,
}

impl Holding {
    /// Nothing.
    pub(super) const NONE: Self = Self { bytes: 0, small_bytes: 0, keys: 0, mailboxes: 0, rooms: 0 };

    pub(super) fn plus(self, other: &Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            small_bytes: self.small_bytes + other.small_bytes,
            keys: self.keys + other.keys,
            mailboxes: self.mailboxes + other.mailboxes,
            rooms: self.rooms + other.rooms,
        }
    }

    fn minus(self, other: &Self) -> Self {
        Self {
            bytes: self.bytes - other.bytes,
            small_bytes: self.small_bytes - other.small_bytes,
            keys: self.keys - other.keys,
            mailboxes: self.mailboxes - other.mailboxes,
            rooms: self.rooms - other.rooms,
        }
    }

    /// Whether `load` more would keep within a share. What does not grow is not asked for: who is above a share that has
    /// become smaller may still do what takes none of it.
    fn admits(&self, load: &Holding, share: &Share) -> bool {
        let then = self.plus(load);
        (load.bytes == 0 || then.bytes <= share.bytes)
            && (load.keys == 0 || then.keys <= share.keys)
            && (load.mailboxes == 0 || then.mailboxes <= share.mailboxes)
            && (load.rooms == 0 || then.rooms <= share.rooms)
    }
}

/// Whoever the command under way stores for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Writer {
    owner: Option<Owner>,
    /// Its account, if there is one.
    client: Payer,
    /// The one that a guest of an organisation has outside of it.
    guest: Payer,
    /// Its network's.
    network: Payer,
    /// Its organisation's.
    tenant: Payer,
}

impl Writer {
    /// The account that a thing would be on.
    pub(super) fn client(&self) -> Payer {
        self.client
    }
}

/// What an owner has to keep within.
#[derive(Debug, Clone, Copy)]
pub(super) struct Within<'a> {
    pub(super) shares: &'a Shares,
    pub(super) storage_bytes_max: u64,
    /// Whether only the reserve is left.
    pub(super) scarce: bool,
}

/// Whose share is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// The client's, or its network's.
    Client,
    /// Its organisation's.
    Tenant,
}

/// All accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Accounts {
    numbers: OrdMap<Key, Payer>,
    accounts: OrdMap<Payer, Account>,
    last: Payer,
}

impl Accounts {
    /// Looks an owner's accounts up, once for a command.
    pub(super) fn writer(&self, owner: Option<Owner>) -> Writer {
        let Some(it) = &owner else { return Writer::default() };
        let number = |key: &Key| self.numbers.get(key).copied().unwrap_or_default();
        let group = it.group.as_ref();
        let of = |key: Option<&Key>| key.map(number).unwrap_or_default();
        Writer {
            owner,
            client: number(&it.client),
            guest: of(group.and_then(Group::guest)),
            network: of(group.and_then(Group::network)),
            tenant: of(group.and_then(Group::tenant).map(|(key, _)| key)),
        }
    }

    /// Whether `load` more keeps the writer and its group within their shares.
    pub(super) fn admit(
        &self,
        writer: &Writer,
        load: &Holding,
        Within { shares, storage_bytes_max, scarce }: Within<'_>,
    ) -> Result<(), Exceeded> {
        let Some(owner) = &writer.owner else { return Ok(()) };
        let fits = |payer: Payer, share: &Share| {
            let holds = self.accounts.get(&payer).map(|account| account.holds).unwrap_or_default();
            let small = !scarce
                || load.small_bytes == 0
                || holds.small_bytes + load.small_bytes <= shares.reserve_client_bytes;
            small && holds.admits(load, share)
        };
        let tenant = owner.group.as_ref().and_then(Group::tenant);
        let tenant = tenant.map(|(_, percent)| Share::of(storage_bytes_max, percent));
        let own = tenant.as_ref().map(|tenant| shares.client.within(tenant, storage_bytes_max));
        if !fits(writer.client, own.as_ref().unwrap_or(&shares.client))
            || !fits(writer.guest, &shares.client)
            || !fits(writer.network, &shares.network)
        {
            return Err(Exceeded::Client);
        }
        match &tenant {
            Some(share) if !fits(writer.tenant, share) => Err(Exceeded::Tenant),
            Some(_) | None => Ok(()),
        }
    }

    /// How many accounts would be opened for the writer's next thing.
    pub(super) fn missing(&self, writer: &Writer) -> u64 {
        let Some(owner) = &writer.owner else { return 0 };
        let group = owner.group.as_ref();
        let missing = |is_counted: bool, payer| u64::from(is_counted && payer == Payer::NOBODY);
        missing(true, writer.client)
            + missing(group.is_some_and(|group| group.guest().is_some()), writer.guest)
            + missing(group.is_some_and(|group| group.network().is_some()), writer.network)
            + missing(group.is_some_and(|group| group.tenant().is_some()), writer.tenant)
    }

    /// Puts a thing on the writer's account.
    pub(super) fn add(&mut self, writer: &mut Writer, load: &Holding) -> Payer {
        let Some(owner) = writer.owner else { return Payer::NOBODY };
        if !self.accounts.contains_key(&writer.client) {
            let group = owner.group.as_ref();
            let mut opened =
                |key: Option<&Key>, over| key.map(|key| self.open(*key, over)).unwrap_or_default();
            writer.network = opened(group.and_then(Group::network), Over::default());
            let above = Over { network: writer.network, ..Over::default() };
            writer.guest = opened(group.and_then(Group::guest), above);
            writer.tenant = opened(group.and_then(Group::tenant).map(|(key, _)| key), Over::default());
            let nearest = if writer.guest == Payer::NOBODY { writer.network } else { writer.guest };
            writer.client = self.open(owner.client, Over { network: nearest, tenant: writer.tenant });
        }
        self.put(writer.client, load);
        writer.client
    }

    /// The number of the account under `key`, which is opened if there is none. Something has to be put on it, or it has to
    /// be closed again.
    pub(super) fn open(&mut self, key: Key, over: Over) -> Payer {
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        self.last.0 += 1;
        self.numbers.insert(key, self.last);
        let account = Account { key, over, things: 0, holds: Holding::default() };
        self.accounts.insert(self.last, account);
        self.last
    }

    fn put(&mut self, payer: Payer, load: &Holding) -> bool {
        let Some(account) = self.accounts.get_mut(&payer) else { return payer == Payer::NOBODY };
        account.things += 1;
        account.holds = account.holds.plus(load);
        let over = account.over;
        over.payers().into_iter().all(|payer| self.put(payer, load))
    }

    /// Takes a thing off the account it is on, and the account away with its last thing.
    pub(super) fn drop(&mut self, payer: Payer, load: &Holding) {
        let Some(account) = self.accounts.get_mut(&payer) else { return };
        account.things -= 1;
        account.holds = account.holds.minus(load);
        let (over, key) = (account.over, account.key);
        if account.things == 0 {
            self.accounts.remove(&payer);
            self.numbers.remove(&key);
        }
        over.payers().into_iter().for_each(|payer| self.drop(payer, load));
    }

    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whose an account is, and those over it; nobody's is no account.
    pub(super) fn of(&self, payer: Payer) -> Option<(Key, Over)> {
        self.accounts.get(&payer).map(|account| (account.key, account.over))
    }

    /// These accounts and all over them. In the order of their numbers those over another come before it.
    pub(super) fn with_those_over(&self, payers: impl IntoIterator<Item = Payer>) -> BTreeSet<Payer> {
        let mut all = BTreeSet::new();
        let mut next: Vec<Payer> = payers.into_iter().collect();
        while let Some(payer) = next.pop() {
            if let Some(account) = self.accounts.get(&payer)
                && all.insert(payer)
            {
                next.extend(account.over.payers());
            }
        }
        all
    }

    /// Takes an account away that nothing is on.
    pub(super) fn close_if_empty(&mut self, payer: Payer) {
        if let Some(account) = self.accounts.get(&payer).filter(|account| account.things == 0) {
            let key = account.key;
            self.accounts.remove(&payer);
            self.numbers.remove(&key);
        }
    }

    /// What is on the account under a key; nothing if there is none.
    pub(super) fn holding(&self, key: &Key) -> Holding {
        let payer = self.numbers.get(key).copied().unwrap_or_default();
        self.accounts.get(&payer).map(|account| account.holds).unwrap_or_default()
    }

    /// The number of the last account opened; part of the state, since all replicas must number alike.
    pub(super) fn last(&self) -> Payer {
        self.last
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Payer, Key, Over)> {
        self.accounts.iter().map(|(payer, account)| (*payer, account.key, account.over))
    }

    /// Begins as a snapshot does, before its accounts.
    pub(super) fn restore_last(&mut self, last: Payer) {
        self.last = last;
    }

    /// Takes an account as a snapshot has it, before the things on it; false if that cannot be.
    pub(super) fn restore(&mut self, payer: Payer, key: Key, over: Over) -> bool {
        let account = Account { key, over, things: 0, holds: Holding::default() };
        (Payer(1)..=self.last).contains(&payer)
            && over.payers().into_iter().all(|over| over < payer)
            && self.numbers.insert(key, payer).is_none()
            && self.accounts.insert(payer, account).is_none()
    }

    /// Puts a thing on the account that a snapshot says it is on; false if there is none.
    pub(super) fn restore_thing(&mut self, payer: Payer, load: &Holding) -> bool {
        self.put(payer, load)
    }

    /// Whether no account is there without a thing on it.
    pub(super) fn are_sound(&self) -> bool {
        self.accounts.values().all(|account| account.things > 0)
    }
}
