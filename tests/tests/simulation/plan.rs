//! What a seed decides before the simulation begins.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use conclave_cluster::state::limits::SLOT_PART_BYTES_MAX;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::clock::Skewed;

/// Of how many seeds in ten the cluster begins with three members of one cell, and a fourth may join.
const PLAIN_IN_TEN: u32 = 6;
/// Of how many of the others in ten it is waited in the end until all slots are at rest.
const RESTING_IN_TEN: u32 = 1;
/// The most machines that there are.
const MACHINES_MAX: u64 = 7;
/// The most first members.
const FIRST_MAX: u64 = 6;
/// By how much the clocks of two cells differ besides what was late on the way: twice the most that a clock is off and
/// gains, unless it is wrong.
const CELLS_APART_MS: u64 = 100;
/// For how long the log of a cell of one stands still, while its node is down. If that hears nobody when it is there again,
/// it goes by its log, which is behind by so much; and it may go down a second time before it hears anybody.
const STOOD_STILL_MS: u64 = 2 * 3500;

/// What is broken on purpose, to see whether the invariants notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Double {
    /// Nothing.
    None,
    /// Disks say that a flush is done when it is not.
    FlushesNothing,
    /// Disks forget whom their node voted for in its last term whenever it goes down.
    ForgetsVotes,
    /// Reads are answered from the nearest replica as it is.
    StaleReads,
    /// A command that takes long is asked for again under another name.
    AsksTwice,
    /// A consumer's command is asked again without its idempotency key.
    TakesTwice,
    /// Every node admits by its own count and nobody asks the log.
    SpendsAnywhere,
    /// What is to live for a while lives half as long.
    HalvesTtls,
    /// Nodes store as much as they are given.
    StoresAnything,
    /// Nodes let one client store as much as there is.
    SharesNothing,
    /// What is said in a room carries no name, and is said again when its fate is not known.
    NamesNothing,
    /// A ticket that the log says nothing of for a while is taken for a good one.
    TrustsTickets,
    /// Incarnations live four times as long as they are said to.
    StretchesLeases,
    /// Incarnations live a quarter as long as they are said to.
    ShortensLeases,
    /// Members stay four times as long after their connection as they are said to.
    StretchesGraces,
    /// Peer ids are claimed without a word on whose connection asks.
    ClaimsForAnyone,
    /// Whoever joins a room says that nobody had the session later.
    JoinsAnyTime,
}

/// Everything that differs from seed to seed, besides the faults.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) double: Double,
    /// The one invariant that is minded; all of them if there is none.
    pub(crate) only: Option<&'static str>,
    pub(crate) shape: Shape,
    /// For how long faults happen.
    pub(crate) chaos: Duration,
    /// The mean time between two faults.
    pub(crate) fault_every: Duration,
    /// Messages take up to this long.
    pub(crate) latency_max: Duration,
    /// The slowest flush, unless the disk stalls.
    pub(crate) flush_ms_max: u64,
    pub(crate) clocks: BTreeMap<u64, Skewed>,
    /// How wrong an instant may be that a correct cluster stamps.
    pub(crate) clock_error_ms: u64,
    /// The longest time for which messages are held back.
    pub(crate) hold_ms_max: u64,
    pub(crate) storage_bytes_max: u64,
    /// What one client may store, if that is bounded.
    pub(crate) share_bytes: Option<u64>,
    pub(crate) snapshot_log_bytes: u64,
    /// How many bytes of a slot go to another cell at a time.
    pub(crate) slot_part_bytes: usize,
    pub(crate) deadline: Duration,
    /// Clients on each node, and how long one thinks between two commands at most.
    pub(crate) clients: u64,
    pub(crate) think_ms_max: u64,
    /// Whether somebody pushes more signals at once than a mailbox holds.
    pub(crate) flood: bool,
    /// How long an incarnation lives that nobody renews.
    pub(crate) lease_ms: u32,
    /// How long a session, a claim and a member stay after their connection.
    pub(crate) grace_ms: u32,
    /// How many messages the room keeps that forgets by count.
    pub(crate) room_messages: u32,
    /// For how long the room keeps them that forgets by age.
    pub(crate) room_age_ms: u32,
}

/// How large the cluster is, and may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How many nodes a cell has.
    pub(crate) replicas: usize,
    first: u64,
    machines: u64,
    /// Whether it is waited in the end until no slot is on its way any more, which takes long.
    pub(crate) rests: bool,
}

impl Shape {
    const PLAIN: Self = Self { replicas: 3, first: 3, machines: 4, rests: false };

