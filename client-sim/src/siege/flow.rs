//! One way of misusing connections, written down as data: what is said, how fast, and how slowly the answers are read.
//! Bounded in connections, in opens a second and in time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout, timeout_at};

/// Makes what is said from a running number.
pub type Speech = Arc<dyn Fn(u64) -> Bytes + Send + Sync>;

/// How answers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As they come.
    All,
    /// Not at all.
    Nothing,
    /// So many bytes, so often.
    Slowly {
        /// Bytes at a time.
        bytes: usize,
        /// Between two times.
        every: Duration,
    },
}

/// A flood of one kind of connection.
#[derive(Clone)]
pub struct Flow {
    /// Open at once.
    pub connections: usize,
    /// Opened a second, at most; one that ends is opened again.
    pub opens_per_s: f64,
    /// What a connection says first, each part after a pause. The number is the connection's.
    pub opening: Vec<(Duration, Speech)>,
    /// What it says then, so often. The number is another each time.
    pub then: Option<(Speech, Duration)>,
    /// How often it says that; without a number, until the end.
    pub times: Option<u64>,
    /// How it reads.
    pub reading: Reading,
    /// After so long it is closed and opened anew.
    pub lasts: Option<Duration>,
}

/// What a flood came to.
#[derive(Debug, Default)]
pub struct Tally {
    opened: AtomicU64,
    refused: AtomicU64,
    ended: AtomicU64,
    sent: AtomicU64,
    read: AtomicU64,
}

/// The same, read off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Flooded {
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that the other side ended.
    pub ended: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes that came back and were read.
    pub read_bytes: u64,
}

/// Where a flood comes from and where it goes.
#[derive(Debug, Clone)]
pub struct Aim {
    /// Connections are spread over these in turn.
    pub targets: Vec<SocketAddr>,
    /// And come from these in turn.
    pub sources: Vec<Ipv4Addr>,
    /// When it ends.
    pub until: Instant,
}

/// A connection may take so long to be opened; a full backlog does not answer.
const CONNECT: Duration = Duration::from_secs(3);
/// Kernel buffer of those who read slowly: a large one would read for them.
const SLOW_BUFFER: u32 = 4096;
const READ: usize = 16 << 10;

impl Tally {
    /// What it is now.
    pub fn read_off(&self) -> Flooded {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Flooded {
            opened: load(&self.opened),
            refused: load(&self.refused),
            ended: load(&self.ended),
            sent_bytes: load(&self.sent),
            read_bytes: load(&self.read),
        }
    }
}

/// Runs all flows at once until their time is over, and closes every connection.
pub async fn flood(flows: &[Flow], aim: &Aim, tally: &Arc<Tally>) {
    let mut tasks = JoinSet::new();
    let mut first = 0;
    for flow in flows {
        let flow = Arc::new(flow.clone());
        let numbers = Arc::new(AtomicU64::new(0));
        let mut opens = interval(Duration::from_secs_f64(1.0 / flow.opens_per_s));
        opens.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let opens = Arc::new(Mutex::new(opens));
        for index in 0..flow.connections as u64 {
            let slot = Slot {
                flow: flow.clone(),
                index,
                place: first + index as usize,
                numbers: numbers.clone(),
                tally: tally.clone(),
            };
            tasks.spawn(slot.run(aim.clone(), opens.clone()));
        }
        first += flow.connections;
    }
    while tasks.join_next().await.is_some() {}
}

/// One connection of a flow, and those that take its place.
struct Slot {
    flow: Arc<Flow>,
    index: u64,
    place: usize,
    numbers: Arc<AtomicU64>,
    tally: Arc<Tally>,
}

