//! A cluster of real `conclave` processes on loopback: started here, or found running.
//!
//! Each node has a [`node`] installation of its own and one process at a time; who belongs to the cluster is changed in
//! `members`, by way of the server's own commands. Whatever becomes of this program, the nodes end with it, as
//! [`conclave_supervisor::Process`] says.

mod lifecycle;
mod members;
pub mod node;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use conclave_supervisor::{Ports, Signal, write_secret};
use futures_util::future::join_all;
use hyper::Uri;
use tokio::time::{Instant, timeout};

use super::Error;
use super::disk::Disk;
use super::error::During as _;
use super::net::Net;
use crate::client::Target;
use crate::cluster_status::ClusterStatus;
use crate::sample::get;

use node::{Life, Node};

/// For a cluster to elect a leader and everybody to catch up, on a busy machine.
pub const READY: Duration = Duration::from_secs(60);

/// For a node to say how it is.
const ANSWER: Duration = Duration::from_millis(1_500);

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
    /// Environment variables of every node.
    pub variables: Vec<(String, String)>,
    /// What a shell does that then becomes the node; its `$0` is `node-<id>`.
    pub prelude: Option<String>,
    /// Whether they share a secret.
    pub guarded: bool,
    /// Whether all traffic between them passes through a [`Net`].
    pub intercepted: bool,
    /// Disks of their own, of so many bytes.
    pub disk_bytes: Option<u64>,
    /// Whether their clocks can be set.
    pub clocks: bool,
    /// Whether their system calls can be made to fail.
    pub failing_calls: bool,
    /// Where their disks and logs are.
    pub folder: PathBuf,
}

impl Plan {
    /// Three nodes with nothing set.
    pub fn new(binary: PathBuf, folder: PathBuf) -> Self {
        Self {
            binary,
            other: None,
            nodes: 3,
            settings: Vec::new(),
            variables: Vec::new(),
            prelude: None,
            guarded: true,
            intercepted: false,
            disk_bytes: None,
            clocks: false,
            failing_calls: false,
            folder,
        }
    }

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
    ports: Ports,
    /// By which a stray node of another cluster on this machine is refused.
    name: String,
    /// The first members and their addresses, as their configuration has to name them for ever.
    first: String,
    highest_id: u64,
    /// The file with the secret that the nodes share.
    secret: Option<PathBuf>,
}

impl Cluster {
    /// Starts a cluster, and waits until every node is ready.
    pub async fn start(plan: Plan) -> Result<Self, Error> {
        let mut cluster = Self::install(plan).await?;
        for id in cluster.ids() {
            cluster.start_node(id)?;
        }
        cluster.healthy(READY).await?;
        Ok(cluster)
    }

    /// Gives every node its addresses and its disk; nothing runs yet.
    pub async fn install(plan: Plan) -> Result<Self, Error> {
        std::fs::create_dir_all(&plan.folder).during(|| format!("making {}", plan.folder.display()))?;
        let secret = plan.guarded.then(|| plan.folder.join("secret"));
        if let Some(path) = &secret {
            write_secret(path).during(|| format!("writing {}", path.display()))?;
        }
        let (mut nodes, mut ports) = (BTreeMap::new(), Ports::default());
        let name = format!("sim-{}", ports.take().during(|| "free ports".to_owned())?);
        for id in 1..=plan.nodes {
            nodes.insert(id, Node::install(id, &mut ports, &plan).await?);
        }
        let mut net = None;
        if plan.intercepted {
            let listens = |node: &Node| Some((node.id, node.installation.as_ref()?.listen));
            let opened = Net::open(nodes.values().filter_map(listens).collect()).await;
            let opened = opened.during(|| "opening listeners between the nodes".to_owned())?;
            let ours = nodes.values_mut().filter_map(|node| Some((node.id, node.installation.as_mut()?)));
            for (id, installation) in ours {
                installation.advertise = opened.address(id);
            }
            net = Some(opened);
        }
        let address =
            |node: &Node| Some(format!("\"{}={}\"", node.id, node.installation.as_ref()?.advertise));
        let first: Vec<String> = nodes.values().filter_map(address).collect();
        let (first, highest_id) = (format!("[{}]", first.join(", ")), plan.nodes);
        Ok(Self { nodes, plan: Some(plan), net, ports, name, first, highest_id, secret })
    }

