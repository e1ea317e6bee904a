//! A search for secrets in what nodes write down.
//!
//! With `CONCLAVE_LEAKS=<folder>` every node logs all that it can, each cluster's files stay in that folder, and the secrets
//! that tests make up are listed there, a line each. `.ci/leaks` looks for them in the logs afterwards.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

const FOLDER: &str = "CONCLAVE_LEAKS";

/// Shorter texts are found anywhere.
const CHARS_MIN: usize = 12;

fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Whether leaks are looked for.
pub(crate) fn are_sought() -> bool {
    folder().is_some()
}

/// Where the files of a cluster stay.
pub(crate) fn kept() -> Option<PathBuf> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let kept = folder()?.join(format!("cluster-{}-{number}", std::process::id()));
    fs::create_dir_all(&kept).expect("the folder for leaks is writable");
    Some(kept)
}

/// Takes note of a secret, and gives it back.
pub(crate) fn secret(text: String) -> String {
    if let Some(folder) = folder().filter(|_| text.len() >= CHARS_MIN) {
        let list = OpenOptions::new().create(true).append(true).open(folder.join("secrets"));
        let line = format!("{text}\n");
        // In one write, so that lines of several tests do not mix.
        list.and_then(|mut list| list.write_all(line.as_bytes())).expect("the folder for leaks is writable");
    }
    text
}
