//! One simulation from its seed to its verdict.

mod audit;
mod settle;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use conclave_cluster::Cluster;
use conclave_cluster::state::id::Digest;
use conclave_cluster::state::slot::CellId;
use tokio::time::sleep;
use turmoil::{Builder, Sim};

use super::clock;
use super::faults::Faults;
use super::history::{Command, Fate};
use super::invariants::{Violation, bounds, check_history, replicas_agree, shares, slots, tokens};
use super::machine::{Condition, Machine, name};
use super::oracle::Oracle;
use super::plan::{Double, Plan};
use super::workload::{Desk, EXCHANGES, FLOODED, found};

/// The grain of virtual time.
const TICK: Duration = Duration::from_millis(2);
/// How often replicas are compared and bounds are looked at.
const LOOK_EVERY: u32 = 25;
/// For how long a cluster in good health may take to do what is asked of it. Virtual time.
const PATIENCE: Duration = Duration::from_secs(40);

/// Between two tries of what an audit needs.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// What is left of a simulation in which nothing was violated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Of everything that happened: equal for two runs of one seed.
    pub(crate) digest: Digest,
    pub(crate) commands: usize,
    pub(crate) answered: usize,
    pub(crate) leaders: usize,
    /// Commands that were paid for by tokens.
    pub(crate) by_tokens: u32,
    /// Watches that came to their end.
    pub(crate) told: u64,
}

/// A violation, and what had been done to the cluster before it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) violation: Violation,
    pub(crate) faults: Vec<String>,
}

/// Runs a plan.
pub(crate) fn run(plan: Plan) -> Result<Report, Failure> {
    let seed = plan.seed;
    conclave_cluster::raft::pin_randomness(seed);
    clock::stepped(Duration::ZERO);
    let sim = Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + Duration::from_millis(clock::EPOCH_MS))
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(3600))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(plan.latency_max)
        .tcp_capacity(1024)
        .build();
    let desk = Desk::new(plan);
    let machines: Vec<Rc<Machine>> =
        desk.plan.shape.machines().map(|id| Machine::new(id, desk.clone())).collect();
    let faults = Faults::new(&desk.plan);
    let mut stage = Stage {
        sim,
        desk,
        machines,
        faults,
        seen: Default::default(),
        owners: Default::default(),
        oracle: Default::default(),
        ledger: Default::default(),
        leaders: Vec::new(),
        steps: 0,
    };
    let result = stage.play();
    stage.close();
    if std::env::var_os("CONCLAVE_TRACE").is_some() {
        println!("{}", stage.trace());
    }
    match result {
        Ok(()) => Ok(stage.report()),
        Err(violation) => {
            let faults =
                stage.faults.log.iter().map(|(at, what)| format!("{:.3} s: {what}", at.as_secs_f64()));
            Err(Failure { violation, faults: faults.collect() })
        }
    }
}

struct Stage {
    sim: Sim<'static>,
    desk: Rc<Desk>,
    machines: Vec<Rc<Machine>>,
    faults: Faults,
    seen: replicas_agree::Seen,
    owners: slots::Owners,
    oracle: Oracle,
    ledger: tokens::Ledger,
    /// Who led which cell from when on, by the leaders' own account.
    leaders: Vec<(Duration, CellId, u64)>,
    steps: u32,
}

impl Stage {
    fn play(&mut self) -> Result<(), Violation> {
        self.switch_on();
        let first = self.desk.plan.shape.first();
        self.wait("the cluster does not come up", |stage| first.clone().all(|id| stage.machine(id).is_up()))?;
        self.found_registers()?;
        self.chaos()?;
        self.faults.heal(&mut self.sim, &self.machines);
        self.finish_changes()?;
        self.settle_members()?;
        self.converge()?;
        self.settle_slots()?;
        self.audit()?;
        self.settle_watches()?;
        self.desk.plan.mind(slots::whole(&self.members()))?;
        self.look_at_logs()?;
        self.desk.plan.mind(self.oracle.agrees(&self.members()))?;
        self.desk.plan.mind(self.ledger.covers(self.desk.history.borrow().events()))?;
        check_history(&self.desk.plan, self.desk.history.borrow().events())
    }

    fn machine(&self, id: u64) -> Rc<Machine> {
        self.machines.iter().find(|it| it.id == id).expect("every id has a machine").clone()
    }

    fn switch_on(&mut self) {
        let first = self.desk.plan.shape.first();
        for machine in &self.machines {
            let waiting = Cell::new(!first.contains(&machine.id));
            let machine = machine.clone();
            self.sim.host(name(machine.id), move || {
                let machine = machine.clone();
                // Whoever is no first member stands by until it is switched on.
                let stands_by = waiting.replace(false);
                async move { if stands_by { Ok(()) } else { machine.run().await } }
            });
        }
    }

    /// One step of virtual time, and what is looked at after it.
    fn step(&mut self) -> Result<(), Violation> {
        if let Err(error) = self.sim.step() {
            return Err(Violation::new("no node panics", error.to_string()));
        }
        clock::stepped(self.sim.elapsed());
        self.steps += 1;
        self.note_leaders();
        for machine in &self.machines {
            if let Condition::Refused(why) = &*machine.condition.borrow() {
                return Err(Violation::new("liveness", format!("node {} was refused: {why}", machine.id)));
            }
        }
        if self.steps.is_multiple_of(LOOK_EVERY) {
            self.desk.plan.mind(self.seen.look(&self.machines))?;
            self.desk.plan.mind(self.owners.look(&self.machines))?;
            self.desk.plan.mind(bounds::look(&self.desk.plan, &self.machines))?;
            self.desk.plan.mind(shares::look(&self.desk.plan, &self.machines))?;
            self.look_at_logs()?;
        }
        Ok(())
    }

