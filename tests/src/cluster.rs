//! Clusters of real `conclave serve` processes on loopback.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::binary;
use crate::http::Api;
use crate::net::Net;
use crate::ports::Ports;
use crate::process::Process;
use crate::roam::Roamer;
use crate::scratch::Scratch;
use crate::wait::eventually;

/// For a cluster to elect a leader and everybody to catch up, on a busy machine.
pub const READY: Duration = Duration::from_secs(30);
/// For a process to end, or to refuse to start.
pub const END: Duration = Duration::from_secs(20);

/// How many clusters of its own a test run has at once: elections are timed, and a crowded machine upsets them.
static SLOTS: Semaphore = Semaphore::const_new(2);

const LOG_TAIL_LINES: usize = 40;

/// A cluster to be.
#[derive(Debug, Clone)]
pub struct Builder {
    nodes: u64,
    settings: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    intercepted: bool,
    shared: bool,
}

impl Builder {
    /// How many nodes it begins with, ids from 1 up. Three if nothing is said.
    pub fn nodes(mut self, nodes: u64) -> Self {
        self.nodes = nodes;
        self
    }

    /// Sets a key of every node's configuration, as `--set KEY=VALUE` does.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Switches allowances off: for tests that ask more than any client should.
    pub fn unmetered(self) -> Self {
        self.set("allowance.enabled", "false")
    }

    /// Sets an environment variable of every node.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets all traffic between the nodes pass through a [`Net`].
    pub fn intercepted(mut self) -> Self {
        self.intercepted = true;
        self
    }

    /// Does not count as a cluster of one test's own.
    pub(crate) fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Starts it, and waits until every node is ready.
    pub async fn start(self) -> Cluster {
        let slot = match self.shared {
            true => None,
            false => Some(SLOTS.acquire().await.expect("the semaphore is never closed")),
        };
        let ports = Ports::take();
        let net = match self.intercepted {
            true => {
                Some(Net::open((1..=self.nodes).map(|id| (id, peer_address(&ports, id))).collect()).await)
            }
            false => None,
        };
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            first_members: self.nodes,
            settings: self.settings,
            variables: self.variables,
            net,
            ports,
            scratch: Scratch::new(),
            _slot: slot,
        };
        for id in 1..=self.nodes {
            cluster.place(id);
        }
        for id in 1..=self.nodes {
            cluster.spawn(id);
        }
        cluster.wait_ready().await;
        cluster
    }
}

/// Running nodes. All of them end when this is dropped; if that is because a test failed, their last words are shown.
#[derive(Debug)]
pub struct Cluster {
    // Before the folder they write to: fields are dropped in order.
    nodes: BTreeMap<u64, Node>,
    first_members: u64,
    settings: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    net: Option<Net>,
    ports: Ports,
    scratch: Scratch,
    _slot: Option<SemaphorePermit<'static>>,
}

/// One place for a node: its addresses and its disk, whether or not a process is there.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: u64,
    /// URL of its public API.
    pub http: String,
    /// URL of its admin API.
    pub admin: String,
    /// Where its peers reach it.
    pub advertise: SocketAddr,
    /// Its disk.
    pub data_dir: PathBuf,
    /// Everything it printed, over all its runs.
    pub log: PathBuf,
    process: Option<Process>,
    frozen: bool,
}

impl Node {
    /// What it printed so far.
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// What a node knows of its cluster.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Who leads.
    pub leader: Option<u64>,
    /// Since which election.
    pub term: u64,
    /// Everybody.
    pub nodes: Vec<NodeStatus>,
}

impl Status {
    /// What is known of one node.
    pub fn node(&self, id: u64) -> Option<&NodeStatus> {
        self.nodes.iter().find(|node| node.id == id)
    }
}

/// What is known of one node.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: u64,
    /// URL of its public API.
    pub http: String,
    /// URL of its admin API.
    pub admin: String,
    /// Its process.
    pub pid: u32,
    /// "leader", "follower", "learner", "candidate" or "unreachable".
    pub role: String,
    /// The last entry it applied.
    pub applied: u64,
    /// The last entry it holds.
    pub last_log: u64,
}

impl Cluster {
    /// A cluster of three with nothing set.
    pub fn builder() -> Builder {
        Builder { nodes: 3, settings: Vec::new(), variables: Vec::new(), intercepted: false, shared: false }
    }

    /// One node's place.
    pub fn node(&self, id: u64) -> &Node {
        self.nodes.get(&id).expect("the test knows which nodes there are")
    }

    /// The ids of the nodes whose process runs and is not frozen.
    pub fn running(&self) -> Vec<u64> {
        self.nodes
            .values()
            .filter(|node| node.process.is_some() && !node.frozen)
            .map(|node| node.id)
            .collect()
    }

