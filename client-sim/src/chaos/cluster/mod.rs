//! A cluster of real `conclave` processes on loopback: started here, or found running.
//!
//! Each node has a [`node`]'s place of its own, [`ports`] nobody else takes and one [`process`] at a time; who belongs
//! to the cluster is changed in `members`, by way of the server's own commands. Whatever becomes of this program, the
//! nodes end with it: dropped, they are killed; orphaned, they see their standard input close.

mod members;
pub mod node;
pub mod ports;
pub mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use hyper::Uri;
use tokio::time::{Instant, sleep, timeout};

use super::Error;
use super::disk::Disk;
use super::error::During as _;
use super::net::Net;
use super::schedule::Version;
use crate::client::Target;
use crate::fleet::Fleet;
use crate::sample::get;

use node::{Life, Node, PORTS_PER_NODE};
use ports::Ports;
use process::Signal;

/// For a cluster to elect a leader and everybody to catch up, on a busy machine.
pub const READY: Duration = Duration::from_secs(60);

/// For a node to say how it is.
const ANSWER: Duration = Duration::from_millis(1_500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(25);

/// What the nodes are to be like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The `conclave` binary.
    pub binary: PathBuf,
    /// Another version of it.
    pub other: Option<PathBuf>,
    /// How many nodes it begins with, ids from 1 up.
    pub nodes: u64,
    /// Keys of every node's configuration.
    pub settings: Vec<(String, String)>,
    /// Whether all traffic between them passes through a [`Net`].
    pub intercepted: bool,
    /// Disks of their own, of so many bytes.
    pub disk_bytes: Option<u64>,
    /// Whether their clocks can be set.
    pub clocks: bool,
    /// Whether their system calls can be made to fail.
    pub failing_calls: bool,
    /// The cgroup in which each of them has one, `node-<id>`.
    pub cgroups: Option<PathBuf>,
    /// Where their disks and logs are.
    pub folder: PathBuf,
}

impl Plan {
    /// Whether the nodes' public API speaks TLS.
    fn is_secured(&self) -> bool {
        self.settings.iter().any(|(key, _)| key == "http.tls.cert")
    }
}

/// Running nodes. Those that were started here end when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: BTreeMap<u64, Node>,
    plan: Option<Plan>,
    net: Option<Net>,
    ports: Vec<Ports>,
    /// The first members and their addresses, as their configuration has to name them for ever.
    first: String,
    placed: u64,
    /// The file with the secret that the nodes share.
    secret: Option<PathBuf>,
}

impl Cluster {
    /// Starts a cluster, and waits until every node is ready.
    pub async fn start(plan: Plan) -> Result<Self, Error> {
        let mut nodes = BTreeMap::new();
        let mut ports = Vec::new();
        for id in 1..=plan.nodes {
            nodes.insert(id, place(id, &mut ports, &plan).await?);
        }
        let mut net = None;
        if plan.intercepted {
            let listens = |node: &Node| Some((node.id, node.place.as_ref()?.listen));
            let opened = Net::open(nodes.values().filter_map(listens).collect()).await;
            let opened = opened.during(|| "opening doors between the nodes".to_owned())?;
            for place in nodes.values_mut().filter_map(|node| Some((node.id, node.place.as_mut()?))) {
                place.1.advertise = opened.door(place.0);
            }
            net = Some(opened);
        }
        let address = |node: &Node| Some(format!("\"{}={}\"", node.id, node.place.as_ref()?.advertise));
        let first: Vec<String> = nodes.values().filter_map(address).collect();
        let (first, placed) = (format!("[{}]", first.join(", ")), plan.nodes);
        let secret = Some(secret(&plan.folder)?);
        let mut cluster = Self { nodes, plan: Some(plan), net, ports, first, placed, secret };
        for id in cluster.ids() {
            cluster.start_node(id)?;
        }
        cluster.healthy(READY).await?;
        Ok(cluster)
    }

