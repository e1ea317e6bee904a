//! A search for secrets in what nodes write down and tell.
//!
//! With `CONCLAVE_LEAKS=<folder>` every node logs all that it can, each cluster's files stay in that folder, and the secrets
//! that tests make up are listed there, a line each. Beside the logs stand the errors that clients were told, and the metrics and
//! audit logs of the nodes as they are when a test ends. `.ci/leaks` looks for the secrets in all of it afterwards.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const FOLDER: &str = "CONCLAVE_LEAKS";

/// Shorter texts are found anywhere.
const CHARS_MIN: usize = 12;
/// For an answer of an admin listener.
const PATIENCE: Duration = Duration::from_secs(2);

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
        keep(&folder.join("secrets"), format!("{text}\n").as_bytes());
    }
    text
}

/// Keeps an error that a client was told.
pub(crate) fn told(body: &[u8]) {
    if let Some(folder) = folder() {
        keep(&folder.join("errors.log"), &[body, b"\n"].concat());
    }
}

/// Keeps what the admin listeners at these addresses tell of metrics and audit.
pub(crate) fn ask(listeners: impl Iterator<Item = SocketAddr>) {
    let Some(folder) = folder() else { return };
    for at in listeners {
        for path in ["/metrics", "/admin/v1/audit", "/admin/v1/audit?log=security"] {
            // A node that is gone, or shows itself to nobody, tells nothing.
            if let Ok(answer) = get(at, path) {
                keep(&folder.join("told.log"), &answer);
            }
        }
    }
}

/// A test's end cannot be awaited, so this blocks.
fn get(at: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// In one write, so that what several tests keep does not mix.
fn keep(file: &Path, text: &[u8]) {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.and_then(|mut file| file.write_all(text)).expect("the folder for leaks is writable");
}
