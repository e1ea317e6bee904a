//! Snapshots: the whole state as a stream of records.
//!
//! A magic word and a version byte; then records, each its length in four bytes (little-endian), its header in
//! bincode and its bodies; the last one counts those before it; then the SHA-256 of everything so far. Records
//! come kind by kind in one order, and within a kind in the order of the maps, so equal states make equal bytes.
//! What can be derived is not written but rebuilt on reading: references to bodies, stored bytes, the expiry queue.

mod record_stream;
mod slot_stream;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::account::{Over, Payer};
use super::allowance::{self, Tier};
use super::blob_store::BlobId;
use super::body::Body;
use super::codec;
use super::expiry::Lease;
use super::generation::{self, Generation};
use super::id::{Digest, Key, RequestId};
use super::incarnation::Incarnation;
use super::limits::{
    CHUNK_BYTES_MAX, DEVICES_PER_USER_MAX, ENVELOPE_BYTES_MAX, GRANT_BYTES_MAX, MESSAGE_BYTES_MAX,
    PAYLOAD_BYTES_MAX, SLOT_PART_BYTES_MAX,
};
use super::outcome::{Answer, Outcome};
use super::placement::Plan;
use super::slot::Slot;
use super::slot_table::Held;
use super::table::{Entry, Stored, Table};
use super::{
    State, audit, device, idempotency, incarnation, invite_code, mailbox, mailbox_claim, negotiation,
    registration, retry_dedup, revocation, room, socket, ticket, transfer,
};
use record_stream::{Reader, Writer};

/// The versions read.
pub const READ: RangeInclusive<u8> = 5..=5;
/// The version written.
pub const WRITTEN: u8 = 5;

const MAGIC: [u8; 7] = *b"conclav";

/// Why a stream is not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read, or ended too early.
    #[error("cannot read the snapshot: {0}")]
    Io(#[from] io::Error),
    /// It is something else, or written in a format that is not known here.
    #[error("not a snapshot of a version that this build reads")]
    Version,
    /// The bytes are not those that were written.
    #[error("the snapshot's checksum does not match")]
    Checksum,
    /// The bytes say what no state can be.
    #[error("the snapshot contradicts itself: {0}")]
    Corrupt(&'static str),
}

/// One record. New kinds are added at the end, behind the one that ends the stream: the numbers are the format.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Clock {
        now_ms: u64,
        next_blob: BlobId,
        last_account: Payer,
    },
    Body {
        blob: BlobId,
        digest: Digest,
        body: Body,
    },
    Transfer(Key, Entry<transfer::Transfer>),
    Chunk(Key, u16, transfer::Chunk),
    Acknowledgement(Key, Entry<transfer::Acknowledgement>),
    Negotiation(Key, Entry<negotiation::Negotiation>),
    Pin(Key, Entry<negotiation::Pin>),
    Mailbox(Key, Entry<mailbox::Head>),
    Message(Key, Payer, mailbox::Message),
    Rendezvous(Key, Entry<invite_code::Registration>),
    User(
        Key,
        u64,
        #[serde(deserialize_with = "codec::at_most::<_, _, { DEVICES_PER_USER_MAX }>")]
        Vec<device::Registered>,
    ),
    Window((Key, Tier), allowance::Window, Lease),
    IdempotencyKey(Key, Lease, Option<BlobId>, Payer, Answer),
    Origin(u64, retry_dedup::Head),
    Outcome(RequestId, Answer),
    Member(u64, u128),
    End {
        records: u64,
    },
    Incarnation(Incarnation, Lease),
    Socket(Key, Entry<socket::Session>),
    Room(Key, Entry<room::Head>),
    RoomMember((Key, Key), Entry<room::Member>),
    RoomMessage(Key, Payer, room::Message),
    Claim(Key, Entry<mailbox_claim::Claim>),
    Ticket(Key, Entry<ticket::Ticket>),
    /// The number, the owner, and the number of its network's account.
    Account(Payer, Key, Payer),
    Slot(Slot, Held),
    /// Bytes of a slot that is on its way here.
    Part(Slot, u32, Body),
    /// Where nodes and slots are, but for the disks.
    Placement(Plan),
    Departure((Key, Key), Generation, Lease),
    Revocation((Key, Key), Entry<revocation::Revocation>),
    AuditLog(Key, Entry<audit::Log>),
    AuditLine((Key, Key), Entry<audit::Line>),
    Registration((Key, Key), Entry<registration::Registration>),
    /// The same of an account within an organisation, and the number of the organisation's account.
    TenantAccount(Payer, Key, Payer, Payer),
}

