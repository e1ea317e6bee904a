//! One transfer, uploaded over all nodes at once and verified elsewhere meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{self, Client, Error, Received, Tally, Target, Transfer, Tried};
use crate::content::Content;

/// One run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The nodes; chunk n goes to the node numbered n modulo their count.
    pub targets: Vec<Target>,
    /// Where the receiver asks, as a number into `targets`.
    pub receiver: usize,
    /// Chunks of the transfer.
    pub chunks: u32,
    /// Bytes of data text per chunk.
    pub size: usize,
    /// Uploads at once.
    pub parallel: usize,
    /// What all content is derived from.
    pub seed: u64,
    /// How patient clients are.
    pub client: client::Options,
    /// How long the whole may take.
    pub deadline: Duration,
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Every byte arrived once and the transfer is done and freed.
    pub ok: bool,
    /// Uploads that were acknowledged.
    pub sent: u32,
    /// Chunks that arrived with every byte as it was sent.
    pub verified: u32,
    /// Their bytes.
    pub verified_bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The longest time in which no upload was acknowledged, in milliseconds.
    pub longest_gap_ms: f64,
    /// Replies by status, retried ones included.
    pub statuses: BTreeMap<u16, u64>,
    /// What it took beyond one try per request.
    pub retries: Tried,
    /// What went wrong, each thing once.
    pub errors: Vec<String>,
}

struct Run {
    options: Options,
    content: Content,
    transfer: Transfer,
    tally: Arc<Tally>,
    next: AtomicU32,
    name: u64,
}

/// Between two asks of a receiver that found nothing.
const PAUSE: Duration = Duration::from_millis(5);

/// Sends and receives one transfer.
pub async fn run(options: Options) -> Summary {
    let name = rand::random();
    let run = Arc::new(Run {
        content: Content::new(options.seed),
        transfer: super::transfer(name, 0),
        tally: Arc::new(Tally::default()),
        next: AtomicU32::new(0),
        name,
        options,
    });
    let begun = Instant::now();
    let give_up = begun + run.options.deadline;

    let receiver = tokio::spawn(tokio::time::timeout_at(give_up, run.clone().receive()));
    let mut senders = JoinSet::new();
    for number in 0..run.options.parallel {
        senders.spawn(tokio::time::timeout_at(give_up, run.clone().send(number)));
    }
    let mut errors = Vec::new();
    let mut acknowledged = Vec::new();
    while let Some(outcome) = senders.join_next().await {
        match outcome {
            Ok(Ok((instants, failed))) => {
                acknowledged.extend(instants);
                errors.extend(failed.map(|error| format!("send: {error}")));
            }
            Ok(Err(_)) => errors.push("send: the deadline passed".to_owned()),
            Err(_) => errors.push("send: a sender ended early".to_owned()),
        }
    }
    let sent = acknowledged.len() as u32;
    if !errors.is_empty() {
        // What was not sent can't arrive; waiting for it would only hide the reason.
        receiver.abort();
    }
    let verified = match receiver.await {
        Ok(Ok((verified, failed))) => {
            errors.extend(failed.map(|error| format!("receive: {error}")));
            verified
        }
        Ok(Err(_)) => {
            errors.push("receive: the deadline passed".to_owned());
            0
        }
        Err(_) => 0,
    };
    errors.sort();
    errors.dedup();
    Summary {
        ok: errors.is_empty() && sent == run.options.chunks && verified == run.options.chunks,
        sent,
        verified,
        verified_bytes: u64::from(verified) * run.options.size as u64,
        seconds: begun.elapsed().as_secs_f64(),
        longest_gap_ms: longest_gap(begun, acknowledged).as_secs_f64() * 1e3,
        statuses: run.tally.statuses(),
        retries: run.tally.tried(),
        errors,
    }
}

fn longest_gap(begun: Instant, mut instants: Vec<Instant>) -> Duration {
    instants.sort();
    let before = std::iter::once(begun).chain(instants.iter().copied());
    before.zip(&instants).map(|(before, after)| *after - before).max().unwrap_or_default()
}

impl Run {
    fn client(&self, party: &str) -> Client {
        let name = format!("{:x}-{party}", self.name);
        Client::new(&self.options.targets, self.options.client.clone(), self.tally.clone(), name)
    }

    /// Uploads chunks until none is left; returns when each was acknowledged.
    async fn send(self: Arc<Self>, number: usize) -> (Vec<Instant>, Option<Error>) {
        let Options { chunks, size, .. } = self.options;
        let mut client = self.client(&format!("s{number}"));
        let mut acknowledged = Vec::new();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= chunks {
                return (acknowledged, None);
            }
            let write = |out: &mut Vec<u8>| self.content.write(0, index, size, out);
            match client.send(index as usize, &self.transfer, index, chunks, write).await {
                Ok(_) => acknowledged.push(Instant::now()),
                Err(error) => return (acknowledged, Some(error)),
            }
        }
    }

    /// Takes chunks until all are there, each once, then acknowledges and sees the transfer gone.
    async fn receive(self: Arc<Self>) -> (u32, Option<Error>) {
        let mut verified = 0;
        let outcome = self.take_all(&mut verified).await;
        (verified, outcome.err())
    }

    async fn take_all(&self, verified: &mut u32) -> Result<(), Error> {
        let Options { chunks, size, receiver, .. } = self.options;
        let mut client = self.client("r");
        let mut seen = vec![false; chunks as usize];
        loop {
            match client.receive(receiver, &self.transfer, Duration::ZERO).await? {
                Received::Chunk { index, total, data } => {
                    let seen = seen.get_mut(index as usize).ok_or(Error::Wrong("an index out of range"))?;
                    if std::mem::replace(seen, true) {
                        return Err(Error::Wrong("a chunk was delivered twice"));
                    }
                    if total != chunks || self.content.verify(0, index, size, &data).is_err() {
                        return Err(Error::Mismatch);
                    }
                    *verified += 1;
                }
                Received::Done if *verified == chunks => break,
                Received::Done => return Err(Error::Wrong("done before everything was delivered")),
                Received::Expired if *verified > 0 => return Err(Error::Wrong("expired under way")),
                Received::Waiting | Received::Expired => tokio::time::sleep(PAUSE).await,
            }
        }
        client.ack(receiver, &self.transfer).await?;
        match client.receive(receiver, &self.transfer, Duration::ZERO).await? {
            Received::Done => {}
            _ => return Err(Error::Wrong("an acknowledged transfer is not done")),
        }
        match client.receive(receiver, &self.transfer, Duration::ZERO).await? {
            Received::Expired => Ok(()),
            _ => Err(Error::Wrong("an acknowledged transfer was not freed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_gap_counts_from_the_beginning() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        assert_eq!(longest_gap(begun, vec![at(30), at(10), at(15)]), Duration::from_millis(15));
        assert_eq!(longest_gap(begun, vec![at(30), at(31)]), Duration::from_millis(30));
        assert_eq!(longest_gap(begun, vec![]), Duration::ZERO);
    }
}
