//! What every command that runs a workload can be told about it.

use std::time::Duration;

use super::{Generator, duration};
use crate::client::{self, Target};
use crate::content::LENGTH_MAX;
use crate::files::raise_open_files;
use crate::schedule::Rate;
use crate::socket::Encoding;
use crate::workload::{self, PAYLOAD_BYTES_MIN, Think, Verify, Workload};

/// Files beside sockets: standard streams, the runtime's, metrics.
const FILES_BESIDE: u64 = 64;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Work {
    /// What to do
    #[arg(long, value_enum, default_value = "relay")]
    pub(super) workload: Workload,
    /// Workers, each with one request in flight; pairs, rooms, mailboxes or sockets where there are sockets
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    concurrency: u64,
    /// Operations a second over all workers, latency counted from the planned start; 0 is a closed loop
    #[arg(long, default_value_t = 0.0)]
    pub(super) rate: f64,
    /// The same, growing in a line over the window: FROM..TO
    #[arg(long, value_parser = ramp, conflicts_with = "rate")]
    ramp: Option<Rate>,
    /// The same, one rate after the other, each for an equal share of the window
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["rate", "ramp"])]
    steps: Vec<f64>,
    /// Length of the measured window
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(super) duration: Duration,
    /// Load before the window opens
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(super) warmup: Duration,
    /// Bytes of data per chunk, payload, ciphertext or message; 256, or 1024 over sockets
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LENGTH_MAX as u64))]
    size: Option<u64>,
    /// How frames of sockets are written; mailbox knows json only
    #[arg(long, value_enum, default_value = "json")]
    encoding: Encoding,
    /// Publish what is kept nowhere and may be lost
    #[arg(long)]
    volatile: bool,
    /// Messages of one sender that may be on the way; 8 in a closed loop, 4096 in an open one
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    window: Option<u64>,
    /// Receivers in each room
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    members: u64,
    /// Where the realtime endpoint is
    #[arg(long, default_value = "/api/v1/socket")]
    socket_path: String,
    /// Chunks per transfer
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=2048))]
    chunks: u32,
    /// Which transfers are received and verified
    #[arg(long, value_enum, default_value = "all")]
    verify: Verify,
    /// Measure nothing but sends; the same as `--verify none`
    #[arg(long, conflicts_with = "verify")]
    sends_only: bool,
    /// Let polls and reads wait this long on the server; only for servers that know waitMs
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=25_000))]
    wait_ms: u64,
    /// Let receivers ask again and again with a pause of so long between, as apps without push do: 500ms..800ms
    #[arg(long, value_parser = think, conflicts_with = "wait_ms")]
    think: Option<Think>,
    /// Weights of relay, signaling and exchange flows in the mixed workload
    #[arg(long, value_delimiter = ',', num_args = 3, default_values_t = [2, 6, 4])]
    mix: Vec<u32>,
    /// Error codes that may occur without failing the run
    #[arg(long, value_delimiter = ',')]
    allow: Vec<String>,
    /// How long one request may take with all its retries
    #[arg(long, default_value = "20s", value_parser = duration)]
    patience: Duration,
    /// Let receive and poll carry Idempotency-Keys, so that replies lost with a node lose nothing; for runs in which
    /// nodes are killed, at less than 1,500 receives a second
    #[arg(long)]
    idempotent: bool,
    #[command(flatten)]
    generator: Generator,
}

impl Work {
    /// Looks at what depends on more than one argument, and makes room for sockets.
    pub(super) fn prepare(&self, targets: usize) -> Result<(), String> {
        match self.workload {
            Workload::Mailbox if self.encoding != Encoding::Json => {
                return Err("signals are pushed in JSON only".to_owned());
            }
            Workload::Socket | Workload::Room | Workload::Mailbox if self.size() < PAYLOAD_BYTES_MIN => {
                return Err(format!("messages have {PAYLOAD_BYTES_MIN} bytes at least"));
            }
            _ => {}
        }
        if self.think.is_some() && self.workload.has_sockets() {
            return Err("over sockets nobody asks, so that there is nothing to pause between".to_owned());
        }
        if self.steps.iter().any(|rate| !rate.is_finite() || *rate <= 0.0) {
            return Err("rates of steps are above zero".to_owned());
        }
        let open = match self.workload {
            Workload::Socket => 2 * self.concurrency,
            Workload::Room => (1 + self.members) * self.concurrency,
            Workload::Mailbox => (1 + targets as u64) * self.concurrency,
            Workload::Idle => self.concurrency,
            _ => 2 * self.concurrency,
        };
        raise_open_files(open + FILES_BESIDE)
    }

    pub(super) fn threads(&self) -> usize {
        self.generator.threads
    }

    fn size(&self) -> usize {
        let default = if self.workload.has_sockets() { 1024 } else { 256 };
        self.size.map_or(default, |size| size as usize)
    }

    pub(super) fn options(&self, targets: &[Target]) -> workload::Options {
        let rate = match (&self.ramp, self.steps.as_slice()) {
            (Some(ramp), _) => ramp.clone(),
            (None, []) => self.rate.into(),
            (None, steps) => Rate::Steps(steps.to_vec()),
        };
        workload::Options {
            targets: targets.to_vec(),
            workload: self.workload,
            concurrency: self.concurrency as usize,
            rate,
            warmup: self.warmup,
            duration: self.duration,
            size: self.size(),
            chunks: self.chunks,
            verify: if self.sends_only { Verify::None } else { self.verify },
            wait: Duration::from_millis(self.wait_ms),
            think: self.think,
            mix: [self.mix[0], self.mix[1], self.mix[2]],
            seed: self.generator.seed(),
            allow: self.allow.clone(),
            client: client::Options {
                patience: self.patience,
                idempotent: self.idempotent,
                ..client::Options::default()
            },
            sockets: workload::SocketOptions {
                path: self.socket_path.clone(),
                encoding: self.encoding,
                volatile: self.volatile,
                window: self.window.map(|window| window as usize),
                members: self.members as usize,
            },
        }
    }
}

/// `100..2000`.
fn ramp(text: &str) -> Result<Rate, String> {
    let (from, to) = text.split_once("..").ok_or("not FROM..TO")?;
    let rate = |text: &str| match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        Ok(_) | Err(_) => Err(format!("{text:?} is no rate")),
    };
    match (rate(from)?, rate(to)?) {
        (0.0, 0.0) => Err("a ramp has a rate above zero somewhere".to_owned()),
        (from, to) => Ok(Rate::Ramp { from, to }),
    }
}

/// `500ms..800ms`, or one length for all.
fn think(text: &str) -> Result<Think, String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let think = Think { min: duration(min)?, max: duration(max)? };
    if think.min <= think.max { Ok(think) } else { Err("the shortest pause comes first".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_and_pauses_are_read() {
        assert_eq!(ramp("100..2000"), Ok(Rate::Ramp { from: 100.0, to: 2000.0 }));
        assert!(ramp("100").is_err() && ramp("0..0").is_err() && ramp("-1..5").is_err());
        let [half, more] = [500, 800].map(Duration::from_millis);
        assert_eq!(think("500ms..800ms"), Ok(Think { min: half, max: more }));
        assert_eq!(think("0.5s"), Ok(Think { min: half, max: half }));
        assert!(think("800ms..500ms").is_err());
    }
}
