//! Charges of reads: admitted by this node's replica, and added to the log in bulk.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::clock::Consensus;
use super::limits;
use super::routes::Routes;
use super::topology::Topology;
use crate::raft::Replica;
use crate::state::State;
use crate::state::allowance::{Balance, Charge, Payment, Tier};
use crate::state::command::Command;
use crate::state::id::{Key, RequestId};
use crate::state::outcome::Answer;
use crate::state::query::{self, Query as _};
use crate::state::slot::CellId;

/// Reads that were admitted and not yet charged in the log.
///
/// They ride on the next batch that goes anyway, so polling alone writes nothing. Only a client that has used an eighth of its
/// limit without being charged gets a charge of its own, within 250 ms. Hence a client that asks one node alone is held to its
/// limit there; one that spreads its reads over n nodes may exceed it by an eighth of the limit on each of them, and by what
/// the others admit before such a charge is applied there.
///
/// If a client's window is in another cell, the node goes by the balances in the answers that it gets, in place of its
/// replica. While it refuses by such a balance it asks for a newer one, once a second, since an operator may have reset the
/// window meanwhile.
pub(super) struct ReadCharges {
    replica: Arc<Replica>,
    topology: Topology,
    routes: Arc<Routes>,
    clock: Arc<Consensus>,
    ledger: Mutex<Ledger>,
}

impl ReadCharges {
    pub(super) fn new(
        replica: Arc<Replica>,
        topology: Topology,
        routes: Arc<Routes>,
        clock: Arc<Consensus>,
    ) -> Self {
        Self { replica, topology, routes, clock, ledger: Mutex::new(Ledger::new()) }
    }

    /// Whether the charge would be admitted as far as this node knows. Never waits for apply: the log decides
    /// exactly, this only keeps a flood from it.
    pub(super) fn admits(&self, charge: &Charge) -> Result<Balance, Balance> {
        let now_ms = self.clock.now_ms();
        let look = |state: &State| {
            state.serves(&charge.client).then(|| self.ledger().balance(charge, Some(state), now_ms))
        };
        let known = self.topology.is_seated().then(|| self.replica.try_read(look));
        let known = known.flatten().flatten();
        let balance = known.unwrap_or_else(|| self.ledger().balance(charge, None, now_ms));
        if balance.remaining >= charge.count {
            return Ok(balance);
        }
        if known.is_none() {
            self.ledger().ask_anew(charge, now_ms);
        }
        Err(balance)
    }

    /// Admits a read, or refuses it.
    pub(super) fn charge(&self, charge: Charge) -> Result<Balance, Balance> {
        let now_ms = self.clock.now_ms();
        if !self.topology.is_seated() {
            return self.ledger().spend(charge, None, now_ms);
        }
        self.replica.read(|state| {
            let state = Some(state).filter(|state| state.serves(&charge.client));
            self.ledger().spend(charge, state, now_ms)
        })
    }

    /// Notes the log's answer to a command with a charge. A node that has the client's window in its replica reads it there.
    pub(super) fn answered(&self, cell: CellId, command: &Command, answer: &Answer) {
        if let (Payment::Charge(charge), Some(balance)) = (&command.payment, answer.balance)
            && self.topology.own_cell() != Some(cell)
        {
            self.ledger().answered(charge, command.id, balance, self.clock.now_ms());
        }
    }

    /// Whether some reads of clients whose windows are in this cell should not wait for a batch to ride on.
    pub(super) fn is_urgent(&self, cell: CellId) -> bool {
        let now_ms = self.clock.now_ms();
        let mut ledger = self.ledger();
        ledger.forget_closed_windows(now_ms);
        ledger.is_urgent(|client| self.routes.cell_of(client) == cell)
    }

