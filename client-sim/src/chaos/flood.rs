//! More load than the proof's: as much as goes, or more than that.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::Target;
use crate::driver::{self, Outcome, Uploads, connections, open};
use crate::files::raise_open_files;
use crate::overload::Ledger;
use crate::report::Timeline;
use crate::schedule::{Pacer, Rate};

/// Clients in a closed loop: enough for batches to be full.
const CLIENTS: usize = 256;
/// Requests of an open loop that may be under way at once; those beyond are counted, and not made.
pub(super) const UNDER_WAY_MAX: usize = 8_192;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_secs(10);
const CHUNKS: u32 = 2_048;
/// Writes in a row that have to succeed, each in the time that follows, for an overload to be over.
const RECOVERED: u32 = 10;
const SOON: Duration = Duration::from_millis(250);

/// What an open loop came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overload {
    /// Acknowledged a second.
    pub(super) goodput: f64,
    /// How long 99 of 100 refusals took, if there were any.
    pub(super) refusal_p99: Option<Duration>,
    /// Refused with 503 or 429.
    pub(super) refused: u64,
    /// Neither acknowledged nor refused.
    pub(super) failed: u64,
    /// Not made, since too many were under way: as clients who all wait for their answers would not.
    pub(super) withheld: u64,
}

fn begin(rate: Rate, time: Duration) -> (Arc<Pacer>, Arc<Ledger>) {
    let begin = Instant::now();
    let timeline = Arc::new(Mutex::new(Timeline::new(begin)));
    (Arc::new(Pacer::new(begin, begin + time, rate)), Ledger::new(begin, begin + time, timeline))
}

/// Writes in a closed loop until `enough` bytes were acknowledged or time is up; how many a second were.
pub(super) async fn write(targets: Vec<Target>, size: usize, enough: u64, time: Duration) -> f64 {
    let clients = connections(&targets, 0..CLIENTS, &Uploads::new(0, size, CHUNKS));
    let began = Instant::now();
    let (pacer, ledger) = begin(Rate::Free, time);
    // Who is refused comes back later.
    let started = driver::start(clients, &pacer, &ledger, driver::Options { timeout: TIMEOUT, pause: SOON });
    while ledger.done() * (size as u64) < enough && !pacer.over() {
        sleep(LOOK).await;
    }
    let per_second = ledger.done() as f64 / began.elapsed().as_secs_f64();
    pacer.stop();
    driver::join(started, TIMEOUT + SOON).await;
    per_second
}

/// Starts so many writes a second, whatever became of those before.
pub(super) async fn overload(targets: Vec<Target>, size: usize, rate: f64, time: Duration) -> Overload {
    // One connection for each request under way, if there may be so many.
    let most = raise_open_files(2 * UNDER_WAY_MAX as u64).map_or(UNDER_WAY_MAX / 4, |()| UNDER_WAY_MAX);
    let clients = open(connections(&targets, 0..most, &Uploads::new(0, size, CHUNKS))).await;
    let (pacer, ledger) = begin(Rate::Even(rate), time);
    // What is under way in the end is given up.
    let _started =
        driver::start(clients, &pacer, &ledger, driver::Options { timeout: TIMEOUT, pause: Duration::ZERO });
    tokio::time::sleep_until(pacer.end()).await;
    let phase = ledger.phase("overload", 0.0, rate, time.as_secs_f64());
    let refused = phase.turned_away.count;
    let others = phase.refused.values().map(|latency| latency.count).sum::<u64>() - refused;
    Overload {
        goodput: phase.done_per_s,
        refusal_p99: (refused > 0).then(|| Duration::from_micros(phase.turned_away.p99_us)),
        refused,
        failed: phase.failed.values().sum::<u64>() + others,
        withheld: phase.not_offered,
    }
}

/// How long it takes until writes succeed soon, several in a row; `None` if they do not within a minute.
pub(super) async fn recovery(targets: Vec<Target>) -> Option<Duration> {
    let mut clients = connections(&targets, 0..targets.len(), &Uploads::new(0, 256, CHUNKS));
    let began = Instant::now();
    let (mut in_a_row, mut since, mut turn) = (0, Duration::ZERO, 0);
    while began.elapsed() < Duration::from_secs(60) {
        let asked = Instant::now();
        let outcome = clients[turn % targets.len()].fire_within(TIMEOUT).await;
        turn += 1;
        if outcome == Outcome::Done && asked.elapsed() < SOON {
            if in_a_row == 0 {
                since = began.elapsed();
            }
            in_a_row += 1;
            if in_a_row == RECOVERED {
                return Some(since);
            }
        } else {
            in_a_row = 0;
            sleep(LOOK).await;
        }
    }
    None
}
