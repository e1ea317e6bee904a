//! `siege`: floods of each kind against nodes of its own, with an honest client beside.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::output::Json;
use super::server::Server;
use super::view::bytes;
use super::{BROKEN, Failed, Verdict, duration, home};
use crate::console::say;
use crate::files::raise_open_files;
use crate::siege::kind::Kind;
use crate::siege::report::{Report, foreseen, table};
use crate::siege::{Options, run};

/// Both ends of the largest flood's connections at the listener that discards it, the honest client's, and what is beside.
const FILES: u64 = 10_000;
const SCRATCH: &str = "conclave-siege-";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A kind of flood; may be given several times
    #[arg(long, value_parser = Kind::parse)]
    kind: Vec<Kind>,
    /// All kinds, one after the other
    #[arg(long, conflicts_with = "kind")]
    all: bool,
    /// List the kinds
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    server: Server,
    /// How long each phase takes: without a flood, beside one that is discarded, beside one at the nodes
    #[arg(long, default_value = "10s", value_parser = duration)]
    time: Duration,
    /// How long the nodes' memory may take to end where it began
    #[arg(long, default_value = "60s", value_parser = duration)]
    settle: Duration,
    /// Memory of each node
    #[arg(long, default_value = "512MiB", value_parser = bytes)]
    memory: u64,
    /// `storage.bytes_max` of the nodes
    #[arg(long, default_value = "128MiB", value_parser = bytes)]
    storage: u64,
    /// By how much a node's memory may have grown in the end
    #[arg(long, default_value = "64MiB", value_parser = bytes)]
    slack: u64,
    /// Addresses the flood comes from; the honest client has another one
    #[arg(long, default_value_t = 1)]
    addresses: u8,
    /// Do without cgroups: a node that takes too much memory is not stopped
    #[arg(long)]
    no_cgroup: bool,
    /// Do not judge the honest client's p99: of the three phases only the last one is run
    #[arg(long)]
    no_times: bool,
    /// Keep the nodes' disks and logs in this folder
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

impl Args {
    pub(super) async fn run(self) -> Verdict {
        if self.list {
            for kind in Kind::ALL {
                say(&format!("{:14} {}\n", kind.name(), kind.about()));
            }
            return Ok(true);
        }
        let kinds = if self.all { Kind::ALL.to_vec() } else { self.kind.clone() };
        if kinds.is_empty() {
            return Err("which flood? --kind NAME, --all, or --list".into());
        }
        raise_open_files(FILES)?;
        let (binary, home) = (self.server.binary()?, home(self.out.as_deref(), SCRATCH)?);
        let mut options = Options {
            binary,
            folder: home.clone(),
            time: self.time,
            settle: self.settle,
            memory_bytes: (!self.no_cgroup).then_some(self.memory),
            storage_bytes: self.storage,
            addresses: self.addresses,
            slack_bytes: self.slack,
            times: !self.no_times,
        };
        tell!("about {} s and the time memory takes to settle", foreseen(kinds.len(), &options).as_secs());
        let mut reports: Vec<Report> = Vec::new();
        let mut impossible = 0;
        for kind in kinds {
            options.folder = home.join(kind.name());
            // An earlier run's disks would be taken for this one's.
            let _ = fs::remove_dir_all(&options.folder);
            fs::create_dir_all(&options.folder)
                .map_err(|error| format!("{}: {error}", options.folder.display()))?;
            tell!("── {}: {}", kind.name(), kind.about());
            match run(kind, &options).await {
                Ok(report) => reports.push(report),
                // The others may be possible all the same.
                Err(error) => {
                    tell!("{}: {error}", kind.name());
                    impossible += 1;
                }
            }
        }
        let ok = reports.iter().all(|report| report.ok);
        self.json.print(&reports, |reports| table(reports));
        if self.out.is_none() && ok && impossible == 0 {
            let _ = fs::remove_dir_all(&home);
        } else {
            tell!("the nodes' logs are in {}", home.display());
        }
        if ok && impossible > 0 { Err(Failed(BROKEN, None)) } else { Ok(ok) }
    }
}