    /// Queues the charges of up to `most` clients whose windows are in this cell. `queue` returns the id of each charge's
    /// command. A charge that it has no room for is forgiven: the node is overloaded with commands that pay for themselves.
    pub(super) fn send(&self, cell: CellId, most: usize, queue: impl FnMut(Charge) -> Option<RequestId>) {
        self.ledger().send(|client| self.routes.cell_of(client) == cell, most, queue);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while this is held")
    }
}

/// Whose window.
type At = (Key, Tier);

/// Charges that the log does not have yet, or this node's replica has not applied.
struct Ledger {
    unsent: BTreeMap<At, Unsent>,
    sent: BTreeMap<At, Vec<Sent>>,
    /// The windows by the last answers, where this node has no replica of them.
    answered: BTreeMap<At, Answered>,
}

/// A window by an answer.
struct Answered {
    /// How much was spent of it. What is left depends on the limit, which organisations have of their own.
    spent: u32,
    reset_ms: u64,
    /// When it was answered, or asked for since.
    asked_ms: u64,
}

impl Answered {
    fn balance(&self, charge: &Charge) -> Balance {
        let remaining = charge.limit.saturating_sub(self.spent);
        Balance { limit: charge.limit, remaining, reset_ms: self.reset_ms }
    }
}

/// What one client read here.
struct Unsent {
    charge: Charge,
    until_ms: u64,
    /// Whether an answer is wanted soon, since the client is refused meanwhile.
    asks: bool,
}

/// A charge on its way. It counts until the replica has applied the command of this id.
struct Sent {
    id: RequestId,
    count: u32,
    until_ms: u64,
}

impl Ledger {
    fn new() -> Self {
        Self { unsent: BTreeMap::new(), sent: BTreeMap::new(), answered: BTreeMap::new() }
    }

    /// A client's window as far as this node knows it. Without a state: by the last answer, or as if nothing was spent but what
    /// was read here.
    fn balance(&self, charge: &Charge, state: Option<&State>, now_ms: u64) -> Balance {
        let at = (charge.client, charge.tier);
        let mut balance = match state {
            Some(state) => query::Balance(*charge).answer(state, now_ms.max(state.now_ms())),
            None => {
                let open = self.answered.get(&at).filter(|answered| answered.reset_ms > now_ms);
                open.map_or_else(|| fresh(charge, now_ms), |known| known.balance(charge))
            }
        };
        let unsent = self.unsent.get(&at).map(|unsent| (unsent.charge.count, unsent.until_ms));
        let is_sent = |sent: &&Sent| state.is_none_or(|state| !state.is_over(&sent.id));
        let sent = self.sent.get(&at).into_iter().flatten().filter(is_sent);
        for (count, until_ms) in sent.map(|sent| (sent.count, sent.until_ms)).chain(unsent) {
            if until_ms > now_ms {
                balance.remaining = balance.remaining.saturating_sub(count);
                balance.reset_ms = balance.reset_ms.min(until_ms);
            }
        }
        balance
    }

    /// Admits a read, or refuses it.
    fn spend(&mut self, charge: Charge, state: Option<&State>, now_ms: u64) -> Result<Balance, Balance> {
        let at = (charge.client, charge.tier);
        if let (Some(sent), Some(state)) = (self.sent.get_mut(&at), state) {
            sent.retain(|sent| !state.is_over(&sent.id));
        }
        let mut balance = self.balance(&charge, state, now_ms);
        if balance.remaining < charge.count {
            if state.is_none() {
                self.ask_anew(&charge, now_ms);
            }
            return Err(balance);
        }
        balance.remaining -= charge.count;
        if self.unsent.len() >= limits::SPENDERS_MAX && !self.unsent.contains_key(&at) {
            // Forgiven: the next nudge, within 250 ms, makes room.
            return Ok(balance);
        }
        let opened =
            || Unsent { charge: Charge { count: 0, ..charge }, until_ms: balance.reset_ms, asks: false };
        let unsent = self.unsent.entry(at).or_insert_with(opened);
        if unsent.until_ms <= now_ms {
            // The window it was spent in is over.
            *unsent = opened();
        }
        unsent.charge.count = unsent.charge.count.saturating_add(charge.count);
        Ok(balance)
    }

