//! `conclave cluster`.

use clap::Subcommand;

use super::admin::Admin;
use crate::admin::client::{Client, Error};
use crate::exit::Exit;
use crate::terminal::cluster_status_table;

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
    #[command(flatten)]
    admin: Admin,
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
    arguments.admin.ask(|client| carry_out(client, &arguments.operation))
}

async fn carry_out(client: Client, operation: &Operation) -> Result<String, Error> {
    Ok(match operation {
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
            format!("node {id} votes, in the cell that `status` shows\n")
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
