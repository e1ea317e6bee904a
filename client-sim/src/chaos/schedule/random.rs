//! Schedules drawn from a seed: the same seed, the same schedule, on every machine. What real processes make of it
//! varies with their timing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Schedule;
use super::fault::{Fault, Part, Seats, Which};
use super::must::Must;
use super::span::Span;
use super::step::{Action, Await, Step};

/// No round takes less: harm, cure, and everybody ready again. Drawn are as many as could be needed.
const ROUND_MIN: Duration = Duration::from_secs(1);
/// So many nodes are a cell.
const CELL: u64 = 3;
/// For cells to be founded or emptied, and their slots to be where they belong.
const SETTLE: Span = Span::from_millis(300_000);

/// A schedule of this length, to the end of the round it falls in, for so many nodes. It needs nothing but the processes.
/// Where the nodes are several cells, harm is done to any of them, and nodes come and go so that slots move meanwhile.
pub fn random(seed: u64, nodes: u64, length: Duration) -> Schedule {
    let mut dice = StdRng::seed_from_u64(seed);
    let rounds = (length.as_secs_f64() / ROUND_MIN.as_secs_f64()).ceil().max(1.0) as u64;
    let cells = (nodes / CELL).max(1);
    let rounds = (0..rounds).flat_map(|_| match cells {
        1 => round(&mut dice, cells),
        // One in four.
        _ if dice.random_ratio(1, 4) => moves(&mut dice, nodes),
        _ => round(&mut dice, cells),
    });
    // They found their cells by themselves, once they run.
    let founded = (cells > 1).then(|| settled(cells));
    let steps = founded.into_iter().chain(rounds).collect();
    Schedule {
        name: format!("seed-{seed}"),
        about: format!("{length:?} of whatever the seed {seed} says"),
        needs: BTreeSet::new(),
        nodes: Some(nodes),
        rate: None,
        families: Vec::new(),
        set: Vec::new(),
        disk_mib: None,
        before: Span::from_millis(3_000),
        after: Span::from_millis(3_000),
        lasts: Some(Span::from(length)),
        must: Must::try_from(BTreeMap::from([("acknowledged_per_s_min".to_owned(), 50.0)]))
            .expect("the figure is one of those there are"),
        steps,
    }
}

fn round(dice: &mut StdRng, cells: u64) -> Vec<Step> {
    let node = victim(dice, cells);
    let mut span = |least: u64, most: u64| Span::from_millis(dice.random_range(least..=most));
    let (settle, lasting) = (span(300, 1_500), span(500, 5_000));
    let harm = |fault| step(settle, fault);
    let cure = |fault| step(lasting, fault);
    let start = || cure(Fault::Start { node: Which::All });
    let heal = || cure(Fault::Heal);
    let mut steps = match dice.random_range(0..12) {
        0 | 1 => vec![harm(Fault::Kill { node }), start()],
        2 => vec![harm(Fault::Kill { node: Which::All }), start()],
        3 => vec![harm(Fault::Terminate { node }), start()],
        4 | 5 => vec![harm(Fault::Freeze { node }), cure(Fault::Thaw { node: Which::All })],
        6 => vec![harm(Fault::Isolate { node }), heal()],
        7 => vec![harm(Fault::Mute { node }), heal()],
        8 => vec![harm(Fault::Deafen { node }), heal()],
        9 => vec![harm(weather(dice)), heal()],
        // Two at once: the second comes while the first has not been cured.
        10 => vec![
            harm(Fault::Isolate { node: Which::Leader }),
            step(span_of(dice, 200, 2_000), Fault::Kill { node: Which::Follower }),
            heal(),
            step(Span::default(), Fault::Start { node: Which::All }),
        ],
        _ => vec![harm(Fault::HandOver)],
    };
    steps.push(match cells {
        1 => wait(Await::Healthy { within: Span::minute() }),
        _ => settled(cells),
    });
    steps
}

/// The last cell goes, by its nodes being drained, and comes again with fresh ones; what else happens then happens while
/// slots are on their way.
fn moves(dice: &mut StdRng, nodes: u64) -> Vec<Step> {
    let cells = nodes / CELL;
    let fewer = nodes - CELL;
    let mut steps = vec![
        step(span_of(dice, 300, 1_500), Fault::Shrink { to: fewer as usize, drain: true }),
        settled(cells - 1),
        step(span_of(dice, 300, 1_500), Fault::Grow { to: nodes as usize, fronts: true }),
    ];
    // The cell that will be may not be there yet.
    let node = victim(dice, cells - 1);
    let (harm, cure) = match dice.random_range(0..4) {
        0 | 1 => (Fault::Kill { node }, Fault::Start { node: Which::All }),
        2 => (Fault::Freeze { node }, Fault::Thaw { node: Which::All }),
        _ => (Fault::Isolate { node }, Fault::Heal),
    };
    // From before the cell is founded until most slots are there.
    steps.extend([
        step(span_of(dice, 0, 6_000), harm),
        step(span_of(dice, 500, 3_000), cure),
        settled(cells),
    ]);
    steps
}

/// A node to be hurt.
fn victim(dice: &mut StdRng, cells: u64) -> Which {
    if cells > 1 && dice.random_bool(0.5) {
        let cell = dice.random_range(1..=cells) as u16;
        let part = |role| Which::Of(Seats { cell, count: Some(1), role: Some(role) });
        return match dice.random_range(0..4) {
            0 | 1 => part(Part::Leader),
            2 => part(Part::Follower),
            // A majority of it.
            _ => Which::Of(Seats { cell, count: Some(2), role: None }),
        };
    }
    match dice.random_range(0..4) {
        0 | 1 => Which::Leader,
        2 => Which::Follower,
        _ => Which::Random,
    }
}

fn wait(condition: Await) -> Step {
    Step { after: Span::default(), during: false, action: Action::Await(condition) }
}

fn settled(cells: u64) -> Step {
    wait(Await::Settled { cells: cells as usize, within: SETTLE })
}

fn weather(dice: &mut StdRng) -> Fault {
    Fault::Weather {
        delay: span_of(dice, 0, 80),
        jitter: span_of(dice, 0, 40),
        loss: f64::from(dice.random_range(0..30_u32)) / 100.0,
        reset: f64::from(dice.random_range(0..3_u32)) / 100.0,
        bytes_per_second: dice.random_bool(0.3).then(|| dice.random_range(200_000..2_000_000)),
    }
}

fn span_of(dice: &mut StdRng, least: u64, most: u64) -> Span {
    Span::from_millis(dice.random_range(least..=most))
}

fn step(after: Span, fault: Fault) -> Step {
    Step { after, during: false, action: Action::Do(fault) }
}
