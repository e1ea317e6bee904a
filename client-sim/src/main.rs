//! The `conclave-sim` binary: parses its arguments and hands over to [`conclave_client_sim::command`].

use std::process::ExitCode;

use clap::Parser;
use conclave_client_sim::command::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
