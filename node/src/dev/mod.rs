//! A cluster on this machine: real node processes on loopback, watched and started again when they die.
//!
//! Each node is this program again as `conclave serve`, in a process group of its own, so that a Ctrl-C at the terminal
//! reaches this process alone, which then ends the others in good order. Each holds the reading end of a pipe; when this
//! process is gone, however it went, the pipe ends and so does the node.

mod announce;
pub mod lan;
mod lifeline;
mod node;
mod ports;
mod qr;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::client::Client;
use crate::admin::report::Status;
use crate::exit::Exit;
use crate::serve::signals::Signals;
use crate::terminal::table;

use announce::Running;
use lan::Lan;
use node::{Event, Plan};

pub use lifeline::end_with;

/// All nodes must be ready within it.
const READY: Duration = Duration::from_secs(60);
/// How often a node is asked whether it is ready.
const ASK: Duration = Duration::from_millis(50);
/// An answer on loopback takes no longer, unless the machine is very busy.
const ANSWER: Duration = Duration::from_secs(5);
/// Lines of a dead node's log that are shown.
const TAIL_LINES: usize = 15;

/// What `conclave dev` was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many nodes.
    pub nodes: u16,
    /// The first node's HTTP port; the others follow.
    pub base_port: Option<u16>,
    /// Where machines nearby reach the nodes, over https; `None`: they don't.
    pub lan: Option<IpAddr>,
    /// Whether the nodes speak TLS, by a certificate that is configured.
    pub tls: bool,
    /// Whether a node that dies is started again.
    pub restart: bool,
    /// One line of JSON instead of words.
    pub json: bool,
    /// Whether the nodes serve the page.
    pub page: bool,
    /// Whether the page is opened in a browser.
    pub open: bool,
    /// Passed on to each node.
    pub config: Option<PathBuf>,
    /// Passed on to each node.
    pub set: Vec<String>,
    /// For how long the nodes may take to end, before they are killed.
    pub patience: Duration,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refuses.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// No ports.
    #[error(transparent)]
    Ports(#[from] ports::Error),
    /// Machines nearby cannot reach the nodes.
    #[error(transparent)]
    Lan(#[from] lan::Error),
    /// The admin listener has no URL; cannot happen with addresses of our own.
    #[error(transparent)]
    Admin(#[from] crate::admin::client::Error),
    /// A node ended before all were ready.
    #[error("node {id} ended ({status}) before the cluster was ready; its log ends with:\n{tail}")]
    Died {
        /// The node.
        id: u64,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of its log.
        tail: String,
    },
    /// Not ready in time.
    #[error(
        "the cluster was not ready within {}; node {id}'s log ends with:\n{tail}",
        crate::config::unit::print_span(READY)
    )]
    Unready {
        /// A node that is not ready.
        id: u64,
        /// The end of its log.
        tail: String,
    },
}

impl Error {
    /// The exit code that fits: a node's own, where it says something.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Died { status, .. } if status.code() == Some(Exit::Usage as i32) => Exit::Usage,
            Self::Died { .. }
            | Self::System(_)
            | Self::Ports(_)
            | Self::Lan(_)
            | Self::Admin(_)
            | Self::Unready { .. } => Exit::Failed,
        }
    }
}

/// Runs the cluster until a signal ends it.
pub fn run(options: Options) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(live(options))
}

async fn live(options: Options) -> Result<(), Error> {
    // First, so that no signal from here on leaves nodes or files behind.
    let mut signals = Signals::new()?;
    // Of a terminal that was closed.
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    let home = tempfile::Builder::new().prefix("conclave-dev-").tempdir()?;
    let lan = options.lan.map(|address| Lan::make(address, home.path())).transpose()?;
    let plans = node::plan(&options, lan.as_ref(), home.path())?;
    let (stop, stopped) = watch::channel(false);
    let (report, mut events) = mpsc::channel(64);
    let mut nodes = JoinSet::new();
    for plan in &plans {
        nodes.spawn(node::keep(
            plan.clone(),
            options.restart,
            options.patience,
            stopped.clone(),
            report.clone(),
        ));
    }
    drop((stopped, report));

    let ended = tokio::select! {
        ended = watch_over(&options, lan.as_ref(), &plans, &mut events) => ended,
        signal = signals.next() => {
            say(&options, &format!("{signal}: ending all nodes"));
            Ok(())
        }
        _ = hangup.recv() => Ok(()),
    };
    // Nodes end in good order even if a second signal arrives: each has its time, then it is killed.
    let _ = stop.send(true);
    while nodes.join_next().await.is_some() {
        while events.try_recv().is_ok() {}
    }
    home.close()?;
    ended
}