    /// Takes a cluster that runs already: its processes can be hurt, and nothing else of it.
    pub async fn attach(fleet: &Fleet) -> Result<Self, Error> {
        let nodes = fleet.nodes.iter().map(|node| Ok((node.id, Node::foreign(node)?)));
        let nodes = nodes.collect::<Result<BTreeMap<_, _>, Error>>()?;
        let placed = nodes.keys().copied().max().unwrap_or_default();
        let mut cluster = Self {
            nodes,
            plan: None,
            net: None,
            ports: Vec::new(),
            first: String::new(),
            placed,
            secret: None,
        };
        cluster.healthy(READY).await?;
        Ok(cluster)
    }

    /// Whether its nodes were started here.
    pub fn is_ours(&self) -> bool {
        self.plan.is_some()
    }

    /// All nodes.
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// One node.
    pub fn node(&self, id: u64) -> Result<&Node, Error> {
        self.nodes.get(&id).ok_or_else(|| Error::NoSuchNode(format!("there is no node {id}")))
    }

    fn node_mut(&mut self, id: u64) -> Result<&mut Node, Error> {
        self.nodes.get_mut(&id).ok_or_else(|| Error::NoSuchNode(format!("there is no node {id}")))
    }

    /// The nodes whose process runs and is not frozen.
    pub fn running(&self) -> Vec<u64> {
        self.nodes.values().filter(|node| node.runs() && !node.frozen).map(|node| node.id).collect()
    }

    /// Where the public APIs are.
    pub fn targets(&self) -> Vec<Target> {
        self.nodes.values().map(|node| node.http.clone()).collect()
    }

    /// Where the admin APIs are.
    pub fn admins(&self) -> Vec<Target> {
        self.nodes.values().map(|node| node.admin.clone()).collect()
    }

