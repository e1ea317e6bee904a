//! Carries a schedule out.
//!
//! Load runs from before the first step until after the last one. Then everything is healed, all nodes have to become
//! ready, the proof looks at each of them and gives its verdict, and all have to have applied the same.

mod cure;
mod divided;
mod figures;
mod find;
mod load;
mod members;
mod perform;
mod wait;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Error;
use super::canary::Canary;
use super::cluster::{Cluster, Plan};
use super::observer::Observer;
use super::report::{Outcome, Report};
use super::schedule::{Action, Await, Fault, Schedule};
use super::sockets::Sockets;
use crate::cluster_status::ClusterStatus;
use crate::proof;

/// How a schedule is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `conclave` binary.
    pub binary: PathBuf,
    /// Another version of it, if there is one.
    pub other: Option<PathBuf>,
    /// A cluster that runs already, in place of one of its own.
    pub attach: Option<ClusterStatus>,
    /// Nodes, where the schedule says nothing.
    pub nodes: u64,
    /// Operations a second, where the schedule says nothing.
    pub rate: f64,
    /// What the load asks and which nodes are hurt is derived from this.
    pub seed: u64,
    /// Where the nodes' disks and logs are.
    pub folder: PathBuf,
}

/// Told what happens.
pub trait Audience {
    /// Something happened, this long after the load began.
    fn hears(&self, at: Duration, what: &str);
}

/// One run of one schedule.
struct Runner<'a> {
    schedule: &'a Schedule,
    cluster: Cluster,
    load: proof::Run,
    observer: Observer,
    audience: &'a dyn Audience,
    dice: StdRng,
    began: Instant,
    /// The nodes that `same` means.
    same: Vec<u64>,
    /// Who led when harm was last done.
    led: Option<u64>,
    /// The nodes that the load asks, in its order.
    asked: Vec<u64>,
    /// The time before any harm.
    before: (Instant, Instant),
    /// When harm was done.
    harmed: Vec<Instant>,
    /// From when on latency is that of the time of harm, if a step says so.
    during: Option<Instant>,
    /// When something was last done at all.
    acted: Instant,
    sockets: Option<Sockets>,
    canary: Canary,
    measured: BTreeMap<&'static str, f64>,
    broken: Vec<String>,
}

/// Connections are opened and caches are filled; not part of what is compared with.
const WARM_UP: Duration = Duration::from_secs(1);
/// For all nodes to be ready once everything is healed, and to have applied the same.
const CONVERGE: Duration = Duration::from_secs(60);

/// Runs a schedule. `stop` ends it early: what was found so far is reported.
pub async fn direct(
    schedule: &Schedule,
    options: &Options,
    audience: &dyn Audience,
    stop: &mut watch::Receiver<bool>,
) -> Report {
    let mut report = Report::new(schedule, options.seed, options.folder.clone());
    if let Some(why) = obstacle(schedule, options) {
        report.outcome = Outcome::Skipped(why);
        return report;
    }
    match run(schedule, options, audience, stop, &mut report).await {
        Ok(()) => {}
        Err(error) => report.outcome = Outcome::Impossible(error.to_string()),
    }
    report
}

