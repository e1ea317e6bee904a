//! Processes on this machine, as a cluster of nodes needs them: [`Process`] is started, signalled and ended, and takes
//! care that none is left behind; [`Ports`] are where nodes listen; the folders and the secret that they share are in
//! `files`, and [`until`] waits for what they are to do.
//!
//! Knows nothing of a node but that `--exit-with-stdin` ends it with whoever started it.

mod files;
mod ports;
mod process;

use std::time::Duration;

pub use files::{abandoned, scratch, tail, write_private, write_secret};
pub use ports::Ports;
pub use process::{Process, Signal, signal};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until there is something to see; `None` once `within` has passed, also if a look hangs.
pub async fn until<T>(within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let search = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(within, search).await.ok()
}
