//! A node: where it is installed (its addresses and its disk), and its process, if it runs.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, iter};

use conclave_supervisor::{Ports, Process, Signal, signal, tail};

use crate::chaos::disk::Disk;
use crate::chaos::error::During as _;
use crate::chaos::schedule::Version;
use crate::chaos::tools::{self, run};
use crate::chaos::{Error, cluster::Plan};
use crate::client::Target;
use crate::cluster_status;
use crate::sample::is_dead;

/// How much of a node's last words an error repeats.
const LAST_WORDS: usize = 3;

/// Nothing else of the caller's environment reaches a node.
const KEPT: [&str; 3] = ["PATH", "CONCLAVE_LOG__LEVEL", "RUST_BACKTRACE"];

/// The system calls that put bytes on the disk, as libfiu names them.
const FLUSHES: [&str; 2] = ["posix/io/sync/fsync", "posix/io/sync/fdatasync"];
/// EIO.
const FAILURE: u32 = 5;

/// A node, running or not.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: u64,
    /// Its public API.
    pub http: Target,
    /// Its admin API.
    pub admin: Target,
    /// What it is started as.
    pub version: Version,
    // Before the disk it writes to: fields are dropped in order.
    pub(super) life: Life,
    pub(super) frozen: bool,
    /// Where it is started, if it is ours.
    pub installation: Option<Installation>,
}

/// Whether it runs, and whose child it is.
#[derive(Debug)]
pub(super) enum Life {
    Down,
    Child(Process),
    Foreign(u32),
}

/// What a node can be started on again.
#[derive(Debug)]
pub struct Installation {
    /// Where it listens for its peers.
    pub listen: SocketAddr,
    /// Where its peers reach it.
    pub advertise: SocketAddr,
    /// Its disk.
    pub data_dir: PathBuf,
    /// Everything it printed, over all its runs.
    pub log: PathBuf,
    pub(super) disk: Option<Disk>,
    /// The file that tells libfaketime the time.
    clock: Option<PathBuf>,
    /// How the names of libfiu's pipes begin.
    pipes: Option<PathBuf>,
}

impl Node {
    /// An installation on free ports: HTTP, admin, peers.
    pub(super) async fn install(id: u64, ports: &mut Ports, plan: &Plan) -> Result<Self, Error> {
        let mut address = || {
            let port = ports.take().during(|| format!("a port for node {id}"))?;
            Ok::<_, Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        };
        let (http, admin, listen) = (address()?, address()?, address()?);
        let target = |address| format!("http://{address}").parse().map_err(cluster_status::Error::Url);
        let name = format!("node-{id}");
        let home = plan.folder.join(&name);
        let disk = match plan.disk_bytes {
            Some(bytes) => Some(Disk::make(&home, bytes).await?),
            None => None,
        };
        let clock = plan.clocks.then(|| plan.folder.join(format!("{name}.clock")));
        if let Some(clock) = &clock {
            fs::write(clock, "+0").during(|| format!("the clock of node {id}"))?;
        }
        let installation = Installation {
            listen,
            advertise: listen,
            // Not the disk's root, which is never quite empty.
            data_dir: if disk.is_some() { home.join("data") } else { home },
            log: plan.folder.join(format!("{name}.log")),
            disk,
            clock,
            pipes: plan.failing_calls.then(|| plan.folder.join(format!("{name}.fiu"))),
        };
        Ok(Self {
            id,
            http: target(http)?,
            admin: target(admin)?,
            version: Version::This,
            life: Life::Down,
            frozen: false,
            installation: Some(installation),
        })
    }

    /// A node that somebody else started.
    pub(super) fn foreign(node: &cluster_status::Node) -> Result<Self, Error> {
        Ok(Self {
            id: node.id,
            http: node.http.parse().map_err(cluster_status::Error::Url)?,
            admin: node.admin.parse().map_err(cluster_status::Error::Url)?,
            version: Version::This,
            life: Life::Foreign(node.pid),
            frozen: false,
            installation: None,
        })
    }

    pub(super) fn installation_mut(&mut self, what: &'static str) -> Result<&mut Installation, Error> {
        self.installation.as_mut().ok_or(Error::NotOurs(what))
    }

