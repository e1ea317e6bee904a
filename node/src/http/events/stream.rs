//! One open stream: reads, waits, and knows when to end.

use std::convert::Infallible;

use actix_web::web;
use bytes::Bytes;
use conclave_cluster::state::State;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::super::error::Error;
use super::super::shared::Shared;
use super::super::wait;
use super::HEARTBEAT;
use super::frame::{COMMENT, Frames};
use super::{mail, room};
use crate::access::Credential;
use crate::access::admission::Pass;
use crate::actors::{Place, Watch};
use crate::listener::Closed;

/// After how many milliseconds a client opens the next stream when this one breaks.
const RETRY_MS: u64 = 1_000;
/// Streams that end because the node goes away come back within this time, spread over it.
const RETURN_MS_MAX: u64 = 3_000;

/// An open stream.
pub(super) struct Feed {
    shared: web::Data<Shared>,
    source: Source,
    watch: Watch,
    credential: Credential,
    revocations: watch::Receiver<u64>,
    lapses: watch::Receiver<u64>,
    heartbeat: Instant,
    stage: Stage,
    closed: Option<Closed>,
    _pass: Pass,
}

/// Why a stream looks again.
enum Woken {
    Look,
    Alone,
    Lapsed,
    Gone,
}

/// What a stream tells of.
pub(super) enum Source {
    /// A room's messages.
    Room(room::Reader),
    /// A peer's signals.
    Mail(mail::Reader),
}

impl Source {
    fn place(&self) -> Place {
        match self {
            Self::Room(reader) => reader.place(),
            Self::Mail(reader) => reader.place(),
        }
    }

    fn welcome(&mut self, state: &State, now_ms: u64, frames: &mut Frames) {
        match self {
            Self::Room(reader) => reader.welcome(state, now_ms, frames),
            Self::Mail(reader) => reader.welcome(frames),
        }
    }

    /// False: there is nothing more to tell here.
    fn read(&mut self, state: &State, now_ms: u64, frames: &mut Frames) -> bool {
        match self {
            Self::Room(reader) => {
                reader.read(state, now_ms, frames);
                true
            }
            Self::Mail(reader) => reader.read(state, now_ms, frames),
        }
    }
}

enum Stage {
    Begins,
    Runs,
    Over,
}

impl Feed {
    /// Registers the watcher: what changes from now on is not missed.
    pub(super) async fn new(
        shared: web::Data<Shared>,
        source: Source,
        credential: Credential,
        pass: Pass,
        closed: Option<Closed>,
    ) -> Result<Self, Error> {
        let watch = shared.services.registry.watch(source.place()).await?;
        let revocations = shared.services.auth.changes();
        let lapses = shared.sockets.keeper().lapses();
        let heartbeat = Instant::now() + HEARTBEAT;
        Ok(Self {
            shared,
            source,
            watch,
            credential,
            revocations,
            lapses,
            heartbeat,
            stage: Stage::Begins,
            closed,
            _pass: pass,
        })
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        unfold(self, |mut feed| async move {
            let bytes = feed.next().await?;
            Some((Ok(bytes), feed))
        })
    }

    /// The next bytes to write; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let mut frames = Frames::default();
            match self.stage {
                Stage::Over => return None,
                Stage::Begins => {
                    frames.retry(RETRY_MS);
                    self.shared
                        .services
                        .cluster
                        .glance(|state, now_ms| self.source.welcome(state, now_ms, &mut frames));
                    self.stage = Stage::Runs;
                }
                Stage::Runs if self.shared.is_draining() => {
                    let retry_ms = rand::random_range(0..=RETURN_MS_MAX);
                    frames.retry(retry_ms);
                    frames.event("drain", None, json!({ "retryAfterMs": retry_ms }).to_string().as_bytes());
                    self.stage = Stage::Over;
                }
                // The next stream is refused, which tells the client enough.
                Stage::Runs if !self.is_welcome() => return None,
                Stage::Runs => {
                    let source = &mut self.source;
                    let cluster = &self.shared.services.cluster;
                    if !cluster.glance(|state, now_ms| source.read(state, now_ms, &mut frames)) {
                        frames.event("replaced", None, b"{}");
                        self.stage = Stage::Over;
                    }
                }
            }
            if !frames.is_empty() {
                self.heartbeat = Instant::now() + HEARTBEAT;
                return Some(frames.into_bytes());
            }
            if !self.wait().await? {
                return Some(COMMENT);
            }
        }
    }

    fn is_welcome(&self) -> bool {
        self.shared.services.auth.holds(&self.credential, self.shared.services.now_ms())
    }

    /// Waits until it makes sense to look again; false if a heartbeat is due first. `None` if nobody would wake it.
    async fn wait(&mut self) -> Option<bool> {
        let changed = async {
            tokio::select! {
                // Nothing would tell before the next heartbeat is written, and what it holds would be held for as long.
                () = wait::gone(self.closed.as_ref()) => Woken::Gone,
                alive = self.watch.changed() => if alive { Woken::Look } else { Woken::Alone },
                // The senders live as long as the node.
                _ = self.revocations.changed() => Woken::Look,
                _ = self.lapses.changed() => Woken::Lapsed,
            }
        };
        match timeout_at(self.heartbeat, changed).await {
            Ok(Woken::Gone) => None,
            Ok(Woken::Look) => Some(true),
            // The actor is gone; whoever comes next has another one.
            Ok(Woken::Alone) => {
                self.watch = self.shared.services.registry.watch(self.source.place()).await.ok()?;
                Some(true)
            }
            Ok(Woken::Lapsed) => match &self.source {
                Source::Room(_) => Some(true),
                Source::Mail(reader) => reader.attach_anew().await.then_some(true),
            },
            Err(_) => {
                self.heartbeat = Instant::now() + HEARTBEAT;
                // A credential that is over ends the stream no later than this.
                self.is_welcome().then_some(false)
            }
        }
    }
}
