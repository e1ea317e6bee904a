//! What a member of a cell does for the nodes that are not in it: it answers their questions, and tells them what changes.
//!
//! Such a node has one host in the cell. It subscribes first, then asks: what changes after an answer, it is told of. Every
//! request of a subscription waits until something changed, or for 300 ms, so that either side knows that the other is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::interest::Interesting;
use super::limits::{
    QUESTIONS_PER_FRAME_MAX, REPLIES_BYTES, RING_FORGOTTEN_AFTER, RING_HINTS_MAX, RING_WAIT,
};
use super::{Error, Inner};
use crate::doubles::{Double, planted};
use crate::raft::message::{self, kind};
use crate::raft::{Filter, Hint};
use crate::state::codec::Encoded;
use crate::state::effect::Effect;
use crate::state::query::codec::{Asked, Replies};
use crate::wire::{Frame, Outgoing};

/// To what a node listens at its host.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Subscription {
    /// Drawn anew by a node whenever it begins to listen to a host.
    pub(super) number: u64,
    /// What it is told of from now on.
    pub(super) interesting: Interesting,
}

/// Asks for what changed.
pub(super) type Ring = Subscription;

/// Questions, and to what the node listens that asks them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AskedBy {
    pub(super) subscription: Subscription,
    pub(super) asked: Asked,
}

/// What changed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Rung {
    /// Whether the subscription begins with this: what changed before is not told.
    pub(super) begun: bool,
    /// Whether there is a leader, as far as the host knows.
    pub(super) led: bool,
    /// Whether more changed than is told.
    pub(super) all: bool,
    pub(super) effects: Vec<Effect>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unanswered {
    /// Nobody leads.
    NoLeader,
    /// Too many ask.
    Overloaded,
    /// This node is no host, or none that is up to date.
    NoHost,
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        match error {
            Error::NoLeader => Self::NoLeader,
            Error::Overloaded => Self::Overloaded,
            Error::Behind | Error::ShuttingDown => Self::NoHost,
        }
    }
}

/// The fronts that listen here. A std mutex: nothing awaits while it is held.
#[derive(Default)]
pub(super) struct Listeners(Mutex<BTreeMap<u64, Listener>>);

struct Listener {
    number: u64,
    interesting: Arc<Mutex<Interesting>>,
    hints: Arc<tokio::sync::Mutex<mpsc::Receiver<Hint>>>,
    last: Instant,
}

impl Listeners {
    /// The hints of a subscription; begun just now if they are `None`. A node has one subscription: the latest.
    fn of(
        &self,
        front: u64,
        subscription: &Subscription,
        begin: impl FnOnce(Filter) -> mpsc::Receiver<Hint>,
    ) -> Option<Arc<tokio::sync::Mutex<mpsc::Receiver<Hint>>>> {
        let now = Instant::now();
        let mut listeners = self.0.lock().expect("nothing panics while this is held");
        listeners.retain(|_, listener| now.duration_since(listener.last) < RING_FORGOTTEN_AFTER);
        match listeners.get_mut(&front).filter(|listener| listener.number == subscription.number) {
            Some(listener) => {
                listener.last = now;
                listener.note(subscription.interesting);
                Some(listener.hints.clone())
            }
            None => {
                let interesting = Arc::new(Mutex::new(subscription.interesting));
                let known = interesting.clone();
                let is_told = move |slot| known.lock().expect("nothing panics while this is held").has(slot);
                let hints = Arc::new(tokio::sync::Mutex::new(begin(Box::new(is_told))));
                let number = subscription.number;
                listeners.insert(front, Listener { number, interesting, hints, last: now });
                None
            }
        }
    }

    /// Notes what a node is told of from now on; false if it does not listen here.
    fn note(&self, front: u64, subscription: &Subscription) -> bool {
        let listeners = self.0.lock().expect("nothing panics while this is held");
        let listener = listeners.get(&front).filter(|listener| listener.number == subscription.number);
        if let Some(listener) = listener.filter(|_| !planted(Double::WatchesLate)) {
            listener.note(subscription.interesting);
        }
        listener.is_some()
    }
}

impl Listener {
    /// What was said before something that is known already changes nothing: words on two lanes may overtake each other.
    fn note(&self, interesting: Interesting) {
        let mut known = self.interesting.lock().expect("nothing panics while this is held");
        if interesting.follows(&known) {
            *known = interesting;
        }
    }
}

