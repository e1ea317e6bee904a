//! Clusters of real `conclave serve` processes on loopback.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

pub use conclave_client_sim::chaos::cluster::process::Signal;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::binary;
use crate::builder::Builder;
use crate::http::Api;
use crate::net::Net;
use crate::node::Node;
use crate::ports::Ports;
use crate::roam::Roamer;
use crate::scratch::Scratch;
use crate::status::Status;
use crate::wait::eventually;

/// For a cluster to elect a leader and everybody to catch up, on a busy machine.
pub const READY: Duration = Duration::from_secs(30);
/// For a process to end, or to refuse to start.
pub const END: Duration = Duration::from_secs(30);

/// For a node to say how it is.
const ANSWER: Duration = Duration::from_secs(2);

/// How many clusters of its own a test run has at once: elections are timed, and a crowded machine upsets them.
static SLOTS: Semaphore = Semaphore::const_new(2);

/// The file with the secret that the nodes share, and what is in it.
const SECRET: &str = "secret";
const SECRET_TEXT: &str = "a secret of nodes in tests, which is no secret\n";

const LOG_TAIL_LINES: usize = 40;

/// Where the leader's log ends, and in which term: each election adds an entry of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The leader's term.
    pub term: u64,
    /// The number of the last entry.
    pub index: u64,
}

/// Running nodes. All of them end when this is dropped; if that is because a test failed, their last words are shown.
#[derive(Debug)]
pub struct Cluster {
    // Before the folder they write to: fields are dropped in order.
    nodes: BTreeMap<u64, Node>,
    plan: Builder,
    net: Option<Net>,
    ports: Ports,
    scratch: Scratch,
    _slot: Option<SemaphorePermit<'static>>,
}

impl Cluster {
    /// A cluster of three with nothing set.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Gives every node its addresses and its disk; nothing runs yet.
    pub(crate) async fn place(plan: Builder) -> Self {
        let slot = match plan.shared {
            true => None,
            false => Some(SLOTS.acquire().await.expect("the semaphore is never closed")),
        };
        let (ports, scratch) = (Ports::take(), Scratch::new());
        if plan.guarded {
            fs::write(scratch.path().join(SECRET), SECRET_TEXT).expect("the scratch folder is writable");
        }
        let mut nodes: BTreeMap<u64, Node> =
            (1..=plan.nodes).map(|id| (id, Node::new(id, &ports, scratch.path()))).collect();
        let mut net = None;
        if plan.intercepted {
            let opened = Net::open(nodes.values().map(|node| (node.id, node.listen)).collect()).await;
            let opened = opened.expect("loopback has free ports");
            for node in nodes.values_mut() {
                node.advertise = opened.door(node.id);
            }
            net = Some(opened);
        }
        Self { nodes, plan, net, ports, scratch, _slot: slot }
    }

    /// Its name: a stray node of another test's cluster is refused by it.
    pub fn name(&self) -> String {
        format!("tests-{}", self.ports.get(0))
    }

    /// The file with the secret that the nodes share.
    pub fn secret_file(&self) -> PathBuf {
        self.scratch.path().join(SECRET)
    }

