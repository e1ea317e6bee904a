//! `conclave devices`.

use std::fmt::Write as _;

use hyper::StatusCode;

use super::admin::Admin;
use super::output::{self, plain};
use crate::admin::api_types::{ApproveDevice, Decided, Device, Forgotten, WhichDevice};
use crate::admin::client::{Client, Error};
use crate::exit::Exit;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave devices list --pending
  conclave devices approve alice/phone --key-digest DIGEST     let in with this key, and no other
  conclave devices approve alice/phone                         let in with the key that is listed now
  conclave devices approve alice/phone --tenant acme
  conclave devices revoke alice/phone        its requests get 403, its sockets are closed

A device registers with its public key (POST /api/v1/devices). Compare the digest that is listed (`printf %s KEY |
sha256sum`) with what the device shows, and approve it with that digest: a device that shows another key by then is not
let in. auth.require_approved_device says whether it matters.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show registered devices: standing, name, public key and its SHA-256
    List {
        /// Those alone that nobody decided about
        #[arg(long)]
        pending: bool,
        /// Each as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a device in
    Approve(Approve),
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

#[derive(Debug, clap::Args)]
struct Approve {
    #[command(flatten)]
    which: Which,
    /// The SHA-256 of the public key that you compared; that of the key that is listed now if it is left out
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    key_digest: Option<String>,
}

fn digest(text: &str) -> Result<String, String> {
    let fits = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if fits { Ok(text.to_ascii_lowercase()) } else { Err("it has 64 hexadecimal digits".to_owned()) }
}

impl Which {
    fn device(&self) -> WhichDevice {
        let (subject, device) = self.device.clone();
        WhichDevice { tenant: self.tenant.clone(), subject, device }
    }
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    match &arguments.command {
        Command::List { pending, json } => arguments.admin.ask(async |client| {
            let devices = client.devices().await?.devices;
            let shown = devices.iter().filter(|device| !pending || device.standing == "pending");
            Ok(shown.map(|device| line(device, *json)).collect())
        }),
        Command::Approve(approve) => arguments.admin.ask(async |client| approve.ask(&client).await),
        Command::Revoke(which) => arguments.admin.ask(async |client| {
            let device = which.device();
            client.decide::<Decided>("revoke", &device).await?;
            Ok(format!("{} is revoked\n", spelled(&device)))
        }),
        Command::Forget(which) => arguments.admin.ask(async |client| {
            let device = which.device();
            Ok(forgotten(&device, client.decide("forget", &device).await?))
        }),
    }
}

fn spelled(WhichDevice { subject, device, .. }: &WhichDevice) -> String {
    format!("{}/{}", plain(subject), plain(device))
}

fn forgotten(device: &WhichDevice, Forgotten { was_known }: Forgotten) -> String {
    let name = spelled(device);
    if was_known { format!("{name} is forgotten\n") } else { format!("{name} was not registered\n") }
}

impl Approve {
    /// Approves the key that was compared, or the one that is listed, and shows which.
    async fn ask(&self, client: &Client) -> Result<String, Error> {
        let WhichDevice { tenant, subject, device } = self.which.device();
        let key_digest = match &self.key_digest {
            Some(digest) => digest.clone(),
            None => {
                let listed = client.devices().await?.devices;
                let is_meant =
                    |it: &Device| (&it.tenant, &it.subject, &it.device) == (&tenant, &subject, &device);
                listed.into_iter().find(is_meant).ok_or_else(unknown)?.key_digest
            }
        };
        let said = format!("{}/{} is approved, key {key_digest}\n", plain(&subject), plain(&device));
        let key_digest = Some(key_digest);
        client.approve(&ApproveDevice { tenant, subject, device, public_key: None, key_digest }).await?;
        Ok(said)
    }
}

/// What the node would say.
fn unknown() -> Error {
    let (code, message) = ("unknown_device".to_owned(), "This device is not registered.".to_owned());
    Error::Refused { status: StatusCode::NOT_FOUND, code, message }
}

fn line(device: &Device, json: bool) -> String {
    let mut line = String::new();
    let _ = if json {
        writeln!(line, "{}", output::json(device))
    } else {
        let tenant = device.tenant.as_ref().map(|tenant| format!("{tenant}: ")).unwrap_or_default();
        let Device { subject, device: name, public_key, key_digest, standing, .. } = device;
        let (subject, name, public_key) = (plain(subject), plain(name), plain(public_key));
        writeln!(line, "{standing:<8}  {tenant}{subject}/{name}  {public_key}  {key_digest}")
    };
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_nobody_knows_is_not_said_to_be_forgotten() {
        let device = WhichDevice { tenant: None, subject: "alcie".to_owned(), device: "phone".to_owned() };
        let said = [true, false].map(|was_known| forgotten(&device, Forgotten { was_known }));
        assert_eq!(said, ["alcie/phone is forgotten\n", "alcie/phone was not registered\n"]);
    }

    #[test]
    fn a_line_shows_no_character_that_could_be_taken_for_another_and_json_is_as_it_came() {
        let device = Device {
            tenant: Some("acme".to_owned()),
            subject: "alice".to_owned(),
            device: "pho\u{200b}ne\u{202e}gnp".to_owned(),
            public_key: "key".to_owned(),
            key_digest: "2c70e1".to_owned(),
            standing: "pending".to_owned(),
            since_ms: 1,
        };
        let shown = line(&device, false);
        assert_eq!(shown, "pending   acme: alice/pho\\u{200b}ne\\u{202e}gnp  key  2c70e1\n");
        assert_eq!(serde_json::from_str::<Device>(&line(&device, true)).unwrap(), device);
    }
}