    fn draw(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x73_6861_7065);
        if rng.random_ratio(PLAIN_IN_TEN, 10) {
            return Self::PLAIN;
        }
        let replicas = if rng.random_bool(0.5) { 3 } else { 1 };
        let first = rng.random_range(1..=FIRST_MAX);
        let machines = rng.random_range(first + 1..=MACHINES_MAX);
        Self { replicas, first, machines, rests: rng.random_ratio(RESTING_IN_TEN, 10) }
    }

    /// The ids of the first members.
    pub(crate) fn first(&self) -> RangeInclusive<u64> {
        1..=self.first
    }

    /// The ids of all machines. Those beyond the first members may join.
    pub(crate) fn machines(&self) -> RangeInclusive<u64> {
        1..=self.machines
    }

    /// How many members there are at least, whoever is removed.
    pub(crate) fn members_min(&self) -> usize {
        self.replicas.min(self.first as usize)
    }

    /// How many cells there may come to be.
    pub(crate) fn cells_max(&self) -> u64 {
        (self.machines / self.replicas as u64).max(1)
    }

    /// Whether there may come to be more than one cell.
    pub(crate) fn may_have_cells(&self) -> bool {
        self.cells_max() > 1
    }

    /// Whether there are nodes without a seat, first members or more than one that may join.
    pub(crate) fn has_fronts(&self) -> bool {
        *self != Self::PLAIN
    }

    /// Whether the nodes that stamp can tell that one of their clocks is wrong.
    fn outvotes_a_clock(&self) -> bool {
        self.replicas.min(self.first as usize) >= 3
    }
}

impl Plan {
    pub(crate) fn new(seed: u64, double: Double, only: Option<&'static str>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x70_6c61_6e00);
        let shape = Shape::draw(seed);
        // Clocks are never quite right. On every other seed one of the first three is wrong by an hour, where the others
        // can correct it.
        let mut clocks: BTreeMap<u64, Skewed> = shape
            .machines()
            .map(|id| {
                let skew_ms = rng.random_range(-20..=20);
                (id, Skewed { skew_ms, drift_ppm: rng.random_range(-200..=200) })
            })
            .collect();
        if rng.random_bool(0.5) && shape.outvotes_a_clock() {
            let wrong = 1 + rng.random_range(0..3_usize) as u64;
            let hour = if rng.random_bool(0.5) { 3_600_000 } else { -3_600_000 };
            clocks.insert(wrong, Skewed { skew_ms: hour, drift_ppm: rng.random_range(-2000..=2000) });
        }
        let latency_ms = rng.random_range(1..=40);
        let hold_ms_max = rng.random_range(200..=1500);
        let stood_ms = if shape.members_min() == 1 { STOOD_STILL_MS } else { 0 };
        let apart_ms = if shape.may_have_cells() { CELLS_APART_MS + latency_ms + hold_ms_max } else { 0 };
        Self {
            seed,
            double,
            only,
            shape,
            chaos: Duration::from_millis(rng.random_range(7_000..=11_000)),
            fault_every: Duration::from_millis(rng.random_range(500..=2000)),
            latency_max: Duration::from_millis(latency_ms),
            flush_ms_max: rng.random_range(1..=15),
            clocks,
            clock_error_ms: 250 + 2 * latency_ms + hold_ms_max + apart_ms + stood_ms,
            hold_ms_max,
            storage_bytes_max: if rng.random_bool(0.2) { 48 << 10 } else { 64 << 20 },
            snapshot_log_bytes: if rng.random_bool(0.5) { 8 << 10 } else { 1 << 20 },
            deadline: Duration::from_millis(rng.random_range(1500..=4000)),
            clients: rng.random_range(2..=4),
            think_ms_max: rng.random_range(60..=200),
            flood: rng.random_bool(0.06),
            lease_ms: rng.random_range(800..=2800),
            grace_ms: rng.random_range(300..=1500),
            room_messages: rng.random_range(1..=30),
            room_age_ms: rng.random_range(1000..=4000),
            share_bytes: rng.random_bool(0.3).then(|| rng.random_range(8..=32) << 10),
            slot_part_bytes: if rng.random_bool(0.7) {
                rng.random_range(100..=1000)
            } else {
                SLOT_PART_BYTES_MAX
            },
        }
    }

    /// Randomness for one purpose, the same for the same seed.
    pub(crate) fn rng(&self, purpose: &[u64]) -> SmallRng {
        let seed = purpose.iter().fold(self.seed ^ 0x5eed, |seed, part| {
            (seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .rotate_left(23)
                .wrapping_mul(0x2545_f491_4f6c_dd1d)
        });
        SmallRng::seed_from_u64(seed)
    }
}
