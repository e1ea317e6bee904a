//! What one slot holds, as bytes from one cell to another.
//!
//! It is a snapshot of the keys of a slot, and of what the things under them refer to: accounts, bodies, and the
//! incarnations that hold connections. Accounts and bodies are numbered by each cell for itself, so who reads them gives
//! them numbers of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use super::record_stream::{Reader, Writer};
use super::{Error, MAGIC, Record, WRITTEN};
use crate::state::State;
use crate::state::account::{Over, Payer};
use crate::state::blob_store::BlobId;
use crate::state::body::Body;
use crate::state::handoff::is_overdue;
use crate::state::id::Key;
use crate::state::incarnation::{self, Incarnation};
use crate::state::slot::Slot;
use crate::state::slot_table::Standing;

/// What a thing refers to that has a number of its cell, or that another cell may not know.
enum Reference<'a> {
    Payer(&'a mut Payer),
    Blob(&'a mut BlobId),
    Incarnation(Incarnation),
}

impl State {
    /// What a slot holds, for [`Op::Import`](crate::state::handoff::Op::Import). Works on a clone while the original goes on.
    pub fn export(&self, slot: Slot) -> Vec<u8> {
        let mut records = Vec::new();
        let mut keep = |record| {
            records.push(record);
            Ok(())
        };
        self.each_record(&slot.keys(), &mut keep).expect("a vector takes all that is put into it");
        let mut bytes = Vec::new();
        self.write_slot(slot, records, &mut bytes).expect("a vector takes all that is written");
        bytes
    }

    /// How many records there are under keys of slots that are not here.
    pub(in crate::state) fn strays(&self) -> usize {
        let mut count = 0;
        let here = |standing: Standing| matches!(standing, Standing::Open | Standing::Sealed(_));
        for (slot, _) in self.slots.iter().filter(|(_, held)| !here(held.standing)) {
            let counted = self.each_record(&slot.keys(), &mut |_| {
                count += 1;
                Ok(())
            });
            counted.expect("counting does not fail");
        }
        count
    }

    fn write_slot(&self, slot: Slot, mut records: Vec<Record>, out: &mut Vec<u8>) -> io::Result<()> {
        let mut payers = BTreeSet::new();
        let (mut blobs, mut incarnations) = (BTreeSet::new(), BTreeSet::new());
        for record in &mut records {
            record.each_reference(&mut |reference| {
                match reference {
                    Reference::Payer(payer) => drop(payers.insert(*payer)),
                    Reference::Blob(blob) => drop(blobs.insert(*blob)),
                    Reference::Incarnation(incarnation) => drop(incarnations.insert(incarnation)),
                }
                true
            });
        }
        let mut writer = Writer::new(out);
        writer.write(&MAGIC)?;
        writer.write(&[WRITTEN])?;
        writer.record(Record::Slot(slot, self.slots.get(slot)))?;
        let accounts = self.ctx.storage.accounts();
        // Those over another first: it refers to them.
        for payer in accounts.with_those_over(payers) {
            if let Some((key, over)) = accounts.of(payer) {
                writer.record(Record::account(payer, key, over))?;
            }
        }
        for blob in blobs {
            if let Some((digest, body)) = self.ctx.blobs.get(blob) {
                writer.record(Record::Body { blob, digest, body: body.clone() })?;
            }
        }
        for incarnation in incarnations {
            if let Some(lease) = self.ctx.incarnations.get(&incarnation) {
                writer.record(Record::Incarnation(incarnation, *lease))?;
            }
        }
        writer.all(records.into_iter())?;
        let records = writer.records();
        writer.record(Record::End { records })?;
        writer.finish().map(drop)
    }

    /// Takes what another cell exported of a slot, of which nothing is here. All of it is read before any is taken; after
    /// an error some of it may have been.
    pub(in crate::state) fn read_slot(&mut self, slot: Slot, parts: &[Body]) -> Result<(), Error> {
        let records = read(slot, parts)?;
        let (mut payers, mut blobs) = (BTreeMap::from([(Payer::NOBODY, Payer::NOBODY)]), BTreeMap::new());
        let taken = records.into_iter().try_for_each(|mut record| {
            let ctx = &mut self.ctx;
            match record {
                Record::Account(payer, key, network) => {
                    let network = own(&payers, network)?;
                    let over = Over { network, ..Over::default() };
                    payers.insert(payer, ctx.storage.accounts_mut().open(key, over));
                    Ok(())
                }
                Record::TenantAccount(payer, key, network, tenant) => {
                    let over = Over { network: own(&payers, network)?, tenant: own(&payers, tenant)? };
                    payers.insert(payer, ctx.storage.accounts_mut().open(key, over));
                    Ok(())
                }
                Record::Body { blob, digest, body } => {
                    blobs.insert(blob, ctx.blobs.adopt(digest, body, &mut ctx.storage));
                    Ok(())
                }
                Record::Incarnation(incarnation, lease) => {
                    incarnation::learn(incarnation, lease.expires_ms, ctx);
                    Ok(())
                }
                _ => {
                    let known = record.each_reference(&mut |reference| match reference {
                        Reference::Payer(payer) => payers.get(payer).map(|own| *payer = *own).is_some(),
                        Reference::Blob(blob) => blobs.get(blob).map(|own| *blob = *own).is_some(),
                        Reference::Incarnation(_) => true,
                    });
                    if known {
                        self.restore(record)
                    } else {
                        Err(Error::Corrupt("something that is not there"))
                    }
                }
            }
        });
        let ctx = &mut self.ctx;
        blobs.into_values().for_each(|blob| ctx.blobs.drop_unless_referred(blob, &mut ctx.storage));
        payers.into_values().for_each(|payer| ctx.storage.accounts_mut().close_if_empty(payer));
        ctx.overdue = is_overdue(ctx);
        taken
    }
}

impl Record {
    pub(super) fn account(payer: Payer, key: Key, Over { network, tenant }: Over) -> Self {
        match tenant {
            Payer::NOBODY => Self::Account(payer, key, network),
            _ => Self::TenantAccount(payer, key, network, tenant),
        }
    }
}

/// The number that an account has here.
fn own(payers: &BTreeMap<Payer, Payer>, payer: Payer) -> Result<Payer, Error> {
    payers.get(&payer).copied().ok_or(Error::Corrupt("an account without one over it"))
}

/// The records of a slot, checked against their sum.
fn read(slot: Slot, parts: &[Body]) -> Result<Vec<Record>, Error> {
    let mut input = Parts(parts.iter().map(|part| part.bytes().clone()).collect());
    let mut reader = Reader::new(&mut input);
    let mut head = [0; MAGIC.len() + 1];
    reader.read(&mut head)?;
    if head[..MAGIC.len()] != MAGIC || head[MAGIC.len()] != WRITTEN {
        return Err(Error::Version);
    }
    let mut records = Vec::new();
    loop {
        match reader.record()? {
            Record::Slot(named, _) if named == slot && records.is_empty() => {}
            Record::End { records: written } if written == records.len() as u64 + 1 => break,
            Record::End { .. } => return Err(Error::Corrupt("records are missing")),
            record if record.is_of(slot) => records.push(record),
            _ => return Err(Error::Corrupt("something of another slot")),
        }
    }
    reader.check()?;
    Ok(records)
}

/// Parts, one after the other.
struct Parts(VecDeque<Bytes>);

impl io::Read for Parts {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.0.front().is_some_and(Bytes::is_empty) {
            self.0.pop_front();
        }
        let Some(part) = self.0.front_mut() else { return Ok(0) };
        let len = part.len().min(into.len());
        part.copy_to_slice(&mut into[..len]);
        Ok(len)
    }
}

