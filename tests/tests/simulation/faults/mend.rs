//! How what went wrong is mended, by and by or all at once.

use std::rc::Rc;
use std::time::Duration;

use turmoil::Sim;

use super::{Faults, pairs};
use crate::simulation::machine::{Condition, Machine, name};

/// What is done to end a fault.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mend {
    /// The end of a process that was killed, a moment after its connections.
    Bury(u64),
    Start(u64),
    Repair(u64, u64),
    Release(u64, u64),
    Quicken(u64, u64),
    Steady(u64, u64),
    /// Nobody is refused any more.
    Believe,
}

impl Faults {
    pub(super) fn mend_due(&mut self, sim: &mut Sim<'_>, machines: &[Rc<Machine>]) {
        let now = sim.elapsed();
        let (due, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.mends).into_iter().partition(|(at, _)| *at <= now);
        self.mends = rest;
        for (_, mend) in due {
            self.mend(mend, sim, machines);
        }
    }

    fn mend(&mut self, mend: Mend, sim: &mut Sim<'_>, machines: &[Rc<Machine>]) {
        let now = sim.elapsed();
        match mend {
            Mend::Bury(id) => self.switch_off(id, sim, machines),
            Mend::Start(id) => {
                let machine = machines.iter().find(|it| it.id == id).expect("every id has a machine");
                if *machine.condition.borrow() == Condition::Down && !self.removed.borrow().contains(&id) {
                    sim.bounce(name(id));
                    self.note(now, format!("node {id} starts"));
                }
            }
            Mend::Repair(a, b) => {
                sim.repair(name(a), name(b));
                self.note(now, format!("{a} {b} repaired"));
            }
            Mend::Release(a, b) => {
                sim.release(name(a), name(b));
                self.note(now, format!("{a} {b} released"));
            }
            Mend::Quicken(a, b) => {
                // A minimum that was set can only be set again.
                sim.set_link_latency(name(a), name(b), self.latency_max / 2);
            }
            Mend::Steady(a, b) => sim.set_link_fail_rate(name(a), name(b), 0.0),
            Mend::Believe => machines.iter().for_each(|it| it.refuse(None)),
        }
    }

    /// A node that gave up or left is started again, as an operator's supervisor does; one that was removed is not.
    pub(super) fn restart_failed(&mut self, sim: &mut Sim<'_>, machines: &[Rc<Machine>]) {
        for machine in machines {
            let condition = machine.condition.borrow().clone();
            let removed = self.removed.borrow().contains(&machine.id);
            let over = match &condition {
                Condition::Failed(why) => Some(format!("node {} failed: {why}", machine.id)),
                Condition::Left => has_left(machine).then(|| format!("node {} left", machine.id)),
                Condition::Up | Condition::Starting => {
                    removed.then(|| format!("node {} removed", machine.id))
                }
                Condition::Down | Condition::Refused(_) => None,
            };
            if let Some(why) = over {
                self.note(sim.elapsed(), why);
                self.switch_off(machine.id, sim, machines);
            }
        }
    }

    /// Ends all faults. What was removed stays away.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>, machines: &[Rc<Machine>]) {
        self.note(sim.elapsed(), "all is mended".to_owned());
        machines.iter().for_each(|it| {
            it.platter.mend();
            it.refuse(None);
        });
        for (a, b) in pairs(&self.shape) {
            sim.set_link_fail_rate(name(a), name(b), 0.0);
            sim.set_link_latency(name(a), name(b), Duration::from_millis(2));
            sim.repair(name(a), name(b));
            sim.release(name(a), name(b));
        }
        for (_, mend) in std::mem::take(&mut self.mends) {
            match mend {
                Mend::Bury(_) => self.mends.push((sim.elapsed(), mend)),
                Mend::Start(_) => self.mend(mend, sim, machines),
                Mend::Repair(..)
                | Mend::Release(..)
                | Mend::Quicken(..)
                | Mend::Steady(..)
                | Mend::Believe => {}
            }
        }
    }

    /// Goes on with starting what failed, after [`Faults::heal`].
    pub(crate) fn supervise(&mut self, sim: &mut Sim<'_>, machines: &[Rc<Machine>]) {
        self.mend_due(sim, machines);
        self.restart_failed(sim, machines);
    }
}

fn has_left(machine: &Machine) -> bool {
    machine
        .cluster
        .borrow()
        .as_ref()
        .is_none_or(|cluster| cluster.ready().is_err_and(|why| why.contains(&"stopped")))
}
