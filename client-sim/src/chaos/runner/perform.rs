//! Does what a step says.

use std::time::{Duration, Instant, UNIX_EPOCH};

use hyper::Uri;
use tokio::time::sleep;

use super::Runner;
use crate::chaos::Error;
use crate::chaos::cluster::{READY, until};
use crate::chaos::damage::damage;
use crate::chaos::flood;
use crate::chaos::net::Weather;
use crate::chaos::schedule::{Fault, Version, Which};
use crate::chaos::sockets::Sockets;
use crate::sample::get;

/// How long a slow disk stands still, and how long it works in between.
const SLOW: Duration = Duration::from_millis(50);
/// Links are reset once in so long, and whatever passes within this time ends its connection.
const RESET_EVERY: Duration = Duration::from_secs(1);
const RESET_WITHIN: Duration = Duration::from_millis(50);
/// For a node that was told to end.
const GRACE: Duration = Duration::from_secs(60);
/// What the cluster carries is measured for so long, in writes of so many bytes.
const CAPACITY: Duration = Duration::from_secs(5);
const SMALL_BYTES: usize = 256;
/// Bulk is written in chunks of so many bytes, for so long at most.
const LARGE_BYTES: usize = 44_000;
const BULK: Duration = Duration::from_secs(300);

/// How far a clock may be from where it was set, for the question to have its time.
const CLOCK_MARGIN_MS: i64 = 5_000;

/// What a node says of itself.
#[derive(serde::Deserialize)]
struct Health {
    /// Milliseconds since 1970.
    timestamp: i64,
}