impl Record {
    /// Whether it may be among what a slot holds.
    fn is_of(&self, slot: Slot) -> bool {
        let key = match self {
            Self::Account(..) | Self::TenantAccount(..) | Self::Body { .. } | Self::Incarnation(..) => {
                return true;
            }
            Self::Clock { .. }
            | Self::Origin(..)
            | Self::Outcome(..)
            | Self::Member(..)
            | Self::End { .. }
            | Self::Slot(..)
            | Self::Part(..)
            | Self::Placement(..) => return false,
            Self::Transfer(key, _) => key,
            Self::Chunk(key, ..) => key,
            Self::Acknowledgement(key, _) => key,
            Self::Negotiation(key, _) => key,
            Self::Pin(key, _) => key,
            Self::Mailbox(key, _) => key,
            Self::Message(key, ..) => key,
            Self::Rendezvous(key, _) => key,
            Self::User(key, ..) => key,
            Self::Window((key, _), ..) => key,
            Self::IdempotencyKey(key, ..) => key,
            Self::Socket(key, _) => key,
            Self::Room(key, _) => key,
            Self::RoomMember((key, _), ..) => key,
            Self::RoomMessage(key, ..) => key,
            Self::Claim(key, _) => key,
            Self::Ticket(key, _) => key,
            Self::Departure((key, _), ..) => key,
            Self::Revocation((key, _), _) => key,
            Self::Registration((key, _), _) => key,
            Self::AuditLine((key, _), _) => key,
            Self::AuditLog(key, _) => key,
        };
        key.slot() == slot
    }

