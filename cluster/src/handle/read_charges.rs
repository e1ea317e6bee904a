//! Charges of reads: admitted from this node's replica, told to the log in bulk.

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
/// They ride on the next batch that goes anyway, so polling alone writes nothing. Only a client that used up an
/// eighth of its limit in silence gets a charge of its own, within 250 ms. Hence a client that asks one node alone is
/// held to its limit there; one that spreads its reads over n nodes may exceed it by an eighth of the limit on each of
/// them, and by what the others admit before such a charge is applied there.
///
/// Of a client whose window is in another cell, a node goes by the balances in the answers that it gets, in place of a
/// replica's.
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
        if balance.remaining >= charge.count { Ok(balance) } else { Err(balance) }
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

    /// The log's answer to a command with a charge. A node that has the client's window in its replica reads it there.
    pub(super) fn answered(&self, cell: CellId, command: &Command, answer: &Answer) {
        if let (Payment::Charge(charge), Some(balance)) = (&command.payment, answer.balance)
            && self.topology.own_cell() != Some(cell)
        {
            self.ledger().answered(charge, command.id, balance);
        }
    }

    /// Whether some reads of clients whose windows are in this cell should not wait for a batch to ride on.
    pub(super) fn is_urgent(&self, cell: CellId) -> bool {
        let now_ms = self.clock.now_ms();
        let mut ledger = self.ledger();
        ledger.forget_closed_windows(now_ms);
        ledger.is_urgent(|client| self.routes.cell_of(client) == cell)
    }

    /// Sends up to `most` clients' charges on their way, whose windows are in this cell. `queue` says under which id a charge
    /// goes. One that it has no place for is forgiven: the node is overloaded with commands that pay for themselves.
    pub(super) fn send(&self, cell: CellId, most: usize, queue: impl FnMut(Charge) -> Option<RequestId>) {
        self.ledger().send(|client| self.routes.cell_of(client) == cell, most, queue);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while this is held")
    }
}

/// Whose window.
type At = (Key, Tier);

/// What the log does not know yet, or this node's replica does not.
struct Ledger {
    unsent: BTreeMap<At, Unsent>,
    sent: BTreeMap<At, Vec<Sent>>,
    /// The windows as the last answers had them, on a node without a replica.
    answered: BTreeMap<At, Balance>,
}

/// What one client read here.
struct Unsent {
    charge: Charge,
    until_ms: u64,
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

