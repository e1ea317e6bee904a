//! Schedules drawn from a seed: the same seed, the same schedule, on every machine. What real processes make of it
//! varies with their timing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Schedule;
use super::fault::{Fault, Which};
use super::must::Must;
use super::span::Span;
use super::step::{Action, Await, Step};

/// No round takes less: harm, cure, and everybody ready again. Drawn are as many as could be needed.
const ROUND_MIN: Duration = Duration::from_secs(1);

/// A schedule of this length, to the end of the round it falls in, for so many nodes. It needs nothing but the processes.
pub fn random(seed: u64, nodes: u64, length: Duration) -> Schedule {
    let mut dice = StdRng::seed_from_u64(seed);
    let rounds = (length.as_secs_f64() / ROUND_MIN.as_secs_f64()).ceil().max(1.0) as u64;
    let steps = (0..rounds).flat_map(|_| round(&mut dice)).collect();
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

fn round(dice: &mut StdRng) -> Vec<Step> {
    let node = match dice.random_range(0..4) {
        0 | 1 => Which::Leader,
        2 => Which::Follower,
        _ => Which::Random,
    };
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
    steps.push(Step {
        after: Span::default(),
        during: false,
        action: Action::Await(Await::Healthy { within: Span::minute() }),
    });
    steps
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
