//! Sockets that only stay open: what opening many at once takes, and what holding them costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Ground;
use crate::report::{Kind, Meter, Recorder};
use crate::sample::{Plan, Sample};
use crate::socket::{Idle, Session};
use crate::stop::Stop;

/// Between two looks at whether all are open, which is how exactly that is timed.
const LOOK_OPENING: Duration = Duration::from_millis(20);
/// Between two looks while they are held.
const LOOK_HOLDING: Duration = Duration::from_millis(250);

/// What all sockets of the run share.
#[derive(Default)]
struct Count {
    open: AtomicU64,
    /// Open or failed for good.
    tried: AtomicU64,
}

/// What was found, with looks at the servers before the first socket, when all were open, and at the end.
pub(crate) struct Held {
    pub(crate) idle: Idle,
    pub(crate) full: Sample,
    pub(crate) end: Sample,
}

/// Opens all sockets, lets the servers settle for the length of the warm-up, and holds the sockets for the window.
pub(crate) async fn hold(
    ground: &Ground<'_>,
    plan: &Plan,
    workers: &mut JoinSet<()>,
    stop: &Stop,
    mut watch: impl FnMut(Duration, &Recorder),
) -> Held {
    let options = ground.options;
    let count = Arc::new(Count::default());
    let (ended, end_seen) = watch::channel(false);
    let empty = plan.take().await;
    let origin = Instant::now();
    let sockets = options.concurrency as u64;
    for number in 0..options.concurrency {
        let session = ground.session(number, None);
        workers.spawn(stay(session, ground.meter.clone(), count.clone(), end_seen.clone()));
    }
    let recorder = &ground.meter.recorder;
    while count.tried.load(Ordering::Relaxed) < sockets && !stop.is_said() {
        watch(origin.elapsed(), recorder);
        tokio::time::sleep(LOOK_OPENING).await;
    }
    let open_s = origin.elapsed().as_secs_f64();
    let _ = tokio::time::timeout(options.warmup, stop.said()).await;

    let full = plan.take().await;
    let held = count.open.load(Ordering::Relaxed);
    let from = Instant::now();
    while from.elapsed() < options.duration && !stop.is_said() {
        watch(origin.elapsed(), recorder);
        tokio::time::sleep(LOOK_HOLDING.min(options.duration)).await;
    }
    let end = plan.take().await;
    let seconds = from.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let left = count.open.load(Ordering::Relaxed);
    ended.send_replace(true);

    let per_socket = |sample: &Sample, open| growth_per_socket(empty.rss_bytes(), sample.rss_bytes(), open);
    let cpu_s = plan.servers(&full, &end, 1).map(|servers| servers.cost.cpu_s);
    let idle = Idle {
        sockets,
        held,
        left,
        open_s,
        rss_bytes_per_socket: per_socket(&full, held),
        rss_bytes_per_socket_after: per_socket(&end, left),
        cpu_percent: cpu_s.map(|cpu_s| 100.0 * cpu_s / seconds),
    };
    Held { idle, full, end }
}

/// What the servers' memory grew by for each open socket. Negative where they gave back more than the sockets took.
fn growth_per_socket(before: Option<u64>, after: Option<u64>, open: u64) -> Option<f64> {
    let growth = after? as f64 - before? as f64;
    (open > 0).then(|| growth / open as f64)
}

/// One socket: opened in its turn, kept open, opened elsewhere when it is lost.
async fn stay(mut session: Session, meter: Meter, count: Arc<Count>, mut stopped: watch::Receiver<bool>) {
    let planned = meter.pacer.start().await;
    let opened = meter.record(Kind::Connect, planned, session.open()).await;
    if opened.is_ok() {
        count.open.fetch_add(1, Ordering::Relaxed);
    }
    count.tried.fetch_add(1, Ordering::Relaxed);
    if opened.is_err() {
        return;
    }
    loop {
        let lost = tokio::select! {
            biased;
            // An error means that the run is over, too.
            _ = stopped.wait_for(|stopped| *stopped) => break,
            event = session.next() => event.is_err(),
        };
        if lost {
            count.open.fetch_sub(1, Ordering::Relaxed);
            let again = meter.record(Kind::Resume, Instant::now(), session.open()).await;
            if again.is_err() {
                return;
            }
            count.open.fetch_add(1, Ordering::Relaxed);
        }
    }
    session.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_shared_among_the_sockets_that_are_open() {
        assert_eq!(growth_per_socket(Some(1000), Some(5000), 2), Some(2000.0));
        assert_eq!(growth_per_socket(Some(5000), Some(1000), 4), Some(-1000.0));
        assert_eq!(growth_per_socket(Some(1000), Some(5000), 0), None);
        assert_eq!(growth_per_socket(None, Some(5000), 2), None);
        assert_eq!(growth_per_socket(Some(1000), None, 2), None);
    }
}
