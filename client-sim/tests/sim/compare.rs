//! `compare`.

use std::time::Duration;

use super::sim;
use super::stand_in::{Manner, StandIn};

const TAKES: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_slower_server_shows_in_the_ratios() {
    let (quick, slow) =
        (StandIn::start(1, Manner::Faultless).await, StandIn::start(2, Manner::Slow { takes: TAKES }).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compare.html");
    let (quick, slow) = (format!("quick={}", quick.targets()), format!("slow={}", slow.targets()));
    let pids = format!("slow={}", std::process::id());
    let args = ["compare", "--json", "--target", &quick, "--target", &slow, "--pids", &pids, "--rounds", "2"];
    let more =
        ["--rest", "0s", "--duration", "600ms", "--warmup", "0s", "--concurrency", "4", "--sends-only"];
    let ran = sim(&[&args[..], &more, &["--html", file.to_str().unwrap()]].concat()).await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    let order: Vec<_> =
        ran.report["runs"].as_array().unwrap().iter().map(|run| run["side"].as_str().unwrap()).collect();
    assert_eq!(order, ["quick", "slow", "slow", "quick"], "each round begins with another one");
    // Four workers can't have had more answers than six each.
    assert!(ran.number("/runs/1/operations") <= 24.0 && ran.number("/runs/1/p50_us") >= 100_000.0);
    assert!(
        ran.number("/ratios/0/per_s/max") < 1.0 && ran.number("/ratios/0/p50/min") > 1.0,
        "{}",
        ran.report
    );
    assert!(ran.number("/runs/1/rss_bytes") > 0.0 && ran.report["runs"][0]["rss_bytes"].is_null());
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.contains("slow as a multiple of quick") && !page.contains("NaN"));
}

#[tokio::test]
async fn a_run_that_was_not_as_it_should_be_fails_the_comparison() {
    let (good, bad) =
        (StandIn::start(1, Manner::Faultless).await, StandIn::start(1, Manner::CorruptOneByte).await);
    let (good, bad) = (format!("good={}", good.targets()), format!("bad={}", bad.targets()));
    let args = ["compare", "--json", "--target", &good, "--target", &bad, "--rounds", "1", "--rest", "0s"];
    let ran = sim(&[&args[..], &["--duration", "400ms", "--warmup", "0s", "--chunks", "4"]].concat()).await;
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    assert_eq!((&ran.report["runs"][0]["ok"], &ran.report["runs"][1]["ok"]), (&true.into(), &false.into()));
}