    /// The number of its process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        match &self.life {
            Life::Down => None,
            Life::Child(process) => Some(process.pid()),
            Life::Foreign(pid) => Some(*pid),
        }
    }

    /// Whether its process runs, frozen or not.
    pub fn runs(&self) -> bool {
        !matches!(self.life, Life::Down)
    }

    /// Everything it printed so far, over all its runs.
    pub fn printed(&self) -> String {
        let log =
            self.installation.as_ref().map(|installation| fs::read(&installation.log).unwrap_or_default());
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }

    /// The end of what it printed, on one line.
    pub fn last_words(&self) -> String {
        let log = self.installation.as_ref().map(|installation| tail(&installation.log, LAST_WORDS));
        log.unwrap_or_default().replace('\n', " / ")
    }

    /// The files of its data with this ending, in the order of their names, which is that of their age.
    pub fn files(&self, ending: &str) -> Vec<PathBuf> {
        let Some(installation) = &self.installation else { return Vec::new() };
        let mut found = files(&installation.data_dir);
        found.retain(|path| path.extension().is_some_and(|extension| extension == ending));
        found.sort();
        found
    }

    /// Starts its process with its own addresses and with `settings`.
    pub(super) fn spawn(&mut self, plan: &Plan, settings: &[(String, String)]) -> Result<u32, Error> {
        let (id, http, admin) = (self.id, self.http.address(), self.admin.address());
        if self.runs() {
            return Err(Error::NoSuchNode(format!("node {id} runs already")));
        }
        let installation = self.installation.as_mut().ok_or(Error::NotOurs("starting a node"))?;
        let own = [
            ("node.id", id.to_string()),
            ("node.data_dir", installation.data_dir.display().to_string()),
            ("http.listen", http.to_owned()),
            ("admin.listen", admin.to_owned()),
            ("cluster.listen", installation.listen.to_string()),
            ("cluster.advertise", installation.advertise.to_string()),
        ];
        let own = own.iter().map(|(key, value)| (*key, value.as_str()));
        let binary = match self.version {
            Version::This => &plan.binary,
            Version::Other => plan.other.as_ref().ok_or(Error::NotOurs("another version of the server"))?,
        };
        let mut command = match &plan.prelude {
            None => Command::new(binary),
            Some(prelude) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("{prelude} && exec \"$@\""), &format!("node-{id}")]).arg(binary);
                shell
            }
        };
        command
            .args(["serve", "--exit-with-stdin"])
            .env_clear()
            .envs(KEPT.into_iter().filter_map(|name| Some((name, env::var_os(name)?))))
            .env("HOME", &plan.folder)
            .envs(plan.variables.iter().map(|(name, value)| (name, value)))
            .envs(installation.preloads());
        for (key, value) in own.chain(settings.iter().map(|(key, value)| (key.as_str(), value.as_str()))) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let process = Process::start_node(command, &installation.log)
            .during(|| format!("starting {}", binary.display()))?;
        let pid = process.pid();
        self.life = Life::Child(process);
        self.frozen = false;
        Ok(pid)
    }

    /// Sends a signal to its process.
    pub fn signal(&self, to_send: Signal) -> Result<(), Error> {
        let id = self.id;
        let pid = self.pid().ok_or_else(|| Error::NoSuchNode(format!("node {id} does not run")))?;
        signal(pid, to_send).during(|| format!("a signal to node {id}"))
    }

    /// Waits until its process has ended, and returns the exit code, which is absent if a signal ended it.
    pub(super) async fn gone(&mut self, within: Duration) -> Result<Option<i32>, Error> {
        let id = self.id;
        let what = || format!("the end of node {id}");
        let code = super::until(within, what, async || self.look()).await?;
        Ok(code)
    }

    /// The exit code, once it has ended.
    pub(super) fn look(&mut self) -> Result<Option<Option<i32>>, Error> {
        let id = self.id;
        let code = match &mut self.life {
            Life::Down => Some(None),
            Life::Child(process) => {
                process.ended().during(|| format!("waiting for node {id}"))?.map(|status| status.code())
            }
            Life::Foreign(pid) => is_dead(*pid).then_some(None),
        };
        if code.is_some() {
            self.life = Life::Down;
            self.frozen = false;
        }
        Ok(code)
    }

    /// Steps its wall clock, now and whenever it starts.
    pub(super) fn set_clock(&mut self, seconds: i64) -> Result<(), Error> {
        let clock = self.installation_mut("a wrong clock")?.clock.as_ref();
        let clock = clock.ok_or_else(|| Error::Schedule("the nodes' clocks cannot be set".to_owned()))?;
        fs::write(clock, format!("{seconds:+}")).during(|| "setting a clock".to_owned())
    }

    /// Makes its flushes fail from now on, or no longer.
    pub(super) async fn fail_flushes(&mut self, fail: bool) -> Result<(), Error> {
        let pid = self.pid().ok_or_else(|| Error::NoSuchNode(format!("node {} does not run", self.id)))?;
        let pipes = self.installation_mut("failing flushes")?.pipes.clone();
        let pipes = pipes.ok_or_else(|| Error::Schedule("the nodes' calls cannot fail".to_owned()))?;
        for name in FLUSHES {
            let wish = match fail {
                true => format!("enable name={name},failnum=1,failinfo={FAILURE}"),
                false => format!("disable name={name}"),
            };
            run(
                "fiu-ctrl",
                ["-f".as_ref(), pipes.as_os_str(), "-c".as_ref(), wish.as_ref(), pid.to_string().as_ref()],
            )
            .await?;
        }
        Ok(())
    }
}

impl Installation {
    /// What makes clocks wrong and calls fail, if anything is to.
    fn preloads(&self) -> Vec<(&'static str, OsString)> {
        let mut libraries = Vec::new();
        let mut variables = Vec::new();
        if let Some((clock, library)) = self.clock.as_ref().zip(tools::faketime()) {
            libraries.push(library.to_owned());
            // Steps of the wall clock are wanted; a monotonic clock never steps.
            let told = [("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("FAKETIME_CACHE_DURATION", "1")];
            variables.extend(told.map(|(name, value)| (name, value.into())));
            variables.push(("FAKETIME_DISABLE_SHM", "1".into()));
            variables.push(("FAKETIME_TIMESTAMP_FILE", clock.into()));
        }
        if let Some((pipes, both)) = self.pipes.as_ref().zip(tools::fiu()) {
            libraries.extend(both);
            variables.push(("FIU_CTRL_FIFO", pipes.into()));
        }
        if !libraries.is_empty() {
            let list = libraries.iter().map(|path| path.as_os_str());
            let list: OsString =
                list.flat_map(|path| iter::once(path).chain(iter::once(":".as_ref()))).collect();
            variables.push(("LD_PRELOAD", list));
        }
        variables
    }

    /// Loses everything the node stored.
    pub(super) fn wipe(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.data_dir)
    }
}

/// All files under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}
