//! The state: a pure function of the log.
//!
//! [`State::apply`] takes a stamped proposal and returns answers and effects. No socket, no clock, no randomness,
//! no hash map is in here; time and ids arrive with the proposal, maps are ordered and persistent, so that a
//! clone is a cheap frozen view for readers and for the snapshot builder.
//!
//! This file only dispatches. Each noun has its file, with its words (what can be asked, what can come of it)
//! above and the place where its things live below; all of them stand on the `ground`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod account;
pub mod allowance;
mod bits;
mod bodies;
pub mod body;
pub mod claim;
pub mod codec;
pub mod command;
pub mod device;
pub mod effect;
pub mod exchange;
mod expiry;
mod ground;
pub mod host;
pub mod id;
pub mod limits;
pub mod mailbox;
pub mod member;
mod memo;
pub mod outcome;
pub mod rendezvous;
pub mod replay;
pub mod room;
pub mod rules;
pub mod snapshot;
pub mod socket;
mod storage;
#[cfg(test)]
mod tests;
mod tether;
pub mod ticket;
pub mod transfer;
pub mod weight;

use std::sync::Arc;

pub use account::Holding;
use body::Body;
use command::{Ask, Command, Proposal};
use effect::Effect;
use expiry::Thing;
use ground::Ground;
use host::Attachment;
use id::{Digest, Key};
use limits::EXPIRED_PER_PROPOSAL_MAX;
use outcome::{Answer, Outcome, Refusal};
use replay::Known;
#[cfg(doc)]
use weight::Kind;

/// Everything the cluster remembers.
///
/// A clone costs next to nothing and does not change when the original goes on: hand clones to readers and to the
/// snapshot builder, and go on applying to the one original. Clones leave behind what only apply needs, so the
/// first proposal applied to a clone pays for building that anew, in proportion to the bodies stored.
#[derive(Debug, Clone, Default)]
pub struct State {
    ground: Ground,
    replay: replay::Replay,
    memos: memo::Memos,
    windows: allowance::Windows,
    transfers: transfer::Transfers,
    exchanges: exchange::Exchanges,
    mailboxes: mailbox::Mailboxes,
    register: rendezvous::Register,
    devices: device::Devices,
    members: member::Members,
    sockets: socket::Sessions,
    rooms: room::Rooms,
    claims: claim::Claims,
    tickets: ticket::Tickets,
}

impl State {
    /// Carries out a proposal: expires what is due, then each command in order. One answer a command.
    pub fn apply(&mut self, proposal: Proposal) -> (Vec<Answer>, Vec<Effect>) {
        // Version 2 is the first, so there is nothing yet that an older one decided otherwise.
        let Proposal { version: _, stamp_ms, rules, floors, commands } = proposal;
        self.ground.now_ms = self.ground.now_ms.max(stamp_ms);
        self.ground.storage.rules = rules;
        for (origin, floor) in floors {
            self.replay.raise(origin, floor, &mut self.ground);
        }
        self.expire();
        let answers = commands.into_iter().map(|command| self.answer(command)).collect();
        (answers, self.ground.wakes.take())
    }

    /// Frees what is due, so much at a time that no proposal holds up the ones behind it.
    fn expire(&mut self) {
        let ground = &mut self.ground;
        let mut looked_at = 0;
        while looked_at < EXPIRED_PER_PROPOSAL_MAX
            && let Some(thing) = ground.agenda.pop(ground.now_ms)
        {
            looked_at += match thing {
                Thing::Transfer(key) => self.transfers.lapse(&key, ground),
                Thing::Acknowledgement(key) => self.transfers.lapse_acknowledgement(&key, ground),
                Thing::Exchange(key) => self.exchanges.lapse(&key, ground),
                Thing::Pin(key) => self.exchanges.lapse_pin(&key, ground),
                Thing::Mailbox(key) => self.mailboxes.lapse(&key, ground),
                Thing::Rendezvous(key) => self.register.lapse(&key, ground),
                Thing::Devices(key) => self.devices.lapse(&key, ground),
                Thing::Window(client, tier) => self.windows.lapse(&client, tier, ground),
                Thing::Memo(key) => self.memos.lapse(&key, ground),
                Thing::Origin(number) => self.replay.lapse(number, ground),
                Thing::Host(host) => host::lapse(&host, ground),
                Thing::Socket(key) => self.sockets.lapse(&key, ground),
                Thing::Room(key) => self.rooms.lapse(&key, ground),
                Thing::Member(key, member) => self.rooms.lapse_member(&key, &member, ground),
                Thing::Claim(key) => self.claims.lapse(&key, ground),
                Thing::Ticket(key) => self.tickets.lapse(&key, ground),
            };
        }
        ground.overdue = ground.agenda.next_ms().is_some_and(|next_ms| next_ms <= ground.now_ms);
    }

