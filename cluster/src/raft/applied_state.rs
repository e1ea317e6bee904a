//! This node's copy of the state, as apply leaves it.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::{mpsc, watch};

use super::disk_traits::SnapshotMeta;
use crate::state::State;
use crate::state::command::Proposal;
use crate::state::effect::Effect;
use crate::state::outcome::Answer;

/// What a hint is: an effect to deliver, or word that some were dropped and everybody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Deliver this one.
    Effect(Effect),
    /// Wake every actor: effects were dropped, or a snapshot replaced the state.
    WakeAll,
}

/// Hints that wait for a slow reader; beyond, they become one [`Hint::WakeAll`].
const HINTS_MAX: usize = 16_384;

/// The state and how far the log has been applied to it.
///
/// One plain mutex: apply holds it for one entry at a time, readers for one look, and nobody awaits inside. A copy
/// published after each entry would make apply copy a path through every map it touches; see the ADR on reads.
pub struct Replica {
    inner: Mutex<Inner>,
    applied: watch::Sender<u64>,
}

struct Inner {
    state: State,
    meta: SnapshotMeta,
    hints: Option<mpsc::Sender<Hint>>,
    lagging: bool,
}

impl Replica {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: State::default(),
                meta: SnapshotMeta::default(),
                hints: None,
                lagging: false,
            }),
            applied: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("an apply that panicked leaves no state to go on with")
    }

    /// Looks at the state as it is now.
    pub fn read<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.lock().state)
    }

    /// Looks at the state and at how many entries are applied to it, the two as they belong together.
    pub fn read_at_applied_index<R>(&self, read: impl FnOnce(&State, u64) -> R) -> R {
        let inner = self.lock();
        read(&inner.state, inner.meta.last.map_or(0, |last| last.index + 1))
    }

    /// Whether a node is a member by the last change of members that was applied.
    pub(super) fn has_member(&self, id: u64) -> bool {
        self.lock().meta.membership.nodes.contains_key(&id)
    }

    /// Looks at the state unless apply is at work on it.
    pub fn try_read<R>(&self, read: impl FnOnce(&State) -> R) -> Option<R> {
        self.inner.try_lock().ok().map(|inner| read(&inner.state))
    }

    /// The number of entries applied so far, and its changes.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The hints from now on. There is one reader; a second call takes over from the first.
    pub fn hints(&self) -> mpsc::Receiver<Hint> {
        let (sender, receiver) = mpsc::channel(HINTS_MAX);
        self.lock().hints = Some(sender);
        receiver
    }

    /// A frozen view, cheap to take, and what it covers.
    pub(super) fn freeze(&self) -> (State, SnapshotMeta) {
        let inner = self.lock();
        (inner.state.clone(), inner.meta.clone())
    }

    pub(super) fn meta(&self) -> SnapshotMeta {
        self.lock().meta.clone()
    }

    /// Applies one entry's proposal, if it carries one, and moves on.
    pub(super) fn apply(
        &self,
        at: super::disk_traits::LogId,
        proposal: Option<Proposal>,
        membership: Option<super::disk_traits::Membership>,
    ) -> Vec<Answer> {
        let mut inner = self.lock();
        let (answers, effects) = proposal.map(|proposal| inner.state.apply(proposal)).unwrap_or_default();
        inner.meta.last = Some(at);
        if let Some(membership) = membership {
            inner.meta.membership = membership;
            inner.meta.membership_at = Some(at);
        }
        inner.emit(effects);
        drop(inner);
        self.applied.send_replace(at.index + 1);
        answers
    }

    /// Replaces everything by a snapshot's content, and returns what was there before.
    pub(super) fn install(&self, state: State, meta: SnapshotMeta) -> State {
        let mut inner = self.lock();
        let applied = meta.last.map_or(0, |last| last.index + 1);
        let replaced = std::mem::replace(&mut inner.state, state);
        inner.meta = meta;
        inner.lagging = true;
        inner.emit(Vec::new());
        drop(inner);
        self.applied.send_replace(applied);
        replaced
    }
}

impl Default for Replica {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    /// Hands effects to the reader; what does not fit is made up for by one `WakeAll` as soon as that fits.
    fn emit(&mut self, effects: Vec<Effect>) {
        let Some(hints) = &self.hints else { return };
        if self.lagging && hints.try_send(Hint::WakeAll).is_ok() {
            self.lagging = false;
        }
        for effect in effects {
            if !self.lagging && hints.try_send(Hint::Effect(effect)).is_err() {
                self.lagging = true;
            }
        }
    }
}