/// Why a schedule cannot be run here, if so.
fn obstacle(schedule: &Schedule, options: &Options) -> Option<String> {
    if options.attach.is_some()
        && !(schedule.set.is_empty() && schedule.faults().all(Fault::is_about_processes))
    {
        return Some("needs nodes of its own".to_owned());
    }
    let missing: Vec<String> = schedule
        .needs()
        .into_iter()
        .filter_map(|need| {
            Some(format!("needs = \"{need}\": there is no {}", need.missing(options.other.as_deref())?))
        })
        .collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

async fn run(
    schedule: &Schedule,
    options: &Options,
    audience: &dyn Audience,
    stop: &mut watch::Receiver<bool>,
    report: &mut Report,
) -> Result<(), Error> {
    let starting = start(schedule, options);
    let cluster = tokio::select! {
        cluster = starting => cluster?,
        _ = stop.wait_for(|stop| *stop) => {
            report.outcome = Outcome::Interrupted;
            return Ok(());
        }
    };
    let asked = cluster.ids();
    let load = proof::Run::start(load::options(schedule, options, cluster.targets()));
    let canary = Canary::start(cluster.targets());
    let now = Instant::now();
    let mut runner = Runner {
        schedule,
        observer: Observer::start(&cluster),
        cluster,
        load,
        audience,
        dice: StdRng::seed_from_u64(options.seed),
        began: now,
        same: Vec::new(),
        led: None,
        asked,
        before: (now, now),
        harmed: Vec::new(),
        during: None,
        acted: now,
        sockets: None,
        canary,
        measured: BTreeMap::new(),
        broken: Vec::new(),
    };
    let whole = tokio::select! {
        done = runner.play() => done.map(|()| true),
        _ = stop.wait_for(|stop| *stop) => Ok(false),
    };
    runner.end(whole, report).await;
    Ok(())
}

async fn start(schedule: &Schedule, options: &Options) -> Result<Cluster, Error> {
    match &options.attach {
        Some(cluster_status) => Cluster::attach(cluster_status).await,
        None => Cluster::start(plan(schedule, options)).await,
    }
}

fn plan(schedule: &Schedule, options: &Options) -> Plan {
    // All of the load comes from one address.
    let unmetered = ["allowance.enabled", "shares.enabled"].map(|key| (key.to_owned(), "false".to_owned()));
    Plan {
        other: options.other.clone(),
        nodes: schedule.nodes.unwrap_or(options.nodes),
        settings: unmetered.into_iter().chain(schedule.settings()).collect(),
        intercepted: schedule.faults().any(Fault::is_about_the_net),
        disk_bytes: schedule.disk_mib.map(|mib| mib << 20),
        clocks: schedule.faults().any(|fault| matches!(fault, Fault::Clock { .. })),
        failing_calls: schedule.faults().any(|fault| matches!(fault, Fault::FailFlushes { .. })),
        ..Plan::new(options.binary.clone(), options.folder.clone())
    }
}

impl Runner<'_> {
    /// All steps, with load before, between and after them.
    async fn play(&mut self) -> Result<(), Error> {
        sleep(WARM_UP).await;
        let (from, acknowledged) = (Instant::now(), self.load.acknowledged());
        sleep(self.schedule.before.into()).await;
        let done = self.load.acknowledged() - acknowledged;
        self.measured.insert("acknowledged_per_s", done as f64 / from.elapsed().as_secs_f64());
        self.before = (from, Instant::now());
        self.observer.begin();

        let stage = Instant::now();
        // Until something is done, it is only waited for the cluster to be as it has to be.
        let mut begun = None;
        for step in &self.schedule.steps {
            sleep(step.after.into()).await;
            if step.during {
                self.during = Some(Instant::now());
            }
            match &step.action {
                Action::Do(fault) => {
                    begun.get_or_insert_with(Instant::now);
                    self.perform(fault).await?;
                }
                Action::Await(condition) => self.wait(condition).await?,
                Action::Expect(expectation) => self.look(expectation).await?,
            }
            let long = self.schedule.lasts.is_some_and(|lasts| {
                begun.is_some_and(|begun: Instant| begun.elapsed() >= Duration::from(lasts))
            });
            if long && matches!(step.action, Action::Await(Await::Healthy { .. } | Await::Settled { .. })) {
                break;
            }
        }
        let over = Instant::now();
        sleep(self.schedule.after.into()).await;
        self.figures(stage, over);
        Ok(())
    }

    /// Heals, lets the proof look at everything, and says what came of it. `whole` is whether all steps were done.
    async fn end(mut self, whole: Result<bool, Error>, report: &mut Report) {
        match &whole {
            Ok(true) => {}
            Ok(false) => self.note("interrupted; what follows is about what was done so far"),
            Err(error) => self.broken(error.to_string()),
        }
        let healed = self.cure().await;
        if let Err(error) = healed {
            self.broken(format!("after healing: {error}"));
        }
        self.note("everything is healed");
        let Self { load, cluster, measured, broken, schedule, .. } = self;
        let verdict = load.finish().await;
        report.broken = broken;
        match cluster.converged(CONVERGE).await {
            Ok(applied) => report.applied = Some(applied),
            Err(error) => report.broken.push(format!("after the load: {error}")),
        }
        report.close(schedule, &measured, verdict, matches!(whole, Ok(false)));
    }

    /// Says what happens, here and on the proof's time line.
    fn note(&self, what: impl Into<String>) {
        let what = what.into();
        self.audience.hears(self.began.elapsed(), &what);
        self.load.mark(what);
    }

    /// A promise was not kept.
    fn broken(&mut self, what: String) {
        self.note(format!("BROKEN: {what}"));
        self.broken.push(what);
    }
}
