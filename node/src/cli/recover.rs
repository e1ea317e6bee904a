//! `conclave recover`.

use std::fmt::Write;

use conclave_cluster::raft::files;
use conclave_cluster::raft::recover::{Error, Found, Stopped};

use crate::config::{Config, Environment};
use crate::exit::Exit;
use crate::serve;
use crate::terminal::{complain, print};

use super::sources::Sources;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave recover --config /etc/conclave.toml
      what this node has, and what would be lost; changes nothing
  conclave recover --config /etc/conclave.toml --yes
      makes this node the only member; start it, then add others under fresh ids

For a cluster that lost more nodes for good than it can, or whose last change of members cannot complete. As long as a
majority can be started again, start it instead. All nodes must be stopped. Compare what each of them says, and recover
the one with the highest term, among these the one with the highest entry.
Exit code 3 without --yes, and if the directory belongs to another node.")]
pub(super) struct Arguments {
    #[command(flatten)]
    sources: Sources,
    /// Where the data is kept (node.data_dir)
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// This node's number in the cluster (node.id)
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// Where later peers reach this node; without it, as configured or as it was known before
    #[arg(long, value_name = "HOST:PORT")]
    peer: Option<String>,
    /// Do it
    #[arg(long)]
    yes: bool,
}

impl Arguments {
    fn flags(&self) -> Vec<(String, String, String)> {
        let given = [
            ("--data-dir", "node.data_dir", &self.data_dir),
            ("--node-id", "node.id", &self.node_id),
            ("--peer", "cluster.advertise", &self.peer),
        ];
        let named = |(flag, key, value): (&str, &str, &Option<String>)| {
            Some((flag.to_owned(), key.to_owned(), value.clone()?))
        };
        given.into_iter().filter_map(named).collect()
    }
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let environment = Environment::of_process();
    let effective = match arguments.sources.load(environment.clone(), arguments.flags()) {
        Ok(effective) => effective,
        Err(problems) => return complain(problems, Exit::Usage),
    };
    let config = &effective.config;
    let data_dir = match serve::data_dir(config, &environment) {
        Ok(data_dir) => data_dir,
        Err(error) => return complain(&error, error.exit()),
    };
    let stopped = match Stopped::open(&data_dir, config.node.id, &config.cluster.name) {
        Ok(stopped) => stopped,
        Err(error) => return complain(&error, exit(&error)),
    };
    let peer = peer(config, stopped.found());
    print(&report(config, stopped.found(), &peer));
    if !arguments.yes {
        return complain("nothing was changed; run the same with --yes", Exit::Refused);
    }
    match stopped.become_only_member(peer) {
        Ok(()) => print(&format!(
            "\nNode {} is the only member now. Start it, then add others: `conclave serve --join` and \
             `conclave cluster add`, under fresh ids and with empty directories.\n",
            config.node.id
        )),
        Err(error) => complain(&error, exit(&error)),
    }
}

/// Where later peers reach this node: as configured, else as it was known.
fn peer(config: &Config, found: &Found) -> String {
    let configured = serve::advertised(config).filter(|address| !address.ends_with(":0"));
    configured.or_else(|| found.members.get(&config.node.id).cloned()).unwrap_or_default()
}

fn report(config: &Config, found: &Found, peer: &str) -> String {
    let (id, Found { term, last, committed, voters, members }) = (config.node.id, found);
    let mut text = format!("Node {id} of cluster {:?} knows these members:\n", config.cluster.name);
    for (member, address) in members {
        let part = if voters.contains(member) { "voter" } else { "learner" };
        let _ = writeln!(text, "  {member}  {part}  {address}");
    }
    let _ = writeln!(text, "Its log ends with entry {last} of term {term}.");
    let _ = writeln!(
        text,
        "\nRecovering it makes it the only member, reached by later peers at {peer}:\n\
         - What the other nodes acknowledged and this one does not have is lost."
    );
    let known = committed.map_or(0, |committed| committed + 1);
    let unknown = (last + 1).saturating_sub(known);
    if unknown > 0 {
        let _ = writeln!(
            text,
            "- Of its last {unknown} entries it does not know whether they were acknowledged; they count from then on."
        );
    }
    let others: Vec<String> = members.keys().filter(|member| **member != id).map(u64::to_string).collect();
    if !others.is_empty() {
        let _ = writeln!(
            text,
            "- The others ({}) must never be started again with what is in their directories: they would be a \
             cluster of their own. Empty those; their ids are not used again.",
            others.join(", ")
        );
    }
    text
}

fn exit(error: &Error) -> Exit {
    match error {
        Error::Disk(files::Error::Foreign { .. } | files::Error::Format { .. }) | Error::Empty(_) => {
            Exit::Refused
        }
        Error::Disk(files::Error::Io { .. } | files::Error::Damaged { .. } | files::Error::Stray { .. })
        | Error::Io(_) => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn what_may_be_lost_is_said() {
        let members = (1..=3).map(|id| (id, format!("10.0.0.{id}:7400"))).collect::<BTreeMap<u64, String>>();
        let found =
            Found { term: 7, last: 99, committed: Some(89), voters: BTreeSet::from([1, 2, 3]), members };
        let mut config = Config::default();
        assert_eq!(peer(&config, &found), "10.0.0.1:7400");
        let text = report(&config, &found, "10.0.0.1:7400");
        for part in ["entry 99 of term 7", "last 10 entries", "(2, 3) must never", "2  voter  10.0.0.2:7400"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        config.cluster.advertise = "one.example.org:7400".to_owned();
        assert_eq!(peer(&config, &found), "one.example.org:7400");
    }
}