    /// The processes that run.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.values().filter_map(Node::pid).collect()
    }

    /// What stands between the nodes.
    pub fn net(&self) -> Result<&Net, Error> {
        self.net.as_ref().ok_or(Error::NotOurs("what is between the nodes"))
    }

    /// The disk of one node.
    pub fn disk(&mut self, id: u64) -> Result<&mut Disk, Error> {
        let place = self.node_mut(id)?.place_mut("a disk of its own")?;
        place.disk.as_mut().ok_or_else(|| Error::Schedule("the schedule gives its nodes no disks".to_owned()))
    }

    /// What the node with the highest term says of the cluster, among those that run.
    pub async fn status(&self) -> Option<Fleet> {
        let running = self.running();
        let ask = |id: &u64| self.nodes.get(id).map(|node| status(&node.admin));
        let all = join_all(running.iter().filter_map(ask)).await;
        all.into_iter().flatten().max_by_key(|fleet| (fleet.term, fleet.leader.is_some()))
    }

    /// Who leads; waits until somebody does, among the nodes that run.
    pub async fn leader(&self) -> Result<u64, Error> {
        until(
            READY,
            || "a leader".to_owned(),
            async || {
                let leader = self.status().await.and_then(|status| status.leader);
                Ok(leader.filter(|leader| self.running().contains(leader)))
            },
        )
        .await
    }

    /// Starts a node on its disk and addresses. It may not be ready yet.
    pub fn start_node(&mut self, id: u64) -> Result<(), Error> {
        let plan = self.plan.as_ref().ok_or(Error::NotOurs("starting a node"))?;
        let joins = id > plan.nodes;
        let members = if joins { "[]" } else { &self.first };
        let name = self.ports.first().map_or(0, |ports| ports.get(0));
        let mut settings = vec![
            // A stray node of another cluster on this machine is refused by its name.
            ("cluster.name".to_owned(), format!("sim-{name}")),
            ("cluster.members".to_owned(), members.to_owned()),
            ("cluster.join".to_owned(), joins.to_string()),
            // All of the load comes from one address.
            ("allowance.enabled".to_owned(), "false".to_owned()),
            ("shares.enabled".to_owned(), "false".to_owned()),
        ];
        if let Some(secret) = &self.secret {
            settings.push(("cluster.secret_file".to_owned(), secret.display().to_string()));
        }
        settings.extend(plan.settings.iter().cloned());
        let node =
            self.nodes.get_mut(&id).ok_or_else(|| Error::NoSuchNode(format!("there is no node {id}")))?;
        let pid = node.spawn(plan, &settings)?;
        if let Some(net) = &self.net {
            net.belongs_to(id, pid);
        }
        Ok(())
    }

    /// Has a node run that version from its next start on.
    pub fn set_version(&mut self, id: u64, version: Version) -> Result<(), Error> {
        self.node_mut(id)?.version = version;
        Ok(())
    }

    /// SIGKILL to all of these, as much at once as can be.
    pub async fn kill(&mut self, ids: &[u64]) -> Result<(), Error> {
        for id in ids {
            self.node_mut(*id)?.signal(Signal::KILL)?;
        }
        for id in ids {
            self.node_mut(*id)?.kill().await?;
        }
        Ok(())
    }

    /// SIGTERM; waits for the end and returns the exit code, which is absent if a signal ended it.
    pub async fn terminate(&mut self, id: u64, within: Duration) -> Result<Option<i32>, Error> {
        let node = self.node_mut(id)?;
        node.signal(Signal::TERM)?;
        node.gone(within).await
    }

    /// Waits for the end of a node that is about to exit by itself, and returns its exit code.
    pub async fn ended(&mut self, id: u64, within: Duration) -> Result<Option<i32>, Error> {
        self.node_mut(id)?.gone(within).await
    }

    /// Whether a node's process has ended, noticed or not.
    pub fn has_ended(&mut self, id: u64) -> Result<bool, Error> {
        Ok(self.node_mut(id)?.look()?.is_some())
    }

    /// SIGSTOP: the process keeps its sockets and does nothing.
    pub fn freeze(&mut self, id: u64) -> Result<(), Error> {
        let node = self.node_mut(id)?;
        node.signal(Signal::STOP)?;
        node.frozen = true;
        Ok(())
    }

    /// SIGCONT.
    pub fn thaw(&mut self, id: u64) -> Result<(), Error> {
        let node = self.node_mut(id)?;
        node.signal(Signal::CONT)?;
        node.frozen = false;
        Ok(())
    }

    /// The nodes that are frozen.
    pub fn frozen(&self) -> Vec<u64> {
        self.nodes.values().filter(|node| node.frozen).map(|node| node.id).collect()
    }

    /// Loses the disk of a node that is not running.
    pub fn wipe(&mut self, id: u64) -> Result<(), Error> {
        let node = self.node_mut(id)?;
        if node.runs() {
            return Err(Error::NoSuchNode(format!("node {id} still runs")));
        }
        node.place_mut("losing a disk")?.wipe().during(|| format!("wiping the disk of node {id}"))
    }

    /// Steps a node's wall clock by so many seconds from the right time.
    pub fn set_clock(&mut self, id: u64, seconds: i64) -> Result<(), Error> {
        self.node_mut(id)?.set_clock(seconds)
    }

    /// Makes a node's flushes fail, or no longer.
    pub async fn fail_flushes(&mut self, id: u64, fail: bool) -> Result<(), Error> {
        self.node_mut(id)?.fail_flushes(fail).await
    }

    /// Waits until every node runs and says it is ready, and one of them leads.
    pub async fn healthy(&mut self, within: Duration) -> Result<(), Error> {
        let give_up = Instant::now() + within;
        for id in self.ids() {
            let ready = self.ready(id, give_up.saturating_duration_since(Instant::now()));
            ready.await?;
        }
        let left = give_up.saturating_duration_since(Instant::now());
        timeout(left, self.leader())
            .await
            .map_err(|_| Error::InVain { what: "a leader".to_owned(), within })??;
        Ok(())
    }

    /// Waits until a node is ready; that it ends is an error.
    pub async fn ready(&mut self, id: u64, within: Duration) -> Result<(), Error> {
        self.find_again(id).await;
        let secured = self.plan.as_ref().is_some_and(Plan::is_secured);
        let node = self.node_mut(id)?;
        // Where the public API speaks TLS, the admin API tells.
        let asked = if secured { node.admin.clone() } else { node.http.clone() };
        let what = || format!("node {id} is ready");
        until(within, what, async || {
            if let Life::Child(_) = node.life
                && let Some(code) = node.look()?
            {
                let code = code.map_or("killed".to_owned(), |code| format!("exit code {code}"));
                return Err(Error::Ended(id, format!("{code}; {}", node.last_words())));
            }
            let reply = timeout(ANSWER, get(&asked, &Uri::from_static("/readyz"))).await;
            Ok(matches!(reply, Ok(Ok(reply)) if reply.status == 200).then_some(()))
        })
        .await
    }

    /// Whoever started a foreign node may have started it again, as another process.
    async fn find_again(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.place.is_some() {
            return;
        }
        let found = until(READY, String::new, async || {
            let fleet = status(&node.admin).await;
            Ok(fleet.and_then(|fleet| fleet.nodes.into_iter().find(|seen| seen.id == id)))
        });
        if let Ok(found) = found.await {
            node.life = Life::Foreign(found.pid);
        }
    }

    /// Waits until every node has applied the same, once nothing is written any more.
    pub async fn converged(&self, within: Duration) -> Result<u64, Error> {
        until(
            within,
            || "all nodes have applied the same".to_owned(),
            async || {
                let Some(fleet) = self.status().await else { return Ok(None) };
                let applied: Vec<_> = fleet.nodes.iter().map(|node| node.applied).collect();
                let equal = applied.windows(2).all(|pair| pair[0] == pair[1]);
                Ok(applied.first().copied().flatten().filter(|_| equal && applied.len() == self.nodes.len()))
            },
        )
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Killed before anything of theirs is taken away. Nobody who waits for a disk that stands still can be killed,
        // so the processes are told here and awaited, in the order of the fields, after their disks have been thawed.
        for node in self.nodes.values_mut() {
            if let Life::Child(_) = node.life {
                let _ = node.signal(Signal::KILL);
            }
            if let Some(disk) = node.place.as_mut().and_then(|place| place.disk.as_mut()) {
                disk.thaw_now();
            }
        }
        // Somebody else's processes go on as they were found.
        for id in self.frozen() {
            let _ = self.thaw(id);
        }
    }
}

