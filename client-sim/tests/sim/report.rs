//! Pages, ramps, steps, pauses and interruption of `load`.

use std::process::Stdio;
use std::sync::atomic::Ordering;

use conclave_supervisor::{Signal, signal};
use serde_json::Value;
use tokio::process::Command;

use super::sim;
use super::stand_in::{Manner, StandIn};

#[tokio::test]
async fn a_page_tells_what_the_summary_tells() {
    let stand_in = StandIn::start(2, Manner::Refuse).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let targets = stand_in.targets();
    let args = ["load", "--target", &targets, "--json", "--duration", "600ms", "--warmup", "100ms"];
    let more = ["--workload", "mixed", "--concurrency", "4", "--html", file.to_str().unwrap()];
    let ran = sim(&[&args[..], &more[..]].concat()).await;
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    for word in ["<h3>Latency</h3>", "<h3>Throughput</h3>", "<h3>Failures</h3>", "<h3>Distribution</h3>"] {
        assert!(page.contains(word), "no {word}");
    }
    for word in ["rate_limit_exceeded", "register", "not as it should be", &ran.report["seed"].to_string()] {
        assert!(page.contains(word), "no {word}");
    }
    assert!(!page.contains("<script") && !page.contains("NaN"));
}

#[tokio::test]
async fn a_ramp_plans_the_area_under_it() {
    let stand_in = StandIn::start(1, Manner::Faultless).await;
    let args = ["load", "--target", &stand_in.nodes.urls[0], "--json", "--duration", "1s", "--warmup", "0s"];
    let ran = sim(&[&args[..], &["--sends-only", "--ramp", "0..400"]].concat()).await;
    assert_eq!((ran.code, ran.number("/open_loop/planned")), (Some(0), 200.0), "{}", ran.report);
}

#[tokio::test]
async fn each_step_of_the_rate_has_a_row() {
    let stand_in = StandIn::start(1, Manner::Faultless).await;
    let args =
        ["load", "--target", &stand_in.nodes.urls[0], "--json", "--duration", "1s", "--warmup", "200ms"];
    let ran = sim(&[&args[..], &["--sends-only", "--steps", "50,200"]].concat()).await;
    // 10 before the window, 25 and 100 in it.
    assert_eq!((ran.code, ran.number("/open_loop/planned")), (Some(0), 135.0), "{}", ran.report);
    assert_eq!((ran.number("/steps/0/rate"), ran.number("/steps/1/rate")), (50.0, 200.0));
    let planned = ["/steps/0/latency/count", "/steps/1/latency/count"].map(|count| ran.number(count));
    assert_eq!(planned.iter().sum::<f64>(), ran.number("/all/count"), "{}", ran.report);
    assert!(planned[0] < planned[1], "{}", ran.report);
}

#[tokio::test]
async fn who_pauses_asks_in_vain_now_and_then_and_loses_nothing() {
    for workload in ["relay", "signaling", "exchange", "mixed"] {
        let stand_in = StandIn::start(2, Manner::Faultless).await;
        let targets = stand_in.targets();
        let args = ["load", "--target", &targets, "--json", "--duration", "600ms", "--warmup", "0s"];
        let more = ["--workload", workload, "--think", "5ms..15ms", "--concurrency", "4", "--chunks", "8"];
        let ran = sim(&[&args[..], &more].concat()).await;
        assert_eq!(ran.code, Some(0), "{workload}: {}", ran.report);
        assert!(ran.number("/bytes/verified") > 0.0, "{workload}: {}", ran.report);
    }
}

#[tokio::test]
async fn an_interrupted_run_reports_what_it_has() {
    let stand_in = StandIn::start(1, Manner::Faultless).await;
    let targets = stand_in.targets();
    let args =
        ["load", "--target", &targets, "--json", "--duration", "1h", "--warmup", "0s", "--rate", "200"];
    let child = Command::new(env!("CARGO_BIN_EXE_conclave-sim"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // The handler stands long before a flow has been received.
    while stand_in.state.sends.load(Ordering::SeqCst) < 64 {
        tokio::task::yield_now().await;
    }
    signal(child.id().unwrap(), Signal::INT).unwrap();
    let output = child.wait_with_output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["interrupted"]), (Some(0), &Value::Bool(true)), "{report}");
    let (operations, seconds) =
        (report["operations"].as_f64().unwrap(), report["duration_s"].as_f64().unwrap());
    assert!(operations >= 1.0 && seconds < 3600.0, "{report}");
    assert!((report["ops_per_s"].as_f64().unwrap() - operations / seconds).abs() < 1.0, "{report}");
}
