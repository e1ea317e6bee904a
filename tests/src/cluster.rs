//! Clusters of real `conclave serve` processes on loopback.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use conclave_client_sim::chaos::{Error, cluster};
pub use conclave_client_sim::cluster_status::ClusterStatus as Status;
pub use conclave_supervisor::Signal;
use conclave_supervisor::tail;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::binary;
use crate::builder::Builder;
use crate::http::Api;
use crate::leaks;
use crate::net::Net;
use crate::roam::Roamer;
use crate::scratch::Scratch;
use crate::shared::NODES;
use crate::wait::eventually;

/// For a cluster to elect a leader and everybody to catch up, on a busy machine.
pub const READY: Duration = Duration::from_secs(30);
/// For a process to end, or to refuse to start.
pub const END: Duration = Duration::from_secs(30);

/// How many clusters of its own a test run has at once: elections are timed, and a crowded machine upsets them.
static SLOTS: Semaphore = Semaphore::const_new(2);

const LOG_TAIL_LINES: usize = 40;

/// Where the leader's log ends, and in which term: each election adds an entry of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The leader's term.
    pub term: u64,
    /// The number of the last entry.
    pub index: u64,
}

/// Running nodes, as `conclave-sim chaos` has them. All of them end when this is dropped; if that is because a test
/// failed, their last words are shown.
#[derive(Debug)]
pub struct Cluster {
    // Before the folder they write to: fields are dropped in order.
    inner: cluster::Cluster,
    scratch: Scratch,
    _slot: Option<SemaphorePermit<'static>>,
}

impl Cluster {
    /// A cluster of three with nothing set.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Gives every node its addresses and its disk; nothing runs yet.
    pub(crate) async fn install(Builder { mut plan, shared }: Builder) -> Self {
        let slot = match shared {
            true => None,
            false => Some(SLOTS.acquire().await.expect("the semaphore is never closed")),
        };
        let scratch = Scratch::new();
        plan.folder = leaks::kept().unwrap_or_else(|| scratch.path().to_owned());
        Self { inner: done(cluster::Cluster::install(plan).await), scratch, _slot: slot }
    }

    /// Its name: a stray node of another test's cluster is refused by it.
    pub fn name(&self) -> String {
        self.inner.name().to_owned()
    }

    /// The file with the secret that the nodes share.
    pub fn secret_file(&self) -> PathBuf {
        self.scratch.path().join("secret")
    }

    /// One node.
    pub fn node(&self, id: u64) -> &cluster::node::Node {
        done(self.inner.node(id))
    }

    /// Where a node is started.
    pub fn installation(&self, id: u64) -> &cluster::node::Installation {
        self.node(id).installation.as_ref().expect("it was installed here")
    }

    /// Everything a node has printed, once this is among it: a node does not wait for its log.
    pub async fn says(&self, id: u64, text: &str) -> String {
        eventually(READY, &format!("node {id} says {text:?}"), async || {
            Some(self.node(id).printed()).filter(|printed| printed.contains(text))
        })
        .await
    }

    /// The ids of the nodes whose process runs and is not frozen.
    pub fn running(&self) -> Vec<u64> {
        self.inner.running()
    }

    /// Keeps what the nodes tell, where secrets are looked for.
    pub(crate) fn ask_for_leaks(&self) {
        if leaks::are_sought() {
            leaks::ask(self.running().into_iter().map(|id| self.admin(id).address()));
        }
    }

    /// What stands between the nodes.
    pub fn net(&self) -> &Net {
        done(self.inner.net())
    }

    /// One node's API.
    pub fn api(&self, id: u64) -> Api {
        Api::new(&self.node(id).http.to_string())
    }

    /// One node's admin API.
    pub fn admin(&self, id: u64) -> Api {
        Api::new(&self.node(id).admin.to_string())
    }

    /// Every node's API, in the order of their ids.
    pub fn apis(&self) -> Vec<Api> {
        self.inner.ids().into_iter().map(|id| self.api(id)).collect()
    }

    /// A client that knows every node.
    pub fn roamer(&self) -> Roamer {
        Roamer::new(self.apis())
    }

    /// What one node says of the cluster, if it answers at all.
    pub async fn status_from(&self, id: u64) -> Option<Status> {
        self.inner.status_of(id).await
    }

    /// What the leader says of the cluster; waits until there is one, among the nodes that run.
    pub async fn status(&self) -> Status {
        eventually(READY, "a leader is known", async || {
            let leader =
                self.inner.status().await?.leader.filter(|leader| self.running().contains(leader))?;
            self.status_from(leader).await.filter(|status| status.leader == Some(leader))
        })
        .await
    }

