//! Machines that come and go while everything else goes wrong.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use conclave_cluster::{Change, Cluster};
use rand::RngExt as _;
use turmoil::Sim;

use super::Faults;
use crate::simulation::machine::{Machine, address, name};
use crate::simulation::plan::Shape;

/// So often an operator tries at once to have a machine join.
const TRIES: u32 = 3;
/// Between two of the tries.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How far a machine has come; it never goes back, since an id is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Never switched on.
    Unused,
    /// Switched on, and not known to be a member.
    Joining,
    Member,
    /// Asked to go, and not known to be gone.
    Going,
    Gone,
}

/// All machines, and how far each has come. Clones are the same.
#[derive(Clone)]
pub(super) struct Members {
    stages: Rc<RefCell<BTreeMap<u64, Stage>>>,
    /// How many operators are at work. One whose machine goes down goes with it.
    at_work: Rc<Cell<usize>>,
    /// So many members are never asked to go.
    least: usize,
}

impl Members {
    pub(super) fn new(shape: &Shape) -> Self {
        let first = shape.first();
        let stage = |id| if first.contains(&id) { Stage::Member } else { Stage::Unused };
        let stages = shape.machines().map(|id| (id, stage(id))).collect();
        let at_work = Rc::default();
        Self { stages: Rc::new(RefCell::new(stages)), at_work, least: shape.members_min() }
    }

    /// Counts an operator for as long as this is held.
    fn work(&self) -> Work {
        self.at_work.set(self.at_work.get() + 1);
        Work(self.at_work.clone())
    }

    /// Whether some operator's change may come to its end yet.
    pub(super) fn are_changing(&self) -> bool {
        self.at_work.get() > 0
    }

    /// Whoever is a member for all that is known.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.at(Stage::Member)
    }

    /// The next machine that was never used, and those that are not known to have joined.
    fn joining(&self) -> Vec<u64> {
        let next = self.at(Stage::Unused).into_iter().take(1);
        next.chain(self.at(Stage::Joining)).collect()
    }

    /// The members, if one of them may go, and those that are not known to be gone.
    fn going(&self) -> Vec<u64> {
        let members = self.at(Stage::Member);
        let may_go = members.len() > self.least;
        members.into_iter().filter(|_| may_go).chain(self.at(Stage::Going)).collect()
    }

    fn at(&self, stage: Stage) -> Vec<u64> {
        let stages = self.stages.borrow();
        stages.iter().filter(|(_, it)| **it == stage).map(|(id, _)| *id).collect()
    }

    fn has_come(&self, id: u64, stage: Stage) {
        self.stages.borrow_mut().entry(id).and_modify(|it| *it = stage.max(*it));
    }
}

/// An operator at work.
struct Work(Rc<Cell<usize>>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Faults {
    /// The next step in the life of one of the machines: to join, perhaps with a seat, or to go. Many may be under way.
    pub(super) fn change_members(&mut self, sim: &mut Sim<'_>, at: &Rc<Machine>) -> String {
        let (joining, going) = (self.members.joining(), self.members.going());
        let joins = going.is_empty() || !joining.is_empty() && self.rng.random_bool(0.5);
        let ids = if joins { joining } else { going };
        if ids.is_empty() {
            return "none".to_owned();
        }
        let id = ids[self.rng.random_range(0..ids.len())];
        let within =
            if self.rng.random_bool(0.3) { self.some_time(300, 3000) } else { Change::default().within };
        let change = Change { within, ..Change::default() };
        if joins { self.join(id, change, sim, at) } else { self.go(id, change, at) }
    }

    fn join(&mut self, id: u64, change: Change, sim: &mut Sim<'_>, at: &Rc<Machine>) -> String {
        let begins = self.members.at(Stage::Unused).contains(&id);
        if begins {
            sim.bounce(name(id));
            self.members.has_come(id, Stage::Joining);
        }
        let seated = self.rng.random_bool(0.7);
        let members = self.members.clone();
        let work = members.work();
        at.post(Box::new(move |cluster| {
            Box::pin(async move {
                let _work = work;
                // Whatever fails is tried again by the operator until it is done.
                for _ in 0..TRIES {
                    if join(&cluster, id, seated, change).await {
                        return members.has_come(id, Stage::Member);
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            })
        }));
        let how = if seated { "to vote" } else { "as a front" };
        format!("node {id} joins {how}{}", if begins { "" } else { " still" })
    }

    fn go(&mut self, id: u64, change: Change, at: &Rc<Machine>) -> String {
        let begins = self.members.ids().contains(&id);
        self.members.has_come(id, Stage::Going);
        let drained = self.rng.random_bool(0.5);
        let (members, removed) = (self.members.clone(), self.removed.clone());
        let work = members.work();
        at.post(Box::new(move |cluster| {
            Box::pin(async move {
                let _work = work;
                let gone = match drained {
                    true => cluster.drain(id, change).await,
                    false => cluster.remove(id, change).await,
                };
                if gone.is_ok() {
                    members.has_come(id, Stage::Gone);
                    removed.borrow_mut().insert(id);
                }
            })
        }));
        let how = if drained { "is drained" } else { "goes" };
        format!("node {id} {how}{}", if begins { "" } else { " still" })
    }
}

async fn join(cluster: &Cluster, id: u64, seated: bool, change: Change) -> bool {
    cluster.add(id, address(id), change).await.is_ok()
        && (!seated || cluster.promote(id, change).await.is_ok())
}