impl State {
    /// Writes the state. Works on a clone while the original goes on; buffering is up to `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        self.write_hashed(out).map(drop)
    }

    /// Writes the same, and lets go of each body once it is written. What expires while a clone is written is then kept
    /// by nobody.
    pub fn write_out(mut self, out: &mut impl Write) -> io::Result<()> {
        let mut writer = Writer::new(out);
        self.write_head(&mut writer)?;
        while let Some((blob, digest, body)) = self.ctx.blobs.pop() {
            writer.record(Record::Body { blob, digest, body })?;
        }
        self.write_rest(writer).map(drop)
    }

    /// SHA-256 over all that a snapshot would hold: equal on replicas that are equal.
    pub fn fingerprint(&self) -> Digest {
        self.write_hashed(&mut io::sink()).expect("a sink takes all that is written")
    }

    /// Reads a state that was written, and nothing beyond it.
    pub fn read_from(input: &mut impl Read) -> Result<Self, Error> {
        let mut reader = Reader::new(input);
        let mut head = [0; MAGIC.len() + 1];
        reader.read(&mut head)?;
        if head[..MAGIC.len()] != MAGIC || !READ.contains(&head[MAGIC.len()]) {
            return Err(Error::Version);
        }
        let mut state = Self::default();
        let mut records = 0;
        loop {
            match reader.record()? {
                Record::End { records: written } if written == records => break,
                Record::End { .. } => return Err(Error::Corrupt("records are missing")),
                record => state.restore(record)?,
            }
            records += 1;
        }
        reader.check()?;
        if !state.ctx.blobs.all_referred() {
            return Err(Error::Corrupt("a body that nothing refers to"));
        }
        if !state.ctx.storage.accounts().are_sound() {
            return Err(Error::Corrupt("an account that nothing is on"));
        }
        if !state.transfers.is_whole() {
            return Err(Error::Corrupt("a transfer without its chunks"));
        }
        Ok(state)
    }

    fn write_hashed(&self, out: &mut impl Write) -> io::Result<Digest> {
        let mut writer = Writer::new(out);
        self.write_head(&mut writer)?;
        for (blob, digest, body) in self.ctx.blobs.iter() {
            writer.record(Record::Body { blob, digest, body: body.clone() })?;
        }
        self.write_rest(writer)
    }

    fn write_head(&self, writer: &mut Writer<'_, impl Write>) -> io::Result<()> {
        writer.write(&MAGIC)?;
        writer.write(&[WRITTEN])?;
        writer.record(Record::Clock {
            now_ms: self.ctx.now_ms,
            next_blob: self.ctx.blobs.next(),
            last_account: self.ctx.storage.accounts().last(),
        })
    }

    /// Everything behind the bodies.
    fn write_rest(&self, mut writer: Writer<'_, impl Write>) -> io::Result<Digest> {
        let accounts = self.ctx.storage.accounts().iter();
        writer.all(accounts.map(|(payer, owner, over)| Record::account(payer, owner, over)))?;
        writer.all(self.replay.iter().map(|(number, head)| Record::Origin(*number, *head)))?;
        let answers = self.replay.iter_answers();
        writer.all(answers.map(|(id, answer)| Record::Outcome(id, Answer::clone(answer))))?;
        let members = self.node_identities.iter();
        writer.all(members.map(|(node, storage)| Record::Member(*node, *storage)))?;
        let placement = self.placement.plan(BTreeMap::new());
        writer.all((placement.epoch > 0).then_some(Record::Placement(placement)).into_iter())?;
        let incarnations = self.ctx.incarnations.iter();
        writer.all(incarnations.map(|(incarnation, lease)| Record::Incarnation(*incarnation, *lease)))?;
        writer.all(self.slots.iter().map(|(slot, held)| Record::Slot(*slot, *held)))?;
        let parts = self.slots.iter_parts();
        writer.all(parts.map(|(slot, part, bytes)| Record::Part(slot, part, bytes.clone())))?;
        self.each_record(&(Key::FIRST..=Key::LAST), &mut |record| writer.record(record))?;
        let records = writer.records();
        writer.record(Record::End { records })?;
        writer.finish()
    }

    /// Shows what is stored under keys of a range, kind by kind: each thing behind what it belongs to.
    fn each_record(
        &self,
        keys: &RangeInclusive<Key>,
        show: &mut dyn FnMut(Record) -> io::Result<()>,
    ) -> io::Result<()> {
        fn all<V: Stored>(
            table: &Table<V>,
            keys: &RangeInclusive<Key>,
            record: fn(V::Key, Entry<V>) -> Record,
            show: &mut dyn FnMut(Record) -> io::Result<()>,
        ) -> io::Result<()> {
            table.under(keys).try_for_each(|(key, entry)| show(record(*key, entry.clone())))
        }
        all(&self.transfers.transfers, keys, Record::Transfer, show)?;
        for ((key, index), chunk) in self.transfers.chunks_under(keys) {
            show(Record::Chunk(*key, *index, *chunk))?;
        }
        all(&self.transfers.acknowledgements, keys, Record::Acknowledgement, show)?;
        all(&self.negotiations.negotiations, keys, Record::Negotiation, show)?;
        all(&self.negotiations.pins, keys, Record::Pin, show)?;
        all(&self.mailboxes.heads, keys, Record::Mailbox, show)?;
        for (key, message, payer) in self.mailboxes.messages_under(keys) {
            show(Record::Message(*key, payer, message.as_ref().clone()))?;
        }
        all(&self.register, keys, Record::Rendezvous, show)?;
        for (key, due_ms, devices) in self.devices.under(keys) {
            show(Record::User(*key, due_ms, devices.cloned().collect()))?;
        }
        all(
            &self.windows,
            keys,
            |key, window| Record::Window(key, allowance::Window::clone(&window), window.life),
            show,
        )?;
        for (key, known) in self.idempotency_keys.under(keys) {
            let answer = Answer::clone(&known.answer);
            show(Record::IdempotencyKey(*key, known.life, known.blob, known.payer(), answer))?;
        }
        all(&self.sockets, keys, Record::Socket, show)?;
        all(&self.rooms.heads, keys, Record::Room, show)?;
        all(&self.rooms.members, keys, Record::RoomMember, show)?;
        for (key, message, payer) in self.rooms.history.under(keys) {
            show(Record::RoomMessage(*key, payer, message.as_ref().clone()))?;
        }
        all(&self.claims, keys, Record::Claim, show)?;
        all(&self.tickets, keys, Record::Ticket, show)?;
        all(&self.departures, keys, |name, it| Record::Departure(name, it.generation, it.life), show)?;
        all(&self.revocations, keys, Record::Revocation, show)?;
        all(&self.audit.logs, keys, Record::AuditLog, show)?;
        all(&self.audit.lines, keys, Record::AuditLine, show)?;
        all(&self.registrations, keys, Record::Registration, show)
    }

    fn restore(&mut self, record: Record) -> Result<(), Error> {
        let ctx = &mut self.ctx;
        let (what, sound) = match record {
            Record::Clock { now_ms, next_blob, last_account } => {
                ctx.now_ms = now_ms;
                ctx.storage.accounts_mut().restore_last(last_account);
                ctx.blobs.restore_next(next_blob);
                ("clock", true)
            }
            Record::Body { blob, digest, body } => {
                ("body", ctx.blobs.restore(blob, digest, body, &mut ctx.storage))
            }
            Record::Transfer(key, it) => ("transfer", self.transfers.transfers.restore(key, it, ctx)),
            Record::Chunk(key, index, chunk) => {
                ("chunk", self.transfers.restore_chunk(key, index, chunk, ctx))
            }
            Record::Account(payer, owner, network) => {
                let over = Over { network, ..Over::default() };
                ("account", ctx.storage.accounts_mut().restore(payer, owner, over))
            }
            Record::TenantAccount(payer, owner, network, tenant) => {
                ("account", ctx.storage.accounts_mut().restore(payer, owner, Over { network, tenant }))
            }
            Record::Acknowledgement(key, it) => {
                ("acknowledgement", self.transfers.acknowledgements.restore(key, it, ctx))
            }
            Record::Negotiation(key, it) => {
                ("exchange", self.negotiations.negotiations.restore(key, it, ctx))
            }
            Record::Pin(key, it) => ("pin", self.negotiations.pins.restore(key, it, ctx)),
            Record::Mailbox(key, head) => ("mailbox", self.mailboxes.restore(key, head, ctx)),
            Record::Message(key, payer, message) => {
                ("message", self.mailboxes.restore_message(key, message, payer, ctx))
            }
            Record::Rendezvous(key, it) => ("rendezvous", self.register.restore(key, it, ctx)),
            Record::User(key, due_ms, devices) => ("user", self.devices.restore(key, due_ms, devices, ctx)),
            Record::Window(key, window, lease) => {
                ("window", self.windows.restore(key, Entry::of(window, lease, Payer::NOBODY), ctx))
            }
            Record::IdempotencyKey(key, lease, blob, payer, mut answer) => {
                if let (Some(blob), Ok(Outcome::Transfer(transfer::Outcome::Chunk { body, .. }))) =
                    (blob, &mut answer.outcome)
                {
                    *body = ctx.blobs.get(blob).ok_or(Error::Corrupt("a memo without its body"))?.1.clone();
                }
                let known = idempotency::Remembered { answer: answer.into(), blob };
                ("memo", self.idempotency_keys.restore(key, Entry::of(known, lease, payer), ctx))
            }
            Record::Origin(number, head) => ("origin", self.replay.restore(number, head, ctx)),
            Record::Outcome(id, answer) => ("outcome", self.replay.restore_answer(id, answer)),
            Record::Member(node, storage) => ("member", self.node_identities.restore(node, storage)),
            Record::End { .. } => ("end", false),
            Record::Incarnation(incarnation, lease) => {
                ("host", incarnation::restore(incarnation, lease, ctx))
            }
            Record::Socket(key, it) => ("socket", self.sockets.restore(key, it, ctx)),
            Record::Room(key, head) => ("room", self.rooms.restore(key, head, ctx)),
            Record::RoomMember(key, member) => ("room member", self.rooms.restore_member(key, member, ctx)),
            Record::RoomMessage(key, payer, message) => {
                ("room message", self.rooms.restore_message(key, message, payer, ctx))
            }
            Record::Claim(key, it) => ("claim", self.claims.restore(key, it, ctx)),
            Record::Ticket(key, it) => ("ticket", self.tickets.restore(key, it, ctx)),
            Record::Slot(slot, held) => ("slot", self.slots.restore(slot, held)),
            Record::Departure(name, generation, lease) => {
                let departure = Entry::of(generation::Departure { generation }, lease, Payer::NOBODY);
                ("departure", self.departures.restore(name, departure, ctx))
            }
            Record::AuditLog(key, it) => ("audit log", self.audit.logs.restore(key, it, ctx)),
            Record::AuditLine(name, it) => ("audit entry", self.audit.lines.restore(name, it, ctx)),
            Record::Revocation(name, it) => ("revocation", self.revocations.restore(name, it, ctx)),
            Record::Registration(name, it) => ("registration", self.registrations.restore(name, it, ctx)),
            Record::Part(slot, part, bytes) => ("part", self.slots.restore_part(slot, part, bytes)),
            Record::Placement(plan) => ("placement", self.placement.restore(plan)),
        };
        if sound { Ok(()) } else { Err(Error::Corrupt(what)) }
    }
}