    /// Shows what a thing refers to, until one is not known.
    fn each_reference(&mut self, known: &mut dyn FnMut(Reference<'_>) -> bool) -> bool {
        let (payer, hold) = match self {
            Self::Clock { .. }
            | Self::Body { .. }
            | Self::Origin(..)
            | Self::Outcome(..)
            | Self::Member(..)
            | Self::End { .. }
            | Self::Incarnation(..)
            | Self::Account(..)
            | Self::TenantAccount(..)
            | Self::Slot(..)
            | Self::Part(..)
            | Self::Placement(..)
            | Self::Departure(..)
            | Self::Window(..) => return true,
            Self::User(_, _, devices) => {
                return devices.iter_mut().all(|known_as| known(Reference::Payer(&mut known_as.payer)));
            }
            Self::Chunk(_, _, chunk) => {
                return known(Reference::Payer(&mut chunk.payer)) && known(Reference::Blob(&mut chunk.blob));
            }
            Self::IdempotencyKey(_, _, blob, payer, _) => {
                let blob = blob.as_mut().is_none_or(|blob| known(Reference::Blob(blob)));
                return blob && known(Reference::Payer(payer));
            }
            Self::Negotiation(_, entry) => {
                let envelopes = Arc::make_mut(&mut entry.envelopes);
                for sealed in [&mut envelopes.offer, &mut envelopes.answer].into_iter().flatten() {
                    if !known(Reference::Payer(&mut sealed.payer)) {
                        return false;
                    }
                }
                (entry.payer_mut(), None)
            }
            Self::Transfer(_, entry) => (entry.payer_mut(), None),
            Self::Acknowledgement(_, entry) => (entry.payer_mut(), None),
            Self::Pin(_, entry) => (entry.payer_mut(), None),
            Self::Mailbox(_, entry) => (entry.payer_mut(), None),
            Self::Message(_, payer, _) | Self::RoomMessage(_, payer, _) => (payer, None),
            Self::Rendezvous(_, entry) => (entry.payer_mut(), None),
            Self::Room(_, entry) => (entry.payer_mut(), None),
            Self::Ticket(_, entry) => (entry.payer_mut(), None),
            Self::Revocation(_, entry) => (entry.payer_mut(), None),
            Self::Registration(_, entry) => (entry.payer_mut(), None),
            Self::AuditLog(_, entry) => (entry.payer_mut(), None),
            Self::AuditLine(_, entry) => (entry.payer_mut(), None),
            Self::Socket(_, entry) => {
                let hold = entry.life.incarnation();
                (entry.payer_mut(), hold)
            }
            Self::Claim(_, entry) => {
                let hold = entry.life.incarnation();
                (entry.payer_mut(), hold)
            }
            Self::RoomMember(_, entry) => {
                let hold = entry.life.incarnation();
                (entry.payer_mut(), hold)
            }
        };
        known(Reference::Payer(payer)) && hold.is_none_or(|hold| known(Reference::Incarnation(hold)))
    }
}
