//! One place for a node: its addresses and its disk, whether or not a process is there.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::{env, fs};

use conclave_client_sim::chaos::cluster::ports::Ports;
use conclave_client_sim::chaos::cluster::process::{Process, Signal};

use crate::binary;
use crate::cluster::READY;
use crate::wait::eventually;

/// HTTP, admin, peers.
const PORTS_PER_NODE: u16 = 3;

/// A node, running or not.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: u64,
    /// URL of its public API.
    pub http: String,
    /// URL of its admin API.
    pub admin: String,
    /// Where it listens for its peers.
    pub listen: SocketAddr,
    /// Where its peers reach it.
    pub advertise: SocketAddr,
    /// Its disk.
    pub data_dir: PathBuf,
    /// Everything it printed, over all its runs.
    pub log: PathBuf,
    pub(crate) process: Option<Process>,
    pub(crate) frozen: bool,
}

impl Node {
    /// A place with ports of `ports`, under `folder`.
    pub(crate) fn new(id: u64, ports: &Ports, folder: &Path) -> Self {
        let first = u16::try_from(id - 1).expect("tests have few nodes") * PORTS_PER_NODE;
        let address = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, ports.get(first + offset)));
        Self {
            id,
            http: format!("http://{}", address(0)),
            admin: format!("http://{}", address(1)),
            listen: address(2),
            advertise: address(2),
            data_dir: folder.join(format!("node-{id}")),
            log: folder.join(format!("node-{id}.log")),
            process: None,
            frozen: false,
        }
    }

    /// What it printed so far.
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Everything it has printed, once this is among it: a node does not wait for its log.
    pub async fn says(&self, text: &str) -> String {
        eventually(READY, &format!("node {} says {text:?}", self.id), async || {
            Some(self.printed()).filter(|printed| printed.contains(text))
        })
        .await
    }

    /// The id of its process, which has to be there.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the test knows which nodes run").pid()
    }

    /// The files of its log of entries, oldest first.
    pub fn log_files(&self) -> Vec<PathBuf> {
        let found = self.files("wal");
        assert!(!found.is_empty(), "a node that was in a cluster has a log");
        found
    }

    /// The files of its data directory with this ending, in the order of their names.
    pub fn files(&self, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.data_dir.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the node left a data directory").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == ending) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// Starts its process with its own addresses, and with what all nodes are told.
    ///
    /// Nothing of the caller's environment reaches it, but what makes its log louder.
    pub(crate) fn spawn(
        &mut self,
        settings: &[(String, String)],
        variables: &[(String, String)],
        descriptors: Option<(u64, u64)>,
    ) -> u32 {
        assert!(self.process.is_none(), "node {} still runs", self.id);
        let home = self.data_dir.parent().expect("a disk lies in the cluster's folder");
        let kept = ["PATH", "CONCLAVE_LOG__LEVEL", "RUST_BACKTRACE"];
        let mut command = match descriptors {
            None => Command::new(binary::conclave()),
            // The shell sets the limit, and becomes the node.
            Some((soft, hard)) => {
                let mut shell = Command::new("sh");
                let limits = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\"");
                shell.args(["-c", &limits]).arg(binary::conclave());
                shell
            }
        };
        command
            .args(["serve", "--exit-with-stdin"])
            .env_clear()
            .envs(kept.into_iter().filter_map(|name| Some((name, env::var_os(name)?))))
            .env("HOME", home)
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let address = |url: &str| url.trim_start_matches("http://").to_owned();
        let own = [
            ("node.id", self.id.to_string()),
            ("node.data_dir", self.data_dir.display().to_string()),
            ("http.listen", address(&self.http)),
            ("admin.listen", address(&self.admin)),
            ("cluster.listen", self.listen.to_string()),
            ("cluster.advertise", self.advertise.to_string()),
            // No load balancer has to notice first.
            ("shutdown.lame_duck", "0s".to_owned()),
        ];
        let own = own.iter().map(|(key, value)| (*key, value.as_str()));
        for (key, value) in own.chain(settings.iter().map(|(key, value)| (key.as_str(), value.as_str()))) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let process = Process::spawn(command, &self.log).expect("the server can be started");
        let pid = process.pid();
        self.process = Some(process);
        pid
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process().signal(signal).expect("a child can be signalled");
    }

    /// How the process ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process().ended().expect("a child can be waited for")
    }

    /// The process, which has to be there.
    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the test knows which nodes run")
    }
}
