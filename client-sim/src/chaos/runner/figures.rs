//! What is read off the load once all steps are done.

use std::time::{Duration, Instant};

use super::Runner;

/// Below this, twice of it is noise.
const P99_FLOOR_MS: f64 = 10.0;
/// Within this a harm shows, if it ever does.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);

impl Runner<'_> {
    /// Takes the figures of the steps, from `stage` until `over`, and of what came after.
    pub(super) fn figures(&mut self, stage: Instant, over: Instant) {
        let now = Instant::now();
        let seen = self.observer.seen();
        self.measured.insert("leader_changes", seen.leader_changes as f64);
        self.measured.insert("rss_mib", seen.rss_most as f64 / f64::from(1 << 20));
        let minutes = (now - stage).as_secs_f64() / 60.0;
        // Of less than a minute nothing is extrapolated.
        let per_minute = seen.leader_changes as f64 / minutes.max(1.0);
        self.measured.insert("leader_changes_per_minute", per_minute);

        let harm = self.during.or(self.harmed.first().copied()).unwrap_or(stage);
        let [before, during, after] =
            [self.before, (harm, over), (over, now)].map(|(from, to)| self.load.latency(from, to).p99_ms);
        self.measured.insert("p99_before_ms", before);
        self.measured.insert("p99_during_ms", during);
        self.measured.insert("p99_after_ms", after);
        self.measured.insert("p99_ratio", during / before.max(P99_FLOOR_MS));
        if let Some(leader) = self.asked.iter().position(|id| Some(*id) == self.led) {
            let p99_ms = |(from, to)| self.load.latency_at(leader, from, to).p99_ms;
            let ratio = p99_ms((harm, over)) / p99_ms(self.before).max(P99_FLOOR_MS);
            self.measured.insert("leader_p99_ratio", ratio);
        }

        // A harm nobody recovered from has no figure, and a bound for it does not hold.
        let resumed: Option<Vec<_>> = self.harmed.iter().map(|harm| self.resumed_ms(*harm, now)).collect();
        if let Some(resume) = resumed.and_then(|all| all.into_iter().reduce(f64::max)) {
            self.measured.insert("resume_ms", resume);
        }
        self.measured.insert("patient_failures", self.canary.failures() as f64);
        if let Some(sockets) = &self.sockets {
            let (lost, reconnect) = sockets.seen();
            self.measured.insert("sockets_lost", lost as f64);
            self.measured.extend(reconnect.map(|p99| ("reconnect_p99_ms", p99.as_secs_f64() * 1e3)));
        }
        self.measured.insert("gap_ms", self.load.longest_gap_ms(stage, now));
    }

    /// For how long nothing was acknowledged, of all that was asked after the harm was done. Some harm takes a moment to
    /// show, so that a pause a little later counts as well.
    fn resumed_ms(&self, harm: Instant, now: Instant) -> Option<f64> {
        let resumed = self.load.resumed_after(harm)?.as_secs_f64() * 1e3;
        Some(resumed.max(self.load.longest_gap_ms(harm, now.min(harm + SHOWS_WITHIN))))
    }
}
