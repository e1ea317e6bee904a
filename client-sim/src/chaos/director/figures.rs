//! What is read off the load once all steps are done.

use std::time::Instant;

use super::Director;

/// Below this, twice of it is noise.
const P99_FLOOR_MS: f64 = 10.0;

impl Director<'_> {
    /// Takes the figures of the time since `stage`, when the first step began.
    pub(super) fn figures(&mut self, stage: Instant) {
        let now = Instant::now();
        let seen = self.witness.seen();
        self.measured.insert("leader_changes", seen.leader_changes as f64);
        self.measured.insert("rss_mib", seen.rss_most as f64 / f64::from(1 << 20));
        let minutes = (now - stage).as_secs_f64() / 60.0;
        // Of less than a minute nothing is extrapolated.
        let per_minute = seen.leader_changes as f64 / minutes.max(1.0);
        self.measured.insert("leader_changes_per_minute", per_minute);

        let during = self.load.latency(self.harmed.first().copied().unwrap_or(stage), now).p99_ms;
        self.measured.insert("p99_during_ms", during);
        let before = self.measured.get("p99_before_ms").copied().unwrap_or_default();
        self.measured.insert("p99_ratio", during / before.max(P99_FLOOR_MS));

        // A harm nobody recovered from has no figure, and a bound for it does not hold.
        let resumed = self.harmed.iter().map(|harm| self.load.resumed_after(*harm));
        let resumed: Option<Vec<_>> = resumed.collect();
        let resume = resumed.and_then(|all| all.into_iter().max());
        if let Some(resume) = resume {
            self.measured.insert("resume_ms", resume.as_secs_f64() * 1e3);
        }
        self.measured.insert("patient_failures", self.patient.failures() as f64);
        if let Some(sockets) = &self.sockets {
            let (lost, reconnect) = sockets.seen();
            self.measured.insert("sockets_lost", lost as f64);
            self.measured.extend(reconnect.map(|p99| ("reconnect_p99_ms", p99.as_secs_f64() * 1e3)));
        }
        self.measured.insert("gap_ms", self.load.longest_gap_ms(stage, now));
    }
}
