//! A client as it should be: it follows `Retry-After`, and goes to another node when one is gone. It should never see a
//! failure, whatever happens within its patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{self, Client, Tally, Target};
use crate::content::Content;
use crate::workload::transfer;

const EVERY: Duration = Duration::from_millis(50);
const CHUNKS: u32 = 2_048;
const CHUNK_BYTES: usize = 64;

/// A task that writes; ends when dropped.
#[derive(Debug)]
pub(super) struct Canary {
    failures: Arc<AtomicU64>,
    writing: AbortHandle,
}

impl Canary {
    pub(super) fn start(targets: Vec<Target>) -> Self {
        let failures = Arc::new(AtomicU64::new(0));
        let writing = tokio::spawn(write(targets, failures.clone())).abort_handle();
        Self { failures, writing }
    }

    /// How many writes failed for good.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

async fn write(targets: Vec<Target>, failures: Arc<AtomicU64>) {
    let content = Content::new(rand::random());
    let options = client::Options { timeout: Duration::from_secs(5), ..client::Options::default() };
    let mut client = Client::new(&targets, options, Tally::default().into(), "canary".to_owned());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let number = rand::random();
        let pair = transfer(number, 0);
        for index in 0..CHUNKS {
            ticks.tick().await;
            let data = |out: &mut Vec<u8>| content.write(number, index, CHUNK_BYTES, out);
            if client.send(index as usize, &pair, index, CHUNKS, data).await.is_err() {
                failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
