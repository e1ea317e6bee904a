//! Floods of every [`kind`] against nodes of its own, and what an honest client beside them feels.
//!
//! Each kind gets a fresh cluster of three nodes, each in a [`cgroup`]. The [`honest`] client asks them for a while
//! undisturbed, then while the flood goes to a [`sink`] that discards it, so that what the generator costs is in the base,
//! then while the flood goes to the nodes. A [`report`] says whether it was felt too much, and what became of the nodes.

pub mod flow;
pub mod honest;
pub mod kind;
pub mod report;
pub mod sink;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{Method, Uri};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cgroup::{self, Hierarchy, Limit};
use crate::chaos;
use crate::chaos::cluster::{Cluster, Plan};
use crate::client::trust::{self, Trust};
use crate::client::{Connection, Fault, Request, Target};
use crate::sample::process;
use flow::{Aim, Flooded, Tally};
use honest::Honest;
use kind::Kind;
use report::{Base, Memory, Report};
use sink::Sink;

/// Where floods come from; more addresses follow this one.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
/// Where the honest client is: another address, since shares are per address.
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
/// A flood goes on for so long before the honest client's requests count.
const RAMP: Duration = Duration::from_secs(1);
/// The honest client asks for so long before the nodes' memory counts.
const WARM_UP: Duration = Duration::from_secs(2);
/// Between two looks at the nodes.
const LOOK: Duration = Duration::from_millis(100);
/// After the flood the honest client asks for so long between two looks.
const SETTLING: Duration = Duration::from_secs(1);
/// What is stored lives for so long, so that memory is seen to end where it began.
const TTL: &str = "15s";

/// How floods are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `conclave` binary.
    pub binary: PathBuf,
    /// Where the nodes' disks and logs are.
    pub folder: PathBuf,
    /// How long each phase takes: three where times are judged, else one.
    pub time: Duration,
    /// How long memory may take to end where it began.
    pub settle: Duration,
    /// Memory of each node, if it is in a cgroup.
    pub memory_bytes: Option<u64>,
    /// `storage.bytes_max`.
    pub storage_bytes: u64,
    /// Addresses the flood comes from.
    pub addresses: u8,
    /// By how much a node's memory may have grown in the end.
    pub slack_bytes: u64,
    /// Whether the honest client's p99 is judged, which takes two phases more. On a machine that does much else it says
    /// nothing.
    pub times: bool,
}

/// Why a flood was not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cgroups.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// The nodes.
    #[error(transparent)]
    Cluster(#[from] chaos::Error),
    /// The machine said no.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] io::Error),
    /// What the flood needs could not be made.
    #[error("{0}")]
    Prepare(String),
}

/// Runs one kind of flood.
pub async fn run(kind: Kind, options: &Options) -> Result<Report, Error> {
    let groups = options.memory_bytes.map(|bytes| Hierarchy::make(3, Limit::Memory(bytes))).transpose()?;
    let (settings, trust) = match kind.wants_tls() {
        true => certificate(options).map(|(settings, trust)| (settings, Some(trust)))?,
        false => (Vec::new(), None),
    };
    let plan = Plan {
        settings: settings.into_iter().chain(limits(options)).collect(),
        prelude: groups.as_ref().map(Hierarchy::prelude),
        ..Plan::new(options.binary.clone(), options.folder.clone())
    };
    let mut cluster = Cluster::start(plan).await?;
    let nodes = addresses(&cluster)?;
    let honest = Honest { nodes: seen_by_honest(&cluster, trust)? };
    let chunk = if kind.wants_chunk() { store_chunk(&cluster.targets()[0]).await? } else { String::new() };

    honest.feel(WARM_UP).await;
    let mut memory = Memory::of(&cluster);
    let base = match options.times {
        true => Some(base(kind, &chunk, &honest, options).await?),
        false => None,
    };

    let at_nodes = launch(kind, &chunk, &nodes, options);
    sleep(RAMP).await;
    let felt = {
        let feel = honest.feel(options.time);
        tokio::pin!(feel);
        loop {
            tokio::select! {
                felt = &mut feel => break felt,
                () = sleep(LOOK) => memory.look(),
            }
        }
    };
    let flood = at_nodes.landed().await?;
    let mut failed_after = 0;

    // The honest client goes on: a thread of a node that has nothing to do gives nothing back to the system.
    let settled = Instant::now() + options.settle;
    loop {
        memory.look();
        if memory.has_settled(options.slack_bytes) || Instant::now() >= settled {
            break;
        }
        failed_after += honest.feel(SETTLING).await.failed();
    }
    let mut deaths = Vec::new();
    for id in cluster.ids() {
        if cluster.has_ended(id)? {
            deaths.push(format!("node {id}: {}", cluster.node(id)?.last_words()));
        }
    }
    if let Some(groups) = &groups {
        memory.note_groups(groups);
    }
    // The nodes end before their groups are removed.
    drop(cluster);
    drop(groups);
    let mut report = Report::new(kind, options, base, felt, flood, memory, deaths);
    report.note_failed_after(failed_after);
    Ok(report)
}

/// What the honest client feels while nothing is done to the nodes.
async fn base(kind: Kind, chunk: &str, honest: &Honest, options: &Options) -> Result<Base, Error> {
    let quiet = honest.feel(options.time).await;
    let sink =
        Sink::open(honest.nodes.len()).map_err(|error| Error::Io("a listener that discards", error))?;
    let flood = launch(kind, chunk, sink.addresses(), options);
    sleep(RAMP).await;
    let discarded = honest.feel(options.time).await;
    Ok(Base { quiet, discarded, flood: flood.landed().await? })
}