    /// Starts every node.
    pub(crate) fn spawn_all(&mut self) {
        for id in 1..=self.plan.nodes {
            self.spawn(id);
        }
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

    /// One node's admin API.
    pub fn admin(&self, id: u64) -> Api {
        Api::new(&self.node(id).admin)
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
        let reply = admin.get("/cluster/status").patience(ANSWER).attempt().await.ok()?;
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

    /// Where the log ends.
    pub async fn log_end(&self) -> LogEnd {
        let status = self.status().await;
        let leader = status.leader.and_then(|id| status.node(id)).expect("`status` waits for a leader");
        LogEnd { term: status.term, index: leader.last_log }
    }

    /// Waits until every running node says it is ready.
    pub async fn wait_ready(&mut self) {
        for id in self.running() {
            self.wait_ready_at(id).await;
        }
    }

    /// Waits until one node says it is ready.
    pub async fn wait_ready_at(&mut self, id: u64) {
        if let Some(code) = self.ready_or_ended(id).await {
            panic!("node {id} ended before it was ready, with exit code {code}");
        }
    }

    /// Waits until a node is ready, or until it ends: then it returns the exit code.
    pub async fn ready_or_ended(&mut self, id: u64) -> Option<i32> {
        let api = if self.plan.secured { self.admin(id) } else { self.api(id) };
        let node = self.node_mut(id);
        let ended = eventually(READY, &format!("node {id} is ready, or ends"), async || {
            if let Some(status) = node.ended() {
                return Some(Some(status.code().expect("nobody killed it")));
            }
            let reply = api.get("/readyz").patience(ANSWER).attempt().await.ok()?;
            (reply.status == 200).then_some(None)
        })
        .await;
        if ended.is_some() {
            node.process = None;
        }
        ended
    }

    /// Sends a signal.
    pub fn signal(&mut self, id: u64, signal: Signal) {
        self.node_mut(id).signal(signal);
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: u64) {
        let node = self.node_mut(id);
        node.process().kill().expect("a child can be killed");
        node.process = None;
        node.frozen = false;
    }

    /// SIGKILL to all, as much at once as can be.
    pub fn kill_all(&mut self) {
        for node in self.nodes.values() {
            if let Some(process) = &node.process {
                process.signal(Signal::KILL).expect("a child can be killed");
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
        self.node_mut(id).signal(Signal::TERM);
        self.exit_code(id).await
    }

    /// Waits for the end of a node that is about to exit by itself, and returns its exit code.
    pub async fn exit_code(&mut self, id: u64) -> Option<i32> {
        let node = self.node_mut(id);
        let status = eventually(END, "the process ends", async || node.ended()).await;
        node.process = None;
        status.code()
    }

    /// SIGSTOP: the process keeps its sockets and does nothing.
    pub fn freeze(&mut self, id: u64) {
        let node = self.node_mut(id);
        node.signal(Signal::STOP);
        node.frozen = true;
    }

    /// SIGCONT.
    pub fn thaw(&mut self, id: u64) {
        let node = self.node_mut(id);
        node.signal(Signal::CONT);
        node.frozen = false;
    }

    /// Starts a node again that was killed or ended, on the same disk and addresses. It may not be ready yet.
    pub fn restart(&mut self, id: u64) {
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
        self.nodes.insert(id, Node::new(id, &self.ports, self.scratch.path()));
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

    /// Runs `conclave recover` on a node that is not running.
    pub async fn recover(&self, id: u64, more: &[&str]) -> (Option<i32>, String) {
        let (node, name) = (self.node(id), format!("cluster.name={}", self.name()));
        let (id, directory, peer) =
            (id.to_string(), node.data_dir.display().to_string(), node.advertise.to_string());
        let args = ["recover", "--node-id", &id, "--data-dir", &directory, "--peer", &peer, "--set", &name];
        self.command(&[&args, more].concat()).await
    }

    /// Sets a key of every node that is started from now on.
    pub fn set(&mut self, key: &str, value: &str) {
        self.plan.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Takes back what was set, for every node that is started from now on.
    pub fn unset(&mut self, key: &str) {
        self.plan.settings.retain(|(set, _)| set != key);
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

    fn node_mut(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("the test knows which nodes there are")
    }

    fn spawn(&mut self, id: u64) {
        let joins = id > self.plan.nodes;
        let first = (1..=self.plan.nodes).filter(|_| !joins);
        let members: Vec<String> =
            first.map(|member| format!("\"{member}={}\"", self.node(member).advertise)).collect();
        let mut settings = vec![
            ("cluster.name".to_owned(), self.name()),
            ("cluster.members".to_owned(), format!("[{}]", members.join(", "))),
            ("cluster.join".to_owned(), joins.to_string()),
        ];
        if self.plan.guarded {
            settings.push(("cluster.secret_file".to_owned(), self.secret_file().display().to_string()));
        }
        settings.extend(self.plan.settings.iter().cloned());
        let variables = self.plan.variables.clone();
        let descriptors = self.plan.descriptors;
        let pid = self.node_mut(id).spawn(&settings, &variables, descriptors);
        if let Some(net) = &self.net {
            net.belongs_to(id, pid);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        }
    }
}
