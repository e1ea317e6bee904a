//! `conclave revoke` and `conclave revocations`.

use std::time::Duration;

use super::admin::Admin;
use super::output::{self, plain};
use crate::admin::api_types::{Revocation, Whose};
use crate::config::unit::{parse_span, print_span};
use crate::exit::Exit;
use crate::terminal::complain;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave revoke --token 7c9e6679           the one token with this jti
  conclave revoke --subject alice            every credential of alice
  conclave revoke --device alice/phone       those that were given to her phone (claim `device`)
  conclave revoke --subject alice --for 30d
  conclave revoke --subject alice --lift     alice may come in again

Every node acts by it within a second: requests are refused with 401, sockets and streams closed with 1008.
Subjects of signed requests are key:ID, of client certificates certificate:NAME.")]
pub(super) struct Arguments {
    #[command(flatten)]
    whose: Whom,
    /// For how long; a year unless it is said. Longer than the tokens live
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_span, conflicts_with = "lift")]
    duration: Option<Duration>,
    /// The organisation that it is of
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Take the revocation back
    #[arg(long)]
    lift: bool,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// The token with this id (`jti`)
    #[arg(long, value_name = "ID")]
    token: Option<String>,
    /// All credentials of this subject (`sub`)
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Those that were given to one device of a subject
    #[arg(long, value_name = "SUBJECT/DEVICE", value_parser = device)]
    device: Option<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// A subject may have a stroke in it, a device has none.
pub(super) fn device(text: &str) -> Result<(String, String), String> {
    let split = text.rsplit_once('/').filter(|(subject, device)| !subject.is_empty() && !device.is_empty());
    let (subject, device) = split.ok_or_else(|| format!("`{text}` is not SUBJECT/DEVICE"))?;
    Ok((subject.to_owned(), device.to_owned()))
}

impl Whom {
    fn whose(&self, tenant: Option<String>) -> Whose {
        let device = self.device.clone();
        let (subject, device) = match device {
            Some((subject, device)) => (Some(subject), Some(device)),
            None => (self.subject.clone(), None),
        };
        Whose { tenant, token: self.token.clone(), subject, device }
    }
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let for_seconds =
        arguments.duration.map(|duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX));
    if for_seconds == Some(0) {
        return complain("--for is at least a second", Exit::Usage);
    }
    let whose = arguments.whose.whose(arguments.tenant.clone());
    arguments.admin.ask(async |client| {
        let name = spelled(&whose);
        if !arguments.lift {
            client.revoke(whose, for_seconds).await?;
            let until = arguments.duration.map_or("a year".to_owned(), print_span);
            return Ok(format!("{name} is revoked for {until}\n"));
        }
        Ok(if client.lift(whose).await? {
            format!("{name} is revoked no more\n")
        } else {
            format!("{name} was not revoked\n")
        })
    })
}

pub(super) fn list(arguments: &List) -> Exit {
    arguments.admin.ask(async |client| {
        let mut list = client.revocations().await?;
        list.revocations.sort_by_key(|revocation| revocation.since_ms);
        if arguments.json {
            return Ok(format!("{}\n", output::json(&list)));
        }
        Ok(match &list.revocations[..] {
            [] => "nothing is revoked\n".to_owned(),
            revocations => revocations.iter().map(line).collect(),
        })
    })
}

fn line(revocation: &Revocation) -> String {
    let Revocation { whose, since_ms, expires_ms } = revocation;
    let span = Duration::from_secs(expires_ms.saturating_sub(*since_ms).div_ceil(1000));
    format!("{} for {}\n", spelled(whose), print_span(span))
}

fn spelled(whose: &Whose) -> String {
    let text = match whose {
        Whose { token: Some(id), .. } => format!("token {}", plain(id)),
        Whose { subject: Some(subject), device: Some(device), .. } => {
            format!("device {}/{}", plain(subject), plain(device))
        }
        Whose { subject, .. } => format!("subject {}", plain(subject.as_deref().unwrap_or_default())),
    };
    let tenant = whose.tenant.as_ref().map(|tenant| format!(" of {}", plain(tenant))).unwrap_or_default();
    text + &tenant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_is_shown_in_characters_that_are_what_they_look_like() {
        let whose = Whose { subject: Some("al\u{200b}ice".to_owned()), ..Whose::default() };
        assert_eq!(spelled(&whose), r"subject al\u{200b}ice");
    }

    #[test]
    fn a_device_is_named_behind_the_last_stroke() {
        assert_eq!(device("ann/phone"), Ok(("ann".to_owned(), "phone".to_owned())));
        assert_eq!(device("https://x/ann/phone"), Ok(("https://x/ann".to_owned(), "phone".to_owned())));
        for wrong in ["ann", "ann/", "/phone", "/"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
    }
}
