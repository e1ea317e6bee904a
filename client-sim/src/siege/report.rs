//! What a flood came to, and what of it was too much.

use std::time::Duration;

use serde::Serialize;

use super::Options;
use super::flow::Flooded;
use super::honest::Felt;
use super::kind::Kind;
use crate::report::table::{Grid, mebibytes};

/// Times longer that the honest client's p99 may be.
const RATIO_MAX: f64 = 3.0;
/// The same beside slow clients.
const RATIO_SLOW_MAX: f64 = 2.0;
/// A p99 below this counts as this: what is that short is the scheduler's.
const P99_MIN_MS: f64 = 10.0;

/// One flood.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether everything held.
    pub ok: bool,
    /// What was too much, in words.
    pub broken: Vec<String>,
    /// The kind.
    pub kind: Kind,
    /// Each phase took so long.
    pub seconds: f64,
    /// Whether the nodes were in cgroups.
    pub memory_max_bytes: Option<u64>,
    /// What there is to compare with, if times are judged.
    pub base: Option<Base>,
    /// What the honest client felt while the flood went to the nodes.
    pub flooded: Felt,
    /// Its p99 divided by that beside the flood that was discarded.
    pub p99_ratio: Option<f64>,
    /// What was at most allowed.
    pub p99_ratio_max: f64,
    /// The flood at the nodes.
    pub flood: Flooded,
    /// The nodes' memory.
    pub nodes: Vec<NodeMemory>,
    /// Nodes that ended, and their last words.
    pub deaths: Vec<String>,
}

/// What the honest client felt before the flood went to the nodes.
#[derive(Debug, Clone, Serialize)]
pub struct Base {
    /// Without a flood.
    pub quiet: Felt,
    /// While the flood went to a listener that discards it.
    pub discarded: Felt,
    /// That flood.
    pub flood: Flooded,
}

/// The nodes' memory over time.
#[derive(Debug, Clone, Default)]
pub struct Memory(Vec<NodeMemory>);

/// One node's.
#[derive(Debug, Clone, Serialize)]
pub struct NodeMemory {
    /// Its id.
    pub id: u64,
    /// Its process.
    pub pid: u32,
    /// Resident before the flood.
    pub begin_bytes: u64,
    /// Resident at most.
    pub peak_bytes: u64,
    /// Resident in the end.
    pub end_bytes: u64,
    /// The most its cgroup ever took, page cache included.
    pub group_peak_bytes: Option<u64>,
    /// How often the kernel killed something in its cgroup.
    pub kills: u64,
}

impl Memory {
    pub(super) fn begin(nodes: impl Iterator<Item = (u64, u32, u64)>) -> Self {
        let begin = |(id, pid, bytes)| NodeMemory {
            id,
            pid,
            begin_bytes: bytes,
            peak_bytes: bytes,
            end_bytes: bytes,
            group_peak_bytes: None,
            kills: 0,
        };
        Self(nodes.map(begin).collect())
    }

    pub(super) fn note(&mut self, resident: impl Fn(u32) -> u64) {
        for node in &mut self.0 {
            node.end_bytes = resident(node.pid);
            node.peak_bytes = node.peak_bytes.max(node.end_bytes);
        }
    }

    pub(super) fn note_peaks(&mut self, peak: impl Fn(u64) -> Option<u64>, kills: impl Fn(u64) -> u64) {
        for node in &mut self.0 {
            node.group_peak_bytes = peak(node.id);
            node.kills = kills(node.id);
        }
    }

    /// Whether every node has about as much as before.
    pub(super) fn has_settled(&self, slack_bytes: u64) -> bool {
        self.0.iter().all(|node| node.end_bytes <= node.begin_bytes + slack_bytes)
    }
}

impl Report {
    pub(super) fn new(
        kind: Kind,
        options: &Options,
        base: Option<Base>,
        flooded: Felt,
        flood: Flooded,
        memory: Memory,
        deaths: Vec<String>,
    ) -> Self {
        let p99 = |felt: &Felt| felt.p99_ms.max(P99_MIN_MS);
        let p99_ratio = base.as_ref().map(|base| p99(&flooded) / p99(&base.discarded));
        let p99_ratio_max = if kind.is_slow() { RATIO_SLOW_MAX } else { RATIO_MAX };
        let mut broken = Vec::new();
        if let Some(Base { quiet, discarded, .. }) = &base {
            for (felt, when) in [(quiet, "without a flood"), (discarded, "beside a flood that is discarded")]
            {
                if felt.failed() > 0 {
                    broken.push(format!("{} honest requests failed {when}", felt.failed()));
                }
            }
        }
        if flooded.failed() > 0 {
            broken.push(format!("{} of {} honest requests failed", flooded.failed(), flooded.requests));
        }
        if flooded.requests == 0 {
            broken.push("no honest request was made".to_owned());
        }
        if let Some(ratio) = p99_ratio.filter(|ratio| *ratio > p99_ratio_max) {
            broken.push(format!("p99 is {ratio:.1} times what it was, {p99_ratio_max} at most"));
        }
        if flood.opened == 0 {
            broken.push("the flood opened no connection".to_owned());
        }
        if !memory.has_settled(options.slack_bytes) {
            broken.push("memory did not end where it began".to_owned());
        }
        broken.extend(deaths.iter().map(|death| format!("died: {death}")));
        let kills: u64 = memory.0.iter().map(|node| node.kills).sum();
        if kills > 0 {
            broken.push(format!("the kernel killed {kills} times for memory"));
        }
        Self {
            ok: broken.is_empty(),
            broken,
            kind,
            seconds: options.time.as_secs_f64(),
            memory_max_bytes: options.memory_bytes,
            base,
            flooded,
            p99_ratio,
            p99_ratio_max,
            flood,
            nodes: memory.0,
            deaths,
        }
    }
}

