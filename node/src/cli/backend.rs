//! `conclave publish` and `conclave signal`.

use std::io::Read as _;

use serde_json::value::RawValue;

use super::admin::Admin;
use super::output;
use crate::admin::api_types::{Publish, Signal};
use crate::exit::Exit;
use crate::terminal::complain;

/// Bytes of what is read from standard input: more than any content may have.
const CONTENT_BYTES_MAX: u64 = 128 << 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave publish lobby '{\"text\":\"back at noon\"}'
  conclave publish lobby < message.json
  conclave publish lobby 42 --tenant acme

Members see a message from 0000000000000000, which no client is called.")]
pub(super) struct Say {
    /// The room
    #[arg(value_name = "ROOM")]
    room: String,
    /// JSON; read from standard input if it is left out
    #[arg(value_name = "DATA")]
    data: Option<String>,
    /// The organisation that the room is of
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// What the node says, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave signal --from billing --to alice-phone ready '{\"paid\":true}'
  conclave signal --from billing --to alice-phone offer < offer.json

The receiver sees it from backend:billing, which no client can send from.")]
pub(super) struct Send {
    /// offer, answer, ice-candidate, ready or bye
    #[arg(value_name = "TYPE")]
    kind: String,
    /// JSON; read from standard input if it is left out
    #[arg(value_name = "PAYLOAD")]
    payload: Option<String>,
    /// Who sends it; `backend:` is put before it
    #[arg(long, value_name = "NAME")]
    from: String,
    /// The peer id that it goes to
    #[arg(long, value_name = "PEER")]
    to: String,
    /// The organisation of both
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// What the node says, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn publish(arguments: &Say) -> Exit {
    let data = match content(arguments.data.as_deref()) {
        Ok(data) => data,
        Err(why) => return complain(why, Exit::Usage),
    };
    let publish = Publish { tenant: arguments.tenant.clone(), room: arguments.room.clone(), data };
    arguments.admin.ask(async |client| {
        let published = client.publish(&publish).await?;
        Ok(match arguments.json {
            true => line(&published),
            false => format!("published as {}:{}\n", published.epoch, published.offset),
        })
    })
}

pub(super) fn signal(arguments: &Send) -> Exit {
    let payload = match content(arguments.payload.as_deref()) {
        Ok(payload) => payload,
        Err(why) => return complain(why, Exit::Usage),
    };
    let Send { kind, from, to, tenant, .. } = arguments;
    let signal =
        Signal { tenant: tenant.clone(), from: from.clone(), to: to.clone(), kind: kind.clone(), payload };
    arguments.admin.ask(async |client| {
        let sent = client.signal(&signal).await?;
        Ok(if arguments.json { line(&sent) } else { format!("sent from {}\n", sent.from) })
    })
}

fn line(said: &impl serde::Serialize) -> String {
    output::json(said) + "\n"
}

/// JSON of an argument, or of standard input.
fn content(argument: Option<&str>) -> Result<Box<RawValue>, String> {
    let text = match argument {
        Some(text) => text.to_owned(),
        None => {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(CONTENT_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|error| format!("standard input: {error}"))?;
            text
        }
    };
    let trimmed = text.trim().to_owned();
    RawValue::from_string(trimmed).map_err(|error| format!("the content is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_kept_letter_by_letter_and_must_be_json() {
        assert_eq!(content(Some(" { \"x\":1.0 }\n")).unwrap().get(), "{ \"x\":1.0 }");
        assert!(content(Some("hello")).unwrap_err().contains("not JSON"));
    }
}
