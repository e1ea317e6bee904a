//! The binary as its users see it, against a stand-in server that keeps the contract or breaks it on purpose.
// All of this is test code, helpers outside `#[test]` functions included.
#![allow(clippy::unwrap_used)]

mod check;
mod compare;
mod failover;
mod load;
mod model;
mod nodes;
mod overload;
mod realtime;
mod report;
mod secured;
mod soak;
mod sockets;
mod stand_in;
mod transfer;

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

/// What the binary printed and how it ended.
struct Ran {
    code: Option<i32>,
    report: Value,
}

async fn run(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_conclave-sim"))
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

/// Runs the binary against an address where nothing listens: it says so before it measures anything.
async fn finds_no_node(args: &[&str]) {
    let output = run(args).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{errors}");
    assert!(errors.starts_with("no node answers at http://127.0.0.1:"), "{errors}");
}

/// The address of a node that takes one connection and then goes away: enough to be found, and nothing more.
fn gone() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || drop(listener.accept()));
    target
}

/// Runs the binary to its end.
async fn sim(args: &[&str]) -> Ran {
    let output = run(args).await;
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("no JSON in {:?}, errors {:?}", output.stdout, String::from_utf8_lossy(&output.stderr))
    });
    Ran { code: output.status.code(), report }
}

impl Ran {
    fn number(&self, pointer: &str) -> f64 {
        let value = self.report.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no {pointer} in {}", self.report))
    }

    /// The codes of all failures.
    fn codes(&self) -> Vec<&str> {
        let errors = self.report["errors"].as_array().unwrap();
        errors.iter().map(|error| error["code"].as_str().unwrap()).collect()
    }
}
