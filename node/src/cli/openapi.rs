//! `conclave openapi`.

use crate::exit::Exit;
use crate::terminal::print;
use crate::{admin, transport};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// That of the admin listener
    #[arg(long)]
    admin: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let document = if arguments.admin { admin::document_of_listener() } else { transport::document_of_api() };
    print(&format!("{}\n", document.to_pretty_json().expect("a document is JSON")))
}
