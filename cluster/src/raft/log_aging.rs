//! Rewrites the log of a quiet cluster: what expired leaves the disk, though too little comes for a snapshot to be due.
//!
//! A snapshot holds what is there now. Once it is taken, all of the log before it is purged, and a fresh file is begun, since
//! the last file holds what is purged for as long as it is written to.

use std::time::Duration;

use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::Instant;

use super::Node;
use super::types::TypeConfig;

/// A rewrite that takes longer is left alone; the next one begins anew.
const REWRITE_TIMEOUT: Duration = Duration::from_secs(600);

/// Why the log was not rewritten.
#[derive(Debug, thiserror::Error)]
enum RewriteError {
    #[error("raft stopped")]
    Stopped,
    #[error("{0}")]
    Disk(#[from] std::io::Error),
}

/// When the log is due to be rewritten.
#[derive(Debug)]
pub(super) struct Age {
    every: Duration,
    /// Since when there has been something in it.
    since: Option<Instant>,
}

impl Age {
    /// Nodes of one cluster do not all do it at once: each waits for a part of `age_max` that its id decides, three quarters at
    /// the least.
    pub(super) fn new(id: u64, age_max: Duration) -> Self {
        Self { every: age_max * 3 / 4 + age_max / 4 * part(id) / 256, since: None }
    }

    /// Whether it is, now that something is in it or nothing; if so, begins to count anew.
    pub(super) fn is_due(&mut self, any: bool) -> bool {
        if !any {
            self.since = None;
            return false;
        }
        let due = self.since.get_or_insert_with(Instant::now).elapsed() >= self.every;
        if due {
            self.since = None;
        }
        due
    }
}

/// Log bytes after which the node `id` takes a snapshot: between three and five quarters of `bytes`. All nodes append the same
/// log; at the same threshold a majority would write snapshots at the same moment, and every write would wait for them.
pub(super) fn staggered(id: u64, bytes: u64) -> u64 {
    bytes / 4 * 3 + bytes / 512 * u64::from(part(id))
}

/// A number below 256 that is decided by a node's id, well apart for ids that follow one another.
fn part(id: u64) -> u32 {
    (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u32
}

impl Node {
    /// Rewrites the log, unless Raft stops or it takes too long.
    pub(super) async fn rewrite_log(self) {
        let rewritten = tokio::time::timeout(REWRITE_TIMEOUT, self.rewrite());
        match self.stop.run_until_cancelled(rewritten).await {
            Some(Ok(Ok(()))) => tracing::debug!("rewrote the log, which was old"),
            Some(Ok(Err(error))) => tracing::warn!(%error, "could not rewrite the log"),
            Some(Err(_)) => tracing::warn!("rewriting the log took too long"),
            None => {}
        }
    }

    async fn rewrite(&self) -> Result<(), RewriteError> {
        let index = |id: &Option<super::types::LogId>| id.as_ref().map(|id| id.index());
        let applied = index(&self.raft.metrics().borrow_watched().last_applied);
        self.log.snapshot_taken();
        self.raft.trigger().snapshot().await.map_err(|_| RewriteError::Stopped)?;
        self.until(|metrics| index(&metrics.snapshot) >= applied).await?;
        let covered = index(&self.raft.metrics().borrow_watched().snapshot);
        if let Some(covered) = covered {
            self.raft.trigger().purge_log(covered).await.map_err(|_| RewriteError::Stopped)?;
            self.until(|metrics| index(&metrics.purged) >= Some(covered)).await?;
        }
        Ok(self.log.renew().await?)
    }

    async fn until(&self, holds: impl Fn(&RaftMetrics<TypeConfig>) -> bool) -> Result<(), RewriteError> {
        let mut metrics = self.raft.metrics();
        loop {
            if holds(&metrics.borrow_watched()) {
                return Ok(());
            }
            metrics.changed().await.map_err(|_| RewriteError::Stopped)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nodes_do_not_rewrite_all_at_once_and_none_too_late() {
        let hours = Duration::from_secs(4 * 3600);
        let mut ages: Vec<Age> = (1..=5).map(|id| Age::new(id, hours)).collect();
        let mut every: Vec<Duration> = ages.iter().map(|age| age.every).collect();
        assert!(every.iter().all(|every| (hours * 3 / 4..=hours).contains(every)), "{every:?}");
        every.sort_unstable();
        every.dedup();
        assert_eq!(every.len(), 5);
        assert!(ages.iter_mut().all(|age| !age.is_due(true)));
        tokio::time::advance(hours).await;
        assert!(ages.iter_mut().all(|age| age.is_due(true) && !age.is_due(true)), "once");
    }

    #[test]
    fn nodes_do_not_take_snapshots_all_at_once() {
        let mib = 1 << 20;
        let mut thresholds: Vec<u64> = (1..=5).map(|id| staggered(id, 64 * mib)).collect();
        assert!(thresholds.iter().all(|bytes| (48 * mib..=80 * mib).contains(bytes)), "{thresholds:?}");
        thresholds.sort_unstable();
        assert!(thresholds.windows(2).all(|pair| pair[1] - pair[0] >= 2 * mib), "{thresholds:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_log_has_no_age() {
        let hour = Duration::from_secs(3600);
        let mut age = Age::new(1, hour);
        assert!(!age.is_due(false));
        tokio::time::advance(hour).await;
        assert!(!age.is_due(false) && !age.is_due(true));
        tokio::time::advance(hour).await;
        assert!(age.is_due(true));
    }
}