/// Announces the cluster once it is ready, then tells what becomes of its nodes. Returns only with an error.
async fn watch_over(
    options: &Options,
    lan: Option<&Lan>,
    plans: &[Plan],
    events: &mut mpsc::Receiver<Event>,
) -> Result<(), Error> {
    let mut pids = vec![0; plans.len()];
    let ready = async {
        let mut status = None;
        for plan in plans {
            status = Some(ready(plan).await?);
        }
        Ok::<_, Error>(status)
    };
    let mut ready = std::pin::pin!(tokio::time::timeout(READY, ready));
    let status = loop {
        tokio::select! {
            ready = &mut ready => break match ready {
                Ok(status) => status?,
                Err(_) => return Err(unready(plans).await),
            },
            Some(event) = events.recv() => match event {
                Event::Started { id, pid } => pids[index(plans, id)] = pid,
                Event::Ended { id, status } => {
                    let tail = plans[index(plans, id)].tail(TAIL_LINES);
                    return Err(Error::Died { id, status, tail });
                }
                Event::Unstarted { error, .. } => return Err(Error::System(error)),
            },
        }
    };
    // A node is ready once it is started; its process id may still wait here to be told.
    while let Ok(event) = events.try_recv() {
        if let Event::Started { id, pid } = event {
            pids[index(plans, id)] = pid;
        }
    }
    let leader = status.as_ref().and_then(|status| status.leader);
    let running: Vec<Running> = plans
        .iter()
        .zip(&pids)
        .map(|(plan, pid)| Running { id: plan.id, http: plan.http_url(), admin: plan.admin_url(), pid: *pid })
        .collect();
    let text = if options.json {
        announce::json(&running, leader, lan)
    } else {
        let table = status.map(|status| table::render(&status, table::wants_colour())).unwrap_or_default();
        announce::words(&announce::Cluster { nodes: &running, leader, plans, table, page: options.page, lan })
    };
    crate::terminal::say(&text);
    if options.open
        && let Some(node) = running.first()
    {
        announce::open(&format!("{}/", node.http));
    }
    while let Some(event) = events.recv().await {
        tell(options, plans, event);
    }
    // Every keeper is gone, which only happens when nothing is started again: wait for the signal.
    std::future::pending().await
}

fn tell(options: &Options, plans: &[Plan], event: Event) {
    match event {
        Event::Started { id, pid } => say(options, &format!("node {id} is started again (pid {pid})")),
        Event::Ended { id, status } => {
            let then = if options.restart { "it is started again in a second" } else { "it stays dead" };
            let log = plans[index(plans, id)].log.display();
            say(options, &format!("node {id} died ({status}); {then}; its log: {log}"));
        }
        Event::Unstarted { id, error } => say(options, &format!("node {id} cannot be started: {error}")),
    }
}

/// News: on standard error where standard output is for machines.
fn say(options: &Options, text: &str) {
    if options.json { crate::terminal::tell(text) } else { crate::terminal::say(&format!("{text}\n")) }
}

fn index(plans: &[Plan], id: u64) -> usize {
    plans.iter().position(|plan| plan.id == id).expect("events come from planned nodes")
}

/// Waits until a node is ready and knows who leads.
async fn ready(plan: &Plan) -> Result<Status, Error> {
    let client = Client::new(&plan.admin_url(), ANSWER)?;
    let mut ticks = tokio::time::interval(ASK);
    loop {
        ticks.tick().await;
        if client.ready().await.is_ok()
            && let Ok(status) = client.status().await
            && status.leader.is_some()
        {
            return Ok(status);
        }
    }
}

/// Which node is to blame.
async fn unready(plans: &[Plan]) -> Error {
    for plan in plans {
        let ready = match Client::new(&plan.admin_url(), ANSWER) {
            Ok(client) => client.ready().await.is_ok(),
            Err(_) => false,
        };
        if !ready {
            return Error::Unready { id: plan.id, tail: plan.tail(TAIL_LINES) };
        }
    }
    let last = plans.last().expect("there is at least one node");
    Error::Unready { id: last.id, tail: last.tail(TAIL_LINES) }
}
