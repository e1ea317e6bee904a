//! More load than the proof's: as much as goes, or more than that.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::client::{self, Client, Fault, Reply, Request, Tally, Target};
use crate::content::Content;
use crate::files::raise_open_files;
use crate::workload::transfer;

/// Clients in a closed loop: enough for batches to be full.
const CLIENTS: usize = 256;
/// Requests of an open loop that may be under way at once; those beyond are counted, and not made.
pub(super) const UNDER_WAY_MAX: usize = 8_192;
/// Between two bursts of an open loop.
const BURST: Duration = Duration::from_millis(5);
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

/// What all tasks of one flood have in common.
struct Flood {
    targets: Vec<Target>,
    content: Content,
    size: usize,
    tally: Arc<Tally>,
    run: u64,
    next: AtomicU64,
}

impl Flood {
    fn new(targets: Vec<Target>, size: usize) -> Arc<Self> {
        let (content, run) = (Content::new(0), rand::random());
        let tally = Arc::new(Tally::default());
        Arc::new(Self { targets, content, size, tally, run, next: AtomicU64::new(0) })
    }

    fn client(&self) -> Client {
        self.client_of(&self.targets)
    }

    /// One that has a single connection.
    fn bound_client(&self, which: usize) -> Client {
        self.client_of(std::slice::from_ref(&self.targets[which % self.targets.len()]))
    }

    fn client_of(&self, targets: &[Target]) -> Client {
        let options = client::Options { timeout: TIMEOUT, patience: TIMEOUT, idempotent: false };
        Client::new(targets, options, self.tally.clone(), String::new())
    }

    /// A chunk that nobody has sent, in transfers that fill up one after the other; and its number.
    fn request(&self) -> (usize, Request) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (which, index) = (number / u64::from(CHUNKS), (number % u64::from(CHUNKS)) as u32);
        let pair = transfer(self.run, which);
        let data = |out: &mut Vec<u8>| self.content.write(self.run ^ which, index, self.size, out);
        (number as usize, Client::send_request(&pair, index, CHUNKS, data))
    }
}

fn acknowledged(answer: &Result<Reply, Fault>) -> bool {
    matches!(answer, Ok(reply) if Client::sent(reply).is_ok())
}

/// Writes in a closed loop until `enough` bytes were acknowledged or time is up; how many a second were.
pub(super) async fn write(targets: Vec<Target>, size: usize, enough: u64, time: Duration) -> f64 {
    let flood = Flood::new(targets, size);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for _ in 0..CLIENTS {
        let (flood, stop, done) = (flood.clone(), stop.clone(), done.clone());
        tasks.spawn(async move {
            let mut client = flood.client();
            while !stop.load(Ordering::Relaxed) {
                let (at, request) = flood.request();
                let answer = client.attempt(at, &request).await;
                match acknowledged(&answer) {
                    true => _ = done.fetch_add(1, Ordering::Relaxed),
                    // Who is refused comes back later.
                    false => sleep(SOON).await,
                }
            }
        });
    }
    while done.load(Ordering::Relaxed) * (size as u64) < enough && began.elapsed() < time {
        sleep(BURST).await;
    }
    let per_second = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    while tasks.join_next().await.is_some() {}
    per_second
}

/// Starts so many writes a second, whatever became of those before.
pub(super) async fn overload(targets: Vec<Target>, size: usize, rate: f64, time: Duration) -> Overload {
    let flood = Flood::new(targets, size);
    // One connection for each request under way, if there may be so many.
    let connections =
        raise_open_files(2 * UNDER_WAY_MAX as u64).map_or(UNDER_WAY_MAX / 4, |()| UNDER_WAY_MAX);
    let idle: Arc<Mutex<Vec<Client>>> = Arc::default();
    let (good, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let refusals: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let mut tasks = JoinSet::new();
    let mut ticks = interval(BURST);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = Instant::now();
    let (mut started, mut withheld) = (0, 0);
    while began.elapsed() < time {
        ticks.tick().await;
        while tasks.try_join_next().is_some() {}
        let due = (began.elapsed().as_secs_f64() * rate) as u64;
        for _ in started..due {
            if tasks.len() >= connections {
                withheld += 1;
                continue;
            }
            let (flood, idle, good, failed, refusals) =
                (flood.clone(), idle.clone(), good.clone(), failed.clone(), refusals.clone());
            tasks.spawn(async move {
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let (number, request) = flood.request();
                let mut client = kept.unwrap_or_else(|| flood.bound_client(number));
                let asked = Instant::now();
                let answer = client.attempt(0, &request).await;
                match &answer {
                    answer if acknowledged(answer) => _ = good.fetch_add(1, Ordering::Relaxed),
                    Ok(reply) if matches!(reply.status, 429 | 503) => {
                        refusals.lock().unwrap_or_else(PoisonError::into_inner).push(asked.elapsed());
                    }
                    _ => _ = failed.fetch_add(1, Ordering::Relaxed),
                }
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
            });
        }
        started = due;
    }
    let goodput = good.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    tasks.shutdown().await;
    let mut refusals = std::mem::take(&mut *refusals.lock().unwrap_or_else(PoisonError::into_inner));
    refusals.sort_unstable();
    let rank = (0.99 * refusals.len() as f64).ceil() as usize;
    Overload {
        goodput,
        refusal_p99: refusals.get(rank.max(1) - 1).copied(),
        refused: refusals.len() as u64,
        failed: failed.load(Ordering::Relaxed),
        withheld,
    }
}

/// How long it takes until writes succeed soon, several in a row; `None` if they do not within a minute.
pub(super) async fn recovery(targets: Vec<Target>) -> Option<Duration> {
    let flood = Flood::new(targets, 256);
    let mut client = flood.client();
    let began = Instant::now();
    let (mut in_a_row, mut since) = (0, Duration::ZERO);
    while began.elapsed() < Duration::from_secs(60) {
        let (at, request) = flood.request();
        let asked = Instant::now();
        let answer = client.attempt(at, &request).await;
        if acknowledged(&answer) && asked.elapsed() < SOON {
            if in_a_row == 0 {
                since = began.elapsed();
            }
            in_a_row += 1;
            if in_a_row == RECOVERED {
                return Some(since);
            }
        } else {
            in_a_row = 0;
            sleep(BURST).await;
        }
    }
    None
}
