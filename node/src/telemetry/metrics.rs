//! Metrics: what the parts of the node counted, and what is looked at when somebody asks. Names: `docs/metrics.md`.

use std::fmt::Write;
use std::time::Duration;

use conclave_cluster::state::Totals;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::process::Process;

/// How often what histograms gathered is folded, so that their memory is bounded even if nobody scrapes.
pub const UPKEEP: Duration = Duration::from_secs(5);

const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const OTHERS: &[f64] =
    &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];

/// Why metrics cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The buckets are not accepted.
    #[error("metrics: {0}")]
    Build(#[from] BuildError),
    /// Somebody else keeps this process's metrics.
    #[error("this process has a metrics recorder already")]
    Taken,
}

/// The process's recorder; cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Who speaks, for `conclave_build_info`.
#[derive(Debug, Clone)]
pub struct About {
    /// The node id.
    pub id: u64,
    /// The node's name.
    pub name: String,
    /// The edition's name.
    pub edition: &'static str,
}

/// What is looked at when somebody asks; absent while the cluster part starts.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// How much the state holds; absent on a node without a replica of it.
    pub totals: Option<Totals>,
    /// Whether a leader is known.
    pub has_leader: bool,
    /// Whether this node leads.
    pub leads: bool,
    /// Whether this node is ready.
    pub ready: bool,
}

impl Metrics {
    /// Records everything that this process counts from now on.
    pub fn install() -> Result<Self, Error> {
        let (recorder, metrics) = Self::build()?;
        metrics::set_global_recorder(recorder).map_err(|_| Error::Taken)?;
        super::predeclared::register();
        Ok(metrics)
    }

    /// Metrics that nobody counts into, for tests of those who show them.
    #[cfg(test)]
    pub(crate) fn detached() -> Result<Self, Error> {
        Self::build().map(|(_, metrics)| metrics)
    }

    fn build() -> Result<(metrics_exporter_prometheus::PrometheusRecorder, Self), Error> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(OTHERS)?
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
            .build_recorder();
        let metrics = Self(recorder.handle());
        Ok((recorder, metrics))
    }

    /// Folds what histograms gathered; to be called every [`UPKEEP`].
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }

    /// Everything, in Prometheus' text format (version 0.0.4).
    pub fn render(&self, about: &About, reading: Option<&Reading>) -> String {
        let mut page = Page(self.0.render());
        page.about(about);
        page.process(&Process::look());
        if let Some(reading) = reading {
            page.state(reading);
        }
        page.0
    }
}

/// A page of metrics being written.
struct Page(String);

impl Page {
    fn put(&mut self, name: &str, kind: &str, help: &str, labels: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.put(name, "gauge", help, "", value);
    }

    fn about(&mut self, about: &About) {
        let labels = format!(
            "{{version=\"{}\",node=\"{}\",name=\"{}\",edition=\"{}\"}}",
            env!("CARGO_PKG_VERSION"),
            about.id,
            escaped(&about.name),
            about.edition
        );
        self.put("conclave_build_info", "gauge", "Always 1; who this is, in its labels.", &labels, 1);
    }

    fn process(&mut self, process: &Process) {
        let whole = [
            ("process_resident_memory_bytes", "Bytes of memory in use.", process.resident_bytes),
            ("process_open_fds", "Open file descriptors.", process.open_fds),
            ("process_max_fds", "File descriptors that may be open.", process.max_fds),
            ("process_threads", "Threads.", process.threads),
        ];
        for (name, help, value) in whole {
            if let Some(value) = value {
                self.gauge(name, help, value);
            }
        }
        if let Some(seconds) = process.cpu_seconds {
            self.put("process_cpu_seconds_total", "counter", "Seconds on a processor.", "", seconds);
        }
    }

    fn state(&mut self, reading: &Reading) {
        if let Some(Totals { counts, stored_bytes, .. }) = reading.totals {
            for (noun, help, count) in counts.each() {
                self.gauge(&format!("conclave_state_{noun}"), help, count);
            }
            let bytes = "Bytes that count towards storage.bytes_max.";
            self.gauge("conclave_state_stored_bytes", bytes, stored_bytes);
        }
        self.gauge("conclave_node_ready", "1 while this node is ready.", u8::from(reading.ready));
        self.gauge("conclave_node_leads", "1 while this node leads.", u8::from(reading.leads));
        self.gauge(
            "conclave_node_has_leader",
            "1 while this node knows a leader.",
            u8::from(reading.has_leader),
        );
    }
}

/// A label's value in the text format: backslash, quote and line feed are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About { id: 7, name: "a \"b\"\n".to_owned(), edition: "consumer" }
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample() {
        let (recorder, metrics) = Metrics::build().unwrap();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("conclave_test_total", "route" => "relay").increment(3);
            metrics::histogram!("conclave_test_seconds").record(0.003);
        });
        let reading = Reading {
            totals: Some(Totals { stored_bytes: 5, ..Totals::default() }),
            has_leader: true,
            leads: false,
            ready: true,
        };
        let page = metrics.render(&about(), Some(&reading));
        for line in page.lines().filter(|line| !line.is_empty()) {
            let sample = line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok());
            assert!(line.starts_with("# ") || sample, "{line}");
        }
        assert!(page.contains("conclave_test_total{route=\"relay\"} 3"));
        assert!(page.contains("conclave_test_seconds_bucket{le=\"0.005\"} 1"), "{page}");
        assert!(page.contains("conclave_state_stored_bytes 5"));
        assert!(page.contains("node=\"7\",name=\"a \\\"b\\\"\\n\""));
    }

    #[test]
    fn before_the_cluster_is_up_nothing_is_said_of_it() {
        let (_, metrics) = Metrics::build().unwrap();
        let page = metrics.render(&about(), None);
        assert!(page.contains("conclave_build_info") && !page.contains("conclave_state_"));
    }

    #[test]
    fn the_guide_names_every_metric() {
        let (_, metrics) = Metrics::build().unwrap();
        let reading =
            Reading { totals: Some(Totals::default()), has_leader: true, leads: false, ready: true };
        let guide = include_str!("../../../docs/metrics.md");
        for line in metrics.render(&about(), Some(&reading)).lines() {
            if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()) {
                assert!(guide.contains(&format!("`{name}")), "docs/metrics.md says nothing of {name}");
            }
        }
    }
}
