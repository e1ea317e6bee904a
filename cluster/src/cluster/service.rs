//! What this node does for its peers.

use std::sync::{Arc, OnceLock, Weak};

use futures_util::future::BoxFuture;

use super::clock::Consensus;
use super::{Inner, admin, proposer, reads};
use crate::raft::message::{self, kind};
use crate::wire::{self, Frame, Outgoing};

/// Serves frames. It is there before Raft is, so that a node which asks its way in hears from one that does too.
#[derive(Clone)]
pub(super) struct Service(Arc<Shared>);

struct Shared {
    node_id: u64,
    clock: Arc<Consensus>,
    /// Weak, because the links that this serves belong to it.
    inner: OnceLock<Weak<Inner>>,
}

impl Service {
    pub(super) fn new(node_id: u64, clock: Arc<Consensus>) -> Arc<Self> {
        Arc::new(Self(Arc::new(Shared { node_id, clock, inner: OnceLock::new() })))
    }

    /// From now on everything is served.
    pub(super) fn open(&self, inner: &Arc<Inner>) {
        // Opened once, when the node starts.
        let _ = self.0.inner.set(Arc::downgrade(inner));
    }
}

fn failed() -> Outgoing {
    Outgoing { kind: kind::FAILED, group: 0, header: Vec::new(), payload: Vec::new() }
}

fn ready(outgoing: Outgoing) -> BoxFuture<'static, Outgoing> {
    Box::pin(std::future::ready(outgoing))
}

impl wire::Service for Service {
    fn serve(&self, from: u64, request: Frame) -> BoxFuture<'static, Outgoing> {
        let inner = self.0.inner.get().and_then(Weak::upgrade);
        if request.kind == kind::ENROLLED {
            return ready(enrolled(inner.as_deref(), &request));
        }
        let Some(inner) = inner else {
            return ready(failed());
        };
        match request.kind {
            kind::FORWARD | kind::FORWARD_TRACED => proposer::serve_forward(&inner.sequencer, request),
            kind::READ_INDEX => Box::pin(reads::serve_read_index(inner.node.clone(), inner.clock.clone())),
            kind::STATUS => ready(Outgoing {
                kind: kind::STATUS,
                group: 0,
                header: message::encode(&inner.word()),
                payload: Vec::new(),
            }),
            kind::CAST => ready(inner.caster.deliver(from, request)),
            kind::ADMIN => Box::pin(async move { admin::serve(inner, &request.header).await }),
            _ => inner.node.serve(from, request).unwrap_or_else(|| {
                tracing::warn!(node = self.0.node_id, peer = from, "a peer asked for something unknown");
                ready(failed())
            }),
        }
    }

    fn note(&self) -> u64 {
        self.0.clock.own_ms()
    }
}

/// Which disk the asked-for id is bound to, as far as this node knows.
fn enrolled(inner: Option<&Inner>, request: &Frame) -> Outgoing {
    let bound: Option<u128> = message::decode::<u64>(&request.header)
        .ok()
        .and_then(|id| inner.and_then(|inner| inner.node.replica().look(|state| state.member(id))));
    Outgoing { kind: kind::ENROLLED, group: 0, header: message::encode(&bound), payload: Vec::new() }
}
