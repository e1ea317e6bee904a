//! `conclave serve`.

use crate::config::Environment;
use crate::exit::Exit;
use crate::terminal::complain;
use crate::{dev, serve, telemetry};

use super::sources::Sources;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave serve
      one node on http://127.0.0.1:3000, its data under ~/.local/share/conclave
  conclave serve --config /etc/conclave.toml --set log.level=debug
  conclave serve --node-id 1 --http 0.0.0.0:3000 --data-dir /var/lib/conclave \\
      --member 1=10.0.0.1:7400 --member 2=10.0.0.2:7400 --member 3=10.0.0.3:7400 --secret-file /etc/conclave/secret
      the first of three nodes that start a cluster; all have the same secret (openssl rand -hex 32 > secret)
  conclave serve --node-id 4 --peer 10.0.0.4:7400 --join --secret-file /etc/conclave/secret
      a node that waits for `conclave cluster add 4 10.0.0.4:7400`

SIGTERM or Ctrl-C ends the node in good order; a second one at once. SIGTERM lets load balancers notice first
(shutdown.lame_duck), and either lets what runs finish (shutdown.grace).
Every setting: conclave default-config.")]
pub(super) struct Arguments {
    #[command(flatten)]
    sources: Sources,
    /// Where the public HTTP API listens (http.listen)
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<String>,
    /// Where the admin API listens (admin.listen)
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
    /// Where the data is kept (node.data_dir)
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// This node's number in the cluster (node.id)
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// Where peers connect (cluster.listen)
    #[arg(long, value_name = "HOST:PORT")]
    peer: Option<String>,
    /// A first member, this node among them; once for each (cluster.members)
    #[arg(long = "member", value_name = "ID=HOST:PORT")]
    members: Vec<String>,
    /// Wait to be added to a running cluster (cluster.join)
    #[arg(long, conflicts_with = "members")]
    join: bool,
    /// A file with the secret that all nodes share (cluster.secret_file)
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// consumer or enterprise (edition.name)
    #[arg(long, value_name = "EDITION")]
    edition: Option<String>,
    /// error, warn, info, debug, trace, also per module (log.level)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// auto, json or pretty (log.format)
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Clients come without TLS from other machines, and that is meant (http.insecure)
    #[arg(long)]
    insecure: bool,
    /// End when standard input does: whoever started this node is gone
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

impl Arguments {
    fn flags(&self) -> Vec<(String, String, String)> {
        let members = (!self.members.is_empty()).then(|| self.members.join(","));
        let (join, insecure) =
            (self.join.then(|| "true".to_owned()), self.insecure.then(|| "true".to_owned()));
        let given = [
            ("--http", "http.listen", &self.http),
            ("--admin", "admin.listen", &self.admin),
            ("--data-dir", "node.data_dir", &self.data_dir),
            ("--node-id", "node.id", &self.node_id),
            ("--peer", "cluster.listen", &self.peer),
            ("--member", "cluster.members", &members),
            ("--join", "cluster.join", &join),
            ("--insecure", "http.insecure", &insecure),
            ("--secret-file", "cluster.secret_file", &self.secret_file),
            ("--edition", "edition.name", &self.edition),
            ("--log-level", "log.level", &self.log_level),
            ("--log-format", "log.format", &self.log_format),
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
    let flush = telemetry::log::start(&effective.config.log);
    if arguments.exit_with_stdin {
        dev::end_with(std::io::stdin());
    }
    if effective.config.edition.name.is_enterprise() && !environment.platforms().is_empty() {
        tracing::warn!(platforms = ?environment.platforms(), "enterprise runs on a managed platform, as allowed");
    }
    let exit = match serve::run(&effective.config, &environment) {
        Ok(()) => Exit::Done,
        Err(error) => {
            tracing::error!(%error, "node failed");
            // Whoever turned the log off is told all the same.
            if !tracing::enabled!(tracing::Level::ERROR) {
                complain(&error, error.exit());
            }
            error.exit()
        }
    };
    drop(flush);
    exit
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn every_flag_sets_a_key() {
        let line = "serve --http 127.0.0.1:1 --admin 127.0.0.1:2 --data-dir /d --node-id 2 --peer [::1]:1 --member 1=[::1]:1 \
                    --member 2=[::1]:2 --edition consumer --log-level debug --log-format json";
        let line = Line::parse_from(line.split_whitespace());
        let effective = line.arguments.sources.load(Environment::default(), line.arguments.flags()).unwrap();
        let config = effective.config;
        assert_eq!((config.http.listen.port(), config.admin.listen.port(), config.node.id), (1, 2, 2));
        assert_eq!(config.cluster.members, ["1=[::1]:1", "2=[::1]:2"]);
        assert_eq!((config.cluster.listen.as_str(), config.log.level.as_str()), ("[::1]:1", "debug"));
        let join = Line::parse_from(["serve", "--join", "--peer", "[::1]:1"]);
        assert_eq!(join.arguments.flags().len(), 2);
        assert!(
            join.arguments
                .sources
                .load(Environment::default(), join.arguments.flags())
                .unwrap()
                .config
                .cluster
                .join
        );
    }
}
