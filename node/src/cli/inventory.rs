//! `conclave list` and `conclave end`.

use std::fmt::Write as _;

use super::admin::Admin;
use super::output;
use crate::admin::api_types::{Item, Kinds};
use crate::admin::client::{Client, Error, Which};
use crate::exit::Exit;
use crate::service::inventory::Id;
use crate::terminal::complain;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave list transfers                    what is on its way, chunks that came of how many
  conclave list sockets --subject alice      where alice is connected
  conclave list sockets --node 3 --json

Ids are the first 16 digits of the hash that something is stored under. Names, pins and contents are not told:
the server has none of them.")]
pub(super) struct List {
    #[command(flatten)]
    which: Chosen,
    /// Each as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave end transfers 9f86d081884c7d65    its chunks are freed, whoever waits for it is told
  conclave end mailboxes 9f86d081884c7d65    what waits is thrown away, whoever has it pushed is disconnected
  conclave end rooms 9f86d081884c7d65        its members are disconnected, its history is thrown away
  conclave end users 9f86d081884c7d65        all of a user's devices are forgotten
  conclave end sockets --subject alice       all of alice's connections are closed
  conclave end sockets --node 3

A client may come back at once: `conclave revoke` keeps it out.")]
pub(super) struct End {
    #[command(flatten)]
    which: Chosen,
    /// Which ones, as `conclave list` shows them
    #[arg(value_name = "ID", value_parser = id, required_unless_present_any = ["subject", "node"])]
    ids: Vec<Id>,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// What: transfers, sessions, mailboxes, rooms, sockets, invite-codes or users
    #[arg(value_name = "KIND", value_parser = kind)]
    kind: Kinds,
    /// Sockets of this subject (`sub`) alone
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// The organisation of the subject
    #[arg(long, value_name = "NAME", requires = "subject")]
    tenant: Option<String>,
    /// Sockets at this node alone
    #[arg(long, value_name = "ID")]
    node: Option<u64>,
}

impl Chosen {
    fn which(&self) -> Which {
        Which { tenant: self.tenant.clone(), subject: self.subject.clone(), node: self.node }
    }
}

fn kind(text: &str) -> Result<Kinds, String> {
    let names = || Kinds::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    Kinds::parse(text).ok_or_else(|| format!("it is one of {}", names()))
}

fn id(text: &str) -> Result<Id, String> {
    Id::parse(text).ok_or_else(|| "an id is 16 hexadecimal digits".to_owned())
}

pub(super) fn list(arguments: &List) -> Exit {
    arguments.admin.ask(|client| show(client, arguments))
}

async fn show(client: Client, arguments: &List) -> Result<String, Error> {
    let (mut text, mut after) = (String::new(), None);
    loop {
        let Chosen { kind, .. } = arguments.which;
        let page = client.list(kind, &arguments.which.which(), after.as_deref()).await?;
        for item in &page.items {
            let _ = if arguments.json {
                writeln!(text, "{}", output::json(item))
            } else {
                writeln!(text, "{}", line(item))
            };
        }
        after = page.next;
        if after.is_none() {
            let empty = text.is_empty() && !arguments.json;
            return Ok(if empty { format!("there are no {}\n", kind.name()) } else { text });
        }
    }
}

fn line(item: &Item) -> String {
    let parts = item.of.map_or(item.parts.to_string(), |of| format!("{}/{of}", item.parts));
    let place = match (item.node, item.expires_ms) {
        (Some(node), _) => format!("at node {node}"),
        (None, Some(expires_ms)) => format!("for {}", output::time_to(expires_ms)),
        (None, None) => String::new(),
    };
    format!("{}  {parts:>9}  {place}", item.id)
}

pub(super) fn end(arguments: &End) -> Exit {
    let Chosen { kind, subject, node, .. } = &arguments.which;
    let chooses = subject.is_some() || node.is_some();
    if chooses && (!arguments.ids.is_empty() || *kind != Kinds::Sockets) {
        return complain("--subject and --node choose among sockets, in place of ids", Exit::Usage);
    }
    arguments.admin.ask(async |client| {
        if chooses {
            let ended = client.end_sockets(&arguments.which.which()).await?;
            return Ok(format!("ended {ended} {}\n", kind.name()));
        }
        let mut text = String::new();
        for id in &arguments.ids {
            client.end(*kind, *id).await?;
            let _ = writeln!(text, "ended {id}");
        }
        Ok(text)
    })
}
