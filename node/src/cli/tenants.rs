//! `conclave tenants`.

use std::fmt::Write as _;

use super::admin::Admin;
use super::output;
use crate::admin::api_types::Tenant;
use crate::config::unit::print_size;
use crate::exit::Exit;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave tenants                 those that have a policy or a host name
  conclave tenants acme --json     one alone, also if only tokens name it")]
pub(super) struct Arguments {
    /// This organisation alone
    #[arg(value_name = "NAME")]
    tenant: Option<String>,
    /// Each as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    arguments.admin.ask(async |client| {
        let tenants = client.tenants(arguments.tenant.as_deref()).await?.tenants;
        Ok(tenants.iter().map(|tenant| line(tenant, arguments.json)).collect())
    })
}

fn line(tenant: &Tenant, json: bool) -> String {
    let mut line = String::new();
    let _ = if json {
        writeln!(line, "{}", output::json(tenant))
    } else {
        let bytes: u64 = tenant.cells.iter().map(|cell| cell.stored_bytes).sum();
        let mailboxes: u32 = tenant.cells.iter().map(|cell| cell.mailboxes).sum();
        let rooms: u32 = tenant.cells.iter().map(|cell| cell.rooms).sum();
        let Tenant { tenant: name, hosts, storage_percent, allowance_percent, .. } = tenant;
        let hosts = if hosts.is_empty() { String::new() } else { format!("  at {}", hosts.join(", ")) };
        writeln!(
            line,
            "{name}  {} stored (at most {storage_percent} %), {mailboxes} mailboxes, {rooms} rooms, allowances \
             {allowance_percent} %{hosts}",
            print_size(bytes)
        )
    };
    line
}