impl Slot {
    async fn run(self, aim: Aim, opens: Arc<Mutex<Interval>>) {
        let target = aim.targets[self.place % aim.targets.len()];
        let source = aim.sources[self.place % aim.sources.len()];
        let again = async {
            while Instant::now() < aim.until {
                opens.lock().await.tick().await;
                match timeout(CONNECT, self.connect(target, source)).await {
                    Ok(Ok(stream)) => {
                        self.tally.opened.fetch_add(1, Ordering::Relaxed);
                        let lasts = self.flow.lasts.unwrap_or(Duration::MAX);
                        if timeout(lasts, self.converse(stream)).await.is_ok() {
                            self.tally.ended.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Ok(Err(_)) | Err(_) => _ = self.tally.refused.fetch_add(1, Ordering::Relaxed),
                }
            }
        };
        // Elapsed is how it is meant to end.
        let _: Result<(), _> = timeout_at(aim.until, again).await;
    }

    async fn connect(&self, target: SocketAddr, source: Ipv4Addr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        if self.flow.reading != Reading::All {
            socket.set_recv_buffer_size(SLOW_BUFFER)?;
        }
        let stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Talks and listens until the other side has enough.
    async fn converse(&self, stream: TcpStream) {
        let (reader, writer) = stream.into_split();
        tokio::select! {
            () = self.talk(writer) => {}
            () = self.listen(reader) => {}
        }
    }

    async fn talk(&self, mut writer: OwnedWriteHalf) {
        for (pause, speech) in &self.flow.opening {
            sleep(*pause).await;
            if !self.say(&mut writer, &speech(self.index)).await {
                return;
            }
        }
        if let Some((speech, every)) = &self.flow.then {
            let mut turns = (!every.is_zero()).then(|| interval(*every));
            if let Some(turns) = &mut turns {
                turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            }
            for _ in 0..self.flow.times.unwrap_or(u64::MAX) {
                match &mut turns {
                    Some(turns) => _ = turns.tick().await,
                    None => tokio::task::yield_now().await,
                }
                let number = self.numbers.fetch_add(1, Ordering::Relaxed);
                if !self.say(&mut writer, &speech(number)).await {
                    return;
                }
            }
        }
        // All was said; whoever listens says when it is over. The writer is kept, so that nothing looks closed.
        std::future::pending::<()>().await;
    }

    async fn say(&self, writer: &mut OwnedWriteHalf, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            match writer.write(rest).await {
                Ok(count) if count > 0 => {
                    self.tally.sent.fetch_add(count as u64, Ordering::Relaxed);
                    rest = &rest[count..];
                }
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    async fn listen(&self, mut reader: OwnedReadHalf) {
        let (size, every) = match self.flow.reading {
            Reading::All => (READ, Duration::ZERO),
            Reading::Slowly { bytes, every } => (bytes, every),
            Reading::Nothing => {
                // Comes true when the connection is broken.
                let _ = reader.ready(Interest::ERROR).await;
                return;
            }
        };
        let mut piece = vec![0; size];
        while let Ok(count) = reader.read(&mut piece).await {
            if count == 0 {
                return;
            }
            self.tally.read.fetch_add(count as u64, Ordering::Relaxed);
            if !every.is_zero() {
                sleep(every).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::Sink;
    use super::*;

    #[tokio::test]
    async fn a_flood_says_what_it_should_and_ends_in_time() {
        let sink = Sink::open(2).unwrap();
        let words = |word: &'static [u8]| -> Speech { Arc::new(move |_| Bytes::from_static(word)) };
        let flow = Flow {
            connections: 4,
            opens_per_s: 1000.0,
            opening: vec![(Duration::ZERO, words(b"hello"))],
            then: Some((words(b"more"), Duration::from_millis(1))),
            times: Some(3),
            reading: Reading::All,
            lasts: None,
        };
        let tally = Arc::new(Tally::default());
        let until = Instant::now() + Duration::from_millis(500);
        let aim =
            Aim { targets: sink.addresses().to_owned(), sources: vec![Ipv4Addr::new(127, 0, 0, 7)], until };
        flood(&[flow], &aim, &tally).await;
        assert!(until.elapsed() < Duration::from_secs(5));
        let flooded = tally.read_off();
        assert_eq!((flooded.opened, flooded.refused, flooded.ended), (4, 0, 0));
        assert_eq!(flooded.sent_bytes, 4 * (5 + 3 * 4));
    }
}
