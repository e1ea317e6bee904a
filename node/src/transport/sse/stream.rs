//! One open stream: reads, waits, and knows when to end.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use conclave_cluster::{Cluster, Error as Unanswered};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::HEARTBEAT;
use super::frame::{COMMENT, Frames};
use super::{mail, room};
use crate::access::Credential;
use crate::access::admission::ConnectionPermit;
use crate::actors::{StateKey, Watch};
use crate::admission::buffers::Held;
use crate::listener::Closed;
use crate::service::webhooks::OpenStream;
use crate::service::{Caller, Services};
use crate::transport::request::error::Error;
use crate::transport::request::wait;

/// After how many milliseconds a client opens the next stream when this one breaks.
const RETRY_MS: u64 = 1_000;
/// Streams that end because the node goes away come back within this time, spread over it.
const RETURN_MS_MAX: u64 = 3_000;

/// An open stream.
pub(crate) struct Feed {
    services: Arc<Services>,
    source: Source,
    watch: Watch,
    credential: Credential,
    revocations: watch::Receiver<u64>,
    lapses: watch::Receiver<u64>,
    heartbeat: Instant,
    stage: Stage,
    closed: Option<Closed>,
    /// Posts that the stream is over when it is dropped.
    _open: OpenStream,
    _pass: ConnectionPermit,
    _head: Option<Held>,
}

/// Why a stream looks again.
enum Woken {
    Look,
    Alone,
    Lapsed,
    Gone,
}

/// What a stream tells of.
pub(crate) enum Source {
    /// A room's messages.
    Room(room::Reader),
    /// A peer's signals.
    Mail(mail::Reader),
}

impl Source {
    fn target(&self) -> StateKey {
        match self {
            Self::Room(reader) => reader.target(),
            Self::Mail(reader) => reader.target(),
        }
    }

    async fn welcome(&mut self, cluster: &Cluster, frames: &mut Frames) -> Result<(), Unanswered> {
        match self {
            Self::Room(reader) => reader.welcome(cluster.read_stale(reader.room()).await?, frames),
            Self::Mail(reader) => reader.welcome(frames),
        }
        Ok(())
    }

    /// False: there is nothing more to tell here.
    async fn read(&mut self, cluster: &Cluster, frames: &mut Frames) -> Result<bool, Unanswered> {
        match self {
            Self::Room(reader) => {
                reader.read(cluster.read_stale(reader.since()).await?, frames);
                Ok(true)
            }
            Self::Mail(reader) => reader.read(frames).await,
        }
    }
}

enum Stage {
    Begins,
    Runs,
    Over,
}

impl Feed {
    /// Registers the watcher: what changes from now on is not missed. `lapses` are those since before anything was claimed.
    pub(crate) async fn new(
        services: Arc<Services>,
        source: Source,
        caller: &Caller,
        credential: Credential,
        pass: ConnectionPermit,
        lapses: watch::Receiver<u64>,
        closed: Option<Closed>,
    ) -> Result<Self, Error> {
        let watch = services.registry.watch(source.target()).await?;
        let revocations = services.auth.changes();
        let heartbeat = Instant::now() + HEARTBEAT;
        let open = services.webhooks.stream_opened(caller, credential.subject.as_ref(), source.target());
        Ok(Self {
            services,
            source,
            watch,
            credential,
            revocations,
            lapses,
            heartbeat,
            stage: Stage::Begins,
            closed,
            _open: open,
            _pass: pass,
            _head: None,
        })
    }

    /// The same, which holds the head of its request.
    pub(crate) fn holding(self, head: Option<Held>) -> Self {
        Self { _head: head, ..self }
    }

    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
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
                    // A stream that breaks is opened anew, with what it said last.
                    self.source.welcome(&self.services.cluster, &mut frames).await.ok()?;
                    self.stage = Stage::Runs;
                }
                Stage::Runs if self.services.is_draining() => {
                    let retry_ms = rand::random_range(0..=RETURN_MS_MAX);
                    frames.retry(retry_ms);
                    frames.event("drain", None, json!({ "retryAfterMs": retry_ms }).to_string().as_bytes());
                    self.stage = Stage::Over;
                }
                // The next stream is refused, which tells the client enough.
                Stage::Runs if !self.is_welcome() => return None,
                Stage::Runs => {
                    if !self.source.read(&self.services.cluster, &mut frames).await.ok()? {
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
        self.services.auth.holds(&self.credential, self.services.now_ms())
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
                self.watch = self.services.registry.watch(self.source.target()).await.ok()?;
                Some(true)
            }
            Ok(Woken::Lapsed) => match &mut self.source {
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
