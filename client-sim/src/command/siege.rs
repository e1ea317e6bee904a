//! `siege`: floods of each kind against nodes of its own, with an honest client beside.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process};

use super::view::{bytes, print_json};
use super::{BAD, BROKEN, GOOD, duration};
use crate::console::say;
use crate::files::raise_open_files;
use crate::siege::kind::Kind;
use crate::siege::report::{Report, foreseen, table};
use crate::siege::{Options, run};

/// Both ends of the largest flood's connections at the listener that discards it, the honest client's, and what is beside.
const FILES: u64 = 10_000;

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
    /// The server; beside this program if not given
    #[arg(long)]
    conclave: Option<PathBuf>,
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
    /// Print the reports as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) async fn run(self) -> u8 {
        if self.list {
            for kind in Kind::ALL {
                say(&format!("{:14} {}\n", kind.name(), kind.about()));
            }
            return GOOD;
        }
        let kinds = if self.all { Kind::ALL.to_vec() } else { self.kind.clone() };
        if kinds.is_empty() {
            tell!("which flood? --kind NAME, --all, or --list");
            return BROKEN;
        }
        if let Err(why) = raise_open_files(FILES) {
            tell!("{why}");
            return BROKEN;
        }
        let beside = || Some(env::current_exe().ok()?.with_file_name("conclave"));
        let binary = self.conclave.clone().or_else(beside).unwrap_or_else(|| "conclave".into());
        if !binary.is_file() {
            tell!("there is no server at {}: name it with --conclave", binary.display());
            return BROKEN;
        }
        let home = self.out.clone();
        let home = home.unwrap_or_else(|| env::temp_dir().join(format!("conclave-siege-{}", process::id())));
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
            if let Err(error) = fs::create_dir_all(&options.folder) {
                tell!("{}: {error}", options.folder.display());
                return BROKEN;
            }
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
        if self.json {
            print_json(&reports);
        } else {
            say(&table(&reports));
        }
        if self.out.is_none() && ok && impossible == 0 {
            let _ = fs::remove_dir_all(&home);
        } else {
            tell!("the nodes' logs are in {}", home.display());
        }
        match (ok, impossible) {
            (false, _) => BAD,
            (true, 0) => GOOD,
            (true, _) => BROKEN,
        }
    }
}
