//! What this node does for its peers.

use std::sync::{Arc, OnceLock, Weak};

use futures_util::future::BoxFuture;

use super::clock::Consensus;
use super::founding::{self, BeforeRaft};
use super::{Inner, admin, peer_permissions, proposer, read_index};
use crate::raft::message::{self, kind};
use crate::raft::refusal_log::Refusal;
use crate::wire::{self, Frame, Outgoing};

/// Serves frames. It is there before Raft is, so that a node which asks its way in hears from one that does too.
#[derive(Clone)]
pub(super) struct Service(Arc<Shared>);

struct Shared {
    clock: Arc<Consensus>,
    before: BeforeRaft,
    /// Weak, because the links that this serves belong to it.
    inner: OnceLock<Weak<Inner>>,
}

impl Service {
    pub(super) fn new(clock: Arc<Consensus>, before: BeforeRaft) -> Arc<Self> {
        Arc::new(Self(Arc::new(Shared { clock, before, inner: OnceLock::new() })))
    }

    /// From now on everything is served.
    pub(super) fn open(&self, inner: &Arc<Inner>) {
        // Opened once, when the node starts.
        let _ = self.0.inner.set(Arc::downgrade(inner));
    }
}

fn ready(outgoing: Outgoing) -> BoxFuture<'static, Outgoing> {
    Box::pin(std::future::ready(outgoing))
}

impl wire::Service for Service {
    fn serve(&self, from: u64, request: Frame) -> BoxFuture<'static, Outgoing> {
        let inner = self.0.inner.get().and_then(Weak::upgrade);
        if request.kind == kind::ENROLLED {
            return ready(founding::answer(&self.0.before, inner.as_deref(), from, &request));
        }
        let Some(inner) = inner else {
            return ready(message::bare(kind::FAILED));
        };
        if request.kind == kind::STANDING {
            return ready(inner.serve_standing(from, &request));
        }
        if !inner.serves(from, request.kind) {
            inner.node.refusals().note(
                from,
                request.kind,
                Refusal::NotMember,
                &"not a member of the cluster",
            );
            return ready(message::bare(kind::FAILED));
        }
        if kind::is_within_a_cell(request.kind) && !inner.is_of(request.cell) {
            let why = "a request within another cell";
            inner.node.refusals().note(from, request.kind, Refusal::Cell, &why);
            return ready(message::bare(kind::FAILED));
        }
        match request.kind {
            kind::MEMBER => ready(peer_permissions::serve_member(&inner, &request)),
            kind::FORWARD | kind::FORWARD_TRACED => proposer::serve_forward(&inner.sequencer, request),
            kind::READ_INDEX => {
                Box::pin(read_index::serve_read_index(inner.node.clone(), inner.clock.clone()))
            }
            kind::LEADER_LOST => Box::pin(inner.leader_loss.clone().confirm(request)),
            kind::UNHEARD => ready(inner.leader_loss.note_unheard(from, &request)),
            kind::STATUS => ready(message::of(kind::STATUS, &inner.info())),
            kind::CAST => ready(inner.datagrams.deliver(from, request)),
            kind::ADMIN => Box::pin(async move { admin::serve(inner, &request.header).await }),
            kind::BEACON => ready(inner.serve_beacon(from, &request)),
            kind::GIVE => ready(inner.serve_give(&request)),
            kind::FOUND => Box::pin(inner.serve_found(request)),
            kind::ASK => Box::pin(inner.serve_ask(from, request)),
            kind::RING => Box::pin(inner.serve_ring(from, request)),
            kind => inner.node.serve(from, request).unwrap_or_else(|| {
                inner.node.refusals().note(from, kind, Refusal::Unknown, &"no such request");
                ready(message::bare(kind::FAILED))
            }),
        }
    }

    fn note(&self) -> u64 {
        self.0.clock.own_ms()
    }

    /// As far as this node has applied the log, or was told; nothing is known before Raft is there.
    fn disk_of(&self, peer: u64) -> Option<u128> {
        self.0.inner.get()?.upgrade()?.topology.disk_of(peer)
    }
}
