//! Random histories of one client's tokens: a home, other cells, nodes with purses, and messages that are lost, late and
//! said twice.
//!
//! The cells are real states. What they admit is counted by the window that the command was paid from: never more than the
//! limit, never once the window has ended by the clock of the log that carries the command out. That the count can fail is
//! shown by planted mistakes.

mod nodes;

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::At;
use crate::state::State;
use crate::state::allowance::{Charge, Tier};
use crate::state::command::{Command, Op, Proposal};
use crate::state::id::{Domain, Key, RequestId};
use crate::state::leader_rules::Rules;
use crate::state::outcome::{Answer, Outcome};
use nodes::{Node, Request};

const WINDOW_MS: u64 = 1000;
/// A day in November 2023.
const MORNING_MS: u64 = 1_700_000_000_000;
/// How many histories are tried.
const SEEDS: u64 = 400;
/// How long one history is.
const LENGTH_MS: u64 = 4 * WINDOW_MS;
/// The cell that holds the client's window.
const HOME: usize = 0;

fn at() -> At {
    (Key::derive(Domain::Client, &[b"ann"]), Tier::Signal)
}

/// What fails in a history.
#[derive(Debug, Clone, Copy)]
struct Faults {
    /// By how much a clock may be wrong.
    skew_ms: i64,
    /// Whether messages are lost, late and doubled, nodes freeze and restart, and cells change their leaders.
    all: bool,
}

const ALL: Faults = Faults { skew_ms: 40, all: true };
const CLOCKS: Faults = Faults { skew_ms: 40, all: false };
const NONE: Faults = Faults { skew_ms: 0, all: false };

/// A mistake that somebody might make.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Planted {
    Nothing,
    /// Tokens do not lapse.
    NoFence,
    /// The answer to an ask is counted as often as it comes.
    CountedTwice,
    /// A node starts with the purse that it saved when a lease came last.
    SurvivesRestart,
    /// The giver keeps what it gives.
    GiftKept,
}

/// What happens at a time. Messages are lost, late or doubled on their way into the queue.
#[derive(Debug, Clone)]
enum Event {
    /// The client asks a node for something.
    Arrives {
        node: usize,
        request: Request,
    },
    /// A command comes to a cell. `of_ms` is the window of the token that pays for it.
    Command {
        cell: usize,
        from: usize,
        command: Command,
        of_ms: Option<u64>,
    },
    /// And its answer to the node.
    Answer {
        node: usize,
        id: RequestId,
        answer: Answer,
    },
    /// A node asks another one for tokens.
    Give {
        node: usize,
        from: usize,
        ask: super::TokenRequest,
        until_ms: u64,
        want: u32,
    },
    /// And is answered.
    Gift {
        node: usize,
        ask: super::TokenRequest,
        until_ms: u64,
        count: u32,
    },
    /// Nobody waits for a gift any longer.
    GiftLate {
        node: usize,
        ask: super::TokenRequest,
    },
    /// A command has not been answered for long.
    Retry {
        node: usize,
        id: RequestId,
    },
    /// A node makes room in its purse.
    Tick {
        node: usize,
    },
    Restart {
        node: usize,
    },
    Freeze {
        node: usize,
        ms: u64,
    },
    /// Somebody else, with another clock, leads a cell.
    Leader {
        cell: usize,
    },
}

struct Cell {
    state: State,
    skew_ms: i64,
}

/// What came of a window.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// What the home charged and leased.
    debited: u32,
    admitted: u32,
    /// How often the client was told that nothing is left, while by all clocks it was the window.
    refused: u32,
}

struct World {
    rng: SmallRng,
    planted: Planted,
    faults: Faults,
    limit: u32,
    now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    /// Messages among the events.
    on_their_way: usize,
    cells: Vec<Cell>,
    nodes: Vec<Node>,
    tallies: BTreeMap<u64, Tally>,
}

/// What a history came to, or what was wrong.
type Verdict = Result<BTreeMap<u64, Tally>, String>;

