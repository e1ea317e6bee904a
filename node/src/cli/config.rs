//! `conclave check-config` and `conclave default-config`.

use std::fmt::Write;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::config::{self, DEFAULT, Effective, Environment};
use crate::exit::Exit;
use crate::serve::{self, Preflight};
use crate::terminal::{complain, print, tell};

use super::sources::Sources;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave check-config --config /etc/conclave.toml
  conclave check-config --config /etc/conclave.toml --as-user conclave
  CONCLAVE_TTL__CHUNK=90s conclave check-config --json

Besides the values, everything is tried that `serve` needs: the files that are named are read, keys are compared with
their certificates and those with date and name, the data directory is written to, and the addresses are bound for a
moment. Exit code 2, with every mistake and its place, if `serve` would not start. A certificate or an
authority that ends within fourteen days is warned of, and so is an address that is never asked since nothing allows it,
and a port that no browser opens.")]
pub(super) struct Check {
    #[command(flatten)]
    sources: Sources,
    /// Print everything that is in force, with its origin, as JSON
    #[arg(long)]
    json: bool,
    /// Try everything as this user, as whom the service runs; needs the rights of root
    #[arg(long, value_name = "NAME")]
    as_user: Option<String>,
    /// Leave the addresses alone: the node may be running
    #[arg(long)]
    running: bool,
}

pub(super) fn check(arguments: &Check) -> Exit {
    if let Some(user) = &arguments.as_user {
        return check_as(user);
    }
    let environment = Environment::of_process();
    let effective = match arguments.sources.load(environment.clone(), Vec::new()) {
        Ok(effective) => effective,
        Err(problems) => {
            return refuse(arguments, problems.0.iter().map(ToString::to_string).collect());
        }
    };
    let Preflight { problems, warnings } =
        serve::preflight(&effective.config, &environment, !arguments.running);
    if !problems.is_empty() {
        return refuse(arguments, problems.iter().map(ToString::to_string).collect());
    }
    show(arguments, &effective, &warnings)
}

fn refuse(arguments: &Check, problems: Vec<String>) -> Exit {
    if arguments.json {
        print(&format!("{}\n", serde_json::json!({"valid": false, "problems": problems})));
        return Exit::Usage;
    }
    complain(problems.join("\n"), Exit::Usage)
}

fn show(arguments: &Check, effective: &Effective, warnings: &[String]) -> Exit {
    let rows = effective.rows();
    if arguments.json {
        let origins: serde_json::Map<_, _> =
            rows.into_iter().map(|(key, _, origin)| (key, origin.into())).collect();
        let all = serde_json::json!({"valid": true, "warnings": warnings, "config": effective.table(), "origins": origins});
        return print(&format!("{all}\n"));
    }
    for warning in warnings {
        tell(&format!("conclave: warning: {warning}"));
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

/// Becomes the same command as another user, without the groups of this one.
fn check_as(name: &str) -> Exit {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let Some((uid, gid)) = user(&users, name) else {
        return complain(format!("there is no user {name} in /etc/passwd"), Exit::Usage);
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return complain(error, Exit::Failed),
    };
    let error = Command::new(program).args(without_user(std::env::args().skip(1))).uid(uid).gid(gid).exec();
    complain(format!("cannot become {name}: {error}"), Exit::Failed)
}

/// A user's and its group's number (passwd(5)).
fn user(users: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = users
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let uid = fields.nth(1)?.parse().ok()?;
    Some((uid, fields.next()?.parse().ok()?))
}

fn without_user(mut arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--as-user" {
            arguments.next();
        } else if !argument.starts_with("--as-user=") {
            kept.push(argument);
        }
    }
    kept
}

#[derive(Debug, clap::Args)]
pub(super) struct Default {
    /// Print the page of reference instead, as Markdown
    #[arg(long)]
    markdown: bool,
}

pub(super) fn print_default(arguments: &Default) -> Exit {
    print(&if arguments.markdown { config::reference() } else { config::template() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\nconclave:x:998:997::/var/lib/conclave:/usr/sbin/nologin\n";
        assert_eq!(user(users, "conclave"), Some((998, 997)));
        assert_eq!(user(users, "root"), Some((0, 0)));
        assert_eq!(user(users, "clave"), None);
    }

    #[test]
    fn the_other_user_is_asked_the_same_but_for_its_name() {
        for line in ["check-config --as-user me --json", "check-config --as-user=me --json"] {
            assert_eq!(without_user(line.split(' ').map(str::to_owned)), ["check-config", "--json"]);
        }
    }
}
