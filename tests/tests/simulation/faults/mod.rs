//! What goes wrong, and how it is mended.

mod fault;
mod members;
mod mend;
mod misplace;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use conclave_cluster::state::slot::CellId;
use rand::RngExt as _;
use rand::rngs::SmallRng;
use turmoil::Sim;

use super::machine::{Condition, Machine, name};
use super::plan::{Plan, Shape};
use fault::Fault;
use members::Members;
use mend::Mend;

/// Breaks and mends.
pub(crate) struct Faults {
    rng: SmallRng,
    shape: Shape,
    every: Duration,
    latency_max: Duration,
    hold_ms_max: u64,
    next: Duration,
    mends: Vec<(Duration, Mend)>,
    members: Members,
    /// Nodes that were removed and are switched off for good.
    pub(crate) removed: Rc<RefCell<BTreeSet<u64>>>,
    /// What happened, for the reader of a failure.
    pub(crate) log: Vec<(Duration, String)>,
}

impl Faults {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            rng: plan.rng(&[4]),
            shape: plan.shape,
            every: plan.fault_every,
            latency_max: plan.latency_max,
            hold_ms_max: plan.hold_ms_max,
            next: Duration::ZERO,
            mends: Vec::new(),
            members: Members::new(&plan.shape),
            removed: Rc::default(),
            log: Vec::new(),
        }
    }

    /// Whether an operator's change of members may come to its end yet.
    pub(crate) fn are_changing_members(&self) -> bool {
        self.members.are_changing()
    }

    /// Begins to count from now.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.next = now + self.every / 2;
    }

    /// Does what is due.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>, machines: &[Rc<Machine>]) {
        let now = sim.elapsed();
        if now >= self.next {
            self.next = now + self.every.mul_f64(self.rng.random_range(0.2..1.8));
            let fault = Fault::choose(&mut self.rng, &self.shape);
            self.inflict(fault, sim, machines);
        }
        self.mend_due(sim, machines);
        self.restart_failed(sim, machines);
    }

    fn some_time(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from_ms..=to_ms))
    }

    /// Two of the members, if there are two.
    fn pair(&mut self) -> Option<(u64, u64)> {
        let members = self.members.ids();
        if members.len() < 2 {
            return None;
        }
        let first = self.rng.random_range(0..members.len());
        let second = (first + self.rng.random_range(1..members.len())) % members.len();
        Some((members[first], members[second]))
    }

    fn others(&self, id: u64) -> impl Iterator<Item = u64> + use<> {
        self.shape.machines().filter(move |other| *other != id)
    }

    fn note(&mut self, now: Duration, what: String) {
        self.log.push((now, what));
    }

    fn inflict(&mut self, fault: Fault, sim: &mut Sim<'_>, machines: &[Rc<Machine>]) {
        let now = sim.elapsed();
        let up: Vec<u64> = machines.iter().filter(|it| it.is_up()).map(|it| it.id).collect();
        let Some(&one) = up.get(self.rng.random_range(0..up.len().max(1))) else { return };
        let leaders: Vec<u64> = machines.iter().filter(|it| it.leads()).map(|it| it.id).collect();
        let leader = match leaders[..] {
            [] => one,
            [leader] => leader,
            [..] => leaders[self.rng.random_range(0..leaders.len())],
        };
        let machine = |id: u64| machines.iter().find(|it| it.id == id).expect("every id has a machine");
        let mut whom = String::new();
        match fault {
            Fault::CrashOne => self.crash(one, sim, machines),
            Fault::CrashLeader => self.crash(leader, sim, machines),
            Fault::CrashAll => {
                for it in machines {
                    it.platter.cut_power();
                    self.switch_off(it.id, sim, machines);
                    it.platter.crash();
                }
            }
            Fault::CutLeaderOff => {
                for other in self.others(leader) {
                    sim.partition(name(leader), name(other));
                    let time = self.some_time(500, 4000);
                    self.mends.push((now + time, Mend::Repair(leader, other)));
                }
                whom = format!("{leader}");
            }
            Fault::CutPair => {
                let Some((a, b)) = self.pair() else { return };
                sim.partition(name(a), name(b));
                let time = self.some_time(300, 4000);
                self.mends.push((now + time, Mend::Repair(a, b)));
                whom = format!("{a} {b}");
            }
            Fault::CutOneWay => {
                let Some((from, to)) = self.pair() else { return };
                sim.partition_oneway(name(from), name(to));
                let time = self.some_time(300, 4000);
                self.mends.push((now + time, Mend::Repair(from, to)));
                whom = format!("{from} → {to}");
            }
            Fault::DeafenLeader => {
                let time = self.some_time(500, 4000);
                for other in self.others(leader) {
                    sim.partition_oneway(name(other), name(leader));
                    self.mends.push((now + time, Mend::Repair(other, leader)));
                }
                whom = format!("{leader} for {time:?}");
            }
            Fault::CutEverybody => {
                for (a, b) in pairs(&self.shape) {
                    sim.partition(name(a), name(b));
                    let time = self.some_time(300, 2500);
                    self.mends.push((now + time, Mend::Repair(a, b)));
                }
            }
            Fault::CutCellOff => {
                let cell = machine(leader).cell();
                let time = self.some_time(300, 4000);
                let is_in = |id: u64| machine(id).cell() == cell;
                for (a, b) in pairs(&self.shape).filter(|(a, b)| is_in(*a) != is_in(*b)) {
                    sim.partition(name(a), name(b));
                    self.mends.push((now + time, Mend::Repair(a, b)));
                }
                whom = format!("of {leader} for {time:?}");
            }
            Fault::Reset => {
                machine(one).hang_up();
                whom = format!("{one}");
            }
            Fault::Slander => {
                machine(leader).hang_up();
                machines.iter().for_each(|it| it.refuse(Some(leader)));
                let time = self.some_time(5, 1000);
                self.mends.push((now + time, Mend::Believe));
                whom = format!("{leader} for {time:?}");
            }
            Fault::Hold => {
                let Some((a, b)) = self.pair() else { return };
                sim.hold(name(a), name(b));
                let time = self.some_time(50, self.hold_ms_max);
                self.mends.push((now + time, Mend::Release(a, b)));
                whom = format!("{a} {b}");
            }
            Fault::Freeze => {
                let time = self.some_time(50, self.hold_ms_max);
                for other in self.others(one) {
                    sim.hold(name(one), name(other));
                    self.mends.push((now + time, Mend::Release(one, other)));
                }
                whom = format!("{one} for {time:?}");
            }
            Fault::Slow => {
                let Some((a, b)) = self.pair() else { return };
                let latency = self.some_time(50, 150);
                sim.set_link_latency(name(a), name(b), latency);
                let time = self.some_time(500, 3000);
                self.mends.push((now + time, Mend::Quicken(a, b)));
                whom = format!("{a} {b}");
            }
            Fault::Flaky => {
                let Some((a, b)) = self.pair() else { return };
                sim.set_link_fail_rate(name(a), name(b), 0.02);
                let time = self.some_time(300, 2000);
                self.mends.push((now + time, Mend::Steady(a, b)));
                whom = format!("{a} {b}");
            }
            Fault::StallDisk => {
                let time = self.some_time(500, 4000);
                machine(one).platter.stall(time);
                whom = format!("{one} for {time:?}");
            }
            Fault::FailFlush => {
                machine(one).platter.fail();
                whom = format!("{one}");
            }
            Fault::TransferLeader => {
                let cell = machine(one).cell();
                let seats =
                    machines.iter().filter(|it| it.cell().is_some() && (cell.is_none() || it.cell() == cell));
                let seats: Vec<u64> = seats.map(|it| it.id).collect();
                let led = cell.unwrap_or_default();
                machine(one).post(Box::new(move |cluster| {
                    Box::pin(async move {
                        // It may well be refused in the middle of other faults.
                        if let Some(next) = successor(cluster.leader_of(led).unwrap_or(1), &seats) {
                            let _ = cluster.transfer_leader(next).await;
                        }
                    })
                }));
            }
            Fault::Snapshot => {
                machine(one).post(Box::new(|cluster| Box::pin(async move { cluster.snapshot().await })));
                whom = format!("{one}");
            }
            Fault::ShutDown => {
                let machine = machine(one).clone();
                let leaving = machine.clone();
                machine.post(Box::new(|cluster| {
                    Box::pin(async move {
                        *leaving.condition.borrow_mut() = Condition::Left;
                        cluster.shutdown().await;
                    })
                }));
                whom = format!("{one}");
            }
            Fault::MisplaceSlots => {
                let first = |it: &&Rc<Machine>| it.leads() && it.cell() == Some(CellId::FIRST);
                let Some(leader) = machines.iter().find(first) else { return };
                let slots = misplace::choose(&mut self.rng);
                whom = format!("{}", slots.len());
                leader.post(Box::new(|cluster| Box::pin(misplace::misplace(cluster, slots))));
            }
            Fault::ChangeMembers => whom = self.change_members(sim, machine(one)),
        }
        self.note(now, format!("{fault:?} {whom}"));
    }

    /// Kills a node's process, of which its peers hear, or cuts its power, of which they do not.
    fn crash(&mut self, id: u64, sim: &mut Sim<'_>, machines: &[Rc<Machine>]) {
        let machine = machines.iter().find(|it| it.id == id).expect("every id has a machine");
        if machine.is_up() && self.rng.random_bool(0.6) {
            machine.hang_up();
            self.mends.push((sim.elapsed() + Duration::from_nanos(1), Mend::Bury(id)));
        } else {
            self.switch_off(id, sim, machines);
        }
    }

    fn switch_off(&mut self, id: u64, sim: &mut Sim<'_>, machines: &[Rc<Machine>]) {
        let now = sim.elapsed();
        let machine = machines.iter().find(|it| it.id == id).expect("every id has a machine");
        if *machine.condition.borrow() == Condition::Down {
            return;
        }
        machine.unplug();
        sim.crash(name(id));
        machine.switched_off();
        let time = self.some_time(100, 3000);
        self.mends.push((now + time, Mend::Start(id)));
        self.note(now, format!("node {id} is down"));
    }
}

fn pairs(shape: &Shape) -> impl Iterator<Item = (u64, u64)> + use<> {
    let machines = shape.machines();
    machines.clone().flat_map(move |a| machines.clone().filter(move |b| a < *b).map(move |b| (a, b)))
}

/// Whom a leader hands over to: the next one that sits in its cell.
fn successor(leader: u64, seats: &[u64]) -> Option<u64> {
    seats.iter().find(|id| **id > leader).or(seats.first()).copied()
}
