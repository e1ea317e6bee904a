//! `conclave allowances`.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::admin::Admin;
use super::output;
use crate::admin::api_types::{Allowance, WindowsReset};
use crate::exit::Exit;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave allowances 203.0.113.9
  conclave allowances 2001:db8::1 --json       all of its /64 have them together
  conclave allowances 203.0.113.9 --tenant acme
  conclave allowances 203.0.113.9 --reset      give it back all that it spent

Allowances count addresses, whatever credential is shown. A window ends by itself, too.")]
pub(super) struct Arguments {
    /// The client's address
    #[arg(value_name = "ADDRESS")]
    address: IpAddr,
    /// The organisation by whose policy the limits are
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Give the client back all that it spent, of every class of requests
    #[arg(long, conflicts_with = "tenant")]
    reset: bool,
    /// Each class of requests as a line of JSON; with --reset, of how many classes something was spent
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    if arguments.reset {
        return arguments.admin.ask(async |client| {
            let reset = client.reset_allowances(arguments.address).await?;
            Ok(was_reset(reset, arguments.json))
        });
    }
    arguments.admin.ask(async |client| {
        let allowances = client.allowances(arguments.address, arguments.tenant.as_deref()).await?;
        if !allowances.enabled {
            return Ok(
                if arguments.json { "" } else { "nothing is counted (allowance.enabled)\n" }.to_owned()
            );
        }
        Ok(allowances.tiers.iter().map(|tier| line(tier, arguments.json)).collect())
    })
}

fn was_reset(reset: WindowsReset, json: bool) -> String {
    if json {
        return format!("{}\n", output::json(&reset));
    }
    let windows = reset.windows;
    let classes = if windows == 1 { "class" } else { "classes" };
    format!("reset: something was spent of {windows} {classes} of requests\n")
}

fn line(allowance: &Allowance, json: bool) -> String {
    let mut line = String::new();
    let _ = if json {
        writeln!(line, "{}", output::json(allowance))
    } else {
        let Allowance { tier, limit, remaining, reset_ms } = allowance;
        let window = reset_ms.map(|reset_ms| format!("  for another {}", output::time_to(reset_ms)));
        writeln!(line, "{tier:<7} {remaining:>9} of {limit}{}", window.unwrap_or_default())
    };
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reset_is_told_in_words_or_as_it_was_answered() {
        let reset = |windows| WindowsReset { windows };
        assert_eq!(was_reset(reset(1), false), "reset: something was spent of 1 class of requests\n");
        assert_eq!(was_reset(reset(3), false), "reset: something was spent of 3 classes of requests\n");
        assert_eq!(was_reset(reset(3), true), "{\"windows\":3}\n");
    }
}
