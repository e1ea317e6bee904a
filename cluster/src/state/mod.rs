//! The state: a pure function of the log.
//!
//! [`State::apply`] takes a stamped proposal and returns answers and effects. No socket, no clock, no randomness,
//! no hash map is in here; time and ids arrive with the proposal, maps are ordered and persistent, so that a
//! clone is a cheap frozen view for readers and for the snapshot builder.
//!
//! This file only dispatches. Each noun has its file, with its words (what can be asked, what can come of it)
//! above and the place where its things live below; all of them get the `context`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod account;
pub mod allowance;
pub mod audit;
mod bitset;
mod blob_store;
pub mod body;
pub mod codec;
pub mod command;
mod connection_lease;
mod context;
pub mod device;
pub mod disk_binding;
pub mod effect;
mod expiry;
pub mod generation;
pub mod handoff;
pub mod id;
mod idempotency;
pub mod incarnation;
pub mod inventory;
pub mod invite_code;
pub mod keyed_command;
pub mod leader_rules;
pub mod limits;
pub mod mailbox;
pub mod mailbox_claim;
pub mod negotiation;
pub mod outcome;
pub mod placement;
pub mod query;
pub mod registration;
pub mod retry_dedup;
pub mod revocation;
pub mod room;
pub mod slot;
mod slot_table;
pub mod snapshot;
pub mod socket;
mod storage_quota;
mod table;
#[cfg(test)]
mod tests;
pub mod ticket;
mod totals;
pub mod transfer;
pub mod weight;

use std::sync::Arc;

pub use account::Holding;
use allowance::{Leased, Payment};
use command::{Command, Op, Proposal};
use context::ApplyContext;
use effect::Effect;
use expiry::ExpiryKey;
use handoff::is_overdue;
use limits::EXPIRED_PER_PROPOSAL_MAX;
use outcome::{Answer, Outcome, Refusal};
use retry_dedup::Known;
use slot_table::SlotTable;
use table::Table;
pub use totals::{Counts, Totals};

use crate::doubles::{Double, planted};

/// Everything the cluster remembers.
///
/// A clone costs next to nothing and does not change when the original goes on: hand clones to readers and to the
/// snapshot builder, and go on applying to the one original. Clones leave behind what only apply needs, so the
/// first proposal applied to a clone pays for building that anew, in proportion to the bodies stored.
#[derive(Debug, Clone, Default)]
pub struct State {
    ctx: ApplyContext,
    slots: SlotTable,
    replay: retry_dedup::Replay,
    idempotency_keys: Table<idempotency::Remembered>,
    windows: Table<allowance::Window>,
    transfers: transfer::Transfers,
    negotiations: negotiation::Negotiations,
    mailboxes: mailbox::Mailboxes,
    register: Table<invite_code::Registration>,
    devices: device::Devices,
    node_identities: disk_binding::NodeIdentities,
    placement: placement::Placement,
    sockets: Table<socket::Session>,
    rooms: room::Rooms,
    claims: Table<mailbox_claim::Claim>,
    tickets: Table<ticket::Ticket>,
    departures: Table<generation::Departure>,
    revocations: Table<revocation::Revocation>,
    registrations: Table<registration::Registration>,
    audit: audit::Audit,
}

impl State {
    /// Carries out a proposal: expires what is due, then each command in order. One answer a command.
    pub fn apply(&mut self, proposal: Proposal) -> (Vec<Answer>, Vec<Effect>) {
        let Proposal { version, stamp_ms, rules, floors, commands } = proposal;
        self.ctx.version = version;
        self.ctx.now_ms = self.ctx.now_ms.max(stamp_ms);
        self.ctx.storage.rules = rules;
        for (origin, floor) in floors {
            self.replay.raise(origin, floor, &mut self.ctx);
        }
        self.expire();
        let answers = commands.into_iter().map(|command| self.answer(command)).collect();
        (answers, self.ctx.wakes.take())
    }

    /// The version of the last proposal; 0 before the first one since the state was read from a snapshot.
    pub fn version(&self) -> u8 {
        self.ctx.version
    }

