//! `chaos`: schedules of faults, one after the other, each with a cluster of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io, process};

use conclave_supervisor::abandoned;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::server::Server;
use super::{BROKEN, Failed, Verdict, duration, home, print_json, say};
use crate::chaos::report::{markdown, summary};
use crate::chaos::schedule::{NAMES, random};
use crate::chaos::{Audience, Error, Options, Outcome, Report, Schedule, direct, disk};
use crate::cluster_status::ClusterStatus;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What is to happen: a TOML file, or the name of a schedule that comes along; as often as wanted
    #[arg(long, value_name = "FILE|NAME")]
    schedule: Vec<String>,
    /// All schedules that come along
    #[arg(long, conflicts_with = "schedule")]
    all: bool,
    /// Say which schedules come along, and what they need
    #[arg(long)]
    list: bool,
    /// What the load, the nodes that are hurt and, without a schedule, the faults are derived from; random if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Nodes, where the schedule does not say
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// How long faults go on, without a schedule
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// Operations a second, where the schedule does not say
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    #[command(flatten)]
    server: Server,
    /// Another version of the server, for schedules that go from one to the other and back
    #[arg(long, value_name = "PATH")]
    other: Option<PathBuf>,
    /// The line that `conclave dev --json` printed, in a file: its processes are hurt in place of own ones
    #[arg(long, value_name = "FILE")]
    dev_json: Option<PathBuf>,
    /// Where logs and reports go; a temporary folder, kept only if something is broken, if not given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A schedule that is skipped, since something it needs is not there, fails the run
    #[arg(long)]
    require_all: bool,
    /// Print the reports as one line of JSON
    #[arg(long)]
    json: bool,
    /// Print the reports as rows of a Markdown table
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Threads of the load and of what stands between the nodes
    #[arg(long, default_value_t = 2)]
    pub(super) threads: usize,
}

/// Prints what happens as it happens.
struct Terminal;

impl Audience for Terminal {
    fn hears(&self, at: Duration, what: &str) {
        tell!("{:8.3} s  {what}", at.as_secs_f64());
    }
}

const SCRATCH: &str = "conclave-sim-";
const SCHEDULE: &str = "schedule.toml";

impl Args {
    pub(super) async fn run(self) -> Verdict {
        if self.list {
            return list();
        }
        let reports = self.play().await?;
        self.tell(&reports)
    }

    async fn play(&self) -> Result<Vec<Report>, Error> {
        let seed = self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
        let schedules = self.schedules(seed)?;
        let binary = match self.dev_json {
            Some(_) => self.server.path(),
            None => self.server.binary().map_err(Error::Schedule)?,
        };
        let attach = match &self.dev_json {
            Some(path) => {
                Some(ClusterStatus::parse(&fs::read(path).map_err(|error| io_error(path, error))?)?)
            }
            None => None,
        };
        let out = self.folder()?;
        let mut stop = interrupts()?;
        let mut reports: Vec<Report> = Vec::new();
        for schedule in &schedules {
            if *stop.borrow() {
                break;
            }
            let folder = out.join(&schedule.name);
            if folder.join(SCHEDULE).exists() {
                // An earlier run of the same, which may have left the nodes' disks.
                fs::remove_dir_all(&folder).map_err(|error| io_error(&folder, error))?;
            }
            fs::create_dir_all(&folder).map_err(|error| io_error(&folder, error))?;
            write(&folder.join(SCHEDULE), &schedule.text()?)?;
            tell!("── {}: {} (seed {seed})", schedule.name, schedule.about);
            let options = Options {
                binary: binary.clone(),
                other: self.other.clone(),
                attach: attach.clone(),
                nodes: self.nodes,
                rate: self.rate,
                seed,
                folder: folder.clone(),
            };
            let report = direct(schedule, &options, &Terminal, &mut stop).await;
            tell!("{}", report.text());
            let json = serde_json::to_string(&report).map_err(|error| Error::Tool(error.to_string()))?;
            write(&folder.join("report.json"), &json)?;
            if !matches!(report.outcome, Outcome::Broken | Outcome::Impossible(_)) {
                sweep_data(&folder);
            }
            reports.push(report);
        }
        let all_held =
            reports.iter().all(|report| matches!(report.outcome, Outcome::Held | Outcome::Skipped(_)));
        if self.out.is_none() && all_held {
            // Nobody asked for it, and nobody needs it.
            let _ = fs::remove_dir_all(&out);
        }
        Ok(reports)
    }

    fn schedules(&self, seed: u64) -> Result<Vec<Schedule>, Error> {
        if self.all {
            return NAMES.into_iter().map(Schedule::find).collect();
        }
        if self.schedule.is_empty() {
            tell!("no schedule: the seed {seed} makes one; `--seed {seed}` makes it again");
            return Ok(vec![random(seed, self.nodes, self.duration)]);
        }
        self.schedule.iter().map(|name| Schedule::find(name)).collect()
    }

    fn folder(&self) -> Result<PathBuf, Error> {
        // What killed runs have mounted.
        abandoned(SCRATCH).for_each(|folder| disk::sweep(&folder));
        let folder = home(self.out.as_deref(), SCRATCH).map_err(Error::Tool)?;
        fs::create_dir_all(&folder).map_err(|error| io_error(&folder, error))?;
        disk::sweep(&folder);
        folder.canonicalize().map_err(|error| io_error(&folder, error))
    }

    fn tell(&self, reports: &[Report]) -> Verdict {
        if self.json {
            print_json(&reports);
        } else if self.markdown {
            say(&markdown(reports));
        } else {
            say(&summary(reports));
        }
        let skipped = reports.iter().filter(|report| matches!(report.outcome, Outcome::Skipped(_))).count();
        if skipped > 0 {
            tell!("{skipped} of {} schedules were skipped, which shows nothing about them", reports.len());
        }
        // What is broken is worse than what was not seen to its end.
        let is_bad = |report: &Report| match report.outcome {
            Outcome::Broken | Outcome::Void => true,
            Outcome::Skipped(_) => self.require_all,
            Outcome::Held | Outcome::Impossible(_) | Outcome::Interrupted => false,
        };
        let not_seen =
            |report: &Report| matches!(report.outcome, Outcome::Impossible(_) | Outcome::Interrupted);
        match reports.iter().any(is_bad) {
            true => Ok(false),
            false if reports.is_empty() || reports.iter().any(not_seen) => Err(Failed(BROKEN, None)),
            false => Ok(true),
        }
    }
}

fn list() -> Verdict {
    for name in NAMES {
        let schedule = Schedule::find(name)?;
        let needs: Vec<String> = schedule.needs().iter().map(ToString::to_string).collect();
        let needs = if needs.is_empty() { String::new() } else { format!(" [{}]", needs.join(", ")) };
        say(&format!("{name:24} {}{needs}\n", schedule.about));
    }
    Ok(true)
}

/// True from the first Ctrl-C or SIGTERM on; the second one ends the program, and the nodes with it.
fn interrupts() -> Result<watch::Receiver<bool>, Error> {
    let listen = |kind| signal(kind).map_err(|error| Error::Io("waiting for signals".to_owned(), error));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.send_replace(true) {
                process::exit(i32::from(BROKEN));
            }
            tell!("ending: what was seen so far will be reported; once more ends at once");
        }
    });
    Ok(stopped)
}

/// The nodes' disks, not their logs.
fn sweep_data(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| io_error(path, error))
}

fn io_error(path: &Path, error: io::Error) -> Error {
    Error::Io(path.display().to_string(), error)
}
