//! What can go wrong, and how often it does.

use rand::RngExt as _;
use rand::rngs::SmallRng;

use crate::simulation::plan::Shape;

/// Something that goes wrong, or that an operator does at a bad time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    CrashOne,
    CrashLeader,
    CrashAll,
    CutLeaderOff,
    CutPair,
    CutOneWay,
    /// The leader hears nobody, and is heard.
    DeafenLeader,
    CutEverybody,
    /// The nodes of one cell, the leader's, reach each other and nobody else.
    CutCellOff,
    /// A node's connections end, and it lives.
    Reset,
    /// The same of the leader, and whoever calls it is refused for a while, as if it were gone.
    Slander,
    Hold,
    Freeze,
    Slow,
    Flaky,
    StallDisk,
    FailFlush,
    TransferLeader,
    Snapshot,
    ShutDown,
    ChangeMembers,
    /// Slots are sent elsewhere, against the plan.
    MisplaceSlots,
}

const FAULTS: [(u32, Fault); 22] = [
    (10, Fault::CrashOne),
    (12, Fault::CrashLeader),
    (4, Fault::CrashAll),
    (10, Fault::CutLeaderOff),
    (8, Fault::CutPair),
    (6, Fault::CutOneWay),
    (6, Fault::DeafenLeader),
    (3, Fault::CutEverybody),
    (5, Fault::Reset),
    (5, Fault::Slander),
    (8, Fault::Hold),
    (6, Fault::Freeze),
    (5, Fault::Slow),
    (5, Fault::Flaky),
    (6, Fault::StallDisk),
    (4, Fault::FailFlush),
    (8, Fault::TransferLeader),
    (10, Fault::Snapshot),
    (5, Fault::ShutDown),
    (10, Fault::ChangeMembers),
    (8, Fault::CutCellOff),
    (12, Fault::MisplaceSlots),
];

impl Fault {
    /// One of them, each as often as its weight says.
    pub(super) fn choose(rng: &mut SmallRng, shape: &Shape) -> Self {
        let faults = FAULTS.iter().map(|(weight, fault)| (fault.weighs(*weight, shape), *fault));
        let total = faults.clone().map(|(weight, _)| weight).sum();
        let mut at = rng.random_range(0..total);
        for (weight, fault) in faults {
            if at < weight {
                return fault;
            }
            at -= weight;
        }
        Fault::CrashOne
    }

    /// Cells are cut off, and members come and go as often as a third of everything else, where there is something to grow.
    fn weighs(self, weight: u32, shape: &Shape) -> u32 {
        match self {
            Self::MisplaceSlots if !shape.has_fronts() || !shape.may_have_cells() => 0,
            Self::CutCellOff if !shape.has_fronts() => 0,
            Self::ChangeMembers if shape.has_fronts() => weight * 5,
            _ => weight,
        }
    }
}
