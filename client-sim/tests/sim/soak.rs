//! `soak`.

use super::sim;
use super::stand_in::{Manner, StandIn};

/// Keeps a rate for two seconds and samples ten times a second; the test's own process stands for the server's.
async fn soak(more: &[&str]) -> super::Ran {
    let stand_in = StandIn::start(1, Manner::Faultless).await;
    let pid = std::process::id().to_string();
    let args = [
        "soak",
        "--json",
        "--target",
        &stand_in.nodes.urls[0],
        "--pid",
        &pid,
        "--rate",
        "50",
        "--warmup",
        "0s",
    ];
    let rest = ["--duration", "2s", "--sample", "100ms", "--workload", "exchange"];
    sim(&[&args[..], &rest, more].concat()).await
}

#[tokio::test]
async fn what_grows_beyond_its_bound_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (data, page) = (folder.path().join("data"), folder.path().join("soak.html"));
    std::fs::create_dir(&data).unwrap();
    let grows = data.clone();
    // At a pace of its own, until the run is over.
    let growing = tokio::spawn(async move {
        for n in 0.. {
            tokio::fs::write(grows.join(format!("{n}")), vec![7; 65_536]).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let more =
        ["--dir", data.to_str().unwrap(), "--disk-slope-max", "1MiB/h", "--html", page.to_str().unwrap()];
    let ran = soak(&more).await;
    let html = std::fs::read_to_string(&page).unwrap();
    growing.abort();
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    let disk = &ran.report["growths"][2];
    assert_eq!((&disk["ok"], &disk["unit"]), (&false.into(), &"bytes".into()), "{disk}");
    assert!(ran.number("/growths/2/per_hour/slope") > 1_048_576.0);
    assert!(html.contains("Resident memory") && html.contains("Disk use") && !html.contains("NaN"));
}

#[tokio::test]
async fn what_keeps_to_its_bound_passes() {
    // By the hour two seconds of noise are a lot.
    let ran = soak(&["--rss-slope-max", "1000000GiB/h", "--files-slope-max", "1000000000/h"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert!(ran.number("/growths/0/samples") >= 3.0 && ran.number("/growths/1/first_last/0") > 0.0);
    assert!(ran.number("/samples/0/processes/0/rss_bytes") > 0.0);
}

#[tokio::test]
async fn a_process_that_is_gone_keeps_no_bound() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    child.wait().unwrap();
    let ran = soak(&["--pid", &pid, "--rss-slope-max", "1000000GiB/h"]).await;
    assert_eq!((ran.code, &ran.report["growths"][2]["ok"]), (Some(1), &false.into()), "{}", ran.report);
}