impl World {
    fn new(seed: u64, planted: Planted, faults: Faults) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let limit = [1, 5, 16, 40, 160][rng.random_range(0..5)];
        let skew = |rng: &mut SmallRng| rng.random_range(-faults.skew_ms..=faults.skew_ms);
        let cells = (0..rng.random_range(2..=3))
            .map(|_| Cell { state: State::default(), skew_ms: skew(&mut rng) })
            .collect();
        let nodes = (0..rng.random_range(1..=6))
            .map(|number| Node::new(number, rng.random(), skew(&mut rng)))
            .collect();
        let (events, tallies) = (BTreeMap::new(), BTreeMap::new());
        let (now_ms, scheduled, on_their_way) = (MORNING_MS, 0, 0);
        Self { rng, planted, faults, limit, now_ms, events, scheduled, on_their_way, cells, nodes, tallies }
    }

    /// Somebody's clock.
    fn clock(&self, skew_ms: i64) -> u64 {
        self.now_ms.saturating_add_signed(skew_ms)
    }

    fn charge(&self, count: u32) -> Charge {
        let (client, tier) = at();
        Charge { client, tier, count, limit: self.limit, window_ms: WINDOW_MS as u32 }
    }

    /// Has something happen in so many milliseconds.
    fn after(&mut self, ms: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now_ms + ms, self.scheduled), event);
    }

    /// Sends a message, which may get lost, come late, or come twice.
    fn send(&mut self, event: Event) {
        let times = match self.rng.random_range(0..100) {
            0..7 if self.faults.all => 0,
            7..17 if self.faults.all => 2,
            _ => 1,
        };
        for _ in 0..times {
            let ms = match self.rng.random_range(0..100) {
                0..5 if self.faults.all => self.rng.random_range(0..2 * WINDOW_MS),
                5..15 if self.faults.all => self.rng.random_range(0..200),
                _ => self.rng.random_range(1..6),
            };
            self.on_their_way += 1;
            self.after(ms, event.clone());
        }
    }

    /// What the client and fate have in mind.
    fn plan(&mut self) {
        // In some histories less is asked than is allowed, in some much more.
        let asked = u64::from(self.limit) * LENGTH_MS / WINDOW_MS * self.rng.random_range(1..12) / 4;
        let favourite = self.rng.random_range(0..self.nodes.len());
        for _ in 0..asked + 4 {
            let anywhere = self.rng.random_bool(0.7);
            let node = if anywhere { self.rng.random_range(0..self.nodes.len()) } else { favourite };
            let request = Request::random(&mut self.rng, self.cells.len());
            let ms = self.rng.random_range(0..LENGTH_MS);
            self.after(ms, Event::Arrives { node, request });
        }
        for node in 0..self.nodes.len() {
            for ms in (0..LENGTH_MS).step_by(250) {
                self.after(ms, Event::Tick { node });
            }
        }
        for _ in 0..if self.faults.all { self.rng.random_range(0..24) } else { 0 } {
            let node = self.rng.random_range(0..self.nodes.len());
            let event = match self.rng.random_range(0..6) {
                0..4 => Event::Restart { node },
                4 => Event::Freeze { node, ms: self.rng.random_range(0..2 * WINDOW_MS) },
                _ => Event::Leader { cell: self.rng.random_range(0..self.cells.len()) },
            };
            let ms = self.rng.random_range(0..LENGTH_MS);
            self.after(ms, event);
        }
    }

    fn run(mut self) -> Verdict {
        self.plan();
        while let Some(((now_ms, _), event)) = self.events.pop_first() {
            self.now_ms = now_ms;
            self.step(event)?;
            if !self.faults.all && self.on_their_way == 0 {
                self.conserves()?;
            }
        }
        Ok(self.tallies)
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        if let Some(thaws_ms) = self.frozen(&event) {
            self.after(thaws_ms - self.now_ms, event);
            return Ok(());
        }
        if let Event::Command { .. } | Event::Answer { .. } | Event::Give { .. } | Event::Gift { .. } = event
        {
            self.on_their_way -= 1;
        }
        match event {
            Event::Command { cell, from, command, of_ms } => {
                let id = command.id;
                let answer = self.apply(cell, command, of_ms)?;
                self.send(Event::Answer { node: from, id, answer });
            }
            Event::Leader { cell } => {
                let skew_ms = self.faults.skew_ms;
                self.cells[cell].skew_ms = self.rng.random_range(-skew_ms..=skew_ms);
            }
            Event::Arrives { node, request } => self.ask(node, request),
            Event::Answer { node, id, answer } => self.answered(node, id, answer),
            Event::Give { node, from, ask, until_ms, want } => {
                let count = self.give(node, until_ms, want);
                self.send(Event::Gift { node: from, ask, until_ms, count });
            }
            Event::Gift { node, ask, until_ms, count } => self.gift(node, ask, until_ms, count),
            Event::GiftLate { node, ask } => self.gift_late(node, ask),
            Event::Retry { node, id } => self.retry(node, id),
            Event::Tick { node } => self.tick(node),
            Event::Restart { node } => self.restart(node),
            Event::Freeze { node, ms } => self.nodes[node].frozen_until_ms = self.now_ms + ms,
        }
        Ok(())
    }

    /// When the node that this is for goes on, if it does nothing now.
    fn frozen(&self, event: &Event) -> Option<u64> {
        let (Event::Arrives { node, .. }
        | Event::Answer { node, .. }
        | Event::Give { node, .. }
        | Event::Gift { node, .. }
        | Event::GiftLate { node, .. }
        | Event::Retry { node, .. }
        | Event::Tick { node }) = event
        else {
            return None;
        };
        let thaws_ms = self.nodes[*node].frozen_until_ms;
        (thaws_ms > self.now_ms).then_some(thaws_ms)
    }

    /// A cell carries a command out, and what it admits is counted.
    fn apply(&mut self, cell: usize, command: Command, of_ms: Option<u64>) -> Result<Answer, String> {
        let stamp_ms = self.clock(self.cells[cell].skew_ms);
        let state = &mut self.cells[cell].state;
        let is_new = !state.is_over(&command.id);
        let is_lease = matches!(command.op, Op::Lease { .. });
        let rules = Rules { storage_bytes_max: 1 << 30, ..Rules::default() };
        let proposal = Proposal { stamp_ms, rules, commands: vec![command], ..Proposal::default() };
        let answer = state.apply(proposal).0.remove(0);
        if !is_new || answer.replayed || answer.outcome.is_err() {
            return Ok(answer);
        }
        let home_window = answer.balance.map(|balance| balance.reset_ms);
        let until_ms = of_ms.or(home_window).ok_or("it was paid from no window")?;
        let log_ms = state.now_ms();
        if log_ms >= until_ms {
            return Err(format!("admitted {} ms after the window's end", log_ms - until_ms));
        }
        let opened_ms = until_ms - WINDOW_MS - 2 * self.faults.skew_ms as u64;
        let is_known = of_ms.is_none() || self.tallies.contains_key(&until_ms);
        if !is_known || log_ms < opened_ms {
            return Err("admitted before the window opened".into());
        }
        let tally = self.tallies.entry(until_ms).or_default();
        if let Ok(Outcome::Leased { count, .. }) = answer.outcome {
            tally.debited += count;
        } else if home_window.is_some() {
            tally.debited += 1;
        }
        tally.admitted += u32::from(!is_lease);
        if tally.admitted > self.limit || tally.debited > self.limit {
            return Err(format!("{} admitted of {}", tally.admitted, self.limit));
        }
        Ok(answer)
    }

    /// Where nothing fails and nothing is on its way, what was debited was admitted or is in a purse.
    fn conserves(&self) -> Result<(), String> {
        let in_purses = |until_ms| self.nodes.iter().map(|node| node.tokens(until_ms)).sum::<u32>();
        // Where one clock says that a window has ended, its tokens are worth nothing any more.
        let open_ms = self.now_ms + self.faults.skew_ms as u64 + 1;
        for (until_ms, tally) in self.tallies.range(open_ms..) {
            if tally.debited != tally.admitted + in_purses(*until_ms) {
                return Err(format!("{tally:?}, but {} in purses", in_purses(*until_ms)));
            }
        }
        Ok(())
    }
}

