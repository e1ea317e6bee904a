//! `conclave-sim chaos` with the real server: a short schedule, and what it must not overlook.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use conclave_client_sim::chaos::{Audience, Options, Outcome, Report, Schedule, direct};
use conclave_tests::binary;
use conclave_tests::scratch::Scratch;
use tokio::sync::watch;

/// Remembers what happened, for a test that failed.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Audience for Notes {
    fn hears(&self, at: Duration, what: &str) {
        self.0.lock().expect("nothing panics while this is held").push(format!("{at:?} {what}"));
    }
}

impl Notes {
    fn all(&self) -> String {
        self.0.lock().expect("nothing panics while this is held").join("\n")
    }
}

/// Three nodes, and about a second of load on both sides of the steps.
async fn run(must: &str, steps: &str) -> (Report, String) {
    run_with(None, must, steps).await
}

/// The same with another version of the server.
async fn run_with(other: Option<PathBuf>, must: &str, steps: &str) -> (Report, String) {
    let text = format!(
        "name = \"short\"\nabout = \"a test\"\nbefore = \"1s\"\nafter = \"1s\"\nrate = 200.0\n[must]\n{must}\n{steps}"
    );
    let schedule = Schedule::parse(&text).expect("the test writes schedules that can be read");
    let scratch = Scratch::new();
    let options = Options {
        binary: binary::conclave().to_owned(),
        other,
        attach: None,
        nodes: 3,
        rate: 200.0,
        seed: 1,
        folder: scratch.path().to_owned(),
    };
    let (_running, mut stop) = watch::channel(false);
    let notes = Notes::default();
    let report = direct(&schedule, &options, &notes, &mut stop).await;
    let told = format!("{}\n{}", notes.all(), report.text());
    (report, told)
}

const LEADER_KILLED: &str = r#"
[[step]]
do = "kill"
node = "leader"

[[step]]
await = "acknowledged"

[[step]]
do = "start"
node = "all"

[[step]]
await = "healthy"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_breaks_no_promise() {
    // Twice what is promised: other tests run beside this one.
    let (report, told) = run("resume_ms_max = 3000\npatient_failures_max = 0", LEADER_KILLED).await;
    assert_eq!(report.outcome, Outcome::Held, "{told}");
    assert!(report.measured("leader_changes").is_some_and(|changes| changes >= 1.0), "{told}");
    assert!(report.verdict.is_some_and(|verdict| verdict.outcomes.answered > 0), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_hold_is_told() {
    // No cluster elects without a leader's silence; and a node that runs does not refuse.
    let running = "[[step]]\nexpect = \"refuses\"\nnode = 1\n";
    let (report, told) = run("resume_ms_max = 1", &format!("{LEADER_KILLED}{running}")).await;
    assert_eq!(report.outcome, Outcome::Broken, "{told}");
    let resume = report.figures.iter().find(|figure| figure.name == "resume_ms");
    assert!(resume.is_some_and(|figure| !figure.holds()), "{told}");
    assert!(report.broken.iter().any(|broken| broken.contains("not 503")), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_without_load_shows_nothing() {
    let (report, told) = run("acknowledged_per_s_min = 1000000", "[[step]]\nawait = \"healthy\"\n").await;
    assert_eq!(report.outcome, Outcome::Void, "{told}");
}

const ROLLED: &str = r#"
[[step]]
do = "roll"
to = "other"

[[step]]
do = "roll"
to = "this"

[[step]]
await = "healthy"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_goes_to_another_version_and_back() {
    // It says that it was started, and is the same server then.
    let scratch = Scratch::new();
    let (other, starts) = (scratch.path().join("other"), scratch.path().join("starts"));
    let script = format!(
        "#!/bin/sh\necho one >> {}\nexec {} \"$@\"\n",
        starts.display(),
        binary::conclave().display()
    );
    std::fs::write(&other, script).expect("the scratch folder can be written");
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let (report, told) = run_with(Some(other), "patient_failures_max = 0", ROLLED).await;
    assert_eq!(report.outcome, Outcome::Held, "{told}");
    let starts = std::fs::read_to_string(starts).unwrap_or_default();
    assert_eq!(starts.lines().count(), 3, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_another_version_a_roll_is_skipped() {
    let (report, told) = run("", ROLLED).await;
    assert!(matches!(&report.outcome, Outcome::Skipped(why) if why.contains("--other")), "{told}");
}
