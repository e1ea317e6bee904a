//! `guess`: how many guesses at a code or a pin one client gets.

use std::fs;
use std::time::Duration;

use super::output::Json;
use super::server::Server;
use super::{Verdict, duration, home};
use crate::chaos::cluster::{Cluster, Plan};
use crate::files::raise_open_files;
use crate::guess::{measure, table};

/// Files beside the connections that are held.
const FILES_BESIDE: u64 = 512;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: Server,
    /// Requests that are held back by their last byte and released together
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    held: u32,
    /// How long the ways whose windows admit more than that are tried; a window lasts a minute
    #[arg(long, default_value = "50s", value_parser = duration)]
    time: Duration,
    #[command(flatten)]
    json: Json,
}

impl Args {
    pub(super) async fn run(self) -> Verdict {
        raise_open_files(u64::from(self.held) + FILES_BESIDE)?;
        let (binary, folder) = (self.server.binary()?, home(None, "conclave-guess-")?);
        let plan = Plan {
            // Its allowances are the defaults; only shares of connections would be in the way of one that holds so many.
            settings: vec![("shares.enabled".to_owned(), "false".to_owned())],
            ..Plan::new(binary, folder.clone())
        };
        let logs = |error| format!("{error}; the nodes' logs are in {}", folder.display());
        let cluster = Cluster::start(plan).await.map_err(logs)?;
        let measured = measure(&cluster.targets(), self.held as usize, self.time).await;
        drop(cluster);
        let _ = fs::remove_dir_all(&folder);
        let measured =
            measured.map_err(|fault| format!("what is to be guessed could not be made: {fault}"))?;
        self.json.print(&measured, |measured| table(measured));
        Ok(measured.iter().all(|one| one.guesses > 0 && one.guesses <= one.most))
    }
}
