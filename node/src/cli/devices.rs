//! `conclave devices`.

use std::fmt::Write as _;

use super::admin::Admin;
use super::output;
use crate::admin::api_types::{Device, WhichDevice};
use crate::exit::Exit;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave devices list --pending
  conclave devices approve alice/phone
  conclave devices approve alice/phone --tenant acme
  conclave devices revoke alice/phone        its requests get 403, its sockets are closed

A device registers with its public key (POST /api/v1/devices). Compare the key's digest with what the device shows
before you approve it. auth.require_approved_device says whether it matters.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show registered devices
    List {
        /// Those alone that nobody decided about
        #[arg(long)]
        pending: bool,
        /// Each as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a device in
    Approve(Which),
    /// Keep a device out
    Revoke(Which),
    /// Take a device off the list; it may register again
    Forget(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The device
    #[arg(value_name = "SUBJECT/DEVICE", value_parser = super::revoke::device)]
    device: (String, String),
    /// The organisation that the subject is of
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (what, done, which) = match &arguments.command {
        Command::List { pending, json } => {
            return arguments.admin.ask(async |client| {
                let devices = client.devices().await?.devices;
                let shown = devices.iter().filter(|device| !pending || device.standing == "pending");
                Ok(shown.map(|device| line(device, *json)).collect())
            });
        }
        Command::Approve(which) => ("approve", "approved", which),
        Command::Revoke(which) => ("revoke", "revoked", which),
        Command::Forget(which) => ("forget", "forgotten", which),
    };
    arguments.admin.ask(async |client| {
        let (subject, device) = which.device.clone();
        let device = WhichDevice { tenant: which.tenant.clone(), subject, device };
        client.decide(what, &device).await?;
        Ok(format!("{}/{} is {done}\n", device.subject, device.device))
    })
}

/// What clients wrote has no control characters that would reach a terminal.
fn line(device: &Device, json: bool) -> String {
    let mut line = String::new();
    let _ = if json {
        writeln!(line, "{}", output::json(device))
    } else {
        let tenant = device.tenant.as_ref().map(|tenant| format!("{tenant}: ")).unwrap_or_default();
        let Device { subject, device: name, public_key, standing, .. } = device;
        writeln!(line, "{standing:<8}  {tenant}{subject}/{name}  {public_key}")
    };
    line
}
