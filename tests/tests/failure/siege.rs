//! `conclave-sim siege` with the real server, briefly. Whether requests took too long is not asserted: the machine does much
//! else.

use std::time::Duration;

use conclave_client_sim::cgroup::{Hierarchy, Limit};
use conclave_client_sim::siege::kind::Kind;
use conclave_client_sim::siege::report::Report;
use conclave_client_sim::siege::{Options, run};
use conclave_tests::binary;
use conclave_tests::scratch::Scratch;

const MIB: u64 = 1 << 20;

async fn siege(kind: Kind) -> Report {
    let scratch = Scratch::new();
    // Not everybody who runs tests may make cgroups.
    let grouped = Hierarchy::make(1, Limit::Memory(512 * MIB)).is_ok();
    let options = Options {
        binary: binary::conclave().to_owned(),
        folder: scratch.path().to_owned(),
        time: Duration::from_secs(2),
        settle: Duration::from_secs(30),
        memory_bytes: grouped.then_some(512 * MIB),
        storage_bytes: 128 * MIB,
        addresses: 1,
        slack_bytes: 64 * MIB,
        times: true,
    };
    run(kind, &options).await.expect("a flood can be run")
}

/// Asserts that the flood was one and the honest client was served all the while.
fn held(report: &Report) {
    assert!(report.flood.opened > 0 && report.flood.sent_bytes > 0, "{report:?}");
    let base = report.base.as_ref().expect("times are judged");
    assert!(base.flood.sent_bytes > 0 && base.flood.read_bytes == 0, "{report:?}");
    for felt in [&base.quiet, &base.discarded, &report.flooded] {
        assert!(felt.requests > 0 && felt.failures.is_empty(), "{report:?}");
    }
    assert!(report.deaths.is_empty(), "{report:?}");
    assert!(report.nodes.len() == 3 && report.nodes.iter().all(|node| node.kills == 0), "{report:?}");
    assert!(report.nodes.iter().all(|node| node.peak_bytes > 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_leave_others_alone() {
    held(&siege(Kind::SlowHeads).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_do_not_go_on_leave_others_alone() {
    held(&siege(Kind::Handshakes).await);
}
