//! Sockets that stay, and come back when they are lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Error;
use crate::client::Target;
use crate::files::raise_open_files;
use crate::socket::{Encoding, Options, Session, SocketTally};

/// Opened at once while they are first opened, which is not what is measured.
const OPENING: usize = 64;
/// For a socket to come back, over all its tries.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 2 << 10;
/// Beside the sockets: nodes, load, logs.
const FILES_BESIDE: u64 = 1_024;

#[derive(Debug, Default)]
struct Seen {
    lost: AtomicU64,
    // A std mutex, since nothing awaits inside.
    resumed: Mutex<Vec<Duration>>,
}

/// Many sockets; closed when dropped.
#[derive(Debug)]
pub(super) struct Sockets {
    seen: Arc<Seen>,
    wanted: usize,
    rounds: watch::Sender<u64>,
    back: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

impl Sockets {
    /// Opens so many, spread over the nodes, and waits until all are.
    pub(super) async fn open(targets: Vec<Target>, sockets: u64) -> Result<Self, Error> {
        raise_open_files(sockets + FILES_BESIDE).map_err(Error::Tool)?;
        let options = Arc::new(Options {
            targets,
            path: "/api/v1/socket".to_owned(),
            encoding: Encoding::Json,
            volatile: false,
            timeout: TIMEOUT,
            patience: PATIENCE,
            buffer_bytes: BUFFER_BYTES,
        });
        let (seen, tally) = (Arc::new(Seen::default()), Arc::new(SocketTally::default()));
        let (rounds, round) = watch::channel(0);
        let (open, back) = watch::channel(0);
        let turns = Arc::new(Semaphore::new(OPENING));
        let mut tasks = JoinSet::new();
        for number in 0..sockets as usize {
            let session = Session::new(options.clone(), tally.clone(), number, None);
            tasks.spawn(stay(session, seen.clone(), round.clone(), open.clone(), turns.clone()));
        }
        let mut sockets = Self { seen, wanted: sockets as usize, rounds, back, _tasks: tasks };
        sockets.all_open().await?;
        Ok(sockets)
    }

    /// Loses all of them at once, and waits until all are back.
    pub(super) async fn lose_all(&mut self) -> Result<(), Error> {
        self.back.mark_unchanged();
        self.rounds.send_modify(|round| *round += 1);
        // The first ones notice before any is back.
        let _ = self.back.changed().await;
        self.all_open().await
    }

    async fn all_open(&mut self) -> Result<(), Error> {
        let (wanted, seen) = (self.wanted, self.seen.clone());
        let all = self.back.wait_for(|open| *open + seen.lost.load(Ordering::Relaxed) as usize >= wanted);
        match tokio::time::timeout(2 * PATIENCE, all).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(Error::InVain { what: format!("{wanted} sockets are open"), within: 2 * PATIENCE })
            }
        }
    }

    /// How many did not come back, and how long it took 99 of 100 to come back, if any had to.
    pub(super) fn seen(&self) -> (u64, Option<Duration>) {
        let mut resumed = self.seen.resumed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        resumed.sort_unstable();
        let rank = (0.99 * resumed.len() as f64).ceil() as usize;
        (self.seen.lost.load(Ordering::Relaxed), resumed.get(rank.max(1) - 1).copied())
    }
}

async fn stay(
    mut session: Session,
    seen: Arc<Seen>,
    mut rounds: watch::Receiver<u64>,
    open: watch::Sender<usize>,
    turns: Arc<Semaphore>,
) {
    let turn = turns.acquire_owned().await;
    let mut opened = session.open().await;
    drop(turn);
    while opened.is_ok() {
        open.send_modify(|open| *open += 1);
        tokio::select! {
            _ = rounds.changed() => {}
            lost = lost(&mut session) => lost,
        }
        open.send_modify(|open| *open -= 1);
        let began = Instant::now();
        opened = session.open().await;
        if opened.is_ok() {
            seen.resumed.lock().unwrap_or_else(PoisonError::into_inner).push(began.elapsed());
        }
    }
    seen.lost.fetch_add(1, Ordering::Relaxed);
    // Wakes whoever waits for all.
    open.send_modify(|_| {});
}

/// Returns when the connection is gone.
async fn lost(session: &mut Session) {
    while session.next().await.is_ok() {}
}
