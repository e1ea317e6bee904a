//! What actors of every kind do for their key.

use std::sync::Arc;
use std::time::Duration;

use actix::{Message, ResponseFuture};
use conclave_cluster::state::outcome::Answer;
use conclave_cluster::{Cluster, Draft, Error, Trace};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Place;
use super::line::{Call, Line};

/// For how long an actor stays without being used.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(2);

/// Have this carried out.
#[derive(Message)]
#[rtype(result = "Result<Answer, Error>")]
pub(super) struct Carry {
    pub(super) draft: Draft,
    pub(super) trace: Option<Trace>,
    pub(super) call: Call,
}

/// Have this carried out unless it was within `rest`; nobody waits for the answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Refresh {
    pub(super) draft: Draft,
    pub(super) rest: Duration,
    pub(super) call: Call,
}

/// Give me a bell that rings when the key changes.
#[derive(Message)]
#[rtype(result = "watch::Receiver<()>")]
pub(super) struct Listen;

/// The key changed, or may have.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Wake;

/// The state of an actor: whom it fronts, and who waits.
pub(super) struct Desk {
    pub(super) place: Place,
    pub(super) line: Arc<Line>,
    cluster: Cluster,
    bell: watch::Sender<()>,
    refreshed: Option<Instant>,
}

impl Desk {
    pub(super) fn new(place: Place, line: Arc<Line>, cluster: Cluster) -> Self {
        Self { place, line, cluster, bell: watch::Sender::new(()), refreshed: None }
    }

    /// Begins a call. It runs beside the actor, so that calls of one key are in flight together; they reach the
    /// cluster in the order in which they reached the actor.
    pub(super) fn carry(&self, Carry { draft, trace, call }: Carry) -> ResponseFuture<Result<Answer, Error>> {
        let cluster = self.cluster.clone();
        Box::pin(async move {
            let answer = cluster.propose_traced(draft, trace).await;
            drop(call);
            answer
        })
    }

    /// Begins a call that nobody waits for, unless it is too soon. A lost one is made up for by the next.
    pub(super) fn refresh(&mut self, Refresh { draft, rest, call }: Refresh) {
        if self.refreshed.is_some_and(|at| at.elapsed() < rest) {
            return;
        }
        self.refreshed = Some(Instant::now());
        let cluster = self.cluster.clone();
        actix::spawn(async move {
            if let Err(error) = cluster.propose(draft).await {
                tracing::debug!(%error, "a lease was not renewed");
            }
            drop(call);
        });
    }

    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    pub(super) fn ring(&self) {
        self.bell.send_replace(());
    }
}