    fn look_at_logs(&mut self) -> Result<(), Violation> {
        let (ledger, plan) = (&mut self.ledger, &self.desk.plan);
        plan.mind(self.oracle.look(&self.machines, |answered| ledger.note(answered)))?;
        plan.mind(ledger.look(&self.machines))
    }

    fn note_leaders(&mut self) {
        let mut noted = BTreeSet::new();
        for machine in &self.machines {
            // Of two that take themselves for the leader of a cell the first one counts.
            let Some(cell) = machine.cell().filter(|cell| machine.leads() && noted.insert(*cell)) else {
                continue;
            };
            let last = self.leaders.iter().rev().find(|(_, led, _)| *led == cell);
            if last.is_none_or(|(_, _, id)| *id != machine.id) {
                self.leaders.push((self.sim.elapsed(), cell, machine.id));
            }
        }
    }

    /// Goes on, in good health, until something is so.
    fn wait(&mut self, else_what: &str, so: impl Fn(&Self) -> bool) -> Result<(), Violation> {
        let deadline = self.sim.elapsed() + PATIENCE;
        while !so(self) {
            if self.sim.elapsed() >= deadline {
                let nodes = self.machines.iter().map(|it| {
                    let applied =
                        it.cluster.borrow().as_ref().map(|cluster| cluster.read_at_applied_index(()).1);
                    let leader = it.cluster.borrow().as_ref().and_then(Cluster::leader);
                    format!(
                        "\n    node {}: {:?}, applied {applied:?}, leader {leader:?}",
                        it.id,
                        it.condition.borrow()
                    )
                });
                let context = format!("{else_what} within {PATIENCE:?}{}", nodes.collect::<String>());
                return Err(Violation::new("liveness", context));
            }
            self.step()?;
            self.faults.supervise(&mut self.sim, &self.machines);
        }
        Ok(())
    }

    /// Does something on a node and waits for its result.
    fn on<F, T>(
        &mut self,
        id: u64,
        what: &str,
        job: impl FnOnce(Rc<Desk>, Cluster) -> F + 'static,
    ) -> Result<T, Violation>
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        let result = Rc::new(RefCell::new(None));
        let (slot, desk) = (result.clone(), self.desk.clone());
        self.machine(id).post(Box::new(move |cluster| {
            Box::pin(async move {
                let done = job(desk, cluster).await;
                *slot.borrow_mut() = Some(done);
            })
        }));
        self.wait(what, |_| result.borrow().is_some())?;
        let done = result.borrow_mut().take();
        Ok(done.expect("it was waited for"))
    }

    fn found_registers(&mut self) -> Result<(), Violation> {
        self.on(1, "the registers cannot be founded", |_, cluster| async move {
            for number in 0..EXCHANGES {
                while cluster.propose(found(number)).await.is_err() {
                    sleep(RETRY_AFTER).await;
                }
            }
        })
    }

    fn chaos(&mut self) -> Result<(), Violation> {
        let end = self.sim.elapsed() + self.desk.plan.chaos;
        self.faults.begin(self.sim.elapsed());
        if self.desk.plan.double == Double::FlushesNothing {
            self.machines.iter().for_each(|it| it.platter.lie());
        }
        if self.desk.plan.double == Double::ForgetsVotes {
            self.machines.iter().for_each(|it| it.platter.forget_votes());
        }
        if self.desk.plan.flood {
            self.flood();
        }
        while self.sim.elapsed() < end {
            self.step()?;
            self.faults.step(&mut self.sim, &self.machines);
        }
        Ok(())
    }

    /// More signals at once than a mailbox holds.
    fn flood(&mut self) {
        let desk = self.desk.clone();
        let one = *self.desk.plan.shape.first().end();
        self.machine(one.min(2)).post(Box::new(move |cluster| {
            Box::pin(async move {
                let pushes = (0..560).map(|number| {
                    let command = Command::Push { mailbox: FLOODED, value: u64::MAX / 2 + number };
                    desk.carry_out(&cluster, command, None)
                });
                futures_util::future::join_all(pushes).await;
            })
        }));
    }

    /// Ends the simulation in an order in which every part still finds what it needs.
    fn close(&mut self) {
        for machine in &self.machines {
            if *machine.condition.borrow() != Condition::Down {
                machine.unplug();
                self.sim.crash(name(machine.id));
                machine.switched_off();
            }
        }
    }

    /// Everything that happened, line by line.
    fn trace(&self) -> String {
        let mut trace = String::new();
        for event in self.desk.history.borrow().events() {
            trace += &format!("{} {} {}\n", event.asked, event.answered, event.line());
        }
        for (at, cell, leader) in &self.leaders {
            trace += &format!("{at:?} node {leader} leads cell {}\n", cell.number());
        }
        for (at, fault) in &self.faults.log {
            trace += &format!("{at:?} {fault}\n");
        }
        for line in self.seen.lines() {
            trace += &line;
            trace += "\n";
        }
        trace
    }

    fn report(&self) -> Report {
        let history = self.desk.history.borrow();
        let events = history.events();
        Report {
            digest: Digest::of(self.trace().as_bytes()),
            commands: events.len(),
            answered: events
                .iter()
                .filter(|event| matches!(event.fate, Fate::Answered(_) | Fate::Saw(_)))
                .count(),
            leaders: self.leaders.len(),
            by_tokens: self.ledger.used(),
            told: self.desk.told.get(),
        }
    }
}