/// A flood that is under way on a thread of its own.
struct Launched(tokio::task::JoinHandle<io::Result<Flooded>>);

impl Launched {
    async fn landed(self) -> Result<Flooded, Error> {
        let flooded = self.0.await.map_err(|error| Error::Prepare(format!("the flood broke: {error}")))?;
        flooded.map_err(|error| Error::Io("a runtime for the flood", error))
    }
}

fn launch(kind: Kind, chunk: &str, targets: &[SocketAddr], options: &Options) -> Launched {
    let first = u32::from(ATTACKER);
    let sources = (0..u32::from(options.addresses.max(1))).map(|step| Ipv4Addr::from(first + (step << 16)));
    let (sources, targets) = (sources.collect::<Vec<_>>(), targets.to_owned());
    let (flows, time) = (kind.flows(rand::random(), chunk), RAMP + options.time);
    Launched(tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tally = Arc::new(Tally::default());
        runtime.block_on(async {
            let aim = Aim { targets, sources, until: Instant::now() + time };
            flow::flood(&flows, &aim, &tally).await;
        });
        Ok(tally.read_off())
    }))
}

/// Allowances and shares are on, as they are by default, and things live shortly.
fn limits(options: &Options) -> Vec<(String, String)> {
    let mut settings = vec![
        ("storage.bytes_max", options.storage_bytes.to_string()),
        ("raft.snapshot_log_bytes", "64MiB".to_owned()),
    ];
    for key in
        ["ttl.chunk", "ttl.signal", "ttl.register", "ttl.session", "ttl.memo", "socket.history_age_max"]
    {
        settings.push((key, TTL.to_owned()));
    }
    settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn addresses(cluster: &Cluster) -> Result<Vec<SocketAddr>, Error> {
    let targets = cluster.targets();
    let parsed = targets.iter().map(|target| target.address().parse());
    parsed.collect::<Result<_, _>>().map_err(|_| Error::Prepare("a node has no address".to_owned()))
}

/// The nodes as the honest client asks them.
fn seen_by_honest(cluster: &Cluster, trust: Option<Trust>) -> Result<Vec<Target>, Error> {
    let bad = |_| Error::Prepare("a node has no address".to_owned());
    let secure = |target: Target| match &trust {
        None => Ok::<_, Error>(target),
        Some(trust) => {
            let target: Target = format!("https://{}", target.address()).parse().map_err(bad)?;
            Ok(target.trusting(trust.clone()))
        }
    };
    cluster.targets().into_iter().map(|target| Ok(secure(target)?.seen_from(HONEST.into()))).collect()
}

/// Stores a chunk of the largest size; returns its path.
async fn store_chunk(node: &Target) -> Result<String, Error> {
    let failed = |what: String| Error::Prepare(format!("a chunk could not be stored: {what}"));
    let broken = |fault: Fault| failed(fault.to_string());
    let mut connection = Connection::open(node).await.map_err(broken)?;
    let wish = json!({"pin": format!("{:x}", rand::random::<u64>()), "passwordHash": "h", "totalChunks": 1});
    let open = Request::post(Uri::from_static("/api/v1/transfers"), wish.to_string());
    let opened = connection.exchange(&open).await.map_err(broken)?;
    let body: Value = serde_json::from_slice(&opened.body).unwrap_or(Value::Null);
    let id = body["transferId"].as_str().ok_or_else(|| failed(opened.status.to_string()))?;
    let path = format!("/api/v1/transfers/{id}/chunks/0");
    let put = Request {
        content_type: Some(HeaderValue::from_static("application/octet-stream")),
        body: vec![7; 49_152].into(),
        ..Request::bare(Method::PUT, path.parse().map_err(|_| failed(format!("transfer {id}")))?)
    };
    match connection.exchange(&put).await.map_err(broken)?.status {
        201 => Ok(path),
        status => Err(failed(status.to_string())),
    }
}

/// Settings with a certificate for the nodes, and a client's trust in it.
fn certificate(options: &Options) -> Result<(Vec<(String, String)>, Trust), Error> {
    let failed = |why: String| Error::Prepare(format!("no certificate: {why}"));
    let made = rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()])
        .map_err(|error| failed(error.to_string()))?;
    let path = |key: &str| options.folder.join(format!("siege-{key}.pem"));
    let mut settings = Vec::new();
    for (key, text) in [("cert", made.cert.pem()), ("key", made.signing_key.serialize_pem())] {
        fs::write(path(key), text).map_err(|error| Error::Io("writing a certificate", error))?;
        settings.push((format!("http.tls.{key}"), path(key).display().to_string()));
    }
    Ok((settings, trust::authorities(&path("cert")).map_err(|error| failed(error.to_string()))?))
}

impl Memory {
    fn of(cluster: &Cluster) -> Self {
        let nodes = cluster.ids().into_iter().filter_map(|id| Some((id, cluster.node(id).ok()?.pid()?)));
        Self::begin(nodes.map(|(id, pid)| (id, pid, resident(pid))))
    }

    fn look(&mut self) {
        self.note(resident);
    }

    fn note_groups(&mut self, groups: &Hierarchy) {
        self.note_peaks(|id| groups.peak_bytes(id), |id| groups.kills(id));
    }
}

/// Nothing is resident in a process that has ended.
fn resident(pid: u32) -> u64 {
    process(pid).map_or(0, |process| process.rss_bytes)
}
