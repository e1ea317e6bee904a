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
async fn open_loops_are_measured_beside_the_closed_one() {
    let (quick, slow) =
        (StandIn::start(1, Manner::Faultless).await, StandIn::start(2, Manner::Slow { takes: TAKES }).await);
    let (quick, slow) = (format!("quick={}", quick.targets()), format!("slow={}", slow.targets()));
    let args = ["compare", "--json", "--target", &quick, "--target", &slow, "--rounds", "1", "--rest", "0s"];
    let more =
        ["--duration", "600ms", "--warmup", "0s", "--concurrency", "8", "--sends-only", "--rates", "20,40"];
    let ran = sim(&[&args[..], &more].concat()).await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    let rates: Vec<_> =
        ran.report["runs"].as_array().unwrap().iter().map(|run| run["rate"].as_f64()).collect();
    assert_eq!(rates, [None, None, Some(20.0), Some(20.0), Some(40.0), Some(40.0)]);
    // At a rate that both carry, the slow one does as much and takes longer.
    assert_eq!(ran.number("/ratios/1/rate"), 20.0);
    assert!(ran.number("/ratios/0/per_s/median") < 0.5, "{}", ran.report);
    assert!(ran.number("/ratios/1/per_s/median") > 0.5 && ran.number("/ratios/1/p50/median") > 1.0);
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
    let bad = &ran.report["runs"][1];
    assert_eq!(bad["errors"][0]["code"], "mismatch", "{bad}");
    assert!(bad["failures"].as_u64() >= bad["errors"][0]["count"].as_u64(), "{bad}");
}
