//! The command line: what can be asked for, and with which words it is explained.

mod admin;
mod allowances;
mod audit;
mod backend;
mod certs;
mod cluster;
mod config;
mod dev;
mod devices;
mod inventory;
mod log_level;
mod openapi;
mod output;
mod recover;
mod revoke;
mod serve;
mod sources;
mod tenants;
mod version;

use std::ffi::OsStr;

use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::exit::Exit;

/// Everything the command line says.
#[derive(Debug, Parser)]
#[command(
    name = "conclave",
    version,
    about = "A zero-knowledge signaling and relay server, alone or as a Raft cluster without a database",
    arg_required_else_help = true,
    after_help = "Examples:
  conclave serve                         one node on http://127.0.0.1:3000
  conclave dev                           three nodes on this machine, to try things out
  conclave cluster status                who leads, and how far each node is
  conclave default-config > node.toml    every setting with its default and its meaning

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused by the cluster."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Serve(serve::Arguments),
    /// Run a cluster on this machine, to try things out
    Dev(dev::Arguments),
    /// Look at a running cluster, or change who belongs to it
    Cluster(cluster::Arguments),
    /// Have tokens, subjects or devices be worth nothing any more, on every node
    Revoke(revoke::Arguments),
    /// Show what is revoked
    Revocations(revoke::List),
    /// Show registered devices, let them in or keep them out
    Devices(devices::Arguments),
    /// Show what is stored: transfers, sessions, mailboxes, rooms, sockets, invite codes, users
    List(inventory::List),
    /// End what is stored before its time
    End(inventory::End),
    /// Say something in a room
    Publish(backend::Say),
    /// Send a signal to a peer
    Signal(backend::Send),
    /// Show how many requests a client has left, or give them back
    Allowances(allowances::Arguments),
    /// Show organisations, what each may have and what it holds
    Tenants(tenants::Arguments),
    /// Show who changed what, or check that a copy of that is whole
    Audit(audit::Arguments),
    /// Show what a node logs, or change it for a while
    LogLevel(log_level::Arguments),
    /// Make an authority of one's own, and certificates for nodes and clients
    Certs(certs::Arguments),
    /// Make a stopped node the only member of its cluster, whose majority is gone for good
    Recover(recover::Arguments),
    /// Check a configuration and show what is in force
    CheckConfig(config::Check),
    /// Print every setting with its default and its meaning, as TOML
    DefaultConfig(config::Default),
    /// Print what the HTTP API takes and answers, as an OpenAPI document
    Openapi(openapi::Arguments),
    /// Print the version
    Version(version::Arguments),
}

/// Reads the command line and does what it says.
pub fn run() -> Exit {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let matches = without_variables(Arguments::command(), &is_empty).get_matches();
    // A wrong command line ends here with exit code 2, `--help` with 0.
    match Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Revoke(arguments) => revoke::run(&arguments),
        Command::Revocations(arguments) => revoke::list(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::List(arguments) => inventory::list(&arguments),
        Command::End(arguments) => inventory::end(&arguments),
        Command::Publish(arguments) => backend::publish(&arguments),
        Command::Signal(arguments) => backend::signal(&arguments),
        Command::Allowances(arguments) => allowances::run(&arguments),
        Command::Tenants(arguments) => tenants::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::LogLevel(arguments) => log_level::run(&arguments),
        Command::Certs(arguments) => certs::run(&arguments),
        Command::Recover(arguments) => recover::run(&arguments),
        Command::CheckConfig(arguments) => config::check(&arguments),
        Command::DefaultConfig(arguments) => config::print_default(&arguments),
        Command::Openapi(arguments) => openapi::run(&arguments),
        Command::Version(arguments) => version::run(&arguments),
    }
}