    /// Finds a command's answer, or carries it out and remembers what came of it.
    fn answer(&mut self, command: Command) -> Answer {
        let id = command.id;
        match self.replay.look_up(&id) {
            Known::Answered(answer) => return Answer::clone(&answer),
            Known::Stale => return Answer::refused(Refusal::Stale),
            Known::New => {}
        }
        let memo = command.memo;
        if let Some(answer) = memo.and_then(|memo| self.memos.get(&memo.key, self.ground.now_ms)) {
            self.replay.remember(id, Arc::new(answer.clone()), &mut self.ground);
            return answer;
        }
        let transfer = match &command.ask {
            Ask::Transfer(ask) => Some(ask.key),
            Ask::Spend
            | Ask::Pay
            | Ask::Exchange(_)
            | Ask::Mailbox(_)
            | Ask::Rendezvous(_)
            | Ask::Device(_)
            | Ask::Member(_)
            | Ask::Host(_)
            | Ask::Socket(_)
            | Ask::Room(_)
            | Ask::Claim(_)
            | Ask::Ticket(_) => None,
        };
        let answer = self.charge_and_carry_out(command);
        let shared = Arc::new(answer.clone());
        if let Some(memo) = memo
            && !matches!(
                answer.outcome,
                Err(Refusal::Allowance { .. } | Refusal::StorageFull | Refusal::ShareFull)
            )
        {
            let slot = match (&answer.outcome, transfer) {
                (Ok(Outcome::Transfer(transfer::Outcome::Chunk { index, .. })), Some(key)) => {
                    self.transfers.chunk(&key, *index, self.ground.now_ms).map(|(_, slot)| slot)
                }
                _ => None,
            };
            self.memos.remember(&memo, shared.clone(), slot, &mut self.ground);
        }
        self.replay.remember(id, shared, &mut self.ground);
        answer
    }

    fn charge_and_carry_out(&mut self, command: Command) -> Answer {
        let Command { charge, owner, memo, ask, .. } = command;
        self.ground.storage.begin(owner, memo.is_some());
        let ground = &mut self.ground;
        let balance = match (&ask, charge) {
            (_, None) => None,
            (Ask::Spend, Some(charge)) => Some(self.windows.spend_afterwards(&charge, ground)),
            (_, Some(charge)) => match self.windows.spend(&charge, ground) {
                Ok(balance) => Some(balance),
                Err((balance, refusal)) => {
                    return Answer { outcome: Err(refusal), balance: Some(balance), replayed: false };
                }
            },
        };
        let outcome = self.carry_out(ask, memo.is_some());
        Answer { outcome, balance, replayed: false }
    }

