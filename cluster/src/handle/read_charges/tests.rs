//! A window admits its limit, whatever is on its way.

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

#[test]
fn who_is_refused_by_what_another_cell_answered_is_asked_about_anew_once_a_second() {
    let mut node = Node::new();
    let spent = Balance { limit: LIMIT, remaining: 0, reset_ms: node.now_ms + u64::from(WINDOW_MS) };
    let id = RequestId { origin: ORIGIN, seq: 0 };
    node.ledger.answered(&charge(1), id, spent, node.now_ms);
    let refused = |node: &mut Node| node.ledger.spend(charge(1), None, node.now_ms) == Err(spent);
    assert!(refused(&mut node) && !node.ledger.is_urgent(|_| true), "it was answered just now");
    for second in 1..=3 {
        node.now_ms += limits::ASKED_ANEW_MS;
        assert!((0..1000).all(|_| refused(&mut node)) && node.ledger.is_urgent(|_| true));
        node.send();
        assert_eq!(node.log.len(), second, "once, however often it is refused");
        assert!(refused(&mut node) && !node.ledger.is_urgent(|_| true));
    }
    assert!(node.log.iter().all(|command| command.payment.charge().is_some_and(|charge| charge.count == 0)));
    // The window was reset.
    let reset_ms = node.now_ms + u64::from(WINDOW_MS);
    node.ledger.answered(&charge(0), id, Balance { remaining: LIMIT, reset_ms, ..spent }, node.now_ms);
    assert_eq!(node.ledger.spend(charge(1), None, node.now_ms).map(|left| left.remaining), Ok(LIMIT - 1));
}

#[test]
fn a_question_goes_with_what_was_read_before_it() {
    let mut node = Node::new();
    let (id, reset_ms) = (RequestId { origin: ORIGIN, seq: 0 }, node.now_ms + u64::from(WINDOW_MS));
    let known = |remaining| Balance { limit: LIMIT, remaining, reset_ms };
    node.ledger.answered(&charge(1), id, known(1), node.now_ms);
    assert!(node.ledger.spend(charge(1), None, node.now_ms).is_ok());
    node.now_ms += limits::ASKED_ANEW_MS;
    assert!(node.ledger.spend(charge(1), None, node.now_ms).is_err() && node.ledger.is_urgent(|_| true));
    node.send();
    let counts: Vec<_> =
        node.log.iter().filter_map(|command| command.payment.charge()).map(|it| it.count).collect();
    assert_eq!(counts, [1]);
}

#[test]
fn a_window_that_is_spent_under_a_small_limit_is_open_under_a_larger_one() {
    let mut node = Node::new();
    let (id, reset_ms) = (RequestId { origin: ORIGIN, seq: 0 }, node.now_ms + u64::from(WINDOW_MS));
    let small = Charge { limit: 2, ..charge(1) };
    node.ledger.answered(&small, id, Balance { limit: 2, remaining: 0, reset_ms }, node.now_ms);
    assert!(node.ledger.spend(small, None, node.now_ms).is_err());
    let left = node.ledger.spend(charge(1), None, node.now_ms).map(|balance| balance.remaining);
    assert_eq!(left, Ok(LIMIT - 3));
    // What is left of a larger limit is no more of the small one.
    node.ledger.answered(
        &charge(1),
        id,
        Balance { limit: LIMIT, remaining: LIMIT - 4, reset_ms },
        node.now_ms,
    );
    assert!(node.ledger.spend(small, None, node.now_ms).is_err());
}
