//! When operations were answered and how long that took.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// At this many the oldest go: four hours at 500 operations a second, and 192 MB.
const SAMPLES_MAX: usize = 8 << 20;

#[derive(Debug, Clone, Copy)]
struct Sample {
    start: u64,
    end: u64,
    writes: bool,
    /// The node that was asked first, and answered.
    node: Option<u16>,
}

/// Latencies of acknowledged operations, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many operations.
    pub count: u64,
    /// Half took no longer.
    pub p50_ms: f64,
    /// One of a hundred took longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// One second of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Second {
    /// Since the run began.
    pub second: u64,
    /// Operations that were refused in it.
    pub refused: u64,
    /// Operations whose outcome stayed unknown, by the second in which the client gave up.
    pub unknown: u64,
    /// Operations that were answered in it.
    #[serde(flatten)]
    pub answered: Latency,
}

/// All answered operations, by their ends.
#[derive(Debug, Default)]
pub(super) struct Samples {
    answered: VecDeque<Sample>,
    /// Refused and unknown ones, by second; a day of them at most.
    others: BTreeMap<u64, (u64, u64)>,
}

const SECONDS_MAX: usize = 86_400;

impl Samples {
    pub(super) fn answered(&mut self, start: u64, end: u64, writes: bool, node: Option<u16>) {
        if self.answered.len() >= SAMPLES_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back(Sample { start, end, writes, node });
    }

    pub(super) fn refused(&mut self, end: u64) {
        self.other(end).0 += 1;
    }

    pub(super) fn unknown(&mut self, end: u64) {
        self.other(end).1 += 1;
    }

    fn other(&mut self, end: u64) -> &mut (u64, u64) {
        let second = end / 1_000_000_000;
        if self.others.len() >= SECONDS_MAX && !self.others.contains_key(&second) {
            self.others.pop_first();
        }
        self.others.entry(second).or_default()
    }

    /// The end of the first write to be answered of those that started at `instant` or later.
    pub(super) fn first_write_since(&self, instant: u64) -> Option<u64> {
        // Ends ascend, nearly: the lock is taken after the clock was read.
        let later = self.answered.iter().filter(|sample| sample.writes && sample.start >= instant);
        later.map(|sample| sample.end).min()
    }

    /// The longest time between two answers to writes within a span, its edges included.
    pub(super) fn longest_gap(&self, from: u64, to: u64) -> u64 {
        let within = self.answered.iter().filter(|sample| sample.writes && (from..=to).contains(&sample.end));
        let mut ends: Vec<u64> = within.map(|sample| sample.end).chain([from, to]).collect();
        ends.sort_unstable();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Of what was answered within a span; with a node, of what that one was asked first and answered.
    pub(super) fn latency(&self, from: u64, to: u64, node: Option<u16>) -> Latency {
        let within = self.answered.iter().filter(|sample| (from..to).contains(&sample.end));
        let within = within.filter(|sample| node.is_none() || sample.node == node);
        percentiles(within.map(|sample| sample.end - sample.start).collect())
    }

    pub(super) fn seconds(&self) -> Vec<Second> {
        let mut latencies: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for sample in &self.answered {
            latencies.entry(sample.end / 1_000_000_000).or_default().push(sample.end - sample.start);
        }
        let last = latencies.keys().chain(self.others.keys()).max().copied();
        let second = |second: u64| {
            let (refused, unknown) = self.others.get(&second).copied().unwrap_or_default();
            let answered = percentiles(latencies.remove(&second).unwrap_or_default());
            Second { second, refused, unknown, answered }
        };
        last.map(|last| (0..=last).map(second).collect()).unwrap_or_default()
    }
}

fn percentiles(mut nanoseconds: Vec<u64>) -> Latency {
    nanoseconds.sort_unstable();
    let Some(last) = nanoseconds.last() else { return Latency::default() };
    let at = |share: f64| {
        let place = (share * nanoseconds.len() as f64).ceil() as usize;
        nanoseconds[place.clamp(1, nanoseconds.len()) - 1] as f64 / 1e6
    };
    Latency { count: nanoseconds.len() as u64, p50_ms: at(0.5), p99_ms: at(0.99), max_ms: *last as f64 / 1e6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn samples() -> Samples {
        let mut samples = Samples::default();
        for (start, end) in [(0, 10), (5, 40), (50, 1060)] {
            samples.answered(start * MS, end * MS, true, Some(1));
        }
        samples.answered(60 * MS, 70 * MS, false, None);
        samples.refused(1500 * MS);
        samples
    }

    #[test]
    fn a_gap_counts_from_the_edges_and_writes_alone_end_it() {
        assert_eq!(samples().longest_gap(0, 2000 * MS), 1020 * MS);
        assert_eq!(samples().longest_gap(0, 3000 * MS), 1940 * MS);
    }

    #[test]
    fn writes_have_resumed_with_the_first_that_started_later() {
        assert_eq!(samples().first_write_since(5 * MS), Some(40 * MS));
        assert_eq!(samples().first_write_since(6 * MS), Some(1060 * MS));
        assert_eq!(samples().first_write_since(51 * MS), None);
    }

    #[test]
    fn a_node_counts_for_what_it_was_asked_and_answered() {
        let count = |node| samples().latency(0, 2000 * MS, node).count;
        assert_eq!((count(None), count(Some(1)), count(Some(0))), (4, 3, 0));
    }

    #[test]
    fn each_second_has_its_row() {
        let seconds = samples().seconds();
        assert_eq!(seconds.len(), 2);
        assert_eq!((seconds[0].answered.count, seconds[0].answered.max_ms), (3, 35.0));
        assert_eq!((seconds[1].answered.count, seconds[1].refused), (1, 1));
        assert_eq!(samples().latency(0, 100 * MS, None).p50_ms, 10.0);
    }
}