    fn carry_out(&mut self, ask: Ask, memo: bool) -> Result<Outcome, Refusal> {
        let ground = &mut self.ground;
        if memo {
            if self.memos.is_full() {
                return Err(Refusal::StorageFull);
            }
            ground.storage.admit_key()?;
            if !ask.relieves() {
                ground.storage.admit_reserved()?;
            }
        }
        match ask {
            Ask::Spend | Ask::Pay => Ok(Outcome::Spent),
            Ask::Transfer(ask) => self.transfers.carry_out(ask, ground).map(Into::into),
            Ask::Exchange(ask) => self.exchanges.carry_out(ask, ground).map(Into::into),
            Ask::Mailbox(ask) => self.mailboxes.carry_out(ask, &self.claims, ground).map(Into::into),
            Ask::Rendezvous(ask) => self.register.carry_out(ask, ground).map(Into::into),
            Ask::Device(ask) => self.devices.carry_out(ask, ground).map(Into::into),
            Ask::Member(ask) => self.members.carry_out(&ask).map(Into::into),
            Ask::Host(ask) => host::carry_out(&ask, ground).map(Into::into),
            Ask::Socket(ask) => self.sockets.carry_out(ask, ground).map(Into::into),
            Ask::Room(ask) => self.rooms.carry_out(ask, ground).map(Into::into),
            Ask::Claim(ask) => self.claims.carry_out(&ask, ground).map(Into::into),
            Ask::Ticket(ask) => self.tickets.carry_out(ask, ground).map(Into::into),
        }
    }
}

