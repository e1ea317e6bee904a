//! `load`: one workload, measured.

use hyper::Uri;

use super::output::Output;
use super::work::Work;
use super::{Verdict, answering, interrupt, progress};
use crate::client::Target;
use crate::report::{Report, html, summary};
use crate::sample::{Plan, metrics_url};
use crate::workload;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Base URLs of the nodes; workers are spread over them in turn
    #[arg(long, required = true, value_delimiter = ',')]
    target: Vec<Target>,
    #[command(flatten)]
    pub(super) work: Work,
    /// Processes of the servers, for their CPU time and memory
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Where the servers' Prometheus metrics are
    #[arg(long, value_delimiter = ',', value_parser = metrics_url)]
    metrics: Vec<(Target, Uri)>,
    /// The counter of fsyncs among them
    #[arg(long, default_value = "conclave_raft_fsyncs_total")]
    fsync_metric: String,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub(super) async fn run(self) -> Verdict {
        answering(&self.target).await?;
        self.work.prepare(self.target.len())?;
        let plan = Plan { pids: self.pid, metrics: self.metrics, fsync_metric: self.fsync_metric };
        let watch = progress(self.work.warmup + self.work.duration);
        let options = self.work.options(&self.target);
        let report = workload::run_until(options, &plan, &interrupt(), watch).await;
        let page = |report: &Report| html::page(&format!("{} load", report.workload), report, &[]);
        self.output.give(report.ok, &report, summary, page)
    }
}
