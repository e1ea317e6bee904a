//! The `conclave` command; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    conclave_node::cli::run().into()
}
