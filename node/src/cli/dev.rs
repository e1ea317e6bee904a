//! `conclave dev`.

use std::io::{IsTerminal as _, stdout};

use crate::config::Environment;
use crate::dev::{self, Options};
use crate::exit::Exit;

use super::complain;
use super::sources::Sources;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave dev                          three nodes on free ports
  conclave dev --base-port 3000         HTTP on 3000, 3001 and 3002
  conclave dev --nodes 5 --no-restart
  conclave dev --set allowance.tiers.create.limit=100 --set log.level=debug

The data is in a temporary directory and gone afterwards. Ctrl-C ends all nodes.
With --json, one line is printed once all nodes are ready:
  {\"nodes\":[{\"id\",\"http\",\"admin\",\"pid\"}],\"leader\":id}")]
pub(super) struct Arguments {
    #[command(flatten)]
    sources: Sources,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// HTTP on this port and those after it; without it, on free ones
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,
    /// Leave a node that dies dead
    #[arg(long)]
    no_restart: bool,
    /// Print one line of JSON once all nodes are ready
    #[arg(long)]
    json: bool,
    /// Open the page in a browser, also where that does not seem to be possible
    #[arg(long, conflicts_with = "json")]
    open: bool,
    /// Open no browser; else the page is opened if standard output is a terminal on a desktop
    #[arg(long, conflicts_with = "open")]
    no_open: bool,
}

impl Arguments {
    fn opening(&self, page: bool) -> bool {
        let wished = self.open || (!self.no_open && !self.json && stdout().is_terminal() && has_desktop());
        page && wished
    }
}

/// Whether a browser that is started here would be seen by whoever started this.
fn has_desktop() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "macos") { !set("SSH_CONNECTION") } else { set("DISPLAY") || set("WAYLAND_DISPLAY") }
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    // Checked here, so that a mistake is told once and not by each node.
    let effective = match arguments.sources.load(Environment::of_process(), Vec::new()) {
        Ok(effective) => effective,
        Err(problems) => return complain(problems, Exit::Usage),
    };
    let options = Options {
        nodes: arguments.nodes,
        base_port: arguments.base_port,
        restart: !arguments.no_restart,
        json: arguments.json,
        page: effective.config.http.page,
        open: arguments.opening(effective.config.http.page),
        config: arguments.sources.config.clone(),
        set: arguments.sources.set.clone(),
        grace: effective.config.shutdown.grace,
    };
    match dev::run(options) {
        Ok(()) => Exit::Done,
        Err(error) => {
            let exit = error.exit();
            complain(error, exit)
        }
    }
}