impl Runner<'_> {
    /// Does it; returns when it is done, and with a stall when that is over.
    pub(super) async fn perform(&mut self, fault: &Fault) -> Result<(), Error> {
        let ids = match fault.which() {
            Some(which) => self.find(which).await?,
            None => Vec::new(),
        };
        if fault.hurts() {
            self.led = self.cluster.status().await.and_then(|status| status.leader);
            self.harmed.push(Instant::now());
        }
        self.acted = Instant::now();
        let who = ids.iter().map(|id| self.spell(*id)).collect::<Vec<_>>().join(", ");
        match fault {
            Fault::Kill { .. } => {
                self.note(format!("SIGKILL to {who}"));
                self.cluster.kill(&ids).await?;
            }
            Fault::Terminate { .. } => {
                self.note(format!("SIGTERM to {who}"));
                for id in ids {
                    self.end_well(id).await?;
                }
            }
            Fault::Freeze { .. } => {
                ids.iter().try_for_each(|id| self.cluster.freeze(*id))?;
                self.note(format!("SIGSTOP to {who}"));
            }
            Fault::Thaw { .. } => {
                let frozen = self.cluster.frozen();
                ids.iter().filter(|id| frozen.contains(id)).try_for_each(|id| self.cluster.thaw(*id))?;
                self.note(format!("SIGCONT to {who}"));
            }
            Fault::Start { .. } | Fault::StartInVain { .. } => {
                for id in ids {
                    if self.cluster.is_ours() && self.cluster.has_ended(id)? {
                        self.cluster.start_node(id)?;
                        self.note(format!("node {id} is started"));
                    }
                }
            }
            Fault::RollingRestart => {
                self.roll(None).await?;
                self.note("all were restarted");
            }
            Fault::Roll { to } => {
                self.roll(Some(*to)).await?;
                self.note(format!(
                    "all run {} version",
                    if *to == Version::This { "this" } else { "the other" }
                ));
            }
            Fault::Wipe { .. } => {
                ids.iter().try_for_each(|id| self.cluster.wipe(*id))?;
                self.note(format!("the disk of {who} is lost"));
            }
            Fault::Replace { .. } => {
                for id in ids {
                    self.cluster.remove(id).await?;
                    let fresh = self.cluster.grow().await?;
                    self.note(format!("node {id} is replaced by node {fresh}"));
                }
                self.observer.nodes(&self.cluster);
            }
            Fault::Grow { to, fronts } => self.grow(*to, *fronts).await?,
            Fault::Shrink { to, drain: false } => self.shrink(*to).await?,
            Fault::Shrink { to, drain: true } => self.drain(*to).await?,
            Fault::HandOver => {
                let heir = self.find(Which::Follower).await?;
                for id in heir {
                    self.cluster.hand_over(id).await?;
                    self.note(format!("leadership was handed to node {id}"));
                }
            }

            Fault::Isolate { .. } => {
                let net = self.cluster.net()?;
                ids.iter().for_each(|id| net.isolate(*id));
                self.note(format!("{who} is cut off"));
            }
            Fault::Mute { .. } => {
                let net = self.cluster.net()?;
                ids.iter().for_each(|id| net.mute(*id));
                self.note(format!("nobody hears {who}"));
            }
            Fault::Deafen { .. } => {
                let net = self.cluster.net()?;
                ids.iter().for_each(|id| net.deafen(*id));
                self.note(format!("{who} hears nobody"));
            }
            Fault::Weather { delay, jitter, loss, reset, bytes_per_second } => {
                let (delay, jitter) = ((*delay).into(), (*jitter).into());
                let weather = Weather {
                    delay,
                    jitter,
                    loss: *loss,
                    reset: *reset,
                    bytes_per_second: *bytes_per_second,
                };
                self.cluster.net()?.weather(weather);
                self.note(format!("between the nodes: {weather}"));
            }
            Fault::ResetLinks { time } => {
                let times = Duration::from(*time).as_secs();
                for _ in 0..times {
                    self.cluster.net()?.weather(Weather { reset: 1.0, ..Weather::default() });
                    sleep(RESET_WITHIN).await;
                    self.cluster.net()?.heal();
                    sleep(RESET_EVERY - RESET_WITHIN).await;
                }
                self.note(format!("the links were reset {times} times"));
            }
            Fault::Heal => {
                self.cluster.net()?.heal();
                self.note("the net is healed");
            }

            Fault::FillDisk { .. } => {
                for id in &ids {
                    self.cluster.disk(*id)?.fill().await?;
                }
                self.note(format!("the disk of {who} is full"));
            }
            Fault::EmptyDisk { .. } => {
                ids.iter().try_for_each(|id| self.cluster.disk(*id)?.relieve())?;
                self.note(format!("the disk of {who} has room again"));
            }
            Fault::StallDisk { time, .. } => {
                self.note(format!("the disk of {who} stands still for {time}"));
                for id in &ids {
                    self.cluster.disk(*id)?.freeze().await?;
                }
                sleep((*time).into()).await;
                for id in &ids {
                    self.cluster.disk(*id)?.thaw().await?;
                }
                self.acted = Instant::now();
                self.note(format!("the disk of {who} works again"));
            }
            Fault::SlowDisk { time, .. } => {
                self.note(format!("the disk of {who} is slow for {time}"));
                let until = Instant::now() + Duration::from(*time);
                while Instant::now() < until {
                    for id in &ids {
                        self.cluster.disk(*id)?.freeze().await?;
                    }
                    sleep(SLOW).await;
                    for id in &ids {
                        self.cluster.disk(*id)?.thaw().await?;
                    }
                    sleep(SLOW).await;
                }
                self.acted = Instant::now();
                self.note(format!("the disk of {who} works again"));
            }
            Fault::CutPower { .. } => {
                for id in &ids {
                    self.cluster.disk(*id)?.cut_power().await?;
                }
                self.note(format!("the power of {who} is cut"));
                let still: Vec<u64> = self.alive(&ids)?;
                self.cluster.kill(&still).await?;
                for id in &ids {
                    self.cluster.disk(*id)?.power_on().await?;
                }
            }
            Fault::FailFlushes { .. } => {
                for id in &ids {
                    self.cluster.fail_flushes(*id, true).await?;
                }
                self.note(format!("every flush of {who} fails"));
            }
            Fault::Damage { place, .. } => {
                for id in ids {
                    let done = damage(self.cluster.node(id)?, *place)?;
                    self.note(format!("{done} of node {id}'s files are damaged"));
                }
            }
            Fault::Clock { seconds, .. } => {
                for id in &ids {
                    self.cluster.set_clock(*id, *seconds)?;
                    self.clock_shows(*id, *seconds).await?;
                }
                self.note(format!("the clock of {who} is wrong by {seconds} s"));
            }

            Fault::HoldSockets { sockets } => {
                self.sockets = Some(Sockets::open(self.cluster.targets(), *sockets).await?);
                self.note(format!("{sockets} sockets are open"));
            }
            Fault::DropSockets => {
                self.note("all sockets are lost at once");
                if let Some(sockets) = &mut self.sockets {
                    sockets.lose_all().await?;
                }
                self.note("all sockets are back");
            }
            Fault::Overload { factor, time } => self.overload(*factor, (*time).into()).await?,
            Fault::Write { mib } => {
                self.note(format!("{mib} MiB are written"));
                let rate = flood::write(self.up(), LARGE_BYTES, mib << 20, BULK).await;
                self.note(format!("{mib} MiB were written, {rate:.0} chunks a second"));
            }
        }
        Ok(())
    }

    /// A node and its role, as far as it is known from before.
    fn spell(&self, id: u64) -> String {
        match self.led {
            Some(leader) if leader == id => format!("node {id} (the leader)"),
            _ => format!("node {id}"),
        }
    }

    /// Those whose processes have not ended.
    fn alive(&mut self, ids: &[u64]) -> Result<Vec<u64>, Error> {
        let mut alive = Vec::new();
        for id in ids {
            if !self.cluster.has_ended(*id)? {
                alive.push(*id);
            }
        }
        Ok(alive)
    }

    /// The public APIs of those that run.
    fn up(&self) -> Vec<crate::client::Target> {
        let node = |id| self.cluster.node(id).ok().map(|node| node.http.clone());
        self.cluster.running().into_iter().filter_map(node).collect()
    }

    /// Ends and starts one node after the other, as another version if one is named.
    async fn roll(&mut self, to: Option<Version>) -> Result<(), Error> {
        for id in self.cluster.ids() {
            self.note(format!("SIGTERM to {}", self.spell(id)));
            self.end_well(id).await?;
            if let Some(version) = to {
                self.cluster.set_version(id, version)?;
            }
            self.cluster.start_node(id)?;
            self.cluster.ready(id, READY).await?;
        }
        Ok(())
    }

    async fn end_well(&mut self, id: u64) -> Result<(), Error> {
        let code = self.cluster.terminate(id, GRACE).await?;
        if code != Some(0) {
            self.broken(format!("node {id} was told to end and did not do so well: {code:?}"));
        }
        Ok(())
    }

    /// Waits until a node's own clock is off by so many seconds, as it says itself.
    async fn clock_shows(&self, id: u64, seconds: i64) -> Result<(), Error> {
        let target = &self.cluster.node(id)?.http;
        until(
            READY,
            || format!("node {id}'s clock is wrong by {seconds} s"),
            async || {
                let reply = get(target, &Uri::from_static("/health")).await.ok();
                let shown = reply.and_then(|reply| serde_json::from_slice::<Health>(&reply.body).ok());
                let now = UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis() as i64);
                let off = shown.map(|shown| shown.timestamp - now - 1_000 * seconds);
                Ok(off.filter(|off| off.abs() < CLOCK_MARGIN_MS).map(|_| ()))
            },
        )
        .await
    }

    async fn overload(&mut self, factor: f64, time: Duration) -> Result<(), Error> {
        let capacity = flood::write(self.up(), SMALL_BYTES, u64::MAX, CAPACITY).await;
        self.note(format!("the cluster carries {capacity:.0} writes a second"));
        self.measured.insert("capacity_per_s", capacity);
        let seen = flood::overload(self.up(), SMALL_BYTES, factor * capacity, time).await;
        self.note(format!(
            "at {factor} times that it carried {:.0} a second, refused {} and failed {}; {} were not asked, with {} under way",
            seen.goodput, seen.refused, seen.failed, seen.withheld, flood::UNDER_WAY_MAX
        ));
        self.measured.insert("goodput_ratio", seen.goodput / capacity.max(1.0));
        // Without refusals, none came late.
        let refusal = seen.refusal_p99.unwrap_or_default();
        self.measured.insert("refusal_p99_ms", refusal.as_secs_f64() * 1e3);
        if let Some(recovery) = flood::recovery(self.up()).await {
            self.measured.insert("overload_recovery_ms", recovery.as_secs_f64() * 1e3);
        }
        Ok(())
    }
}
