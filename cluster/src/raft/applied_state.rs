//! This node's copy of the state, as apply leaves it.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::{mpsc, watch};

use super::disk_traits::SnapshotMeta;
use crate::state::State;
use crate::state::command::Proposal;
use crate::state::effect::Effect;
use crate::state::outcome::Answer;
use crate::state::slot::Slot;

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
    readers: Vec<HintSender>,
}

/// Where one reader of the hints gets them from.
struct HintSender {
    hints: mpsc::Sender<Hint>,
    filter: Option<Filter>,
    lagging: bool,
}

impl HintSender {
    /// Whether it is of this node; others are told of some slots only.
    fn is_local(&self) -> bool {
        self.filter.is_none()
    }
}

/// Whether a reader is told of a slot.
pub type Filter = Box<dyn Fn(Slot) -> bool + Send>;

impl Replica {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: State::default(),
                meta: SnapshotMeta::default(),
                readers: Vec::new(),
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

    /// Whether a node is a voter by the last change of members that was applied. No later leader undoes that.
    pub(super) fn has_voter(&self, id: u64) -> bool {
        self.lock().meta.membership.voters.iter().any(|voters| voters.contains(&id))
    }

    /// Looks at the state unless apply is at work on it.
    pub fn try_read<R>(&self, read: impl FnOnce(&State) -> R) -> Option<R> {
        self.inner.try_lock().ok().map(|inner| read(&inner.state))
    }

    /// The number of entries applied so far, and its changes.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The hints from now on, until the receiver is dropped.
    pub fn hints(&self) -> mpsc::Receiver<Hint> {
        self.hints_where(None)
    }

    /// The same for another node, of some slots only. What the filter says counts from the next entry on that is applied.
    pub fn hints_of(&self, filter: Filter) -> mpsc::Receiver<Hint> {
        self.hints_where(Some(filter))
    }

    fn hints_where(&self, filter: Option<Filter>) -> mpsc::Receiver<Hint> {
        let (hints, receiver) = mpsc::channel(HINTS_MAX);
        self.lock().readers.push(HintSender { hints, filter, lagging: false });
        receiver
    }

    /// Hints of another replica, for the readers of this node: how it hears of changes in other cells. Nodes that listen
    /// here are told what this replica applies, and nothing else: among nodes that listen to each other, hints would go
    /// round for ever.
    pub fn pass_on(&self, hints: &[Hint]) {
        let mut inner = self.lock();
        let effects: Vec<_> = hints
            .iter()
            .filter_map(|hint| match hint {
                Hint::Effect(effect) => Some(*effect),
                Hint::WakeAll => None,
            })
            .collect();
        if effects.len() < hints.len() {
            inner
                .readers
                .iter_mut()
                .filter(|reader| reader.is_local())
                .for_each(|reader| reader.lagging = true);
        }
        inner.emit(&effects, HintSender::is_local);
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
        inner.emit(&effects, |_| true);
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
        inner.readers.iter_mut().for_each(|reader| reader.lagging = true);
        inner.emit(&[], |_| true);
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
    /// Hands effects to the readers; what does not fit is made up for by one `WakeAll` as soon as that fits.
    fn emit(&mut self, effects: &[Effect], is_meant: impl Fn(&HintSender) -> bool) {
        self.readers.retain(|reader| !reader.hints.is_closed());
        for reader in self.readers.iter_mut().filter(|reader| is_meant(reader)) {
            if reader.lagging && reader.hints.try_send(Hint::WakeAll).is_ok() {
                reader.lagging = false;
            }
            let is_told =
                |effect: &&Effect| reader.filter.as_ref().is_none_or(|filter| filter(effect.slot()));
            for effect in effects.iter().filter(is_told) {
                if !reader.lagging && reader.hints.try_send(Hint::Effect(*effect)).is_err() {
                    reader.lagging = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk_traits::{LogId, Membership};
    use super::*;
    use crate::state::id::{Domain, Key};

    #[tokio::test]
    async fn what_is_heard_of_another_replica_is_told_to_nobody_who_listens_to_this_one() {
        let replica = Replica::new();
        let (mut local, mut remote) = (replica.hints(), replica.hints_of(Box::new(|_| true)));
        let hint = Hint::Effect(Effect::Wake(Domain::Mailbox, Key::derive(Domain::Mailbox, &[])));
        replica.pass_on(&[hint, Hint::WakeAll]);
        assert_eq!((local.try_recv(), local.try_recv()), (Ok(Hint::WakeAll), Ok(hint)));
        assert!(remote.try_recv().is_err());
        replica.install(State::default(), SnapshotMeta::default());
        assert_eq!((local.try_recv(), remote.try_recv()), (Ok(Hint::WakeAll), Ok(Hint::WakeAll)));
    }

    #[test]
    fn a_voter_is_one_for_good_when_the_change_that_made_it_one_is_applied() {
        let replica = Replica::new();
        let members = |voters: &[&[u64]]| Membership {
            voters: voters.iter().map(|set| set.to_vec()).collect(),
            ..Membership::default()
        };
        let apply = |index, voters: &[&[u64]]| {
            replica.apply(LogId { term: 1, index }, None, Some(members(voters)));
        };
        apply(0, &[&[1, 2, 3]]);
        assert!(replica.has_voter(3) && !replica.has_voter(4));
        apply(1, &[&[1, 2, 3], &[1, 2, 3, 4]]);
        assert!(replica.has_voter(4), "both sets count while the change is under way");
        apply(2, &[&[1, 2, 3]]);
        assert!(!replica.has_voter(4));
        let meta = SnapshotMeta { membership: members(&[&[1, 2, 4]]), ..SnapshotMeta::default() };
        replica.install(State::default(), meta);
        assert!(replica.has_voter(4) && !replica.has_voter(3));
    }
}