impl Record {
    /// Shows the bodies that travel behind the header, in order, with how long each may be.
    fn each_body_mut(
        &mut self,
        visit: &mut dyn FnMut(&mut Body, usize) -> Result<(), codec::Error>,
    ) -> Result<(), codec::Error> {
        match self {
            Self::Body { body, .. } => visit(body, CHUNK_BYTES_MAX),
            Self::Negotiation(_, negotiation) => {
                let envelopes = std::sync::Arc::make_mut(&mut negotiation.envelopes);
                let mut bodies = [&mut envelopes.offer, &mut envelopes.answer].into_iter().flatten();
                bodies.try_for_each(|sealed| visit(&mut sealed.body, ENVELOPE_BYTES_MAX))
            }
            Self::Message(_, _, message) => visit(&mut message.payload, PAYLOAD_BYTES_MAX),
            Self::RoomMessage(_, _, message) => visit(&mut message.data, MESSAGE_BYTES_MAX),
            Self::Ticket(_, ticket) => visit(&mut ticket.grant, GRANT_BYTES_MAX),
            Self::Part(_, _, bytes) => visit(bytes, SLOT_PART_BYTES_MAX),
            // The chunk that an idempotency key refers to has its own record.
            Self::IdempotencyKey(_, _, Some(_), _, _) => Ok(()),
            Self::IdempotencyKey(_, _, None, _, answer) | Self::Outcome(_, answer) => {
                answer.each_body_mut(visit)
            }
            Self::Clock { .. }
            | Self::Transfer(..)
            | Self::Chunk(..)
            | Self::Acknowledgement(..)
            | Self::Pin(..)
            | Self::Mailbox(..)
            | Self::Rendezvous(..)
            | Self::User(..)
            | Self::Window(..)
            | Self::Origin(..)
            | Self::Member(..)
            | Self::Incarnation(..)
            | Self::Socket(..)
            | Self::Room(..)
            | Self::RoomMember(..)
            | Self::Claim(..)
            | Self::Account(..)
            | Self::TenantAccount(..)
            | Self::Slot(..)
            | Self::Placement(..)
            | Self::Departure(..)
            | Self::Revocation(..)
            | Self::AuditLog(..)
            | Self::AuditLine(..)
            | Self::Registration(..)
            | Self::End { .. } => Ok(()),
        }
    }
}
