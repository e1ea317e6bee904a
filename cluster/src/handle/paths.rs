//! Paths to the cells: what this node has under way to each of them, commands and reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::interest::Interests;
use super::limits;
use super::proposer::Proposer;
use super::queue::Backlog;
use super::quorum::Quorum;
use super::read_charges::ReadCharges;
use super::remote_reads::RemoteReads;
use super::sequencer::Sequencer;
use super::topology::Topology;
use crate::raft::Node;
use crate::state::id::Digest;
use crate::state::limits::CELLS_MAX;
use crate::state::slot::CellId;
use crate::wire::Links;

/// What all paths of a node have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) node: Node,
    pub(super) links: Links,
    pub(super) topology: Topology,
    pub(super) sequencer: Arc<Sequencer>,
    pub(super) read_charges: Arc<ReadCharges>,
    pub(super) interests: Interests,
    pub(super) backlog: Arc<Backlog>,
    /// For how long a command or a read is tried.
    pub(super) deadline: Duration,
    /// A random number of this run of the node.
    pub(super) seed: u64,
    pub(super) stop: CancellationToken,
}

/// The way to one cell.
pub(super) struct Path {
    /// Whether a majority of its voters is heard while nobody leads it.
    pub(super) quorum: Quorum,
    pub(super) proposer: Arc<Proposer>,
    pub(super) remote_reads: Arc<RemoteReads>,
    /// Ends its tasks.
    stop: CancellationToken,
}

/// The ways to all cells; each begins when it is used first. A std mutex: nothing awaits while it is held.
pub(super) struct Paths {
    common: Common,
    begun: Mutex<Begun>,
}

#[derive(Default)]
struct Begun {
    paths: BTreeMap<CellId, Arc<Path>>,
    /// How many have begun so far, also of those that ended.
    count: u64,
}

impl Paths {
    pub(super) fn new(mut common: Common) -> Self {
        common.deadline = common.deadline.min(limits::DEADLINE_MAX);
        Self { common, begun: Mutex::default() }
    }

    /// The way to a cell.
    ///
    /// Only cells that the placement or a log names are asked for, so that there are no more ways than cells.
    pub(super) fn to(&self, cell: CellId) -> Arc<Path> {
        let mut begun = self.begun.lock().expect("nothing panics while this is held");
        if let Some(path) = begun.paths.get(&cell) {
            return path.clone();
        }
        debug_assert!(begun.paths.len() <= 2 * CELLS_MAX, "those of closed cells end");
        let path = Arc::new(Path::begin(cell, begun.count, &self.common));
        begun.count += 1;
        begun.paths.insert(cell, path.clone());
        path
    }

    /// Ends the ways to cells that are none of these, once nothing is under way on them.
    pub(super) fn forget_all_but(&self, cells: &BTreeSet<CellId>) {
        let mut begun = self.begun.lock().expect("nothing panics while this is held");
        begun.paths.retain(|cell, path| {
            // Whoever uses a way holds it, and gets it under this lock.
            let is_used = Arc::strong_count(path) > 1 || !path.proposer.is_idle();
            let stays = *cell == CellId::FIRST || cells.contains(cell) || is_used;
            if !stays {
                path.stop.cancel();
            }
            stays
        });
    }

    /// All ways that have begun.
    pub(super) fn all(&self) -> Vec<Arc<Path>> {
        let begun = self.begun.lock().expect("nothing panics while this is held");
        begun.paths.values().cloned().collect()
    }
}

impl Path {
    fn begin(cell: CellId, before: u64, common: &Common) -> Self {
        let Common { topology, links, node, seed, .. } = common;
        let stop = common.stop.child_token();
        let (quorum, lead) = (Quorum::new(), topology.lead(cell));
        let origin = origin(*seed, cell, before);
        let proposer = Arc::new(Proposer::new(cell, origin, lead, quorum.clone(), common));
        let remote_reads = Arc::new(RemoteReads::new(cell, origin, quorum.clone(), common));
        let (seats, led) = (topology.clone(), topology.clone());
        tokio::spawn(quorum.clone().run(
            node.id(),
            links.clone(),
            move || seats.seats(cell),
            move |silence_max| led.is_led_within(cell, silence_max),
            stop.clone(),
        ));
        tokio::spawn(proposer.clone().run(stop.clone()));
        tokio::spawn(remote_reads.clone().run(stop.clone()));
        Self { quorum, proposer, remote_reads, stop }
    }
}

/// What names a run's commands on a way to a cell: each way counts them for itself, and `before` have begun before it. The one
/// to the first cell never ends.
fn origin(seed: u64, cell: CellId, before: u64) -> u64 {
    if cell == CellId::FIRST {
        return seed;
    }
    let words = [&seed.to_be_bytes()[..], &cell.number().to_be_bytes(), &before.to_be_bytes()].concat();
    let digest = Digest::of(&words);
    u64::from_be_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes"))
}
