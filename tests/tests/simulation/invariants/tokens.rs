//! Tokens are conserved: what is charged to a client's window, at home and by tokens in all cells, was debited there before, and
//! no more than its limit.
//!
//! Judged by what the committed entries of all cells come to, which is what was carried out, and by the purses of all nodes.

use std::collections::BTreeMap;
use std::rc::Rc;

use conclave_cluster::state::allowance::{Balance, Payment, Tier};
use conclave_cluster::state::command::Op;
use conclave_cluster::state::outcome::{Answer, Outcome, Refusal};

use super::Violation;
use super::allowance::admitted;
use crate::simulation::history::Event;
use crate::simulation::machine::Machine;
use crate::simulation::oracle::Answered;
use crate::simulation::workload::ALLOWANCES;
use crate::simulation::workload::allowances;

const NAME: &str = "tokens";

/// The windows of the charged clients, each named by its end, and what came of it.
#[derive(Default)]
pub(crate) struct Ledger {
    windows: BTreeMap<(u8, u64), Tally>,
    /// The first thing that was wrong.
    wrong: Option<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// Debited by the commands themselves, in the step that carried them out.
    charged: u32,
    /// Debited for tokens.
    leased: u32,
    /// Commands that were carried out for a token.
    used: u32,
}

impl Ledger {
    /// Notes a command that a cell answers for the first time.
    pub(crate) fn note(&mut self, Answered { command, answer, log_ms }: Answered) {
        let is_free = matches!(
            answer.outcome,
            Err(Refusal::Allowance { .. } | Refusal::Lapsed | Refusal::Moved { .. } | Refusal::Unready)
        );
        if answer.replayed || is_free {
            return;
        }
        match command.payment {
            Payment::Charge(charge) if charge.tier == Tier::Create => {
                if let (Some(client), Some(balance)) = (allowances::client_of(&charge), answer.balance) {
                    self.debit(client, &answer, &balance);
                }
            }
            Payment::Paid { until_ms } => match allowances::asked_by(&command.op) {
                Some(client) if log_ms < until_ms => self.window(client, until_ms).used += 1,
                Some(client) => {
                    let late_ms = log_ms - until_ms;
                    self.note_wrong(format!(
                        "a token of client {client} paid for a command {late_ms} ms after the end of its window"
                    ));
                }
                None => {
                    self.note_wrong(format!("a token paid for {:?}, which nobody is charged for", command.op))
                }
            },
            Payment::Charge(_) | Payment::Free => {}
        }
        if matches!(command.op, Op::Lease { .. }) && command.payment.charge().is_none() {
            self.note_wrong(format!("{:?} was carried out and not charged", command.op));
        }
    }

    fn debit(&mut self, client: u8, answer: &Answer, balance: &Balance) {
        let (limit, _) = ALLOWANCES[usize::from(client)];
        let tally = self.window(client, balance.reset_ms);
        match answer.outcome {
            Ok(Outcome::Leased { count, .. }) => tally.leased += count,
            Ok(_) | Err(_) => tally.charged += 1,
        }
        let Tally { charged, leased, .. } = *tally;
        let debited = charged + leased;
        if debited > limit {
            self.note_wrong(format!(
                "{debited} of {limit} were debited in the window of client {client} that ends at {}",
                balance.reset_ms
            ));
        }
    }

    fn window(&mut self, client: u8, until_ms: u64) -> &mut Tally {
        self.windows.entry((client, until_ms)).or_default()
    }

    fn note_wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// Whether no token was made from nothing, or is in two places: of each window those that were used and those that nodes
    /// have are no more than were debited. A token on its way is in neither place.
    pub(crate) fn look(&self, machines: &[Rc<Machine>]) -> Result<(), Violation> {
        if let Some(what) = &self.wrong {
            return Err(Violation::new(NAME, what.clone()));
        }
        let mut held: BTreeMap<(u8, u64), Vec<(u64, u32)>> = BTreeMap::new();
        for machine in machines.iter().filter(|it| it.is_up()) {
            let cluster = machine.cluster.borrow();
            let Some(cluster) = &*cluster else { continue };
            for client in 0..ALLOWANCES.len() as u8 {
                let tokens = cluster.held_tokens(&allowances::key_of(client), Tier::Create);
                if let Some((until_ms, tokens)) = tokens.filter(|(_, tokens)| *tokens > 0) {
                    held.entry((client, until_ms)).or_default().push((machine.id, tokens));
                }
            }
        }
        let of_windows = self.windows.iter().map(|(window, tally)| (*window, *tally));
        let of_purses = held.keys().filter(|window| !self.windows.contains_key(window));
        for (window, tally) in of_windows.chain(of_purses.map(|window| (*window, Tally::default()))) {
            let held = held.get(&window).map_or(&[][..], Vec::as_slice);
            let in_purses: u32 = held.iter().map(|(_, tokens)| tokens).sum();
            if tally.used + in_purses > tally.leased {
                let (client, until_ms) = window;
                let what = format!(
                    "of the window of client {client} that ends at {until_ms}: {tally:?}, and nodes hold {held:?}"
                );
                return Err(Violation::new(NAME, what));
            }
        }
        Ok(())
    }

    /// How many commands were paid for by tokens.
    pub(crate) fn used(&self) -> u32 {
        self.windows.values().map(|tally| tally.used).sum()
    }

    /// Whether all that clients were admitted to was paid for.
    pub(crate) fn covers(&self, events: &[Event]) -> Result<(), Violation> {
        for client in 0..ALLOWANCES.len() as u8 {
            let admitted = events.iter().filter(|event| admitted(event, client).is_some()).count();
            let windows = self.windows.range((client, 0)..=(client, u64::MAX));
            let paid: u32 = windows.map(|(_, tally)| tally.charged + tally.used).sum();
            if admitted > paid as usize {
                let what = format!("client {client} was admitted {admitted} times, and {paid} were paid for");
                return Err(Violation::new(NAME, what));
            }
        }
        Ok(())
    }
}
