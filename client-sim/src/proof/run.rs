//! A run: load that is taken down, until it is asked for its verdict.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::check::Checker;
use super::history::{Header, Latency, Recorder, VERSION, Writer};
use super::workload::Workload;
use super::{Event, FamilyVerdict, Options, Outcomes, Terms, Verdict};

/// Load that goes on until [`finish`](Self::finish).
pub struct Run {
    options: Options,
    recorder: Arc<Recorder>,
    workload: Arc<Workload>,
    clients: JoinSet<()>,
    checker: Checker,
    begun: Instant,
    // A std mutex, since nothing awaits inside.
    events: Mutex<Vec<Event>>,
}

/// More than this nobody reads.
const EVENTS_MAX: usize = 10_000;

impl Run {
    /// Begins to ask, from within a tokio runtime. That the history's file cannot be written is part of the verdict.
    pub fn start(options: Options) -> Self {
        assert!(!options.targets.is_empty(), "a run needs a target");
        let terms = Terms { ttl: options.ttls, allowance: options.allowance };
        let writer = match &options.history {
            Some(path) => {
                let targets = options.targets.iter().map(ToString::to_string).collect();
                let header = Header { conclave_history: VERSION, seed: options.seed, targets, terms };
                Some(Writer::create(path, &header))
            }
            None => None,
        };
        let checker = Checker::start(terms);
        let recorder = Arc::new(Recorder::new(checker.sender(), writer));
        let workload = Arc::new(Workload::new(options.clone(), recorder.clone()));
        let clients = workload.start();
        let (begun, events) = (Instant::now(), Mutex::default());
        Self { options, recorder, workload, clients, checker, begun, events }
    }

    /// Notes an event on the time line.
    pub fn mark(&self, text: impl Into<String>) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() < EVENTS_MAX {
            events.push(Event { at_s: self.begun.elapsed().as_secs_f64(), text: text.into() });
        }
    }

    /// How many operations were answered so far.
    pub fn acknowledged(&self) -> u64 {
        self.recorder.acknowledged()
    }

    /// From an instant to the first answer to a write that started after it; `None` while there is none.
    pub fn resumed_after(&self, instant: Instant) -> Option<Duration> {
        let from = self.recorder.stamp(instant);
        let end = self.recorder.first_write_since(from)?;
        Some(Duration::from_nanos(end.saturating_sub(from)))
    }

    /// The longest time without an answer to a write within a span, its edges included, in milliseconds.
    pub fn longest_gap_ms(&self, from: Instant, to: Instant) -> f64 {
        self.recorder.longest_gap(self.recorder.stamp(from), self.recorder.stamp(to)) as f64 / 1e6
    }

    /// Of the operations that were answered within a span.
    pub fn latency(&self, from: Instant, to: Instant) -> Latency {
        self.recorder.latency(self.recorder.stamp(from), self.recorder.stamp(to), None)
    }

    /// Of those that one target was asked first, and answered.
    pub fn latency_at(&self, target: usize, from: Instant, to: Instant) -> Latency {
        self.recorder.latency(self.recorder.stamp(from), self.recorder.stamp(to), Some(target as u16))
    }

    /// Stops the load, looks at what must be there on every node, and checks everything.
    pub async fn finish(mut self) -> Verdict {
        self.workload.stop();
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        let duration_s = self.begun.elapsed().as_secs_f64();
        self.mark("the load ends, all nodes are looked at");
        let audit = self.workload.audit().await;
        self.recorder.close_all();
        let history_failed = self.recorder.finish().err().map(|error| error.to_string());
        let (by_family, refusals, timeline) =
            (self.recorder.families(), self.recorder.refusals(), self.recorder.seconds());
        // The senders of what is to be checked go with them.
        drop((self.workload, self.recorder));
        let checker = self.checker;
        let findings =
            tokio::task::spawn_blocking(|| checker.finish()).await.expect("the checker does not panic");

        let mut outcomes = Outcomes::default();
        for family in by_family.values() {
            outcomes.answered += family.answered;
            outcomes.refused += family.refused;
            outcomes.unknown += family.unknown;
        }
        let family = |family| {
            let keys = findings.keys.get(family).copied().unwrap_or_default();
            FamilyVerdict { outcomes: by_family.get(family).copied().unwrap_or_default(), keys }
        };
        let families: std::collections::BTreeMap<_, _> =
            self.options.families.iter().map(|it| (*it, family(it))).collect();
        let unproven: Vec<_> =
            families.iter().filter(|(_, it)| it.outcomes.answered == 0).map(|(it, _)| *it).collect();
        Verdict {
            ok: findings.violations.is_empty() && unproven.is_empty() && history_failed.is_none(),
            seed: self.options.seed,
            duration_s,
            operations: outcomes.all(),
            outcomes,
            refusals,
            families,
            unproven,
            audit,
            violations: findings.violations,
            violations_beyond: findings.beyond,
            history_failed,
            events: self.events.into_inner().unwrap_or_else(PoisonError::into_inner),
            timeline,
        }
    }
}