    /// Frees what is due, so much at a time that no proposal holds up the ones behind it.
    fn expire(&mut self) {
        let ctx = &mut self.ctx;
        let mut looked_at = 0;
        while looked_at < EXPIRED_PER_PROPOSAL_MAX
            && let Some(expiry_key) = ctx.expiry_queue.pop(ctx.now_ms)
        {
            looked_at += match expiry_key {
                ExpiryKey::Transfer(key) => self.transfers.on_expiry(key, ctx),
                ExpiryKey::Acknowledgement(key) => self.transfers.acknowledgements.on_expiry(key, ctx),
                ExpiryKey::Negotiation(key) => self.negotiations.on_expiry(key, ctx),
                ExpiryKey::Pin(key) => self.negotiations.pins.on_expiry(key, ctx),
                ExpiryKey::Mailbox(key) => self.mailboxes.on_expiry(&key, ctx),
                ExpiryKey::Rendezvous(key) => self.register.on_expiry(key, ctx),
                ExpiryKey::Devices(key) => self.devices.on_expiry(&key, ctx),
                ExpiryKey::Window(client, tier) => self.windows.on_expiry((client, tier), ctx),
                ExpiryKey::IdempotencyKey(key) => self.idempotency_keys.on_expiry(key, ctx),
                ExpiryKey::Origin(number) => self.replay.on_expiry(number, ctx),
                ExpiryKey::Incarnation(incarnation) => incarnation::on_expiry(&incarnation, ctx),
                ExpiryKey::Socket(key) => self.sockets.on_session_expiry(key, &mut self.departures, ctx),
                ExpiryKey::Room(key) => self.rooms.on_expiry(&key, ctx),
                ExpiryKey::Member(key, member) => {
                    self.rooms.on_member_expiry(key, member, &mut self.departures, ctx)
                }
                ExpiryKey::Claim(key) => self.claims.on_claim_expiry(key, &mut self.departures, ctx),
                ExpiryKey::Ticket(key) => self.tickets.on_expiry(key, ctx),
                ExpiryKey::Departure(key, session) => self.departures.on_expiry((key, session), ctx),
                ExpiryKey::AuditLog(key) => self.audit.logs.on_expiry(key, ctx),
                ExpiryKey::AuditLine(log, seq) => self.audit.lines.on_expiry((log, seq), ctx),
                ExpiryKey::Revocation(list, revoked) => self.revocations.on_expiry((list, revoked), ctx),
                ExpiryKey::Registration(list, device) => self.registrations.on_expiry((list, device), ctx),
            };
        }
        ctx.overdue = is_overdue(ctx);
    }

    /// Finds a command's answer, or carries it out and remembers what came of it.
    fn answer(&mut self, command: Command) -> Answer {
        let id = command.id;
        match self.replay.look_up(&id) {
            Known::Answered(answer) => return Answer::clone(&answer),
            Known::Stale => return Answer::refused(Refusal::Stale),
            Known::New => {}
        }
        // Remembered like any other answer: under this id the command is carried out nowhere else.
        if let Some(refusal) = self.is_elsewhere(&command) {
            let answer = Answer::refused(refusal);
            self.replay.remember(id, Arc::new(answer.clone()), &mut self.ctx);
            return answer;
        }
        let idempotency_key = command.idempotency_key;
        if let Some(answer) = idempotency_key
            .and_then(|idempotency_key| self.idempotency_keys.answer(&idempotency_key.key, self.ctx.now_ms))
        {
            self.replay.remember(id, Arc::new(answer.clone()), &mut self.ctx);
            return answer;
        }
        let transfer = if let Op::Transfer(op) = &command.op { Some(op.key) } else { None };
        let answer = self.charge_and_carry_out(command);
        let shared = Arc::new(answer.clone());
        if let Some(idempotency_key) = idempotency_key
            && !matches!(
                answer.outcome,
                Err(Refusal::Allowance { .. }
                    | Refusal::Lapsed
                    | Refusal::StorageFull
                    | Refusal::ShareFull
                    | Refusal::TenantShareFull)
            )
        {
            let blob = match (&answer.outcome, transfer) {
                (Ok(Outcome::Transfer(transfer::Outcome::Chunk { index, .. })), Some(key)) => {
                    self.transfers.chunk(&key, *index, self.ctx.now_ms).map(|(_, blob)| blob)
                }
                _ => None,
            };
            self.idempotency_keys.remember(&idempotency_key, shared.clone(), blob, &mut self.ctx);
        }
        self.replay.remember(id, shared, &mut self.ctx);
        answer
    }

    /// Why a command can't be carried out in this cell: its key, or its client's window if that is to be charged here, is in
    /// another one's slot.
    fn is_elsewhere(&self, command: &Command) -> Option<Refusal> {
        let client = command.payment.charge().map(|charge| &charge.client);
        command.op.key().into_iter().chain(client).find_map(|key| self.slots.refusal(key))
    }

