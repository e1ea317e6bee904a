//! What is waited for once the faults are over: who the members are, that they agree, and where the slots are.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use conclave_cluster::state::slot::CellId;
use conclave_cluster::{Cluster, Status};

use super::{LOOK_EVERY, PATIENCE, Stage};
use crate::simulation::invariants::{Violation, slots};
use crate::simulation::machine::Machine;

/// The longest that an operator waits for a change, three times over. Virtual time.
const CHANGES_END: Duration = Duration::from_secs(3 * 121);

impl Stage {
    /// Waits for operators whose changes are under way: a machine that is about to join is no member yet, and will be one.
    pub(super) fn finish_changes(&mut self) -> Result<(), Violation> {
        let deadline = self.sim.elapsed() + CHANGES_END;
        while self.faults.are_changing_members() && self.sim.elapsed() < deadline {
            self.step()?;
            self.faults.supervise(&mut self.sim, &self.machines);
        }
        Ok(())
    }

    /// Finds out who the members are after all; whoever is none is switched off for good. The leader of the first cell knows
    /// them.
    pub(super) fn settle_members(&mut self) -> Result<(), Violation> {
        let leader = |stage: &Self| {
            let mut machines = stage.machines.iter();
            let leader = machines.find(|it| it.is_up() && it.leads() && it.cell() == Some(CellId::FIRST))?;
            Some(leader.id)
        };
        let asked: Rc<RefCell<Option<Status>>> = Rc::default();
        self.wait("no leader is found", |stage| leader(stage).is_some())?;
        let slot = asked.clone();
        self.machine(leader(self).unwrap_or(1)).post(Box::new(move |cluster| {
            Box::pin(async move { *slot.borrow_mut() = Some(cluster.status().await) })
        }));
        self.wait("the leader does not tell who the members are", |_| asked.borrow().is_some())?;
        let members: BTreeSet<u64> =
            asked.take().into_iter().flat_map(|status| status.nodes).map(|node| node.id).collect();
        let machines = self.desk.plan.shape.machines();
        self.faults.removed.borrow_mut().extend(machines.filter(|id| !members.contains(id)));
        Ok(())
    }

    pub(super) fn members(&self) -> Vec<Rc<Machine>> {
        let removed = self.faults.removed.borrow();
        self.machines.iter().filter(|it| !removed.contains(&it.id)).cloned().collect()
    }

    /// All members are up and know a leader, and those of a cell have applied the same. A change that was under way when all
    /// was mended may come to its end meanwhile, so that one of them is none any more.
    pub(super) fn converge(&mut self) -> Result<(), Violation> {
        self.desk.closed.set(true);
        loop {
            let Err(apart) = self.agree() else { return self.no_member_believes_that_it_went() };
            let members = self.members().len();
            self.settle_members()?;
            if self.members().len() == members {
                return Err(apart);
            }
        }
    }

    /// A node that was removed never comes back, so who is a member now always was one since it came.
    fn no_member_believes_that_it_went(&self) -> Result<(), Violation> {
        match self.members().iter().find(|it| it.believed_removed.get()) {
            Some(it) => {
                let what = format!("node {} believed that it was removed, and is a member", it.id);
                Err(Violation::new("removal", what))
            }
            None => Ok(()),
        }
    }

    fn agree(&mut self) -> Result<(), Violation> {
        self.wait("the members do not come to agree", |stage| {
            let members = stage.members();
            let mut applied: BTreeMap<CellId, BTreeSet<u64>> = BTreeMap::new();
            for cluster in members.iter().filter_map(|it| it.cluster.borrow().clone()) {
                // A front applies nothing.
                if let Some(cell) = cluster.cell() {
                    applied.entry(cell).or_default().insert(cluster.read_at_applied_index(()).1);
                }
            }
            let is_led = |it: &Machine| {
                let leads = |cluster: &Cluster| cluster.leader_of(cluster.cell().unwrap_or_default());
                it.cluster.borrow().as_ref().and_then(leads).is_some()
            };
            members.iter().all(|it| it.is_up() && is_led(it))
                && applied.contains_key(&CellId::FIRST)
                && applied.values().all(|applied| applied.len() == 1)
        })
    }

    /// Waits until whoever waits for something that is there was told of it.
    pub(super) fn settle_watches(&mut self) -> Result<(), Violation> {
        let deadline = self.sim.elapsed() + PATIENCE;
        while let Some(what) = self.desk.untold() {
            if self.sim.elapsed() >= deadline {
                return self.desk.plan.mind(Err(Violation::new("watches", what)));
            }
            self.step()?;
            self.faults.supervise(&mut self.sim, &self.machines);
        }
        Ok(())
    }

    /// Waits until seats and slots are as they should be, for as long as they come nearer to that.
    pub(super) fn settle_slots(&mut self) -> Result<(), Violation> {
        let (mut least, mut until) = (usize::MAX, Duration::ZERO);
        let mut members = self.member_ids();
        while let Err(slots::Unsettled { left, violation }) =
            slots::settled(&self.members(), self.desk.plan.shape.rests)
        {
            if left < least {
                (least, until) = (left, self.sim.elapsed() + PATIENCE);
            }
            if self.sim.elapsed() >= until {
                // A change of members that was under way may have come to its end meanwhile.
                self.settle_members()?;
                if self.member_ids() == members {
                    return self.desk.plan.mind(Err(violation));
                }
                (least, members) = (usize::MAX, self.member_ids());
            }
            for _ in 0..LOOK_EVERY {
                self.step()?;
                self.faults.supervise(&mut self.sim, &self.machines);
            }
        }
        Ok(())
    }
}