    /// Has the log asked for the window that a charge was refused by, unless that was done a moment ago: by a charge of zero.
    fn ask_anew(&mut self, charge: &Charge, now_ms: u64) {
        let at = (charge.client, charge.tier);
        let Some(known) = self.answered.get_mut(&at) else { return };
        let due_ms = known.asked_ms.saturating_add(limits::ASKED_ANEW_MS);
        if now_ms < due_ms || (self.unsent.len() >= limits::SPENDERS_MAX && !self.unsent.contains_key(&at)) {
            return;
        }
        known.asked_ms = now_ms;
        let (charge, until_ms) = (Charge { count: 0, ..*charge }, known.reset_ms);
        self.unsent.entry(at).or_insert(Unsent { charge, until_ms, asks: true }).asks = true;
    }

    /// Notes a window as it was after the command of this id.
    fn answered(&mut self, charge: &Charge, id: RequestId, balance: Balance, now_ms: u64) {
        let at = (charge.client, charge.tier);
        if let Some(sent) = self.sent.get_mut(&at) {
            sent.retain(|sent| sent.id != id);
        }
        if self.answered.len() < limits::SPENDERS_MAX || self.answered.contains_key(&at) {
            let spent = balance.limit.saturating_sub(balance.remaining);
            let told = Answered { spent, reset_ms: balance.reset_ms, asked_ms: now_ms };
            let known = self.answered.entry(at).or_insert(told);
            known.asked_ms = now_ms;
            // Answers may overtake each other.
            if balance.reset_ms > known.reset_ms || spent > known.spent {
                (known.spent, known.reset_ms) = (spent, balance.reset_ms);
            }
        }
    }

    fn forget_closed_windows(&mut self, now_ms: u64) {
        self.answered.retain(|_, answered| answered.reset_ms > now_ms);
        self.unsent.retain(|_, unsent| unsent.until_ms > now_ms);
        self.sent.retain(|_, sent| {
            sent.retain(|sent| sent.until_ms > now_ms);
            !sent.is_empty()
        });
    }

    fn is_urgent(&self, is_due: impl Fn(&Key) -> bool) -> bool {
        let is_much = |charge: &Charge| u64::from(charge.count) * 8 >= u64::from(charge.limit);
        let waits_badly = |unsent: &Unsent| unsent.asks || is_much(&unsent.charge);
        self.unsent.len() >= limits::SPENDERS_MAX
            || self.unsent.values().any(|unsent| waits_badly(unsent) && is_due(&unsent.charge.client))
    }

    fn send(
        &mut self,
        is_due: impl Fn(&Key) -> bool,
        most: usize,
        mut queue: impl FnMut(Charge) -> Option<RequestId>,
    ) {
        let due: Vec<At> =
            self.unsent.keys().filter(|(client, _)| is_due(client)).take(most).copied().collect();
        for at in due {
            let Some(Unsent { charge, until_ms, .. }) = self.unsent.remove(&at) else { continue };
            let Some(id) = queue(charge) else { continue };
            if self.sent.len() >= limits::SPENDERS_MAX && !self.sent.contains_key(&at) {
                // As if it were applied already.
                continue;
            }
            let all = self.sent.entry(at).or_default();
            let mut sent = Sent { id, count: charge.count, until_ms };
            if all.len() >= limits::SENT_PER_SPENDER_MAX
                && let Some(last) = all.pop()
            {
                // The two count until the later one is applied.
                sent.count = sent.count.saturating_add(last.count);
            }
            all.push(sent);
        }
    }
}

/// A window nobody has opened yet.
fn fresh(charge: &Charge, now_ms: u64) -> Balance {
    Balance { limit: charge.limit, remaining: charge.limit, reset_ms: now_ms + u64::from(charge.window_ms) }
}
