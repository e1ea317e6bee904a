//! `guess`: how many guesses at a code or a pin one client gets.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process};

use super::view::print_json;
use super::{BAD, BROKEN, GOOD, duration};
use crate::chaos::cluster::{Cluster, Plan};
use crate::console::say;
use crate::files::raise_open_files;
use crate::guess::{measure, table};

/// Files beside the connections that are held.
const FILES_BESIDE: u64 = 512;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server; beside this program if not given
    #[arg(long)]
    conclave: Option<PathBuf>,
    /// Requests that are held back by their last byte and released together
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    held: u32,
    /// How long the ways whose windows admit more than that are tried; a window lasts a minute
    #[arg(long, default_value = "50s", value_parser = duration)]
    time: Duration,
    /// Print what was measured as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) async fn run(self) -> u8 {
        if let Err(why) = raise_open_files(u64::from(self.held) + FILES_BESIDE) {
            tell!("{why}");
            return BROKEN;
        }
        let beside = || Some(env::current_exe().ok()?.with_file_name("conclave"));
        let binary = self.conclave.clone().or_else(beside).unwrap_or_else(|| "conclave".into());
        if !binary.is_file() {
            tell!("there is no server at {}: name it with --conclave", binary.display());
            return BROKEN;
        }
        let folder = env::temp_dir().join(format!("conclave-guess-{}", process::id()));
        if let Err(error) = fs::create_dir_all(&folder) {
            tell!("{}: {error}", folder.display());
            return BROKEN;
        }
        let plan = Plan {
            binary,
            other: None,
            nodes: 3,
            // Its allowances are the defaults; only shares of connections would be in the way of one that holds so many.
            settings: vec![("allowance.enabled".to_owned(), "true".to_owned())],
            intercepted: false,
            disk_bytes: None,
            clocks: false,
            failing_calls: false,
            cgroups: None,
            folder: folder.clone(),
        };
        let cluster = match Cluster::start(plan).await {
            Ok(cluster) => cluster,
            Err(error) => {
                tell!("{error}; the nodes' logs are in {}", folder.display());
                return BROKEN;
            }
        };
        let nodes: Vec<_> =
            cluster.targets().iter().filter_map(|target| target.address().parse().ok()).collect();
        let measured = measure(&nodes, self.held as usize, self.time).await;
        drop(cluster);
        let _ = fs::remove_dir_all(&folder);
        match measured {
            Ok(measured) => {
                if self.json {
                    print_json(&measured);
                } else {
                    say(&table(&measured));
                }
                let within = measured.iter().all(|one| one.guesses > 0 && one.guesses <= one.most);
                if within { GOOD } else { BAD }
            }
            Err(fault) => {
                tell!("what is to be guessed could not be made: {fault}");
                BROKEN
            }
        }
    }
}