/// Readers. `now_ms` is the reader's clock, at least [`State::now_ms`]; what expired by then is not seen, whether
/// it was freed or not.
impl State {
    /// The clock of the log: the highest stamp applied so far, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.ground.now_ms
    }

    /// When the next thing may be freed, in milliseconds since the Unix epoch. Until a proposal comes that is
    /// stamped so late, it stays where it is, hidden.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.ground.agenda.next_ms()
    }

    /// What is stored, as the storage bound counts it: what each thing weighs ([`Kind::bytes`]), and its bytes, a body
    /// once.
    pub fn stored_bytes(&self) -> u64 {
        self.ground.storage.bytes()
    }

    /// What is on the account of an owner: a client, a subject, or a network.
    pub fn holding(&self, owner: &Key) -> Holding {
        self.ground.storage.holding(owner)
    }

    /// What remembered answers are on the accounts of all owners with: who empties a share may get above it by them.
    pub fn remembered_bytes(&self) -> u64 {
        self.memos.bytes()
    }

    /// How much of everything there is, what is over but not freed yet included.
    pub fn counts(&self) -> Counts {
        Counts {
            transfers: self.transfers.len(),
            chunks: self.transfers.chunks_len(),
            acknowledgements: self.transfers.acknowledgements_len(),
            bodies: self.ground.bodies.len(),
            exchanges: self.exchanges.len(),
            mailboxes: self.mailboxes.len(),
            signals: self.mailboxes.messages_len(),
            rendezvous: self.register.len(),
            devices: self.devices.len(),
            windows: self.windows.len(),
            owners: self.ground.storage.accounts().len(),
            hosts: self.ground.hosts.len(),
            sockets: self.sockets.len(),
            rooms: self.rooms.len(),
            room_members: self.rooms.members_len(),
            room_messages: self.rooms.messages_len(),
            claims: self.claims.len(),
            tickets: self.tickets.len(),
            memos: self.memos.len(),
            outcomes: self.replay.outcomes(),
        }
    }

    /// A transfer, without its chunks.
    pub fn transfer(&self, key: &Key, now_ms: u64) -> Option<transfer::View> {
        self.transfers.view(key, now_ms)
    }

    /// One stored chunk, delivered or not; `None` once it was freed.
    pub fn chunk(&self, key: &Key, index: u16, now_ms: u64) -> Option<(transfer::Encoding, Digest, Body)> {
        let (encoding, slot) = self.transfers.chunk(key, index, now_ms)?;
        let (digest, body) = self.ground.bodies.get(slot)?;
        Some((encoding, digest, body.clone()))
    }

    /// Whether an acknowledgement is remembered under a transfer's key.
    pub fn acknowledged(&self, key: &Key, now_ms: u64) -> bool {
        self.transfers.acknowledged(key, now_ms)
    }

    /// One side's envelope.
    pub fn envelope(&self, key: &Key, role: exchange::Role, now_ms: u64) -> exchange::Envelope {
        self.exchanges.envelope(key, role, now_ms)
    }

    /// What a pin resolves to.
    pub fn resolve(&self, pin: &Key, now_ms: u64) -> exchange::Resolved {
        self.exchanges.resolve(pin, now_ms)
    }

    /// How many signals wait in a mailbox for a poll; none while it is pushed to a socket.
    pub fn waiting(&self, key: &Key, now_ms: u64) -> usize {
        if self.claims.is_attached(key, &self.ground.hosts, now_ms) {
            return 0;
        }
        self.mailboxes.waiting(key, now_ms)
    }

    /// Signals with numbers above `after`, oldest first, up to `count_max` and `bytes_max` of payload (at least
    /// one): what is pushed to the socket that holds the mailbox.
    pub fn signals(
        &self,
        key: &Key,
        after: u64,
        count_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Vec<Arc<mailbox::Message>> {
        self.mailboxes.signals(key, after, count_max, bytes_max, now_ms)
    }

    /// The session that holds a mailbox's peer id, and the connection its signals go to, if the host of that lives.
    pub fn holder(&self, key: &Key, now_ms: u64) -> Option<(Key, Option<Attachment>)> {
        self.claims.holder(key, &self.ground.hosts, now_ms)
    }

    /// A socket session.
    pub fn socket(&self, key: &Key, now_ms: u64) -> Option<socket::View> {
        self.sockets.view(key, &self.ground.hosts, now_ms)
    }

    /// A room.
    pub fn room(&self, key: &Key, now_ms: u64) -> Option<room::View> {
        self.rooms.view(key, now_ms)
    }

    /// A room's messages after an offset, oldest first, up to `count_max` and `bytes_max` (at least one).
    pub fn room_messages(
        &self,
        key: &Key,
        after: u64,
        count_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Vec<Arc<room::Message>> {
        self.rooms.messages(key, after, count_max, bytes_max, now_ms)
    }

    /// A room's members: the keys of their socket sessions, in order.
    pub fn room_members(&self, key: &Key) -> Vec<Key> {
        self.rooms.members(key).copied().collect()
    }

    /// The nodes that hold a connection of one of a room's members, in order.
    pub fn room_nodes(&self, key: &Key, now_ms: u64) -> Vec<u64> {
        self.rooms.nodes(key, &self.ground.hosts, now_ms)
    }

    /// The peer an invite code resolves to.
    pub fn peer(&self, key: &Key, now_ms: u64) -> Option<String> {
        self.register.peer(key, now_ms)
    }

    /// A user's live devices, by id.
    pub fn devices(&self, key: &Key, now_ms: u64) -> Vec<device::Device> {
        self.devices.of(key, now_ms)
    }

    /// A client's window as it would be seen by a charge at `now_ms`.
    pub fn balance(&self, charge: &allowance::Charge, now_ms: u64) -> allowance::Balance {
        self.windows.balance(charge, now_ms)
    }

    /// The remembered answer under a caller's own name, marked as a repeated one.
    pub fn memo(&self, key: &Key, now_ms: u64) -> Option<Answer> {
        self.memos.get(key, now_ms)
    }

    /// The disk a node id is bound to.
    pub fn member(&self, node: u64) -> Option<u128> {
        self.members.get(node)
    }

    /// A random number that all nodes agree on and no client knows: the disk of the lowest node id that was ever bound to
    /// one. It stays the same unless a node with a lower id joins.
    pub fn salt(&self) -> Option<u128> {
        self.members.first()
    }
}

/// How much of everything there is, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub transfers: usize,
    pub chunks: usize,
    pub acknowledgements: usize,
    pub bodies: usize,
    pub exchanges: usize,
    pub mailboxes: usize,
    pub signals: usize,
    pub rendezvous: usize,
    pub devices: usize,
    pub windows: usize,
    pub owners: usize,
    pub hosts: usize,
    pub sockets: usize,
    pub rooms: usize,
    pub room_members: usize,
    pub room_messages: usize,
    pub claims: usize,
    pub tickets: usize,
    pub memos: usize,
    pub outcomes: usize,
}
