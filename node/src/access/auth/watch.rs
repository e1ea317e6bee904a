//! Notices when a file changed, by looking: there is no notification that holds for every file system and for the
//! symbolic links by which container platforms swap secrets.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Auth;

/// A revocation must be known within a second of the file's change.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What can be seen of a file without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Look(Option<(SystemTime, u64)>);

pub(super) async fn run(auth: &Auth) {
    let paths = auth.paths();
    if paths.is_empty() {
        return std::future::pending().await;
    }
    let mut seen = look(paths.clone()).await;
    // What changed between the first reading and the first look is not missed.
    reload(auth).await;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = look(paths.clone()).await;
        if now != seen {
            seen = now;
            reload(auth).await;
        }
    }
}

async fn reload(auth: &Auth) {
    let auth = auth.clone();
    match tokio::task::spawn_blocking(move || auth.reload()).await {
        Ok(Ok(())) => tracing::debug!("read the keys and revocations"),
        Ok(Err(error)) => tracing::error!(%error, "keys and revocations stay as they were"),
        Err(_) => tracing::error!("reading the keys and revocations failed"),
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
