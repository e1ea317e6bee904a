//! `overload`.

use std::time::Duration;

use super::stand_in::{Manner, StandIn};
use super::{gone, sim};

const BUSY: Manner = Manner::Busy { at_most: 4, takes: Duration::from_millis(50) };

#[tokio::test]
async fn refusals_and_goodput_are_told_apart() {
    let stand_in = StandIn::start(1, BUSY).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("overload.html");
    let pid = std::process::id().to_string();
    let args =
        ["overload", "--json", "--target", &stand_in.nodes.urls[0], "--pid", &pid, "--concurrency", "4"];
    let more = ["--measure", "1s", "--duration", "1500ms", "--recovery", "1s", "--in-flight", "64"];
    let ran = sim(&[&args[..], &more, &["--html", file.to_str().unwrap()]].concat()).await;
    // Four at a time, twenty times a second: no more can be stored, whatever is offered.
    let capacity = ran.number("/capacity_per_s");
    assert!(capacity > 0.0 && capacity <= 80.0 + 8.0, "{}", ran.report);
    assert!(ran.number("/offered") > ran.number("/goodput"), "{}", ran.report);
    assert!(ran.number("/phases/2/refused/503/count") > 0.0, "{}", ran.report);
    assert_eq!(ran.number("/phases/2/turned_away/count"), ran.number("/phases/2/refused/503/count"));
    // What is stored takes 50 ms; what is refused takes nothing.
    assert!(ran.number("/phases/2/latency/p50_us") >= 50_000.0, "{}", ran.report);
    assert!(ran.number("/phases/2/turned_away/p50_us") < 50_000.0, "{}", ran.report);
    assert!(ran.number("/servers/0/overload_bytes") > 0.0, "{}", ran.report);
    assert!(ran.number("/phases/2/generator_cpu_s") > 0.0 && ran.number("/phases/2/stolen_cpu_s") >= 0.0);
    let names: Vec<_> = ran.report["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["capacity", "normal", "overload", "recovery"]);
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.contains("goodput of 80 % of capacity") && !page.contains("NaN"));
}

#[tokio::test]
async fn what_can_not_be_offered_is_said() {
    let stand_in = StandIn::start(1, Manner::Slow { takes: Duration::from_millis(100) }).await;
    let args =
        ["overload", "--json", "--target", &stand_in.nodes.urls[0], "--concurrency", "8", "--in-flight", "2"];
    let ran =
        sim(&[&args[..], &["--measure", "500ms", "--duration", "1s", "--recovery", "500ms"]].concat()).await;
    // Two lanes can't send what eight did.
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    assert!(ran.number("/phases/2/not_offered") > 0.0 && ran.number("/offered") < 1.0, "{}", ran.report);
}

#[tokio::test]
async fn other_refusals_than_those_of_an_overload_fail_the_run() {
    let target = gone();
    let args = ["overload", "--json", "--target", &target, "--measure", "300ms", "--concurrency", "2"];
    let ran = sim(&args).await;
    assert_eq!((ran.code, ran.number("/capacity_per_s")), (Some(1), 0.0), "{}", ran.report);
    assert!(ran.number("/phases/0/failed/connect") > 0.0, "{}", ran.report);
}