/// Writes the secret that the nodes share, a fresh one, and says where it is.
fn secret(folder: &Path) -> Result<PathBuf, Error> {
    let path = folder.join("secret");
    let what = || format!("writing {}", path.display());
    std::fs::create_dir_all(folder).during(what)?;
    let digits: String = rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(&path, digits).during(what)?;
    Ok(path)
}

/// A place on free ports.
async fn place(id: u64, ports: &mut Vec<Ports>, plan: &Plan) -> Result<Node, Error> {
    let per_block = u64::from(Ports::COUNT / PORTS_PER_NODE);
    let (block, index) = ((id - 1) / per_block, (id - 1) % per_block);
    while ports.len() as u64 <= block {
        ports.push(Ports::take());
    }
    let first = u16::try_from(index).expect("a block is smaller than that") * PORTS_PER_NODE;
    Node::place(id, &ports[usize::try_from(block).expect("memory holds it")], first, plan).await
}

/// What one node says of the cluster, if it answers at all.
async fn status(admin: &Target) -> Option<Fleet> {
    let reply = timeout(ANSWER, get(admin, &Uri::from_static("/cluster/status"))).await.ok()?.ok()?;
    (reply.status == 200).then(|| Fleet::parse(&reply.body).ok()).flatten()
}

/// Looks again and again until there is something to see.
pub(super) async fn until<T>(
    within: Duration,
    what: impl FnOnce() -> String,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let search = async {
        loop {
            if let Some(seen) = look().await? {
                return Ok(seen);
            }
            sleep(LOOK).await;
        }
    };
    match timeout(within, search).await {
        Ok(seen) => seen,
        Err(_) => Err(Error::InVain { what: what(), within }),
    }
}
