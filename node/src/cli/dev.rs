//! `conclave dev`.

use std::io::{IsTerminal as _, stdout};
use std::net::IpAddr;
use std::time::Duration;

use crate::config::{DEFAULT, Effective, Environment};
use crate::dev::{self, Options, lan_https};
use crate::exit::Exit;
use crate::terminal::complain;

use super::sources::Sources;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave dev                          three nodes on free ports
  conclave dev --base-port 3000         HTTP on 3000, 3001 and 3002
  conclave dev --nodes 5 --no-restart
  conclave dev --lan                    https for a phone in the same network, with a QR code
  conclave dev --set allowance.tiers.create.limit=100 --set log.level=debug

The data is in a temporary directory and gone afterwards. Ctrl-C ends all nodes.
With --json, one line is printed once all nodes are ready:
  {\"nodes\":[{\"id\",\"http\",\"admin\",\"pid\"}],\"leader\":id}
and with --lan \"certificate\", a file to trust.")]
pub(super) struct Arguments {
    #[command(flatten)]
    sources: Sources,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// HTTP on this port and those after it; without it, on free ones
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,
    /// Serve https at this machine's address in the local network, or at ADDRESS, and show a QR code for a phone
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true)]
    lan: Option<Option<IpAddr>>,
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
        let requested = self.open || (!self.no_open && !self.json && stdout().is_terminal() && has_desktop());
        page && requested
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
    // A certificate is one node's.
    "cluster.tls.ca",
    "cluster.tls.cert",
    "cluster.tls.key",
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

/// What is configured, wherever, and does not go with `--lan`.
fn unheeded_nearby(effective: &Effective) -> Vec<String> {
    let ours = ["http.tls.cert", "http.tls.key"].into_iter().filter(|key| effective.origin(key) != DEFAULT);
    let mut found: Vec<String> = ours
        .map(|key| format!("{}: `{key}`: dev --lan makes a certificate of its own", effective.origin(key)))
        .collect();
    if !effective.config.http.page {
        found.push(format!(
            "{}: `http.page`: with dev --lan it is the page that a phone opens",
            effective.origin("http.page")
        ));
    }
    found
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
    let mut unheeded = unheeded(&arguments.sources.set);
    if arguments.lan.is_some() {
        unheeded.extend(unheeded_nearby(&effective));
    }
    if !unheeded.is_empty() {
        return complain(unheeded.join("\n"), Exit::Usage);
    }
    let lan = match arguments.lan.map(|address| address.map_or_else(lan_https::address, Ok)).transpose() {
        Ok(lan) => lan,
        Err(error) => return complain(error, Exit::Failed),
    };
    let options = Options {
        lan,
        tls: effective.config.http.tls.is_on(),
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

    fn effective(set: &[&str]) -> Effective {
        let set = set.iter().map(ToString::to_string).collect();
        Sources { config: None, set }.load(Environment::default(), Vec::new()).unwrap()
    }

    #[test]
    fn what_does_not_go_with_lan_is_named() {
        assert_eq!(unheeded_nearby(&effective(&["ttl.chunk=5s"])), [""; 0]);
        let named = unheeded_nearby(&effective(&["http.tls.cert=c", "http.tls.key=k", "http.page=false"]));
        for (key, said) in ["http.tls.cert", "http.tls.key", "http.page"].iter().zip(&named) {
            assert!(said.starts_with(&format!("flag --set: `{key}`: ")), "{said}");
        }
        assert_eq!(named.len(), 3);
    }

    #[test]
    fn what_differs_from_node_to_node_is_not_set_for_all() {
        let set = |text: &str| unheeded(&[text.to_owned()]);
        assert_eq!(set("ttl.chunk=5s"), [""; 0]);
        assert!(set("http.listen = :3000")[0].contains("--base-port"));
        let rows = effective(&[]).rows();
        for key in OURS {
            assert!(rows.iter().any(|(name, ..)| name == key), "there is no key {key}");
            assert_eq!(set(&format!("{key}=1")).len(), 1, "{key}");
        }
    }
}