impl Inner {
    /// Answers a node's questions.
    pub(super) async fn serve_ask(self: Arc<Self>, from: u64, request: Frame) -> Outgoing {
        match self.replies(from, &request).await {
            Ok(replies) => {
                Outgoing { payload: replies.bodies, header: replies.header, ..message::bare(kind::ASK) }
            }
            Err(why) => message::of(kind::FAILED, &why),
        }
    }

    async fn replies(&self, from: u64, request: &Frame) -> Result<Encoded, Unanswered> {
        let AskedBy { subscription, asked } =
            message::decode(&request.header).map_err(|_| Unanswered::NoHost)?;
        // Before anything is looked at: what changes after that is told.
        if !self.listeners.note(from, &subscription) {
            return Err(Unanswered::NoHost);
        }
        let questions: usize = asked.looks.iter().map(|look| look.0.len()).sum();
        if !self.topology.is_seated() || questions > QUESTIONS_PER_FRAME_MAX {
            return Err(Unanswered::NoHost);
        }
        let now_ms = if asked.linearizably { self.read_index.wait().await? } else { self.clock.now_ms() };
        let mut replies = Replies::default();
        for look in asked.looks {
            let said = self.answer_here(&look.0, now_ms);
            replies.push(&said);
            if replies.len() >= REPLIES_BYTES {
                break;
            }
        }
        Ok(replies.encode())
    }

    /// Tells a front what changed since it asked last.
    pub(super) async fn serve_ring(self: Arc<Self>, from: u64, request: Frame) -> Outgoing {
        let Ok(subscription) = message::decode::<Ring>(&request.header) else {
            return message::bare(kind::FAILED);
        };
        if !self.topology.is_seated() {
            return message::of(kind::FAILED, &Unanswered::NoHost);
        }
        let known = self.listeners.of(from, &subscription, |filter| self.node.replica().hints_of(filter));
        let (begun, mut hints) = (known.is_none(), Vec::new());
        if let Some(listener) = known {
            // A request that was given up may still wait; then this one waits behind it, and the front gives up both.
            let mut receiver = listener.lock().await;
            // Cut short or not: what was received is told.
            let _ = timeout(RING_WAIT, receiver.recv_many(&mut hints, RING_HINTS_MAX)).await;
        }
        let mut rung = Rung { begun, led: self.node.lead().borrow().is_some(), ..Rung::default() };
        for hint in hints {
            match hint {
                Hint::Effect(effect) => rung.effects.push(effect),
                Hint::WakeAll => rung.all = true,
            }
        }
        message::of(kind::RING, &rung)
    }
}

#[cfg(test)]
mod tests {
    use super::super::interest::Interests;
    use super::*;
    use crate::state::id::{Domain, Key};

    #[tokio::test(start_paused = true)]
    async fn a_front_has_one_subscription_until_it_falls_silent() {
        let listeners = Listeners::default();
        let begun = std::cell::Cell::new(0);
        let begin = |_| {
            begun.set(begun.get() + 1);
            mpsc::channel(1).1
        };
        let interesting = Interests::new().now();
        let to = |number| Subscription { number, interesting };
        assert!(listeners.of(4, &to(1), begin).is_none());
        assert!(listeners.of(4, &to(1), begin).is_some());
        assert!(listeners.of(5, &to(1), begin).is_none(), "another front");
        assert!(listeners.of(4, &to(2), begin).is_none(), "it began anew");
        assert!(listeners.of(4, &to(1), begin).is_none(), "the one before is forgotten");
        assert!(listeners.note(4, &to(1)) && !listeners.note(4, &to(2)));
        tokio::time::advance(RING_FORGOTTEN_AFTER).await;
        assert!(listeners.of(4, &to(1), begin).is_none());
        assert_eq!(begun.get(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_node_is_told_of_is_what_it_said_last_however_its_words_arrive() {
        let (listeners, interests) = (Listeners::default(), Interests::new());
        let filter = std::cell::RefCell::new(None);
        let key = Key::derive(Domain::Mailbox, &[]);
        let to = |interesting| Subscription { number: 1, interesting };
        let before = interests.now();
        let begin = |it: Filter| {
            filter.replace(Some(it));
            mpsc::channel(1).1
        };
        assert!(listeners.of(4, &to(before), begin).is_none());
        let is_told = || filter.borrow().as_ref().is_some_and(|filter| filter(key.slot()));
        assert!(!is_told());
        let waits = interests.add(&key);
        assert!(listeners.note(4, &to(interests.now())) && is_told());
        assert!(listeners.note(4, &to(before)) && is_told(), "what was said before comes late");
        drop(waits);
        assert!(listeners.note(4, &to(interests.now())) && !is_told());
    }
}
