//! `conclave dev`.

use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use crate::config::{DEFAULT, Effective, Environment};
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

/// Keys that differ from node to node, and so cannot be set for all of them.
const OURS: &[&str] = &[
    "node.id",
    "node.data_dir",
    "http.listen",
    "http.url",
    "admin.listen",
    "admin.url",
    "telemetry.listen",
    "cluster.listen",
    "cluster.advertise",
    "cluster.members",
    "cluster.join",
    "cluster.secret_file",
];

/// What was asked for with `--set` and cannot be done.
fn unheeded(set: &[String]) -> Vec<String> {
    let keys = set.iter().filter_map(|text| text.split_once('=')).map(|(key, _)| key.trim());
    let ours = keys.filter(|key| OURS.contains(key));
    ours.map(|key| match key {
        "http.listen" => {
            "flag --set: `http.listen`: dev chooses it for each node; use --base-port".to_owned()
        }
        key => format!("flag --set: `{key}`: dev chooses it for each node"),
    })
    .collect()
}

/// What the nodes have is thrown away, so that they need no time to end; whoever sets a time of grace wants to see it.
fn patience(effective: &Effective) -> Duration {
    if effective.origin("shutdown.grace") == DEFAULT {
        END
    } else {
        effective.config.shutdown.grace + effective.config.shutdown.lame_duck + SLACK
    }
}

/// For all nodes to end in good order when nothing is set.
const END: Duration = Duration::from_millis(700);
/// Beyond its grace, for the way from the signal to the end of the process.
const SLACK: Duration = Duration::from_secs(3);

pub(super) fn run(arguments: &Arguments) -> Exit {
    // Checked here, so that a mistake is told once and not by each node.
    let effective = match arguments.sources.load(Environment::of_process(), Vec::new()) {
        Ok(effective) => effective,
        Err(problems) => return complain(problems, Exit::Usage),
    };
    let unheeded = unheeded(&arguments.sources.set);
    if !unheeded.is_empty() {
        return complain(unheeded.join("\n"), Exit::Usage);
    }
    let options = Options {
        nodes: arguments.nodes,
        base_port: arguments.base_port,
        restart: !arguments.no_restart,
        json: arguments.json,
        page: effective.config.http.page,
        open: arguments.opening(effective.config.http.page),
        config: arguments.sources.config.clone(),
        set: arguments.sources.set.clone(),
        patience: patience(&effective),
    };
    match dev::run(options) {
        Ok(()) => Exit::Done,
        Err(error) => {
            let exit = error.exit();
            complain(error, exit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_node_to_node_is_not_set_for_all() {
        let set = |text: &str| unheeded(&[text.to_owned()]);
        assert_eq!(set("ttl.chunk=5s"), [""; 0]);
        assert!(set("http.listen = :3000")[0].contains("--base-port"));
        for key in OURS {
            assert_eq!(set(&format!("{key}=1")).len(), 1, "{key}");
        }
    }
}