/// The same command, to which those variables are nothing. An empty one is as good as none, and no empty value.
fn without_variables(command: clap::Command, which: &dyn Fn(&OsStr) -> bool) -> clap::Command {
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(name) if which(name) => argument.env(Resettable::Reset),
        Some(_) | None => argument,
    });
    command.mut_subcommands(|command| without_variables(command, which))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_none() {
        let variables = |command: &clap::Command| -> Vec<String> {
            let of = |command: &clap::Command| -> Vec<_> {
                let names = command.get_arguments().filter_map(clap::Arg::get_env);
                names.map(|name| name.to_string_lossy().into_owned()).collect()
            };
            command.get_subcommands().flat_map(of).collect()
        };
        let command = without_variables(Arguments::command(), &|name| name == "CONCLAVE_CONFIG");
        let (before, after) = (variables(&Arguments::command()), variables(&command));
        assert!(before.contains(&"CONCLAVE_CONFIG".to_owned()));
        assert!(!after.contains(&"CONCLAVE_CONFIG".to_owned()));
        assert!(after.contains(&"CONCLAVE_ADMIN_URL".to_owned()));
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_words_of_the_guide_parse() {
        for line in [
            "conclave serve",
            "conclave serve --config a.toml --set ttl.chunk=5s --set log.level=debug --http 0.0.0.0:80",
            "conclave serve --node-id 2 --data-dir /data --peer 0.0.0.0:7400 --member 1=a:1 --member 2=b:2",
            "conclave serve --node-id 4 --peer 10.0.0.4:7400 --join",
            "conclave openapi --admin",
            "conclave dev",
            "conclave dev --nodes 5 --base-port 4000 --json --no-restart --set ttl.chunk=5s",
            "conclave dev --lan",
            "conclave dev --lan=192.168.1.2 --nodes 1",
            "conclave dev --open",
            "conclave dev --no-open",
            "conclave cluster status --json",
            "conclave cluster --url http://10.0.0.1:9400 status",
            "conclave cluster add 4 10.0.0.4:7400 --url http://10.0.0.1:9400",
            "conclave cluster promote 4",
            "conclave cluster promote 4 --force",
            "conclave revoke --token 7c9e6679",
            "conclave revoke --subject alice --for 30d --url http://10.0.0.1:9400",
            "conclave revoke --device alice/phone --lift",
            "conclave revocations --json",
            "conclave devices list --pending --json",
            "conclave devices approve alice/phone --tenant acme --url http://10.0.0.1:9400",
            "conclave devices revoke alice/phone",
            "conclave devices forget alice/phone",
            "conclave revoke --subject alice --tenant acme",
            "conclave log-level",
            "conclave log-level info,conclave_cluster=trace --for 10m --url http://10.0.0.1:9400",
            "conclave list transfers",
            "conclave list sockets --subject alice --node 3 --json",
            "conclave end transfers 9f86d081884c7d65 0123456789abcdef",
            "conclave end sockets --node 3 --url http://10.0.0.1:9400",
            "conclave audit",
            "conclave audit --json --after 42",
            "conclave audit --verify log",
            "conclave audit --log security --verify log --allow-newer",
            "conclave audit --log security --subject alice --tenant acme",
            "conclave audit --log security --json --after 3",
            "conclave end rooms 9f86d081884c7d65",
            "conclave list rooms --url https://10.0.0.1:9400 --ca a.pem --cert c.pem --key k.pem",
            "conclave publish lobby 42 --tenant acme --json",
            "conclave publish lobby --url http://10.0.0.1:9400",
            "conclave signal --from billing --to alice ready 1",
            "conclave allowances 203.0.113.9 --json",
            "conclave allowances 2001:db8::1 --tenant acme",
            "conclave allowances 203.0.113.9 --reset --json",
            "conclave certs init",
            "conclave certs node 1 2 3 --cluster production --days 90",
            "conclave certs server api.example 192.0.2.1 --dir /root/certs",
            "conclave certs client phone.example",
            "conclave certs renew --within 14",
            "conclave certs list",
            "conclave recover --node-id 1 --data-dir /data --peer 10.0.0.1:7400 --yes",
            "conclave cluster remove 4 --timeout 5s",
            "conclave cluster transfer-leader",
            "conclave cluster transfer-leader 2",
            "conclave check-config --json",
            "conclave default-config",
            "conclave default-config --markdown",
            "conclave version --json",
        ] {
            if let Err(error) = Arguments::try_parse_from(line.split(' ')) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn wrong_words_are_usage_errors() {
        for line in [
            "conclave",
            "conclave sreve",
            "conclave cluster add",
            "conclave dev --nodes 0",
            "conclave cluster promote x",
            "conclave revoke",
            "conclave audit --verify log --json",
            "conclave revoke --token a --subject b",
            "conclave revoke --device phone",
            "conclave list",
            "conclave list secrets",
            "conclave end transfers",
            "conclave end transfers 42",
            "conclave publish",
            "conclave signal ready 1 --to alice",
            "conclave allowances alice",
            "conclave audit --log other",
            "conclave revoke --token a --lift --for 1d",
        ] {
            let error = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), Exit::Usage as i32, "{line}");
        }
    }
}