    /// What stands between the nodes.
    pub fn net(&self) -> &Net {
        self.net.as_ref().expect("built with `intercepted`")
    }

    /// One node's API.
    pub fn api(&self, id: u64) -> Api {
        Api::new(&self.node(id).http)
    }

    /// Every node's API, in the order of their ids.
    pub fn apis(&self) -> Vec<Api> {
        self.nodes.keys().map(|id| self.api(*id)).collect()
    }

    /// A client that knows every node.
    pub fn roamer(&self) -> Roamer {
        Roamer::new(self.apis())
    }

    /// What one node says of the cluster, if it answers at all.
    pub async fn status_from(&self, id: u64) -> Option<Status> {
        let admin = Api::new(&self.node(id).admin);
        let reply = admin.get("/cluster/status").patience(Duration::from_secs(2)).attempt().await.ok()?;
        (reply.status == 200).then(|| serde_json::from_slice(&reply.body).ok()).flatten()
    }

    /// What the leader says of the cluster; waits until there is one, among the nodes that run.
    pub async fn status(&self) -> Status {
        eventually(READY, "a leader is known", async || {
            let mut best: Option<Status> = None;
            for id in self.running() {
                if let Some(status) = self.status_from(id).await
                    && best.as_ref().is_none_or(|best| status.term > best.term)
                {
                    best = Some(status);
                }
            }
            let leader = best?.leader.filter(|leader| self.running().contains(leader))?;
            self.status_from(leader).await.filter(|status| status.leader == Some(leader))
        })
        .await
    }

    /// Who leads; waits until somebody does.
    pub async fn leader(&self) -> u64 {
        self.status().await.leader.expect("`status` waits for a leader")
    }

    /// The running nodes that do not lead.
    pub async fn followers(&self) -> Vec<u64> {
        let leader = self.leader().await;
        self.running().into_iter().filter(|id| *id != leader).collect()
    }

    /// The API of a node that does not lead.
    pub async fn follower(&self) -> Api {
        self.two_followers().await.0
    }

    /// The APIs of two nodes that do not lead.
    pub async fn two_followers(&self) -> (Api, Api) {
        match self.followers().await[..] {
            [first, second, ..] => (self.api(first), self.api(second)),
            _ => panic!("a cluster of three has two followers"),
        }
    }

    /// The number of the last entry in the log.
    pub async fn last_log(&self) -> u64 {
        let status = self.status().await;
        let leader = status.leader.and_then(|id| status.node(id)).expect("`status` waits for a leader");
        leader.last_log
    }

    /// Waits until every running node says it is ready.
    pub async fn wait_ready(&mut self) {
        for id in self.running() {
            self.wait_ready_at(id).await;
        }
    }

