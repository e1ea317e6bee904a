//! `transfer`: one transfer over all nodes, verified elsewhere, with a summary in JSON.

use std::time::Duration;

use super::{Generator, Verdict, answering, duration, print_json};
use crate::client::{self, Target};
use crate::content::LENGTH_MAX;
use crate::workload::transfer;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Base URLs of the nodes; the sender uses all of them in turn
    #[arg(long, required = true, value_delimiter = ',')]
    target: Vec<Target>,
    /// Where the receiver asks, as a number into the targets; the last if not given
    #[arg(long)]
    receiver: Option<usize>,
    /// Chunks of the transfer
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=2048))]
    chunks: u32,
    /// Bytes of data text per chunk
    #[arg(long, default_value_t = 49_152, value_parser = clap::value_parser!(u64).range(1..=LENGTH_MAX as u64))]
    size: u64,
    /// Uploads at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=4096))]
    parallel: u64,
    /// How long one request may take with all its retries
    #[arg(long, default_value = "30s", value_parser = duration)]
    patience: Duration,
    /// How long the whole may take
    #[arg(long, default_value = "5m", value_parser = duration)]
    deadline: Duration,
    #[command(flatten)]
    pub(super) generator: Generator,
}

impl Args {
    pub(super) async fn run(self) -> Verdict {
        answering(&self.target).await?;
        let summary = transfer::run(transfer::Options {
            receiver: self.receiver.unwrap_or(self.target.len() - 1),
            targets: self.target,
            chunks: self.chunks,
            size: self.size as usize,
            parallel: self.parallel as usize,
            seed: self.generator.seed(),
            client: client::Options { patience: self.patience, ..client::Options::default() },
            deadline: self.deadline,
        })
        .await;
        print_json(&summary);
        Ok(summary.ok)
    }
}
