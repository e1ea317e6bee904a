//! `conclave-sim growth` with the real server, briefly: which figures come is not asserted.

use std::time::Duration;

use conclave_client_sim::growth::{Options, run, sizes};
use conclave_client_sim::stop::Stop;
use conclave_tests::binary;
use conclave_tests::scratch::Scratch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_of_two_sizes_are_measured_and_divided() {
    let scratch = Scratch::new();
    let options = Options {
        binary: binary::conclave().to_owned(),
        folder: scratch.path().to_owned(),
        settings: Vec::new(),
        workers: 8,
        size: 256,
        warmup: Duration::from_millis(200),
        duration: Duration::from_secs(1),
        seed: 1,
        cores: None,
    };
    let mut runs = Vec::new();
    for nodes in [1, 3] {
        let run = run(1, nodes, &options, &Stop::default(), |_, _| {}).await.expect("nodes can be started");
        runs.push(run.expect("nobody stops it"));
    }
    for run in &runs {
        assert!(run.ok && run.operations > 0 && run.cpu_us_per_op > 0.0 && run.fullest >= 1.0, "{run:?}");
        assert!(run.fsyncs_per_op.is_some_and(|fsyncs| fsyncs > 0.0), "{run:?}");
    }
    let [one, three] = &sizes(&[1, 3], &runs)[..] else { panic!("two sizes: {runs:?}") };
    assert_eq!((one.nodes, three.nodes, one.capacity.median), (1, 3, 1.0));
    assert!(three.capacity.median > 0.0);
    let kept: Vec<_> = std::fs::read_dir(scratch.path()).expect("the folder stays").collect();
    assert!(kept.is_empty(), "what the nodes stored goes with them: {kept:?}");
}
