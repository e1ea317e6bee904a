//! Snapshots: the whole state as a stream of records.
//!
//! A magic word and a version byte; then records, each its length in four bytes (little-endian), its header in
//! bincode and its bodies; the last one counts those before it; then the SHA-256 of everything so far. Records
//! come kind by kind in one order, and within a kind in the order of the maps, so equal states make equal bytes.
//! What can be derived is not written but rebuilt on reading: references to bodies, stored bytes, the agenda.

use std::io::{self, Read, Write};
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::account::Payer;
use super::allowance::{self, Tier};
use super::bodies::Slot;
use super::body::Body;
use super::codec::{self, CONFIG, fill};
use super::expiry::Lease;
use super::host::Host;
use super::id::{Digest, Key, RequestId};
use super::limits::{
    CHUNK_BYTES_MAX, DEVICES_PER_USER_MAX, ENVELOPE_BYTES_MAX, GRANT_BYTES_MAX, MESSAGE_BYTES_MAX,
    PAYLOAD_BYTES_MAX, RECORD_BYTES_MAX,
};
use super::outcome::{Answer, Outcome};
use super::tether::Tether;
use super::{
    State, claim, device, exchange, host, mailbox, memo, rendezvous, replay, room, socket, ticket, transfer,
};

/// The versions read; the highest one is raised a release before [`WRITTEN`], as that of proposals is.
pub const READ: RangeInclusive<u8> = 2..=2;
/// The version written.
pub const WRITTEN: u8 = 2;

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
        next_slot: Slot,
        last_account: Payer,
    },
    Body {
        slot: Slot,
        digest: Digest,
        body: Body,
    },
    Transfer(Key, transfer::Transfer),
    Chunk(Key, u16, transfer::Chunk),
    Acknowledgement(Key, transfer::Acknowledgement),
    Exchange(Key, exchange::Exchange),
    Pin(Key, exchange::Pin),
    Mailbox(Key, mailbox::Head),
    Message(Key, Payer, mailbox::Message),
    Rendezvous(Key, rendezvous::Registration),
    User(
        Key,
        u64,
        #[serde(deserialize_with = "codec::at_most::<_, _, { DEVICES_PER_USER_MAX }>")]
        Vec<device::Registered>,
    ),
    Window(Key, Tier, allowance::Window),
    Memo(Key, Lease, Option<Slot>, Payer, Answer),
    Origin(u64, replay::Head),
    Outcome(RequestId, Answer),
    Member(u64, u128),
    End {
        records: u64,
    },
    Host(Host, Lease),
    Socket(Key, socket::Session),
    Room(Key, room::Head),
    RoomMember(Key, Key, Payer, Tether),
    RoomMessage(Key, Payer, room::Message),
    Claim(Key, claim::Claim),
    Ticket(Key, ticket::Ticket),
    /// The number, the owner, and the number of its network's account.
    Account(Payer, Key, Payer),
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
        while let Some((slot, digest, body)) = self.ground.bodies.pop() {
            writer.record(Record::Body { slot, digest, body })?;
        }
        self.write_rest(writer).map(drop)
    }

    /// SHA-256 over all that a snapshot would hold: equal on replicas that are equal.
    pub fn fingerprint(&self) -> Digest {
        self.write_hashed(&mut io::sink()).expect("a sink takes all that is written")
    }

    /// Reads a state that was written, and nothing beyond it.
    pub fn read_from(input: &mut impl Read) -> Result<Self, Error> {
        let mut reader = Reader { input, hash: Sha256::new() };
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
        if !state.ground.bodies.all_referred() {
            return Err(Error::Corrupt("a body that nothing refers to"));
        }
        if !state.ground.storage.accounts().are_sound() {
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
        for (slot, digest, body) in self.ground.bodies.iter() {
            writer.record(Record::Body { slot, digest, body: body.clone() })?;
        }
        self.write_rest(writer)
    }

    fn write_head(&self, writer: &mut Writer<'_, impl Write>) -> io::Result<()> {
        writer.write(&MAGIC)?;
        writer.write(&[WRITTEN])?;
        writer.record(Record::Clock {
            now_ms: self.ground.now_ms,
            next_slot: self.ground.bodies.next(),
            last_account: self.ground.storage.accounts().last(),
        })
    }

    /// Everything behind the bodies.
    fn write_rest(&self, mut writer: Writer<'_, impl Write>) -> io::Result<Digest> {
        for (payer, owner, network) in self.ground.storage.accounts().iter() {
            writer.record(Record::Account(payer, owner, network))?;
        }
        for (key, transfer) in self.transfers.iter() {
            writer.record(Record::Transfer(*key, transfer.clone()))?;
        }
        for ((key, index), chunk) in self.transfers.iter_chunks() {
            writer.record(Record::Chunk(*key, *index, *chunk))?;
        }
        for (key, known) in self.transfers.iter_acknowledgements() {
            writer.record(Record::Acknowledgement(*key, *known))?;
        }
        for (key, exchange) in self.exchanges.iter() {
            writer.record(Record::Exchange(*key, exchange.clone()))?;
        }
        for (key, pin) in self.exchanges.iter_pins() {
            writer.record(Record::Pin(*key, *pin))?;
        }
        for (key, head) in self.mailboxes.iter() {
            writer.record(Record::Mailbox(*key, *head))?;
        }
        for (key, message, payer) in self.mailboxes.iter_messages() {
            writer.record(Record::Message(*key, payer, mailbox::Message::clone(message)))?;
        }
        for (key, registration) in self.register.iter() {
            writer.record(Record::Rendezvous(*key, registration.clone()))?;
        }
        for (key, due_ms, devices) in self.devices.iter() {
            writer.record(Record::User(*key, due_ms, devices.cloned().collect()))?;
        }
        for ((client, tier), window) in self.windows.iter() {
            writer.record(Record::Window(*client, *tier, *window))?;
        }
        for (key, known) in self.memos.iter() {
            let answer = Answer::clone(&known.answer);
            writer.record(Record::Memo(*key, known.lease, known.slot, known.payer, answer))?;
        }
        for (number, head) in self.replay.iter() {
            writer.record(Record::Origin(*number, *head))?;
        }
        for (id, answer) in self.replay.iter_answers() {
            writer.record(Record::Outcome(id, Answer::clone(answer)))?;
        }
        for (node, storage) in self.members.iter() {
            writer.record(Record::Member(*node, *storage))?;
        }
        for (host, lease) in self.ground.hosts.iter() {
            writer.record(Record::Host(*host, *lease))?;
        }
        for (key, session) in self.sockets.iter() {
            writer.record(Record::Socket(*key, session.clone()))?;
        }
        for (key, head) in self.rooms.iter() {
            writer.record(Record::Room(*key, *head))?;
        }
        for ((key, member), tether, payer) in self.rooms.iter_members() {
            writer.record(Record::RoomMember(*key, *member, payer, *tether))?;
        }
        for (key, message, payer) in self.rooms.iter_messages() {
            writer.record(Record::RoomMessage(*key, payer, room::Message::clone(message)))?;
        }
        for (key, claim) in self.claims.iter() {
            writer.record(Record::Claim(*key, claim.clone()))?;
        }
        for (key, ticket) in self.tickets.iter() {
            writer.record(Record::Ticket(*key, ticket.clone()))?;
        }
        let records = writer.records;
        writer.record(Record::End { records })?;
        writer.finish()
    }

    fn restore(&mut self, record: Record) -> Result<(), Error> {
        let ground = &mut self.ground;
        let (what, sound) = match record {
            Record::Clock { now_ms, next_slot, last_account } => {
                ground.now_ms = now_ms;
                ground.storage.accounts_mut().restore_last(last_account);
                ground.bodies.restore_next(next_slot);
                ("clock", true)
            }
            Record::Body { slot, digest, body } => {
                ("body", ground.bodies.restore(slot, digest, body, &mut ground.storage))
            }
            Record::Transfer(key, transfer) => ("transfer", self.transfers.restore(key, transfer, ground)),
            Record::Chunk(key, index, chunk) => {
                ("chunk", self.transfers.restore_chunk(key, index, chunk, ground))
            }
            Record::Account(payer, owner, network) => {
                ("account", ground.storage.accounts_mut().restore(payer, owner, network))
            }
            Record::Acknowledgement(key, known) => {
                ("acknowledgement", self.transfers.restore_acknowledgement(key, known, ground))
            }
            Record::Exchange(key, exchange) => ("exchange", self.exchanges.restore(key, exchange, ground)),
            Record::Pin(key, pin) => ("pin", self.exchanges.restore_pin(key, pin, ground)),
            Record::Mailbox(key, head) => ("mailbox", self.mailboxes.restore(key, head, ground)),
            Record::Message(key, payer, message) => {
                ("message", self.mailboxes.restore_message(key, message, payer, ground))
            }
            Record::Rendezvous(key, it) => ("rendezvous", self.register.restore(key, it, ground)),
            Record::User(key, due_ms, devices) => {
                ("user", self.devices.restore(key, due_ms, devices, ground))
            }
            Record::Window(client, tier, window) => {
                ("window", self.windows.restore(client, tier, window, ground))
            }
            Record::Memo(key, lease, slot, payer, mut answer) => {
                if let (Some(slot), Ok(Outcome::Transfer(transfer::Outcome::Chunk { body, .. }))) =
                    (slot, &mut answer.outcome)
                {
                    *body =
                        ground.bodies.get(slot).ok_or(Error::Corrupt("a memo without its body"))?.1.clone();
                }
                let known = memo::Remembered { answer: answer.into(), slot, lease, payer };
                ("memo", self.memos.restore(key, known, ground))
            }
            Record::Origin(number, head) => ("origin", self.replay.restore(number, head, ground)),
            Record::Outcome(id, answer) => ("outcome", self.replay.restore_answer(id, answer)),
            Record::Member(node, storage) => ("member", self.members.restore(node, storage)),
            Record::End { .. } => ("end", false),
            Record::Host(host, lease) => ("host", host::restore(host, lease, ground)),
            Record::Socket(key, session) => ("socket", self.sockets.restore(key, session, ground)),
            Record::Room(key, head) => ("room", self.rooms.restore(key, head, ground)),
            Record::RoomMember(key, member, payer, tether) => {
                ("room member", self.rooms.restore_member(key, member, tether, payer, ground))
            }
            Record::RoomMessage(key, payer, message) => {
                ("room message", self.rooms.restore_message(key, message, payer, ground))
            }
            Record::Claim(key, claim) => ("claim", self.claims.restore(key, claim, ground)),
            Record::Ticket(key, ticket) => ("ticket", self.tickets.restore(key, ticket, ground)),
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
            Self::Exchange(_, exchange) => {
                let envelopes = std::sync::Arc::make_mut(&mut exchange.envelopes);
                let mut bodies = [&mut envelopes.offer, &mut envelopes.answer].into_iter().flatten();
                bodies.try_for_each(|sealed| visit(&mut sealed.body, ENVELOPE_BYTES_MAX))
            }
            Self::Message(_, _, message) => visit(&mut message.payload, PAYLOAD_BYTES_MAX),
            Self::RoomMessage(_, _, message) => visit(&mut message.data, MESSAGE_BYTES_MAX),
            Self::Ticket(_, ticket) => visit(&mut ticket.grant, GRANT_BYTES_MAX),
            // The chunk that a memo refers to has its own record.
            Self::Memo(_, _, Some(_), _, _) => Ok(()),
            Self::Memo(_, _, None, _, answer) | Self::Outcome(_, answer) => answer.each_body_mut(visit),
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
            | Self::Host(..)
            | Self::Socket(..)
            | Self::Room(..)
            | Self::RoomMember(..)
            | Self::Claim(..)
            | Self::Account(..)
            | Self::End { .. } => Ok(()),
        }
    }
}

