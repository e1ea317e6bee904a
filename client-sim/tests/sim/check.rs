//! `check`: a server that keeps the contract passes, and each planted flaw is found.

use std::path::Path;
use std::process::Stdio;

use conclave_supervisor::{Signal, signal};
use serde_json::Value;

use super::stand_in::{Manner, StandIn};
use super::{Ran, gone, sim};

/// What the stand-in knows: everything but sockets and time.
const FAMILIES: &str = "register,ledger,code,pin,mailbox,transfer";

/// Asks a server of three nodes about some families for a while.
async fn check(manner: Manner, duration: &str, more: &[&str]) -> Ran {
    let stand_in = StandIn::start(3, manner).await;
    let targets = stand_in.targets();
    let args = ["check", "--target", &targets, "--duration", duration, "--json", "--deadline", "1s"];
    sim(&[&args[..], more].concat()).await
}

/// A flaw is found in the family it is about, by what shows it (one of these, parted by `|`), in few lines.
async fn is_found(manner: Manner, family: &str, checks: &str) {
    let ran = check(manner, "2s", &["--family", family]).await;
    assert_eq!(ran.code, Some(1), "{manner:?}: {}", ran.report);
    let first = &ran.report["violations"][0];
    let shown_by = first["check"].as_str().unwrap();
    assert!(first["family"] == family && checks.split('|').any(|one| one == shown_by), "{manner:?}: {first}");
    let lines = first["history"].as_array().unwrap();
    // Of a transfer whose end was said nothing can be left out, since that depends on all chunks.
    let lines_max = if family == "transfer" { 60 } else { 16 };
    assert!((1..=lines_max).contains(&lines.len()), "{manner:?}: {} lines: {first:#}", lines.len());
    let marked = lines.iter().filter(|line| line.as_str().unwrap().starts_with('>')).count();
    assert_eq!(marked, 1, "{manner:?}: {first}");
}

