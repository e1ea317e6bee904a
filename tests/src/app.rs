//! The relay sync of the app as it was shipped: one base address, a time-out of 8 s, and no second try of anything.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::RngExt as _;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::http::Api;
use crate::relay::Pair;

/// Bytes of the vault in one chunk, before base64.
const CHUNK_BYTES: usize = 32 * 1024;
/// How long it waits for any answer.
const HTTP_TIMEOUT: Duration = Duration::from_secs(8);
/// Between two polls, a fifth more or less.
const POLL_MS: f64 = 800.0;
/// How long it waits for the other side.
const POLLED_AT_MOST: Duration = Duration::from_secs(180);

/// How it polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As it was shipped.
    Shipped,
    /// Without any pause.
    Hurried,
}

/// One device.
#[derive(Debug, Clone)]
pub struct App {
    api: Api,
    pace: Pace,
}

impl App {
    /// A device that knows this node only.
    pub fn new(api: Api, pace: Pace) -> Self {
        Self { api, pace }
    }

    /// Sends a vault, one chunk after the other, and waits until the other device has acknowledged it.
    pub async fn send(&self, pair: &Pair, vault: &[u8]) {
        let total = u32::try_from(vault.len().div_ceil(CHUNK_BYTES)).expect("vaults of tests are small");
        for (index, chunk) in (0..).zip(vault.chunks(CHUNK_BYTES)) {
            let sent = self.ask(&pair.send(index, total, &BASE64.encode(chunk))).await;
            assert_eq!(sent["status"], "waiting", "chunk {index} of {total}: {sent}");
            assert!(sent["error"].is_null(), "chunk {index} of {total}: {sent}");
        }
        let began = Instant::now();
        while self.ask(&pair.ack_status()).await["acknowledged"] != true {
            assert!(began.elapsed() < POLLED_AT_MOST, "nobody acknowledges it");
            self.pause().await;
        }
    }

    /// Receives a vault and acknowledges it. Before the first chunk is there it polls, too.
    pub async fn receive(&self, pair: &Pair) -> Vec<u8> {
        let mut chunks: Vec<Option<Vec<u8>>> = Vec::new();
        let mut missing = usize::MAX;
        let began = Instant::now();
        while missing > 0 {
            assert!(began.elapsed() < POLLED_AT_MOST, "{missing} chunks did not come");
            let got = self.ask(&pair.receive()).await;
            match got["status"].as_str() {
                Some("waiting") => {}
                Some("expired") if chunks.is_empty() => {}
                Some("chunkAvailable") => {
                    let number = |field: &str| got["chunk"][field].as_u64().expect("a number") as usize;
                    if chunks.is_empty() {
                        missing = number("totalChunks");
                        chunks.resize(missing, None);
                    }
                    let data = got["chunk"]["data"].as_str().expect("base64");
                    let slot = &mut chunks[number("chunkIndex")];
                    assert!(
                        slot.replace(BASE64.decode(data).expect("base64")).is_none(),
                        "a chunk came twice"
                    );
                    missing -= 1;
                }
                _ => panic!("{got}"),
            }
            if missing > 0 {
                self.pause().await;
            }
        }
        assert_eq!(self.ask(&pair.ack()).await["ok"], true);
        chunks.into_iter().flatten().flatten().collect()
    }

    /// Whatever is not answered by 200 in time is the end.
    async fn ask(&self, body: &Value) -> Value {
        self.api.relay(body).patience(HTTP_TIMEOUT).once().await.ok()
    }

    async fn pause(&self) {
        if self.pace == Pace::Shipped {
            let jitter = rand::rng().random_range(0.8..1.2);
            sleep(Duration::from_millis((POLL_MS * jitter) as u64)).await;
        }
    }
}
