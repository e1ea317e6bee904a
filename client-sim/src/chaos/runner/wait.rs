//! Conditions that are waited for, and things that have to be so.

use std::time::{Duration, Instant};

use hyper::Uri;
use tokio::time::Instant as Tick;

use super::Runner;
use crate::chaos::Error;
use crate::chaos::cluster::until;
use crate::chaos::schedule::{Await, Expect};
use crate::client::{self, Client, Request, Tally};

/// How often and how long a node that has to refuse is asked.
const REFUSALS: u32 = 5;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

impl Runner<'_> {
    pub(super) async fn wait(&mut self, condition: &Await) -> Result<(), Error> {
        match condition {
            Await::Healthy { within } => {
                self.cluster.healthy((*within).into()).await?;
                let took = self.acted.elapsed().as_secs_f64() * 1e3;
                self.at_most("recover_ms", took);
                self.note(format!("all nodes are ready, {took:.0} ms after the last step"));
            }
            Await::Settled { cells, within } => {
                self.cluster.settled(*cells, (*within).into()).await?;
                let took = self.acted.elapsed().as_secs_f64() * 1e3;
                self.note(format!("{cells} cells share all slots evenly, {took:.0} ms after the last step"));
            }
            Await::Acknowledged { within } => {
                let from = Instant::now();
                let load = &self.load;
                let what = || "a write is acknowledged".to_owned();
                let resumed = until((*within).into(), what, async || Ok(load.resumed_after(from))).await?;
                self.note(format!("a write was acknowledged after {:.0} ms", resumed.as_secs_f64() * 1e3));
            }
            Await::NewLeader { within } => {
                let (led, cluster) = (self.led, &self.cluster);
                let what = || "another node leads".to_owned();
                let leader = until((*within).into(), what, async || {
                    let leader = cluster.status().await.and_then(|status| status.leader);
                    Ok(leader.filter(|leader| Some(*leader) != led))
                });
                let leader = leader.await?;
                self.note(format!("node {leader} leads"));
            }
            Await::Snapshot { node, within } => {
                let ids = self.find(*node).await?;
                let cluster = &self.cluster;
                let what = || "a snapshot is on the disk".to_owned();
                until((*within).into(), what, async || {
                    let found = ids.iter().map(|id| Ok(!cluster.node(*id)?.files("snapshot").is_empty()));
                    let found = found.collect::<Result<Vec<bool>, Error>>()?;
                    Ok(found.into_iter().all(|found| found).then_some(()))
                })
                .await?;
                self.note(format!("nodes {ids:?} have a snapshot"));
            }
        }
        Ok(())
    }

    pub(super) async fn look(&mut self, expectation: &Expect) -> Result<(), Error> {
        match expectation {
            Expect::Refuses { node } => {
                for id in self.find(*node).await? {
                    self.refuses(id).await?;
                }
            }
            Expect::RefusesAPart { node } => {
                let ids = self.find(*node).await?;
                self.refuse_a_part(&ids).await;
            }
            Expect::Ends { node, says, within } => {
                for id in self.find(*node).await? {
                    let code = self.cluster.ended(id, (*within).into()).await?;
                    let printed = self.cluster.node(id)?.printed().to_lowercase();
                    self.note(format!("node {id} ended by itself with {code:?}"));
                    if code == Some(0) || code.is_none() {
                        self.broken(format!("node {id} should have failed and ended with {code:?}"));
                    }
                    for word in says.iter().filter(|word| !printed.contains(&word.to_lowercase())) {
                        self.broken(format!("node {id} did not say `{word}` before it ended"));
                    }
                }
            }
            Expect::Runs { node } => {
                for id in self.find(*node).await? {
                    if self.cluster.has_ended(id)? {
                        self.broken(format!("node {id} should run and has ended"));
                    }
                }
            }
            Expect::Follows { node } => {
                let leader = self.cluster.leader().await?;
                if self.find(*node).await?.contains(&leader) {
                    self.broken(format!("node {leader} leads and should not"));
                }
            }
        }
        Ok(())
    }

    /// Asks a node to write and to read; it must answer neither, and say so soon.
    async fn refuses(&mut self, id: u64) -> Result<(), Error> {
        let target = self.cluster.node(id)?.http.clone();
        let options = client::Options {
            timeout: REFUSAL_TIMEOUT,
            patience: REFUSAL_TIMEOUT,
            ..client::Options::default()
        };
        let mut client = Client::new(&[target], options, Tally::default().into(), "refuses".to_owned());
        let mut slowest = Duration::ZERO;
        for turn in 0..REFUSALS {
            for action in ["ack", "ack-status"] {
                let pair = format!(r#""pin":"refused-{}-{turn}","passwordHash":"none""#, self.load_name());
                let body = format!(r#"{{"action":"{action}",{pair}}}"#);
                let began = Tick::now();
                let answer = client.attempt(0, &Request::post(Uri::from_static("/api/relay"), body)).await;
                slowest = slowest.max(began.elapsed());
                let refused =
                    matches!(&answer, Ok(reply) if reply.status == 503 && reply.retry_after().is_some());
                if !refused {
                    let said = answer
                        .map(|reply| reply.status.to_string())
                        .unwrap_or_else(|fault| fault.to_string());
                    self.broken(format!("node {id}, cut off, answered `{action}` with {said}, not 503"));
                }
            }
        }
        let slowest = slowest.as_secs_f64() * 1e3;
        self.note(format!("node {id} refuses, within {slowest:.0} ms"));
        self.at_most("refuse_ms", slowest);
        Ok(())
    }

    /// Takes a figure that is the most of what was measured.
    pub(super) fn at_most(&mut self, figure: &'static str, measured: f64) {
        let most = self.measured.entry(figure).or_default();
        *most = most.max(measured);
    }

    /// A name no other run uses.
    pub(super) fn load_name(&self) -> u128 {
        self.began.elapsed().as_nanos()
    }
}