#[tokio::test]
async fn a_server_that_keeps_the_contract_passes() {
    let ran = check(Manner::Faultless, "3s", &["--rate", "1000", "--family", FAMILIES]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    for family in FAMILIES.split(',') {
        assert!(ran.number(&format!("/families/{family}/answered")) > 100.0, "{family}: {}", ran.report);
        assert!(ran.number(&format!("/families/{family}/keys")) > 0.0, "{family}: {}", ran.report);
    }
    assert_eq!((ran.number("/outcomes/unknown"), ran.number("/audit/unanswered")), (0.0, 0.0));
}

#[tokio::test]
async fn lost_replies_are_nobodys_fault() {
    let ran = check(Manner::LoseReplies { every: 37 }, "3s", &["--rate", "1000", "--family", FAMILIES]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    assert!(ran.number("/outcomes/unknown") > 10.0, "{}", ran.report);
}

#[tokio::test]
async fn stale_reads_are_found() {
    is_found(Manner::ReadsAreStale, "register", "linearizable").await;
    is_found(Manner::ReadsAreStale, "pin", "linearizable").await;
}

#[tokio::test]
async fn acknowledged_writes_that_are_gone_are_found() {
    is_found(Manner::DropsEnvelopes, "register", "linearizable").await;
    is_found(Manner::DropsEnvelopes, "ledger", "linearizable").await;
    is_found(Manner::DropsSignals, "mailbox", "linearizable").await;
    is_found(Manner::DropsChunks, "transfer", "linearizable").await;
}

#[tokio::test]
async fn retries_that_are_done_twice_are_found() {
    // Told by two replies, or, where one of them was lost, by what no order explains.
    is_found(Manner::LoseRepliesForgetfully { every: 37 }, "mailbox", "once|linearizable").await;
}

#[tokio::test]
async fn what_is_given_twice_is_found() {
    is_found(Manner::GivesChunksTwice, "transfer", "linearizable").await;
    is_found(Manner::GivesPinsTwice, "pin", "linearizable").await;
    is_found(Manner::GivesCodesTwice, "code", "linearizable").await;
}

#[tokio::test]
async fn another_order_and_other_bytes_are_found() {
    is_found(Manner::ReordersSignals, "mailbox", "linearizable").await;
    is_found(Manner::TakesHighestFirst, "transfer", "linearizable").await;
    is_found(Manner::CorruptsEnvelopes, "register", "contract").await;
}

#[tokio::test]
async fn a_history_on_disk_is_judged_as_the_run_was_and_its_violations_are_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let (history, out) = (directory.path().join("history.jsonl"), directory.path().join("out"));
    let (history, out) = (history.to_str().unwrap(), out.to_str().unwrap());
    let more = ["--family", "pin", "--history", history, "--out", out];
    let ran = check(Manner::GivesPinsTwice, "1s", &more).await;
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    drawn(&ran.report["violations"][0]);

    let judged = sim(&["check", "--history", history, "--json"]).await;
    assert_eq!(judged.code, Some(1), "{}", judged.report);
    assert_eq!(judged.number("/operations"), ran.number("/operations"));
    let lines = |ran: &Ran| ran.report["violations"][0]["history"].clone();
    assert!(!lines(&judged).as_array().unwrap().is_empty());
}

fn drawn(violation: &Value) {
    let picture = std::fs::read_to_string(Path::new(violation["picture"].as_str().unwrap())).unwrap();
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    let bars = picture.matches("<g>").count();
    assert_eq!(bars, violation["history"].as_array().unwrap().len());
    // The one that cannot be.
    assert_eq!(picture.matches("#c00000").count(), 1);
}

#[tokio::test]
async fn a_family_of_which_nothing_is_answered_is_not_proven() {
    let target = gone();
    let args = ["check", "--target", &target, "--duration", "300ms", "--json", "--family", "code,pin"];
    let ran = sim(&[&args[..], &["--patience", "300ms", "--deadline", "300ms"]].concat()).await;
    assert_eq!(ran.code, Some(1), "{}", ran.report);
    assert_eq!(ran.report["unproven"], serde_json::json!(["code", "pin"]));
}

#[tokio::test]
async fn an_interrupted_run_gives_its_verdict_on_what_was_asked() {
    let stand_in = StandIn::start(1, Manner::Faultless).await;
    let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_conclave-sim"))
        .args([
            "check",
            "--target",
            &stand_in.targets(),
            "--duration",
            "10m",
            "--json",
            "--family",
            "code,mailbox",
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    stand_in.asked(200).await;
    signal(child.id().unwrap(), Signal::INT).unwrap();
    let ended = child.wait_with_output().await.unwrap();
    let verdict: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{verdict}");
    assert!(verdict["outcomes"]["answered"].as_u64().unwrap() >= 200, "{verdict}");
}

#[tokio::test]
async fn what_is_no_history_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\"conclave_history\":9,\"seed\":1,\"targets\":[],\"ttl\":{\"chunk_ms\":1,\"signal_ms\":1,\"register_ms\":1,\"session_ms\":1},\"allowance\":{\"limit\":1,\"window_ms\":1}}\n").unwrap();
    let ended = tokio::process::Command::new(env!("CARGO_BIN_EXE_conclave-sim"))
        .args(["check", "--history", file.path().to_str().unwrap()])
        .output()
        .await
        .unwrap();
    assert_eq!(ended.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("format 9"));
}

#[tokio::test]
async fn a_history_that_was_cut_off_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let history = directory.path().join("history.jsonl");
    let path = history.to_str().unwrap();
    let ran = check(Manner::Faultless, "300ms", &["--family", "code", "--history", path]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.report);
    let whole = std::fs::read_to_string(&history).unwrap();
    let lines: Vec<_> = whole.lines().collect();
    std::fs::write(&history, lines[..lines.len() - 1].join("\n")).unwrap();
    let judge = ["check", "--history", path];
    let ended =
        tokio::process::Command::new(env!("CARGO_BIN_EXE_conclave-sim")).args(judge).output().await.unwrap();
    assert_eq!(ended.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("cut off"));
}