fn run(seed: u64, planted: Planted, faults: Faults) -> Verdict {
    World::new(seed, planted, faults).run()
}

fn sound(seed: u64, faults: Faults) -> BTreeMap<u64, Tally> {
    run(seed, Planted::Nothing, faults).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"))
}

#[test]
fn whatever_is_lost_late_or_said_twice_no_window_admits_more_than_its_limit() {
    let tallies = (0..SEEDS).flat_map(|seed| sound(seed, ALL).into_values());
    let admitted = tallies.map(|tally| tally.admitted).sum::<u32>();
    assert!(admitted > 10_000, "{admitted}");
}

/// By how much each window was short in which the client was refused.
fn short(seed: u64, faults: Faults) -> Vec<u32> {
    let limit = World::new(seed, Planted::Nothing, faults).limit;
    let tallies = sound(seed, faults).into_values().filter(|tally| tally.refused > 0);
    tallies.map(|tally| limit - tally.admitted).collect()
}

#[test]
fn while_messages_arrive_a_client_is_refused_for_a_few_tokens_that_nodes_keep_at_most() {
    for faults in [NONE, CLOCKS] {
        let windows: Vec<_> = (0..SEEDS).flat_map(|seed| short(seed, faults)).collect();
        assert!(windows.len() > 500);
        assert!(windows.iter().all(|short| *short <= 6), "{windows:?}");
        let count = windows.iter().filter(|short| **short > 0).count();
        assert!(count * 50 < windows.len(), "{count} of {}", windows.len());
    }
}

#[test]
fn planted_mistakes_are_noticed() {
    for planted in [Planted::NoFence, Planted::CountedTwice, Planted::SurvivesRestart, Planted::GiftKept] {
        let noticed = (0..SEEDS / 2).filter(|seed| run(*seed, planted, ALL).is_err()).count();
        println!("{planted:?}: {noticed} of {}", SEEDS / 2);
        assert!(noticed as u64 * 20 > SEEDS / 2, "{planted:?}: {noticed}");
    }
}
