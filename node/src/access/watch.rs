//! Notices when a file changed, by looking: there is no notification that holds for every file system and for the
//! symbolic links by which container platforms swap secrets.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// A revocation must be known within a second of the file's change.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What can be seen of a file without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Look(Option<(SystemTime, u64)>);

/// Calls `read_again` whenever one of the files changed, and whenever `asked` does. Runs until it is dropped.
pub(crate) async fn whenever_changed<F: Future<Output = ()>>(
    paths: Vec<PathBuf>,
    mut asked: watch::Receiver<u64>,
    mut read_again: impl FnMut() -> F,
) {
    if paths.is_empty() {
        return std::future::pending().await;
    }
    let mut seen = look(paths.clone()).await;
    // What changed between the first reading and the first look is not missed.
    read_again().await;
    loop {
        let was_asked = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            Ok(()) = asked.changed() => true,
        };
        let now = look(paths.clone()).await;
        if was_asked || now != seen {
            seen = now;
            read_again().await;
        }
    }
}

async fn look(paths: Vec<PathBuf>) -> Vec<Look> {
    let looked = tokio::task::spawn_blocking(move || paths.iter().map(|path| look_at(path)).collect()).await;
    looked.unwrap_or_default()
}

fn look_at(path: &Path) -> Look {
    let seen = std::fs::metadata(path).and_then(|metadata| Ok((metadata.modified()?, metadata.len())));
    Look(seen.ok())
}