/// Hashes whatever it writes.
struct Writer<'a, W> {
    out: &'a mut W,
    hash: Sha256,
    scratch: Vec<u8>,
    records: u64,
}

impl<'a, W: Write> Writer<'a, W> {
    fn new(out: &'a mut W) -> Self {
        Self { out, hash: Sha256::new(), scratch: Vec::new(), records: 0 }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }

    fn record(&mut self, mut record: Record) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend([0; 4]);
        bincode::serde::encode_into_std_write(&record, &mut scratch, CONFIG).map_err(io::Error::other)?;
        let collected = record.each_body_mut(&mut |body, _| {
            scratch.extend_from_slice(body.bytes());
            Ok(())
        });
        collected.map_err(io::Error::other)?;
        let len = scratch.len() - 4;
        if len > RECORD_BYTES_MAX {
            return Err(io::Error::other("a record is over its bound"));
        }
        scratch[..4].copy_from_slice(&(len as u32).to_le_bytes());
        self.write(&scratch)?;
        self.scratch = scratch;
        self.records += 1;
        Ok(())
    }

    fn finish(self) -> io::Result<Digest> {
        let sum: [u8; 32] = self.hash.finalize().into();
        self.out.write_all(&sum)?;
        Ok(Digest::from_bytes(sum))
    }
}