impl Report {
    /// The honest client is served after the flood, too.
    pub(super) fn note_failed_after(&mut self, failed: u64) {
        if failed > 0 {
            self.broken.push(format!("{failed} honest requests failed after the flood"));
            self.ok = false;
        }
    }
}

/// All reports as a table, and below it what was broken.
pub fn table(reports: &[Report]) -> String {
    let mut grid = Grid::new(
        "flood | p50 ms | p99 ms | discarded p99 | flooded p99 | times | at most | failed | begin MiB | peak MiB | end MiB | deaths | held",
    );
    for report in reports {
        let most = |of: fn(&NodeMemory) -> u64| mebibytes(report.nodes.iter().map(of).max().unwrap_or(0));
        let ms = |ms: f64| format!("{ms:.1}");
        let base = |of: fn(&Base) -> f64| report.base.as_ref().map_or_else(String::new, |base| ms(of(base)));
        grid.rows.push(vec![
            report.kind.name().to_owned(),
            base(|base| base.quiet.p50_ms),
            base(|base| base.quiet.p99_ms),
            base(|base| base.discarded.p99_ms),
            ms(report.flooded.p99_ms),
            report.p99_ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            format!("{}", report.p99_ratio_max),
            format!("{} of {}", report.flooded.failed(), report.flooded.requests),
            most(|node| node.begin_bytes),
            most(|node| node.peak_bytes),
            most(|node| node.end_bytes),
            report.deaths.len().to_string(),
            if report.ok { "yes" } else { "no" }.to_owned(),
        ]);
    }
    let mut text = grid.text();
    for report in reports.iter().filter(|report| !report.ok) {
        for why in &report.broken {
            text.push_str(&format!("{}: {why}\n", report.kind.name()));
        }
        for (what, count) in &report.flooded.failures {
            text.push_str(&format!("{}: {count} x {what}\n", report.kind.name()));
        }
    }
    text
}

/// About how long all of these take.
pub fn foreseen(kinds: usize, options: &Options) -> Duration {
    let phases = if options.times { 3 } else { 1 };
    (phases * options.time + Duration::from_secs(10)) * kinds as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            binary: "conclave".into(),
            folder: "/".into(),
            time: Duration::from_secs(1),
            settle: Duration::from_secs(1),
            memory_bytes: None,
            storage_bytes: 1,
            addresses: 1,
            slack_bytes: 100,
            times: true,
        }
    }

    fn felt(p99_ms: f64) -> Felt {
        Felt { requests: 100, p99_ms, ..Felt::default() }
    }

    fn judged(p99: [f64; 3], end_bytes: u64, deaths: &[&str]) -> Report {
        let mut memory = Memory::begin([(1, 7, 1000)].into_iter());
        memory.note(|_| end_bytes);
        let flood = Flooded { opened: 1, ..Flooded::default() };
        let deaths = deaths.iter().map(|death| (*death).to_owned()).collect();
        let [quiet, discarded, flooded] = p99.map(felt);
        let base = Base { quiet, discarded, flood };
        Report::new(Kind::Free, &options(), Some(base), flooded, flood, memory, deaths)
    }

    #[test]
    fn what_is_felt_little_holds() {
        let report = judged([1.0, 2.0, 29.0], 1100, &[]);
        assert!(report.ok, "{:?}", report.broken);
        assert!(report.p99_ratio.is_some_and(|ratio| (ratio - 2.9).abs() < 1e-9), "{:?}", report.p99_ratio);
    }

    #[test]
    fn each_promise_can_be_broken() {
        assert!(!judged([1.0, 20.0, 61.0], 1000, &[]).ok, "a long wait");
        assert!(!judged([1.0, 1.0, 1.0], 1101, &[]).ok, "memory that stays");
        assert!(!judged([1.0, 1.0, 1.0], 1000, &["node 1"]).ok, "a death");
        let mut failing = felt(1.0);
        failing.failures.insert("send: 503".to_owned(), 1);
        let memory = Memory::begin(std::iter::empty());
        let flood = Flooded { opened: 1, ..Flooded::default() };
        let report = Report::new(Kind::Free, &options(), None, failing, flood, memory, Vec::new());
        assert_eq!(report.broken, ["1 of 100 honest requests failed"]);
    }
}
