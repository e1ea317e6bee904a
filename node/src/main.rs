//! The `conclave` command; everything is in the library.

use std::process::ExitCode;

/// Requests are many small, short-lived allocations made on one thread and freed on another; measured under load,
/// this allocator takes a tenth of the CPU off them (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    conclave_node::cli::run().into()
}
