//! A cluster on this machine: real node processes on loopback, watched and started again when they die.
//!
//! Each node is this program again as `conclave serve`, in a process group of its own, so that a Ctrl-C at the terminal
//! reaches this process alone, which then ends the others in good order. Each holds the reading end of a pipe; when this
//! process is gone, however it went, the pipe ends and so does the node.

mod announce;
pub mod lan_https;
mod node_process;
mod parent_watch;
mod qr;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use conclave_supervisor::until;
use futures_util::future::{join_all, select_all};

use crate::admin::api_types::Status;
use crate::admin::client::Client;
use crate::exit::Exit;
use crate::serve::signals::Signals;
use crate::terminal::cluster_status_table;

use announce::Running;
use lan_https::Lan;
use node_process::{Event, Node, Plan};

pub use parent_watch::end_with;

/// All nodes must be ready within it.
const READY: Duration = Duration::from_secs(60);
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
    /// A requested port is taken.
    #[error("port {port} is taken ({error}); choose another --base-port")]
    PortTaken {
        /// The port.
        port: u16,
        /// What the system says.
        error: std::io::Error,
    },
    /// A requested port is one of other protocols.
    #[error("no browser opens port {0}; choose another --base-port")]
    PortBlocked(u16),
    /// The requested ports go past the last one.
    #[error("there are not enough ports after --base-port {0}")]
    PortsTooHigh(u16),
    /// Machines nearby cannot reach the nodes.
    #[error(transparent)]
    Lan(#[from] lan_https::Error),
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
            | Self::PortTaken { .. }
            | Self::PortBlocked(_)
            | Self::PortsTooHigh(_)
            | Self::Lan(_)
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
    let plans = node_process::plan(&options, lan.as_ref(), home.path())?;
    let started: std::io::Result<Vec<Node>> = plans.into_iter().map(Node::start).collect();
    let mut nodes = started?;

    let ended = tokio::select! {
        ended = watch_over(&options, lan.as_ref(), &mut nodes) => ended,
        signal = signals.next() => {
            say(&options, &format!("{signal}: ending all nodes"));
            Ok(())
        }
        _ = hangup.recv() => Ok(()),
    };
    // Nodes end in good order even if a second signal arrives: each has its time, then it is killed.
    join_all(nodes.iter_mut().map(|node| node.stop(options.patience))).await;
    home.close()?;
    ended
}

/// Announces the cluster once it is ready, then tells what becomes of its nodes. Returns only with an error.
async fn watch_over(options: &Options, lan: Option<&Lan>, nodes: &mut [Node]) -> Result<(), Error> {
    let plans: Vec<Plan> = nodes.iter().map(|node| node.plan.clone()).collect();
    let mut late = plans.first().expect("there is at least one node");
    let all_ready = until(READY, async || {
        let mut status = None;
        for plan in &plans {
            late = plan;
            status = Some(ready(plan).await?);
        }
        status
    });
    let status = tokio::select! {
        status = all_ready => match status {
            Some(status) => settled(&plans).await.unwrap_or(status),
            None => return Err(Error::Unready { id: late.id, tail: late.tail(TAIL_LINES) }),
        },
        (node, event) = next(nodes, false) => return Err(match event {
            Event::Ended(Ok(status)) => Error::Died { id: node.id, status, tail: node.tail(TAIL_LINES) },
            Event::Ended(Err(error)) | Event::Started(Err(error)) => Error::System(error),
            Event::Started(Ok(_)) => unreachable!("all of them were started"),
        }),
    };
    let running = nodes.iter().map(|node| {
        let plan = &node.plan;
        Running { id: plan.id, http: plan.http_url(), admin: plan.admin_url(), pid: node.pid() }
    });
    let (running, leader) = (running.collect::<Vec<_>>(), status.leader);
    let text = if options.json {
        announce::json(&running, leader, lan)
    } else {
        let (plans, table) =
            (&plans, cluster_status_table::render(&status, cluster_status_table::wants_colour()));
        announce::words(&announce::Cluster { nodes: &running, leader, plans, table, page: options.page, lan })
    };
    crate::terminal::say(&text);
    if options.open
        && let Some(node) = running.first()
    {
        announce::open(&format!("{}/", node.http));
    }
    loop {
        let (node, event) = next(nodes, options.restart).await;
        let id = node.id;
        say(
            options,
            &match event {
                Event::Started(Ok(pid)) => format!("node {id} is started again (pid {pid})"),
                Event::Ended(Ok(status)) => {
                    let then =
                        if options.restart { "it is started again in a second" } else { "it stays dead" };
                    format!("node {id} died ({status}); {then}; its log: {}", node.log.display())
                }
                Event::Started(Err(error)) | Event::Ended(Err(error)) => {
                    format!("node {id} cannot be started: {error}")
                }
            },
        );
    }
}

/// What becomes of any of them next. Without a restart, nothing becomes of one that is dead.
async fn next(nodes: &mut [Node], restart: bool) -> (&Plan, Event) {
    let (event, index, _) = select_all(nodes.iter_mut().map(|node| Box::pin(node.next(restart)))).await;
    (&nodes[index].plan, event)
}

/// News: on standard error where standard output is for machines.
fn say(options: &Options, text: &str) {
    if options.json { crate::terminal::tell(text) } else { crate::terminal::say(&format!("{text}\n")) }
}

/// What a node says of the cluster, once its cells have their slots; nothing if that takes long.
async fn settled(plans: &[Plan]) -> Option<Status> {
    let first = plans.first()?;
    until(READY, async || ready(first).await.filter(Status::is_settled)).await
}

/// What a node says of the cluster, if it is ready and knows who leads.
async fn ready(plan: &Plan) -> Option<Status> {
    let client = Client::new(&plan.admin_url(), ANSWER).ok()?.with_token(plan.admin_token());
    client.ready().await.ok()?;
    client.status().await.ok().filter(|status| status.leader.is_some())
}
