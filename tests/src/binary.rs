//! The server's binary: named by `CONCLAVE_BIN`, or built beside this test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// How the variables begin that cargo sets for a test.
const OF_THIS_TEST: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];

/// Where the `conclave` binary is.
///
/// Cargo builds a package's binaries only for that package's own tests, so the harness asks for this one. Asking is
/// cheap when there is nothing to build, and a test never runs against yesterday's server.
pub fn conclave() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("CONCLAVE_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let test = env::current_exe().expect("a running test has an executable");
    // target/<profile>/deps/<test>
    let profile_dir = test.ancestors().nth(2).expect("cargo puts tests three levels below its target folder");
    let target_dir = profile_dir.parent().expect("a profile folder lies in the target folder");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(other) => other,
    };
    // Of the whole workspace, so that the features of shared dependencies are those the tests were built with.
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells this test about itself would look like a change to build scripts that watch it, and make them
    // run again now and again with the next `cargo test`.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| OF_THIS_TEST.iter().any(|start| name.starts_with(start))) {
            cargo.env_remove(name);
        }
    }
    let output = cargo
        .args(["build", "--workspace", "--bin", "conclave", "--message-format=json-render-diagnostics"])
        .args(if cfg!(feature = "otlp") { &["--features", "conclave-tests/otlp"][..] } else { &[] })
        .args(["--profile", profile, "--target-dir"])
        .arg(target_dir)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be run; without it, name the binary in CONCLAVE_BIN");
    assert!(output.status.success(), "cargo could not build the conclave binary");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "conclave")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable it built")
}