    /// Waits until one node says it is ready.
    pub async fn wait_ready_at(&mut self, id: u64) {
        let api = self.api(id);
        let node = self.nodes.get_mut(&id).expect("the test knows which nodes there are");
        let process = node.process.as_mut().expect("only a running node becomes ready");
        eventually(READY, &format!("node {id} is ready"), async || {
            if let Some(status) = process.ended() {
                panic!("node {id} ended before it was ready: {status}");
            }
            let reply = api.get("/readyz").patience(Duration::from_secs(2)).attempt().await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("the test knows which nodes there are");
        node.process.take().expect("only a running node can be killed").kill();
        node.frozen = false;
    }

    /// SIGKILL to all, as much at once as can be.
    pub fn kill_all(&mut self) {
        for node in self.nodes.values() {
            if let Some(process) = &node.process {
                process.signal("KILL");
            }
        }
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if self.node(id).process.is_some() {
                self.kill(id);
            }
        }
    }

    /// SIGTERM; waits for the end and returns the exit code, which is absent if a signal ended it.
    pub async fn terminate(&mut self, id: u64) -> Option<i32> {
        self.process(id).signal("TERM");
        self.exit_code(id).await
    }

    /// Waits for the end of a node that is about to exit by itself, and returns its exit code.
    pub async fn exit_code(&mut self, id: u64) -> Option<i32> {
        let node = self.nodes.get_mut(&id).expect("the test knows which nodes there are");
        let mut process = node.process.take().expect("only a running node can end");
        process.end(END).await.code()
    }

    /// SIGSTOP: the process keeps its sockets and does nothing.
    pub fn freeze(&mut self, id: u64) {
        self.process(id).signal("STOP");
        self.nodes.get_mut(&id).expect("`process` found it").frozen = true;
    }

    /// SIGCONT.
    pub fn thaw(&mut self, id: u64) {
        self.process(id).signal("CONT");
        self.nodes.get_mut(&id).expect("`process` found it").frozen = false;
    }

    /// Starts a node again that was killed or ended, on the same disk and addresses. It may not be ready yet.
    pub fn restart(&mut self, id: u64) {
        assert!(self.node(id).process.is_none(), "node {id} still runs");
        self.spawn(id);
    }

    /// Loses the disk of a node that is not running.
    pub fn wipe(&mut self, id: u64) {
        assert!(self.node(id).process.is_none(), "node {id} still runs");
        fs::remove_dir_all(&self.node(id).data_dir).expect("the node left a data directory");
    }

    /// Starts a node under an id of its own, which waits to be added to the cluster.
    pub async fn join(&mut self, id: u64) {
        assert!(self.net.is_none(), "a node that joins is not intercepted");
        self.place(id);
        self.spawn(id);
        let admin = Api::new(&self.node(id).admin);
        eventually(READY, "the new node answers", async || admin.get("/cluster/status").attempt().await.ok())
            .await;
    }

    /// Runs the `conclave` command line to its end, and returns its exit code and all it printed.
    pub async fn command(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(binary::conclave());
        command.args(args).env("HOME", self.scratch.path());
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("running a command does not panic")
            .expect("the binary can be run");
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
    }

    /// Shows the end of each node's log, for a test that failed.
    pub fn show_logs(&self) {
        let mut err = std::io::stderr().lock();
        for node in self.nodes.values() {
            let printed = node.printed();
            let lines: Vec<&str> = printed.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            // Written past libtest's capture, in one piece: there is nowhere to report a failure to.
            let _ = writeln!(
                err,
                "── node {} ({} lines, the last of them:)\n{}",
                node.id,
                lines.len(),
                tail.join("\n")
            );
        }
    }

    fn process(&self, id: u64) -> &Process {
        self.node(id).process.as_ref().expect("only a running node gets signals")
    }

    /// Gives a node its addresses and its disk.
    fn place(&mut self, id: u64) {
        let [http, admin] = [0, 1].map(|offset| self.ports.get(port_index(id) + offset));
        let advertise = match &self.net {
            Some(net) => net.door(id),
            None => peer_address(&self.ports, id),
        };
        let node = Node {
            id,
            http: format!("http://127.0.0.1:{http}"),
            admin: format!("http://127.0.0.1:{admin}"),
            advertise,
            data_dir: self.scratch.path().join(format!("node-{id}")),
            log: self.scratch.path().join(format!("node-{id}.log")),
            process: None,
            frozen: false,
        };
        self.nodes.insert(id, node);
    }

    fn spawn(&mut self, id: u64) {
        let node = self.node(id);
        // Nothing of the caller's environment reaches a node, but what makes its log louder.
        let mut command = Command::new(binary::conclave());
        command.args(["serve", "--exit-with-stdin"]).env_clear().env("HOME", self.scratch.path());
        command.envs(
            ["PATH", "RUST_LOG", "RUST_BACKTRACE"]
                .into_iter()
                .filter_map(|name| Some((name, env::var_os(name)?))),
        );
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let address = |url: &str| url.trim_start_matches("http://").to_owned();
        let own = [
            ("node.id", id.to_string()),
            ("node.data_dir", node.data_dir.display().to_string()),
            ("http.listen", address(&node.http)),
            ("admin.listen", address(&node.admin)),
            ("cluster.name", format!("tests-{}", self.ports.get(0))),
            ("cluster.listen", peer_address(&self.ports, id).to_string()),
            ("cluster.advertise", node.advertise.to_string()),
            ("cluster.members", self.members(id)),
            ("cluster.join", (id > self.first_members).to_string()),
        ];
        let all = own.iter().map(|(key, value)| (*key, value.as_str()));
        let given = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in all.chain(given) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let process = Process::spawn(command, &node.log);
        if let Some(net) = &self.net {
            net.belongs_to(id, process.pid());
        }
        self.nodes.get_mut(&id).expect("`node` found it").process = Some(process);
    }

    /// The first members as `id` is told of them: nobody, if it joins later.
    fn members(&self, id: u64) -> String {
        let first = (1..=self.first_members).filter(|_| id <= self.first_members);
        let list: Vec<String> =
            first.map(|member| format!("\"{member}={}\"", self.node(member).advertise)).collect();
        format!("[{}]", list.join(", "))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        }
    }
}

/// The files of a node's log of entries, oldest first.
pub fn log_files(data_dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![data_dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the node left a data directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "wal") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "a node that was in a cluster has a log");
    found.sort();
    found
}

/// Three ports a node.
fn port_index(id: u64) -> u16 {
    u16::try_from(id - 1).expect("tests have few nodes") * 3
}

fn peer_address(ports: &Ports, id: u64) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, ports.get(port_index(id) + 2)).into()
}