    /// Takes a cluster that runs already: its processes can be hurt, and nothing else of it.
    pub async fn attach(cluster_status: &ClusterStatus) -> Result<Self, Error> {
        let nodes = cluster_status.nodes.iter().map(|node| Ok((node.id, Node::foreign(node)?)));
        let nodes = nodes.collect::<Result<BTreeMap<_, _>, Error>>()?;
        let highest_id = nodes.keys().copied().max().unwrap_or_default();
        let mut cluster = Self {
            nodes,
            plan: None,
            net: None,
            ports: Ports::default(),
            name: String::new(),
            first: String::new(),
            highest_id,
            secret: None,
        };
        cluster.healthy(READY).await?;
        Ok(cluster)
    }

    /// Whether its nodes were started here.
    pub fn is_ours(&self) -> bool {
        self.plan.is_some()
    }

    /// The name that its nodes know it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys of the configuration of every node that is started from now on.
    pub fn settings(&mut self) -> Result<&mut Vec<(String, String)>, Error> {
        Ok(&mut self.plan.as_mut().ok_or(Error::NotOurs("setting a key"))?.settings)
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
        let installation = self.node_mut(id)?.installation_mut("a disk of its own")?;
        installation
            .disk
            .as_mut()
            .ok_or_else(|| Error::Schedule("the schedule gives its nodes no disks".to_owned()))
    }

    /// What one node says of the cluster, if it answers at all.
    pub async fn status_of(&self, id: u64) -> Option<ClusterStatus> {
        ClusterStatus::of(&self.nodes.get(&id)?.admin, ANSWER).await
    }

    /// What the node with the highest term says of the cluster, among those that run.
    pub async fn status(&self) -> Option<ClusterStatus> {
        let all = join_all(self.running().into_iter().map(|id| self.status_of(id))).await;
        ClusterStatus::newest(all.into_iter().flatten())
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

    /// Waits until every node is ready and says that there are so many cells, each with a leader, which share all slots evenly.
    pub async fn settled(&mut self, cells: usize, within: Duration) -> Result<(), Error> {
        let give_up = Instant::now() + within;
        self.healthy(within).await?;
        let ids = self.ids();
        let mut last = String::new();
        let settled = until(give_up.saturating_duration_since(Instant::now()), String::new, async || {
            let all = join_all(ids.iter().map(|id| self.status_of(*id))).await;
            let why = ids.iter().zip(all).find_map(|(id, status)| {
                let why = match status {
                    None => Some("it does not answer".to_owned()),
                    Some(status) if status.nodes.len() != ids.len() => {
                        Some(format!("there are {} nodes", status.nodes.len()))
                    }
                    Some(status) => status.unsettled(cells),
                };
                why.map(|why| format!("node {id} says: {why}"))
            });
            Ok(match why {
                Some(why) => {
                    last = why;
                    None
                }
                None => Some(()),
            })
        });
        match settled.await {
            Err(Error::InVain { .. }) => {
                Err(Error::InVain { what: format!("{cells} cells share all slots evenly ({last})"), within })
            }
            settled => settled,
        }
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
                return Err(Error::Ended { id, code, said: node.last_words() });
            }
            let reply = timeout(ANSWER, get(&asked, &Uri::from_static("/readyz"))).await;
            Ok(matches!(reply, Ok(Ok(reply)) if reply.status == 200).then_some(()))
        })
        .await
    }

    /// Whoever started a foreign node may have started it again, as another process.
    async fn find_again(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.installation.is_some() {
            return;
        }
        let found = until(READY, String::new, async || {
            let status = ClusterStatus::of(&node.admin, ANSWER).await;
            Ok(status.and_then(|status| status.node(id).cloned()))
        });
        if let Ok(found) = found.await {
            node.life = Life::Foreign(found.pid);
        }
    }

    /// Waits until all members of each cell have applied the same (fronts apply nothing), once nothing is written any more;
    /// returns what those of the first cell have.
    pub async fn converged(&self, within: Duration) -> Result<u64, Error> {
        until(
            within,
            || "all nodes of a cell have applied the same".to_owned(),
            async || {
                let Some(cluster_status) = self.status().await else { return Ok(None) };
                let all = cluster_status.nodes.len() == self.nodes.len();
                Ok(cluster_status.applied_alike().filter(|_| all))
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
            if let Some(disk) = node.installation.as_mut().and_then(|installation| installation.disk.as_mut())
            {
                disk.thaw_now();
            }
        }
        // Somebody else's processes go on as they were found.
        for id in self.frozen() {
            let _ = self.thaw(id);
        }
    }
}

/// Looks again and again until there is something to see.
pub(super) async fn until<T>(
    within: Duration,
    what: impl FnOnce() -> String,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let seen = conclave_supervisor::until(within, async || look().await.transpose()).await;
    seen.unwrap_or_else(|| Err(Error::InVain { what: what(), within }))
}
