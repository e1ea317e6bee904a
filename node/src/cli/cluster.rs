//! `conclave cluster`.

use std::time::Duration;

use clap::Subcommand;

use crate::admin::client::{Client, Error};
use crate::config::unit::parse_span;
use crate::exit::Exit;
use crate::terminal::{cluster_status_table, complain, print};

/// What `admin.listen` is unless it is set.
const DEFAULT_URL: &str = "http://127.0.0.1:9400";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave cluster status
  conclave cluster status --json --url http://10.0.0.1:9400
  conclave cluster add 4 10.0.0.4:7400      a node started with --join becomes a front
  conclave cluster promote 4                … and takes a seat in the first cell, though none is vacant
  conclave cluster drain 2                  a front takes its seat, or its cell is emptied; then it is removed
  conclave cluster plan                     what is done next: seats that are filled, cells founded, slots moved
  conclave cluster remove 2                 for ever: its id is not used again
  conclave cluster transfer-leader 3        before work on the leader's machine; nothing happens if it leads

The URL is that of any node's admin listener (admin.listen), from --url or CONCLAVE_ADMIN_URL.
Exit code 3 if the cluster refuses, 1 if it does not answer.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    operation: Operation,
    /// A node's admin listener
    #[arg(
        long,
        value_name = "ADMIN_URL",
        global = true,
        env = "CONCLAVE_ADMIN_URL",
        default_value = DEFAULT_URL
    )]
    url: String,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", global = true, default_value = "60s", value_parser = parse_span)]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
enum Operation {
    /// Show who leads and how far each node is
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a node that was started with --join, as a front: it answers clients and holds nothing
    Add {
        /// The node's id
        id: u64,
        /// Where its peers reach it
        #[arg(value_name = "HOST:PORT")]
        peer: String,
    },
    /// Give a front a seat: it gets everything, and votes; refused if it does not answer, or if no majority could be reached
    /// afterwards
    Promote {
        /// The node's id
        id: u64,
        /// Do it all the same
        #[arg(long)]
        force: bool,
    },
    /// Give a node's seat to a front, or without one its cell's slots to the others, then remove the node for ever; refused
    /// for the last cell if no front answers
    Drain {
        /// The node's id
        id: u64,
        /// Do it all the same where no majority could be reached afterwards
        #[arg(long)]
        force: bool,
    },
    /// Remove a node for ever; refused if no majority could be reached afterwards
    Remove {
        /// The node's id
        id: u64,
        /// Do it all the same
        #[arg(long)]
        force: bool,
    },
    /// Show what the cluster does next by itself: fill a seat, found a cell, move slots
    Plan,
    /// Hand leadership over
    TransferLeader {
        /// To this node; without it, to the one that is furthest
        id: Option<u64>,
    },
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(error, Exit::Failed),
    };
    match runtime.block_on(ask(arguments)) {
        Ok(answer) => print(&answer),
        Err(error) => {
            let exit = exit(&error);
            complain(error, exit)
        }
    }
}

async fn ask(arguments: &Arguments) -> Result<String, Error> {
    let url = if arguments.url.is_empty() { DEFAULT_URL } else { &arguments.url };
    let client = Client::new(url, arguments.timeout)?;
    Ok(match &arguments.operation {
        Operation::Status { json: true } => format!("{}\n", client.status_as_sent().await?),
        Operation::Status { json: false } => {
            cluster_status_table::render(&client.status().await?, cluster_status_table::wants_colour())
        }
        Operation::Plan => match client.status().await?.next_step {
            Some(step) => format!("{step}\n"),
            None => "nothing is left to do\n".to_owned(),
        },
        Operation::Add { id, peer } => {
            client.add(*id, peer).await?;
            format!("node {id} is a front now; it takes a seat by itself where one is vacant\n")
        }
        Operation::Promote { id, force } => {
            client.promote(*id, *force).await?;
            format!("node {id} votes now\n")
        }
        Operation::Drain { id, force } => {
            client.drain(*id, *force).await?;
            format!("node {id} is removed, and others have what it held; its id is not used again\n")
        }
        Operation::Remove { id, force } => {
            client.remove(*id, *force).await?;
            format!("node {id} is removed; its id is not used again\n")
        }
        Operation::TransferLeader { id } => {
            format!("node {} leads now\n", client.transfer_leader(*id).await?)
        }
    })
}

fn exit(error: &Error) -> Exit {
    match error {
        Error::Url(_) | Error::Public(_) => Exit::Usage,
        Error::Refused { status, .. } if status.is_client_error() => Exit::Refused,
        Error::Refused { .. }
        | Error::Connect { .. }
        | Error::Broken(_)
        | Error::TimedOut { .. }
        | Error::Stranger(_) => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[test]
    fn refusals_and_failures_have_their_own_codes() {
        let refused = |status| Error::Refused { status, code: String::new(), message: String::new() };
        assert_eq!(exit(&refused(StatusCode::CONFLICT)), Exit::Refused);
        assert_eq!(exit(&refused(StatusCode::SERVICE_UNAVAILABLE)), Exit::Failed);
        assert_eq!(exit(&Error::Url(String::new())), Exit::Usage);
        assert_eq!(exit(&Error::Stranger(String::new())), Exit::Failed);
    }
}
