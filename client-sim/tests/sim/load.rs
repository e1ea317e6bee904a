//! `load`.

use std::sync::atomic::Ordering;

use super::stand_in::{Manner, StandIn};
use super::{Ran, finds_no_node, gone, sim};

async fn load(stand_in: &StandIn, more: &str) -> Ran {
    let targets = stand_in.targets();
    let mut args = vec!["load", "--target", &targets, "--json", "--warmup", "0s"];
    if !more.contains("--duration") {
        args.extend(["--duration", "400ms"]);
    }
    args.extend(["--concurrency", "8", "--chunks", "16", "--patience", "5s"]);
    args.extend(more.split_whitespace());
    sim(&args).await
}

#[tokio::test]
async fn relay_verifies_every_byte_it_receives() {
    let stand_in = StandIn::start(3, Manner::Faultless).await;
    let ran = load(&stand_in, "--size 1000").await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    // What has begun is brought to its end, so everything that was sent was also verified.
    let sends = stand_in.state.sends.load(Ordering::SeqCst) as f64;
    assert!(sends >= 8.0 * 16.0);
    assert_eq!(ran.number("/bytes/verified"), sends * 1000.0);
    assert!(
        ran.number("/kinds/send/per_s") > 0.0 && ran.number("/ops_per_s") > ran.number("/kinds/send/per_s")
    );
    assert!(ran.number("/all/max_us") >= ran.number("/all/p50_us"));
}

#[tokio::test]
async fn signaling_and_exchange_and_the_mix_of_all_run_through() {
    for workload in ["signaling", "exchange", "mixed"] {
        for wait in ["0", "5000"] {
            let stand_in = StandIn::start(3, Manner::Faultless).await;
            let ran = load(&stand_in, &format!("--workload {workload} --wait-ms {wait}")).await;
            assert_eq!(ran.code, Some(0), "{workload} waiting {wait}: {}", ran.report);
            assert!(ran.number("/bytes/verified") > 0.0, "{workload} waiting {wait}: {}", ran.report);
        }
    }
}

#[tokio::test]
async fn sends_only_measures_nothing_else() {
    let stand_in = StandIn::start(1, Manner::Faultless).await;
    let ran = load(&stand_in, "--sends-only").await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert_eq!(ran.report["kinds"].as_object().unwrap().keys().collect::<Vec<_>>(), ["send"]);
}

#[tokio::test]
async fn one_corrupted_byte_fails_the_run() {
    let stand_in = StandIn::start(1, Manner::CorruptOneByte).await;
    let ran = load(&stand_in, "").await;
    assert_eq!((ran.code, ran.codes()), (Some(1), vec!["mismatch"]), "{}", ran.report);
    assert_eq!(ran.number("/errors/0/count"), 1.0);
}

#[tokio::test]
async fn one_forgotten_chunk_fails_the_run() {
    let stand_in = StandIn::start(1, Manner::DropsChunks).await;
    let ran = load(&stand_in, "").await;
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    assert!(ran.codes()[0].starts_with("wrong: "), "{}", ran.report);
}

#[tokio::test]
async fn signals_in_another_order_or_with_other_bytes_fail_the_run() {
    for manner in [Manner::ReordersSignals, Manner::CorruptsSignals] {
        let stand_in = StandIn::start(1, manner).await;
        let ran = load(&stand_in, "--workload signaling").await;
        assert_eq!((ran.code, ran.codes()), (Some(1), vec!["mismatch"]), "{}", ran.report);
    }
}

#[tokio::test]
async fn retry_after_is_followed_and_counted() {
    let stand_in = StandIn::start(2, Manner::OverloadedOnce).await;
    let ran = load(&stand_in, "").await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert_eq!(ran.number("/retries/retry_afters"), 1.0);
    assert_eq!(ran.number("/statuses/503"), 1.0);
}

#[tokio::test]
async fn lost_replies_lose_nothing() {
    for workload in ["relay", "signaling", "exchange"] {
        let stand_in = StandIn::start(2, Manner::LoseReplies { every: 13 }).await;
        let ran = load(&stand_in, &format!("--workload {workload} --idempotent")).await;
        assert_eq!(ran.code, Some(0), "{workload}: {}", ran.report);
        assert!(ran.number("/retries/failovers") > 0.0, "{workload}: {}", ran.report);
    }
}

#[tokio::test]
async fn a_server_that_forgets_idempotency_keys_is_found_out() {
    let stand_in = StandIn::start(2, Manner::LoseRepliesForgetfully { every: 13 }).await;
    let ran = load(&stand_in, "--idempotent").await;
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    assert!(ran.codes()[0].starts_with("wrong: "), "{}", ran.report);
}

#[tokio::test]
async fn a_node_that_is_away_costs_retries_and_nothing_else() {
    let stand_in = StandIn::start(1, Manner::Faultless).await;
    // A port nobody listens on, since its listener is gone.
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let targets = format!("http://{away},{}", stand_in.targets());
    let ran = sim(&["load", "--target", &targets, "--json", "--duration", "300ms", "--warmup", "0s"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert!(ran.number("/retries/connect_errors") > 0.0);
}

#[tokio::test]
async fn against_nothing_it_says_that_no_node_answers() {
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = format!("http://{away}");
    let args = ["load", "--target", &target, "--json", "--duration", "300ms", "--warmup", "0s"];
    finds_no_node(&[&args[..], &["--patience", "200ms", "--concurrency", "2"]].concat()).await;
}

#[tokio::test]
async fn a_cluster_that_goes_away_fails_the_run() {
    let target = gone();
    let args = ["load", "--target", &target, "--json", "--duration", "300ms", "--warmup", "0s"];
    let ran = sim(&[&args[..], &["--patience", "200ms", "--concurrency", "2"]].concat()).await;
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    assert!(ran.codes().contains(&"connect"), "{}", ran.report);
}

#[tokio::test]
async fn refusals_fail_the_run_unless_allowed() {
    let stand_in = StandIn::start(1, Manner::Refuse).await;
    let ran = load(&stand_in, "").await;
    assert_eq!((ran.code, ran.codes()), (Some(1), vec!["rate_limit_exceeded"]), "{}", ran.report);
    assert_eq!(ran.number("/errors/0/status"), 429.0);
    let ran = load(&stand_in, "--workload mixed --allow rate_limit_exceeded").await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate() {
    let stand_in = StandIn::start(1, Manner::Faultless).await;
    let ran = load(&stand_in, "--rate 200 --sends-only --duration 1s").await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert_eq!(ran.number("/open_loop/planned"), 200.0);
    let sends = stand_in.state.sends.load(Ordering::SeqCst);
    assert!((150..=208).contains(&sends), "{sends} sends where 200 were planned");
}

#[tokio::test]
async fn processes_and_counters_are_read_around_the_window() {
    let stand_in = StandIn::start(1, Manner::Faultless).await;
    let pid = std::process::id().to_string();
    let url = stand_in.nodes.urls[0].clone();
    let more = format!("--pid {pid} --metrics {url} --fsync-metric fsyncs_total --sends-only --duration 1s");
    let ran = load(&stand_in, &more).await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert!(ran.number("/servers/cpu_us_per_op") > 0.0 && ran.number("/generator/cpu_us_per_op") > 0.0);
    assert!(ran.number("/servers/nodes/0/rss_bytes") > 0.0);
    // The stand-in counts one per send.
    assert!((0.8..1.2).contains(&ran.number("/fsyncs/per_op")), "{}", ran.report);
}
