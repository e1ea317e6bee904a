//! `transfer` and `memory`.

use super::sim;
use super::stand_in::{Manner, StandIn};

#[tokio::test]
async fn a_transfer_over_all_nodes_arrives() {
    let stand_in = StandIn::start(3, Manner::Faultless).await;
    let ran = sim(&["transfer", "--target", &stand_in.targets(), "--chunks", "200", "--size", "4096"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert_eq!((ran.number("/sent"), ran.number("/verified")), (200.0, 200.0));
    assert_eq!(ran.number("/verified_bytes"), 200.0 * 4096.0);
    assert_eq!(ran.report["statuses"].as_object().unwrap().keys().collect::<Vec<_>>(), ["200"]);
}

#[tokio::test]
async fn a_transfer_survives_lost_replies() {
    let stand_in = StandIn::start(3, Manner::LoseReplies { every: 7 }).await;
    let ran = sim(&["transfer", "--target", &stand_in.targets(), "--chunks", "200", "--size", "64"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert!(ran.number("/retries/io_errors") > 0.0);
}

#[tokio::test]
async fn a_corrupted_transfer_fails() {
    let stand_in = StandIn::start(3, Manner::CorruptOneByte).await;
    let ran = sim(&["transfer", "--target", &stand_in.targets(), "--chunks", "20", "--size", "64"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    assert!(ran.report["errors"][0].as_str().unwrap().contains("differ"), "{}", ran.report);
}

#[tokio::test]
async fn a_transfer_that_never_completes_ends_at_the_deadline() {
    let stand_in = StandIn::start(1, Manner::DropsChunks).await;
    let args = [
        "transfer",
        "--target",
        &stand_in.nodes.urls[0],
        "--chunks",
        "8",
        "--size",
        "64",
        "--deadline",
        "1s",
    ];
    let ran = sim(&args).await;
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    assert!(ran.report["errors"][0].as_str().unwrap().contains("deadline"), "{}", ran.report);
}

#[tokio::test]
async fn memory_notices_transfers_that_do_not_expire() {
    // The stand-in never forgets.
    let stand_in = StandIn::start(1, Manner::Faultless).await;
    let pid = std::process::id().to_string();
    let args = ["memory", "--target", &stand_in.nodes.urls[0], "--pid", &pid, "--transfers", "200"];
    let ran = sim(&[&args[..], &["--ttl", "100ms", "--settle", "100ms"]].concat()).await;
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    assert_eq!((ran.number("/created"), ran.number("/still_there")), (200.0, 100.0));
    assert!(ran.number("/nodes/0/rss_peak_bytes") > 0.0);
}