/// Hashes whatever it reads.
struct Reader<'a, R> {
    input: &'a mut R,
    hash: Sha256,
}

impl<R: Read> Reader<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.input.read_exact(bytes)?;
        self.hash.update(bytes);
        Ok(())
    }

    fn record(&mut self) -> Result<Record, Error> {
        let mut len = [0; 4];
        self.read(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > RECORD_BYTES_MAX {
            return Err(Error::Corrupt("a record is over its bound"));
        }
        let mut bytes = vec![0; len];
        self.read(&mut bytes)?;
        let mut bytes = Bytes::from(bytes);
        let (mut record, read): (Record, usize) = bincode::serde::borrow_decode_from_slice(&bytes, CONFIG)
            .map_err(|_| Error::Corrupt("malformed record"))?;
        let mut payload = bytes.split_off(read);
        record
            .each_body_mut(&mut |body, len_max| fill(body, len_max, &mut payload))
            .map_err(|_| Error::Corrupt("a body that does not fit its record"))?;
        if payload.is_empty() { Ok(record) } else { Err(Error::Corrupt("trailing bytes in a record")) }
    }

    fn check(self) -> Result<(), Error> {
        let mut sum = [0; 32];
        self.input.read_exact(&mut sum)?;
        if self.hash.finalize()[..] == sum { Ok(()) } else { Err(Error::Checksum) }
    }
}