    fn charge_and_carry_out(&mut self, command: Command) -> Answer {
        let Command { payment, owner, idempotency_key, op, .. } = command;
        self.ctx.storage.begin(owner, idempotency_key.is_some());
        let ctx = &mut self.ctx;
        let charged = match (&op, payment) {
            // The fence: whatever held the command up, no token is used after its window.
            (_, Payment::Paid { until_ms }) if ctx.now_ms >= until_ms && !planted(Double::NoFence) => {
                return Answer::refused(Refusal::Lapsed);
            }
            (_, Payment::Free | Payment::Paid { .. }) => Ok((None, Leased::default())),
            (Op::Spend, Payment::Charge(charge)) => {
                Ok((Some(self.windows.spend_afterwards(&charge, ctx)), Leased::default()))
            }
            (Op::Lease { node }, Payment::Charge(charge)) => {
                self.windows.lease(&charge, *node, ctx).map(|(balance, leased)| (Some(balance), leased))
            }
            (_, Payment::Charge(charge)) => {
                self.windows.spend(&charge, ctx).map(|balance| (Some(balance), Leased::default()))
            }
        };
        match charged {
            Ok((balance, leased)) => {
                let outcome = self.carry_out(op, leased, idempotency_key.is_some());
                Answer { outcome, balance, replayed: false }
            }
            Err((balance, refusal)) => {
                Answer { outcome: Err(refusal), balance: Some(balance), replayed: false }
            }
        }
    }

    /// Binds a node id to a disk. Which ids are bound is told with the placement.
    fn bind(&mut self, op: &disk_binding::Op) -> Result<disk_binding::Outcome, Refusal> {
        let known = self.node_identities.len();
        let outcome = self.node_identities.carry_out(op)?;
        if self.node_identities.len() > known {
            self.placement.touch();
        }
        Ok(outcome)
    }

    fn place(&mut self, op: placement::Op) -> Result<placement::Outcome, Refusal> {
        if let placement::Op::Copy(plan) = &op
            && plan.epoch > self.placement.epoch()
        {
            self.node_identities.copy(&plan.disks);
        }
        self.placement.carry_out(op)
    }

    fn carry_out(&mut self, op: Op, leased: Leased, idempotency_key: bool) -> Result<Outcome, Refusal> {
        let ctx = &mut self.ctx;
        if idempotency_key {
            if self.idempotency_keys.is_full() {
                return Err(Refusal::StorageFull);
            }
            ctx.storage.admit_key()?;
            if !op.allowed_when_full() {
                ctx.storage.admit_reserved()?;
            }
        }
        match op {
            Op::Spend | Op::Pay => Ok(Outcome::Spent),
            Op::Lease { .. } => Ok(Outcome::Leased { count: leased.count, holders: leased.holders }),
            Op::Handoff(op) => self.hand_off(op).map(Into::into),
            Op::Transfer(op) => self.transfers.carry_out(op, ctx).map(Into::into),
            Op::Negotiation(op) => self.negotiations.carry_out(op, ctx).map(Into::into),
            Op::Mailbox(op) => self.mailboxes.carry_out(op, &self.claims, ctx).map(Into::into),
            Op::Rendezvous(op) => self.register.carry_out(op, ctx).map(Into::into),
            Op::Device(op) => self.devices.carry_out(op, ctx).map(Into::into),
            Op::NodeIdentity(op) => self.bind(&op).map(Into::into),
            Op::Placement(op) => self.place(op).map(Into::into),
            Op::Incarnation(op) => incarnation::carry_out(&op, ctx).map(Into::into),
            Op::Socket(op) => self.sockets.carry_out(op, &mut self.departures, ctx).map(Into::into),
            Op::Room(op) => self.rooms.carry_out(op, &mut self.departures, ctx).map(Into::into),
            Op::Claim(op) => self.claims.carry_out(&op, &mut self.departures, ctx).map(Into::into),
            Op::Ticket(op) => self.tickets.carry_out(op, ctx).map(Into::into),
            Op::Audit(op) => self.audit.carry_out(op, ctx).map(Into::into),
            Op::Revocation(op) => self.revocations.carry_out(op, ctx).map(Into::into),
            Op::Registration(op) => self.registrations.carry_out(op, ctx).map(Into::into),
            Op::Reset { client } => Ok(Outcome::Reset { windows: self.windows.reset(client, ctx) }),
        }
    }
}
