//! The subcommands, one file each.

mod chaos;
mod check;
mod compare;
mod failover;
mod generator;
mod growth;
mod guess;
mod load;
mod memory;
mod output;
mod overload;
mod server;
mod siege;
mod soak;
mod transfer;
mod view;
mod work;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::trust;
use crate::console::say;
use crate::units::duration;

use generator::Generator;
use view::{answering, interrupt, print_json, progress};

/// Where nodes have their disks and logs: where somebody wants it, or else in a temporary folder that stays.
fn home(out: Option<&Path>, prefix: &str) -> Result<PathBuf, String> {
    let made =
        || conclave_supervisor::scratch(prefix).map_err(|error| format!("a temporary folder: {error}"));
    out.map_or_else(|| Ok(made()?.keep()), |out| Ok(out.to_owned()))
}

/// Load, checks and measurements for Conclave, or for any server with the same HTTP contract.
#[derive(Debug, Parser)]
#[command(name = "conclave-sim", version)]
pub struct Cli {
    /// Where a target is https or wss, believe the authorities in this PEM file; else those of this machine
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a workload and measure it, verifying every received byte.
    Load(Box<load::Args>),
    /// Ask a cluster many things at once and say whether it kept its promises.
    Check(Box<check::Args>),
    /// Send one transfer over all nodes and verify it elsewhere.
    Transfer(transfer::Args),
    /// Kill the leader again and again and measure when writes resume.
    Failover(failover::Args),
    /// Break a cluster on purpose while load runs, and check every promise.
    Chaos(Box<chaos::Args>),
    /// Fill the servers with live transfers and watch their memory until all have expired.
    Memory(memory::Args),
    /// Run the same workload against several systems in turn, and divide.
    Compare(Box<compare::Args>),
    /// Keep a rate for hours, and see whether memory, files or disk use grow.
    Soak(Box<soak::Args>),
    /// Offer more than the servers can do, and see what they still do.
    Overload(overload::Args),
    /// Flood nodes of its own in every way, and see what an honest client beside feels.
    Siege(siege::Args),
    /// Count the guesses at codes and pins that one client gets at nodes of its own.
    Guess(guess::Args),
    /// Run the same load for each node in clusters of several sizes, and see how much more the larger ones carry.
    Growth(Box<growth::Args>),
}

/// Something was wrong with the servers' answers; 0 is everything verified and nothing unexpected.
const BAD: u8 = 1;
/// There is nobody to measure, as with any other wrong argument.
const NO_NODE: u8 = 2;
/// It could not be measured at all.
const BROKEN: u8 = 3;

/// Why there is no verdict: the exit code, and what is to be said if it was not said yet.
#[derive(Debug)]
struct Failed(u8, Option<String>);

/// Whether what was measured is as it should be.
type Verdict = Result<bool, Failed>;

impl<E: std::fmt::Display> From<E> for Failed {
    fn from(why: E) -> Self {
        Self(BROKEN, Some(why.to_string()))
    }
}

impl Cli {
    /// Runs the chosen subcommand; 0 is success, 1 a failed check, 2 bad usage or no node at the given URLs, 3 a run that
    /// could not be made.
    pub fn run(self) -> ExitCode {
        if let Some(ca) = &self.ca
            && let Err(error) = trust::only(ca)
        {
            tell!("--ca: {error}");
            return ExitCode::from(NO_NODE);
        }
        let code = match self.command {
            Command::Load(args) => on_runtime(args.work.threads(), args.run()),
            Command::Check(args) => on_runtime(args.generator.threads, args.run()),
            Command::Transfer(args) => on_runtime(args.generator.threads, args.run()),
            Command::Failover(args) => on_runtime(1, args.run()),
            Command::Chaos(args) => on_runtime(args.threads, args.run()),
            Command::Memory(args) => on_runtime(args.generator.threads, args.run()),
            Command::Compare(args) => on_runtime(args.work.threads(), args.run()),
            Command::Soak(args) => on_runtime(args.work.threads(), args.run()),
            Command::Overload(args) => on_runtime(args.generator.threads, args.run()),
            Command::Siege(args) => on_runtime(1, args.run()),
            Command::Guess(args) => on_runtime(1, args.run()),
            Command::Growth(args) => on_runtime(args.generator.threads, args.run()),
        };
        ExitCode::from(code)
    }
}

/// With one thread there is no hand-over between threads, which leaves the most of two cores to the servers.
fn on_runtime(threads: usize, command: impl Future<Output = Verdict>) -> u8 {
    let mut builder = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(threads.max(1)).enable_all().build();
    let verdict = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(format!("no runtime: {error}").into()),
    };
    verdict.map_or_else(
        |Failed(code, why)| {
            if let Some(why) = why {
                tell!("{why}");
            }
            code
        },
        |good| if good { 0 } else { BAD },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