    /// A client's window as far as this node knows it. Without a state, it is as the last answer had it, or as if nothing was
    /// spent but what was read here.
    fn balance(&self, charge: &Charge, state: Option<&State>, now_ms: u64) -> Balance {
        let at = (charge.client, charge.tier);
        let mut balance = match state {
            Some(state) => query::Balance(*charge).answer(state, now_ms.max(state.now_ms())),
            None => {
                let answered = self.answered.get(&at).filter(|balance| balance.reset_ms > now_ms);
                answered
                    .map_or_else(|| fresh(charge, now_ms), |known| Balance { limit: charge.limit, ..*known })
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
            return Err(balance);
        }
        balance.remaining -= charge.count;
        if self.unsent.len() >= limits::SPENDERS_MAX && !self.unsent.contains_key(&at) {
            // Forgiven: the next nudge, within 250 ms, makes room.
            return Ok(balance);
        }
        let opened = || Unsent { charge: Charge { count: 0, ..charge }, until_ms: balance.reset_ms };
        let unsent = self.unsent.entry(at).or_insert_with(opened);
        if unsent.until_ms <= now_ms {
            // The window it was spent in is over.
            *unsent = opened();
        }
        unsent.charge.count = unsent.charge.count.saturating_add(charge.count);
        Ok(balance)
    }

    /// What the log says of a window after the command of this id.
    fn answered(&mut self, charge: &Charge, id: RequestId, balance: Balance) {
        let at = (charge.client, charge.tier);
        if let Some(sent) = self.sent.get_mut(&at) {
            sent.retain(|sent| sent.id != id);
        }
        if self.answered.len() < limits::SPENDERS_MAX || self.answered.contains_key(&at) {
            let known = self.answered.entry(at).or_insert(balance);
            // Answers may overtake each other.
            if balance.reset_ms > known.reset_ms || balance.remaining < known.remaining {
                *known = balance;
            }
        }
    }

    fn forget_closed_windows(&mut self, now_ms: u64) {
        self.answered.retain(|_, balance| balance.reset_ms > now_ms);
        self.unsent.retain(|_, unsent| unsent.until_ms > now_ms);
        self.sent.retain(|_, sent| {
            sent.retain(|sent| sent.until_ms > now_ms);
            !sent.is_empty()
        });
    }

    fn is_urgent(&self, is_due: impl Fn(&Key) -> bool) -> bool {
        let is_much = |charge: &Charge| u64::from(charge.count) * 8 >= u64::from(charge.limit);
        self.unsent.len() >= limits::SPENDERS_MAX
            || self.unsent.values().any(|unsent| is_much(&unsent.charge) && is_due(&unsent.charge.client))
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
            let Some(Unsent { charge, until_ms }) = self.unsent.remove(&at) else { continue };
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::state::command::{Command, Op, Proposal};
    use crate::state::id::Domain;

    const ORIGIN: u64 = 7;
    const LIMIT: u32 = 20;
    const WINDOW_MS: u32 = 60_000;

    fn charge(count: u32) -> Charge {
        let client = Key::derive(Domain::Client, &[b"ann"]);
        Charge { client, tier: Tier::Poll, count, limit: LIMIT, window_ms: WINDOW_MS }
    }

    fn spend(origin: u64, seq: u64, charge: Charge) -> Command {
        let id = RequestId { origin, seq };
        Command { id, payment: charge.into(), owner: None, idempotency_key: None, op: Op::Spend }
    }

    /// A node, and a replica that applies what it sends when it is told to.
    struct Node {
        ledger: Ledger,
        state: State,
        log: VecDeque<Command>,
        now_ms: u64,
        seq: u64,
    }

    impl Node {
        fn new() -> Self {
            let (ledger, state) = (Ledger::new(), State::default());
            Self { ledger, state, log: VecDeque::new(), now_ms: 1_000_000, seq: 0 }
        }

        fn read(&mut self) -> bool {
            self.ledger.spend(charge(1), Some(&self.state), self.now_ms).is_ok()
        }

        fn send(&mut self) {
            let Self { ledger, log, seq, .. } = self;
            ledger.send(
                |_| true,
                usize::MAX,
                |charge| {
                    *seq += 1;
                    log.push_back(spend(ORIGIN, *seq, charge));
                    Some(RequestId { origin: ORIGIN, seq: *seq })
                },
            );
        }

        fn apply(&mut self, commands: impl IntoIterator<Item = Command>, floors: Vec<(u64, u64)>) {
            let commands = commands.into_iter().collect();
            self.state.apply(Proposal { stamp_ms: self.now_ms, floors, commands, ..Proposal::default() });
        }

        fn apply_next(&mut self) {
            let next = self.log.pop_front();
            self.apply(next, Vec::new());
        }

        /// What was carried out is answered, and forgotten.
        fn answered(&mut self) {
            let floor = self.log.front().map_or(self.seq + 1, |command| command.id.seq);
            self.apply(None, vec![(ORIGIN, floor)]);
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Read,
        Send,
        Apply,
        Answered,
        Elsewhere,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => Just(Step::Read),
            3 => Just(Step::Send),
            2 => Just(Step::Apply),
            1 => Just(Step::Answered),
            1 => Just(Step::Elsewhere),
        ]
    }

    proptest! {
        #[test]
        fn a_window_admits_its_limit_whatever_is_on_its_way(steps in prop::collection::vec(step(), 1..200)) {
            let mut node = Node::new();
            let mut spent = 0;
            for (turn, step) in (0..).zip(steps) {
                match step {
                    Step::Read => {
                        prop_assert_eq!(node.read(), spent < LIMIT, "{} spent", spent);
                        spent = LIMIT.min(spent + 1);
                    }
                    Step::Send => node.send(),
                    Step::Apply => node.apply_next(),
                    Step::Answered => node.answered(),
                    Step::Elsewhere if spent < LIMIT => {
                        node.apply([spend(ORIGIN + 1, turn, charge(1))], Vec::new());
                        spent += 1;
                    }
                    Step::Elsewhere => {}
                }
                node.ledger.forget_closed_windows(node.now_ms);
            }
        }
    }

    #[test]
    fn a_charge_that_never_arrives_is_forgotten_when_its_window_closes() {
        let mut node = Node::new();
        assert!((0..LIMIT).all(|_| node.read()));
        node.send();
        assert!(!node.read());
        node.now_ms += u64::from(WINDOW_MS);
        node.ledger.forget_closed_windows(node.now_ms);
        assert!(node.ledger.sent.is_empty());
        assert!((0..LIMIT).all(|_| node.read()));
        assert!(!node.read());
    }

    #[test]
    fn many_charges_on_their_way_are_told_apart_up_to_a_bound_and_all_count() {
        let mut node = Node::new();
        for _ in 0..LIMIT {
            assert!(node.read());
            node.send();
        }
        assert!(!node.read());
        let on_their_way: Vec<usize> = node.ledger.sent.values().map(Vec::len).collect();
        assert_eq!(on_their_way, [limits::SENT_PER_SPENDER_MAX]);
        while !node.log.is_empty() {
            node.apply_next();
            assert!(!node.read());
        }
        assert!(node.ledger.sent.values().all(Vec::is_empty));
    }

    #[test]
    fn beyond_a_bound_of_clients_charges_on_their_way_do_not_count() {
        let mut node = Node::new();
        let client = |number: usize| Key::derive(Domain::Client, &[&number.to_be_bytes()]);
        let others = (0..limits::SPENDERS_MAX).map(|number| ((client(number), Tier::Poll), Vec::new()));
        node.ledger.sent = others.collect();
        assert!((0..LIMIT).all(|_| node.read()));
        node.send();
        assert_eq!(node.ledger.sent.len(), limits::SPENDERS_MAX);
        assert!(node.read(), "it is forgiven");
        node.apply_next();
        assert!(!node.read(), "until the log knows it");
    }

    #[test]
    fn a_charge_without_a_place_is_forgiven() {
        let mut node = Node::new();
        assert!((0..LIMIT).all(|_| node.read()));
        node.ledger.send(|_| true, 1, |_| None);
        assert!(node.read());
    }
}
