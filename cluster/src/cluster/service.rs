//! What this node does for its peers.

use std::sync::{Arc, OnceLock, Weak};

use futures_util::future::BoxFuture;

use super::clock::Consensus;
use super::{Inner, admin, proposer, reads, standing};
use crate::raft::message::{self, kind};
use crate::raft::refusal::Refusal;
use crate::wire::{self, Frame, Outgoing};

/// Serves frames. It is there before Raft is, so that a node which asks its way in hears from one that does too.
#[derive(Clone)]
pub(super) struct Service(Arc<Shared>);

struct Shared {
    clock: Arc<Consensus>,
    /// Weak, because the links that this serves belong to it.
    inner: OnceLock<Weak<Inner>>,
}

impl Service {
    pub(super) fn new(clock: Arc<Consensus>) -> Arc<Self> {
        Arc::new(Self(Arc::new(Shared { clock, inner: OnceLock::new() })))
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
            return ready(enrolled(inner.as_deref(), from, &request));
        }
        let Some(inner) = inner else {
            return ready(failed());
        };
        if !inner.serves(from, request.kind) {
            inner.node.refusals().note(
                from,
                request.kind,
                Refusal::NotMember,
                &"not a member of the cluster",
            );
            return ready(failed());
        }
        match request.kind {
            kind::MEMBER => ready(standing::serve_member(&inner, &request)),
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
            kind => inner.node.serve(from, request).unwrap_or_else(|| {
                inner.node.refusals().note(from, kind, Refusal::Unknown, &"no such request");
                ready(failed())
            }),
        }
    }

    fn note(&self) -> u64 {
        self.0.clock.own_ms()
    }
}

/// Whether the node that asks may use its id with its disk, as far as this node knows. It is told nothing else, and nothing of
/// other ids: it need not be a member.
fn enrolled(inner: Option<&Inner>, from: u64, request: &Frame) -> Outgoing {
    let Ok(storage) = message::decode::<u128>(&request.header) else {
        return failed();
    };
    let bound = inner.and_then(|inner| inner.node.replica().look(|state| state.member(from)));
    let free = bound.is_none_or(|bound| bound == storage);
    Outgoing { kind: kind::ENROLLED, group: 0, header: message::encode(&free), payload: Vec::new() }
}
