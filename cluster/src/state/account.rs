//! Accounts: what each owner holds, counted to the thing.
//!
//! Whatever is stored for somebody is on the account of its owner, and on that of the owner's network or organisation if it
//! has one. The thing keeps the number of the account, so that it comes off the same account when it goes, whoever lets it
//! go. An account is there as long as something is on it.

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
    /// The account of its network, or of its organisation.
    network: Payer,
    things: u64,
    holds: Holding,
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
    /// Its group's, if there is one.
    network: Payer,
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
        let number = |key: &Key| self.numbers.get(key).copied().unwrap_or_default();
        match owner {
            Some(it) => {
                let (client, network) =
                    (number(&it.client), it.group.as_ref().map(|group| number(group.key())));
                Writer { owner, client, network: network.unwrap_or_default() }
            }
            None => Writer::default(),
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
        if !fits(writer.client, &shares.client) {
            return Err(Exceeded::Client);
        }
        match &owner.group {
            Some(Group::Network(_)) if !fits(writer.network, &shares.network) => Err(Exceeded::Client),
            Some(Group::Tenant { percent, .. })
                if !fits(writer.network, &Share::of(storage_bytes_max, *percent)) =>
            {
                Err(Exceeded::Tenant)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// How many accounts would be opened for the writer's next thing.
    pub(super) fn missing(&self, writer: &Writer) -> u64 {
        let Some(owner) = &writer.owner else { return 0 };
        let missing = |payer| u64::from(payer == Payer::NOBODY);
        missing(writer.client) + if owner.group.is_some() { missing(writer.network) } else { 0 }
    }

    /// Puts a thing on the writer's account.
    pub(super) fn add(&mut self, writer: &mut Writer, load: &Holding) -> Payer {
        let Some(owner) = writer.owner else { return Payer::NOBODY };
        if !self.accounts.contains_key(&writer.client) {
            let group = owner.group.map(|group| self.open(*group.key(), Payer::NOBODY));
            writer.network = group.unwrap_or_default();
            writer.client = self.open(owner.client, writer.network);
        }
        self.put(writer.client, load);
        writer.client
    }

    /// The number of the account under `key`, which is opened if there is none. Something has to be put on it, or it has to
    /// be closed again.
    pub(super) fn open(&mut self, key: Key, network: Payer) -> Payer {
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        self.last.0 += 1;
        self.numbers.insert(key, self.last);
        let account = Account { key, network, things: 0, holds: Holding::default() };
        self.accounts.insert(self.last, account);
        self.last
    }

    fn put(&mut self, payer: Payer, load: &Holding) -> bool {
        let Some(account) = self.accounts.get_mut(&payer) else { return payer == Payer::NOBODY };
        account.things += 1;
        account.holds = account.holds.plus(load);
        let network = account.network;
        network == Payer::NOBODY || self.put(network, load)
    }

    /// Takes a thing off the account it is on, and the account away with its last thing.
    pub(super) fn drop(&mut self, payer: Payer, load: &Holding) {
        let Some(account) = self.accounts.get_mut(&payer) else { return };
        account.things -= 1;
        account.holds = account.holds.minus(load);
        let (network, key) = (account.network, account.key);
        if account.things == 0 {
            self.accounts.remove(&payer);
            self.numbers.remove(&key);
        }
        self.drop(network, load);
    }

    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whose an account is, and its network's; nobody's is no account.
    pub(super) fn of(&self, payer: Payer) -> Option<(Key, Payer)> {
        self.accounts.get(&payer).map(|account| (account.key, account.network))
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

    pub(super) fn iter(&self) -> impl Iterator<Item = (Payer, Key, Payer)> {
        self.accounts.iter().map(|(payer, account)| (*payer, account.key, account.network))
    }

    /// Begins as a snapshot does, before its accounts.
    pub(super) fn restore_last(&mut self, last: Payer) {
        self.last = last;
    }

    /// Takes an account as a snapshot has it, before the things on it; false if that cannot be.
    pub(super) fn restore(&mut self, payer: Payer, key: Key, network: Payer) -> bool {
        let account = Account { key, network, things: 0, holds: Holding::default() };
        (Payer(1)..=self.last).contains(&payer)
            && network != payer
            && self.numbers.insert(key, payer).is_none()
            && self.accounts.insert(payer, account).is_none()
    }

    /// Puts a thing on the account that a snapshot says it is on; false if there is none.
    pub(super) fn restore_thing(&mut self, payer: Payer, load: &Holding) -> bool {
        self.put(payer, load)
    }

    /// Whether no account is there without a thing on it, and no network has one of its own.
    pub(super) fn are_sound(&self) -> bool {
        self.accounts.values().all(|account| {
            let network = self.accounts.get(&account.network);
            account.things > 0 && network.is_none_or(|network| network.network == Payer::NOBODY)
        })
    }
}