    /// Who leads; waits until somebody does.
    pub async fn leader(&self) -> u64 {
        self.status().await.leader.expect("`status` waits for a leader")
    }

    /// The running nodes that do not lead; those without a seat come first. With `CONCLAVE_NODES` each test begins with another
    /// one, so that all tests together meet all nodes.
    pub async fn followers(&self) -> Vec<u64> {
        let status = self.status().await;
        let mut followers = self.running();
        followers.retain(|id| Some(*id) != status.leader);
        followers.sort_by_key(|id| status.node(*id).is_none_or(|node| node.role != "front"));
        if std::env::var_os(NODES).is_some() && !followers.is_empty() {
            let mut hasher = DefaultHasher::new();
            std::thread::current().name().hash(&mut hasher);
            let first = hasher.finish() as usize % followers.len();
            followers.rotate_left(first);
        }
        followers
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
        done(self.inner.ready(id, READY).await);
    }

    /// Waits until a node is ready, or until it ends: then it returns the exit code.
    pub async fn ready_or_ended(&mut self, id: u64) -> Option<i32> {
        match self.inner.ready(id, READY).await {
            Err(Error::Ended { code, .. }) => Some(code.expect("nobody killed it")),
            ready => {
                done(ready);
                None
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, id: u64, signal: Signal) {
        done(self.node(id).signal(signal));
    }

    /// SIGKILL.
    pub async fn kill(&mut self, id: u64) {
        done(self.inner.kill(&[id]).await);
    }

    /// SIGKILL to all, as much at once as can be.
    pub async fn kill_all(&mut self) {
        let ids: Vec<u64> = self.inner.ids().into_iter().filter(|id| self.node(*id).runs()).collect();
        done(self.inner.kill(&ids).await);
    }

    /// SIGTERM; waits for the end and returns the exit code, which is absent if a signal ended it.
    pub async fn terminate(&mut self, id: u64) -> Option<i32> {
        done(self.inner.terminate(id, END).await)
    }

    /// Waits for the end of a node that is about to exit by itself, and returns its exit code.
    pub async fn exit_code(&mut self, id: u64) -> Option<i32> {
        done(self.inner.ended(id, END).await)
    }

    /// SIGSTOP: the process keeps its sockets and does nothing.
    pub fn freeze(&mut self, id: u64) {
        done(self.inner.freeze(id));
    }

    /// SIGCONT.
    pub fn thaw(&mut self, id: u64) {
        done(self.inner.thaw(id));
    }

    /// Starts a node again that was killed or ended, on the same disk and addresses. It may not be ready yet.
    pub fn restart(&mut self, id: u64) {
        done(self.inner.start_node(id));
    }

    /// Loses the disk of a node that is not running.
    pub fn wipe(&mut self, id: u64) {
        done(self.inner.wipe(id));
    }

    /// Starts a node under an id of its own, which waits to be added to the cluster.
    pub async fn join(&mut self, id: u64) {
        done(self.inner.install_node(id).await);
        self.restart(id);
        let admin = self.admin(id);
        // Whatever it says: it knows of no leader yet.
        let answers = async || admin.get("/cluster/status").attempt().await.ok();
        eventually(READY, "the new node answers", answers).await;
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
        let (place, name) = (self.installation(id), format!("cluster.name={}", self.name()));
        let (id, directory, peer) =
            (id.to_string(), place.data_dir.display().to_string(), place.advertise.to_string());
        let args = ["recover", "--node-id", &id, "--data-dir", &directory, "--peer", &peer, "--set", &name];
        self.command(&[&args, more].concat()).await
    }

    /// Sets a key of every node that is started from now on.
    pub fn set(&mut self, key: &str, value: &str) {
        done(self.inner.settings()).push((key.to_owned(), value.to_owned()));
    }

    /// Takes back what was set, for every node that is started from now on.
    pub fn unset(&mut self, key: &str) {
        done(self.inner.settings()).retain(|(set, _)| set != key);
    }

    /// Shows the end of each node's log, for a test that failed.
    pub fn show_logs(&self) {
        let mut err = std::io::stderr().lock();
        for id in self.inner.ids() {
            let end = tail(&self.installation(id).log, LOG_TAIL_LINES);
            // Written past libtest's capture, in one piece: there is nowhere to report a failure to.
            let _ = writeln!(err, "── node {id} (the last lines:)\n{end}");
        }
    }
}

/// What was to be done, or a failed test.
fn done<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.ask_for_leaks();
        if thread::panicking() {
            self.show_logs();
        }
    }
}
