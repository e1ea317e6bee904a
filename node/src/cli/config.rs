//! `conclave check-config` and `conclave default-config`.

use std::fmt::Write;

use crate::config::{Config, DEFAULT, Environment, commented};
use crate::exit::Exit;

use super::sources::Sources;
use super::{complain, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave check-config --config /etc/conclave.toml
  CONCLAVE_TTL__CHUNK=90s conclave check-config --json

Exit code 2, with every mistake and its place, if the configuration is wrong.")]
pub(super) struct Check {
    #[command(flatten)]
    sources: Sources,
    /// Print everything that is in force, with its origin, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn check(arguments: &Check) -> Exit {
    let effective = match arguments.sources.load(Environment::of_process(), Vec::new()) {
        Ok(effective) => effective,
        Err(problems) if arguments.json => {
            let all: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
            print(&format!("{}\n", serde_json::json!({"valid": false, "problems": all})));
            return Exit::Usage;
        }
        Err(problems) => return complain(problems, Exit::Usage),
    };
    let rows = effective.rows();
    if arguments.json {
        let origins: serde_json::Map<_, _> =
            rows.into_iter().map(|(key, _, origin)| (key.to_owned(), origin.into())).collect();
        let all = serde_json::json!({"valid": true, "config": effective.config, "origins": origins});
        return print(&format!("{all}\n"));
    }
    let mut text = String::from("The configuration is valid.\n");
    let set: Vec<_> = rows.into_iter().filter(|(_, _, origin)| origin != DEFAULT).collect();
    if set.is_empty() {
        text.push_str("Every key has its default.\n");
    }
    for (key, value, origin) in set {
        let _ = writeln!(text, "{key} = {value}    # {origin}");
    }
    print(&text)
}

pub(super) fn print_default() -> Exit {
    print(&commented(&Config::default()))
}
