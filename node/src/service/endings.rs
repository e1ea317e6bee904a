//! What ends something that was attached here, until the cluster has answered it.
//!
//! While this node's lease lives, what was attached here counts as attached. So an end that the cluster did not hear, for
//! want of a leader or of room, is kept and proposed again, or what it should end would stay as long as anybody else is
//! here. Every command of an ending names the random number of one attachment, and comes to nothing where that has ended
//! or was followed by another: it does no harm to propose it twice, or late.
//!
//! There is a bound on what is kept. Where it is met, this node takes another incarnation: the one before is renewed no
//! more, so that all that is attached by it ends as if the node were lost, and what is here still is attached anew by the
//! next one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conclave_cluster::Error;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::incarnation::Incarnation;
use conclave_cluster::state::outcome::{Answer, Refusal};
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Commands that are kept: six for each socket that a node takes by default. Each has a few hundred bytes at most.
const KEPT_MAX: usize = 6 * 20_000;
/// Endings that are proposed at a time.
const AT_ONCE: usize = 256;
/// Before what got no answer is proposed again.
const PAUSE: Duration = Duration::from_millis(250);

/// The end of what one connection has attached.
#[derive(Debug)]
pub struct Ending {
    incarnation: Incarnation,
    /// In the order in which they are carried out.
    ops: Vec<Op>,
    /// Counts the endings that somebody is answerable for.
    _account: Option<Arc<()>>,
}

impl Ending {
    /// The end of what is attached by this incarnation.
    pub fn new(incarnation: Incarnation, ops: Vec<Op>) -> Self {
        Self { incarnation, ops, _account: None }
    }

    /// Holds a clone of `account` for as long as it is not answered.
    #[must_use]
    pub fn counted(self, account: &Arc<()>) -> Self {
        Self { _account: Some(account.clone()), ..self }
    }

    /// Proposes all of it; what was not answered is left. The first error, if there was one.
    pub(super) async fn attempt(
        &mut self,
        propose: &impl AsyncFn(Op) -> Result<Answer, Error>,
    ) -> Result<(), Error> {
        let answers = join_all(self.ops.iter().map(|op| propose(op.clone()))).await;
        let mut waits = answers.iter().map(|answer| !is_settled(answer));
        self.ops.retain(|_| waits.next().unwrap_or(false));
        answers.into_iter().try_for_each(|answer| answer.map(drop))
    }

    pub(super) fn is_over(&self) -> bool {
        self.ops.is_empty()
    }
}

/// Whether it need not be proposed again. A node that shuts down ends the lease, too.
fn is_settled(answer: &Result<Answer, Error>) -> bool {
    match answer {
        Ok(answer) => answer.outcome != Err(Refusal::Stale),
        Err(Error::ShuttingDown) => true,
        Err(Error::Overloaded | Error::NoLeader | Error::Behind) => false,
    }
}

/// The endings of this node that were not answered, and the incarnation by which things are attached here.
pub(super) struct Endings {
    // A std mutex: nothing is awaited while it is held.
    kept: Mutex<Kept>,
    added: Notify,
    replaced: Notify,
}

struct Kept {
    incarnation: Incarnation,
    waiting: VecDeque<Ending>,
    /// Commands that wait or are under way.
    count: usize,
}

impl Endings {
    /// Of a node that has just started.
    pub(super) fn new(node: u64) -> Self {
        let incarnation = Incarnation { node, run: rand::random() };
        let kept = Kept { incarnation, waiting: VecDeque::new(), count: 0 };
        Self { kept: Mutex::new(kept), added: Notify::new(), replaced: Notify::new() }
    }

    /// By which things are attached from now on.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.lock().incarnation
    }

    /// Returns when the incarnation was replaced by another one.
    pub(super) async fn replaced(&self) {
        self.replaced.notified().await;
    }

    /// Keeps an ending until it is answered.
    pub(super) fn keep(&self, ending: Ending) {
        let mut kept = self.lock();
        // An incarnation before this one is renewed no more, and ends what it holds by itself.
        if ending.is_over() || ending.incarnation != kept.incarnation {
            return;
        }
        if kept.count + ending.ops.len() > KEPT_MAX {
            kept.incarnation.run = rand::random();
            kept.waiting.clear();
            kept.count = 0;
            drop(kept);
            tracing::warn!(
                kept_max = KEPT_MAX,
                "too much ended here that the cluster did not hear of: the lease of all sockets of this node runs out, \
                 and those that are open are attached anew"
            );
            return self.replaced.notify_one();
        }
        kept.count += ending.ops.len();
        kept.waiting.push_back(ending);
        drop(kept);
        self.added.notify_one();
    }

    /// Proposes what is kept until it is answered. Runs until dropped.
    pub(super) async fn run(&self, propose: impl AsyncFn(Op) -> Result<Answer, Error>) {
        loop {
            let batch = self.batch();
            if batch.is_empty() {
                self.added.notified().await;
                continue;
            }
            let tried = batch.into_iter().map(async |mut ending| {
                let before = ending.ops.len();
                // Why it was not answered is told to nobody.
                let _ = ending.attempt(&propose).await;
                (before, ending)
            });
            if !self.settle(join_all(tried).await) {
                sleep(PAUSE).await;
            }
        }
    }

    fn batch(&self) -> Vec<Ending> {
        let mut kept = self.lock();
        let count = kept.waiting.len().min(AT_ONCE);
        kept.waiting.drain(..count).collect()
    }

    /// Takes back what was not answered, before all that waits. True if there is none.
    fn settle(&self, tried: Vec<(usize, Ending)>) -> bool {
        let mut kept = self.lock();
        let mut all = true;
        for (before, ending) in tried.into_iter().rev() {
            if ending.incarnation != kept.incarnation {
                continue;
            }
            kept.count -= before - ending.ops.len();
            if !ending.is_over() {
                all = false;
                kept.waiting.push_front(ending);
            }
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use conclave_cluster::state::id::{Domain, Key};
    use conclave_cluster::state::outcome::Outcome;
    use conclave_cluster::state::socket;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn detach(connection: u64) -> Op {
        let key = Key::derive(Domain::Socket, &[]);
        Op::Socket(socket::Op { key, action: socket::Action::Detach { connection } })
    }

    fn done() -> Result<Answer, Error> {
        Ok(Answer { outcome: Ok(Outcome::Socket(socket::Outcome::Noted)), balance: None, replayed: false })
    }

    fn waiting(endings: &Endings) -> (usize, usize) {
        let kept = endings.lock();
        (kept.waiting.len(), kept.count)
    }

    #[tokio::test(start_paused = true)]
    async fn what_got_no_answer_is_proposed_until_it_has_one() {
        let endings = Endings::new(1);
        let ops = (0..3).map(detach).collect();
        endings.keep(Ending::new(endings.incarnation(), ops));
        let asked = RefCell::new(Vec::new());
        let propose = async |op: Op| {
            asked.borrow_mut().push(op.clone());
            match asked.borrow().len() {
                // The second of the first round is answered.
                1 => Err(Error::NoLeader),
                3..=5 => Err(Error::Overloaded),
                _ => done(),
            }
        };
        assert!(timeout(SOON, endings.run(propose)).await.is_err());
        let expected: Vec<_> = [0, 1, 2, 0, 2, 0, 2].map(detach).into();
        assert_eq!(*asked.borrow(), expected, "in their order, and what was answered no more");
        assert_eq!(waiting(&endings), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_an_answer_and_a_stale_one_is_none() {
        let endings = Endings::new(1);
        endings.keep(Ending::new(endings.incarnation(), vec![detach(1)]));
        let asked = RefCell::new(0);
        let propose = async |_| {
            *asked.borrow_mut() += 1;
            let refusal = match *asked.borrow() {
                1 => Refusal::Stale,
                _ => Refusal::Socket(socket::Refusal::Replaced),
            };
            Ok(Answer { outcome: Err(refusal), balance: None, replayed: false })
        };
        assert!(timeout(SOON, endings.run(propose)).await.is_err());
        assert_eq!(*asked.borrow(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_is_kept_takes_another_incarnation() {
        let endings = Endings::new(1);
        let first = endings.incarnation();
        for connection in 0..KEPT_MAX as u64 {
            endings.keep(Ending::new(first, vec![detach(connection)]));
        }
        assert_eq!(endings.incarnation(), first);
        assert_eq!(waiting(&endings), (KEPT_MAX, KEPT_MAX));
        let under_way = endings.batch();
        assert_eq!(under_way.len(), AT_ONCE);
        endings.keep(Ending::new(first, vec![detach(0)]));
        timeout(SOON, endings.replaced()).await.expect("whoever renews the lease is told");
        let second = endings.incarnation();
        assert_ne!(second, first);
        assert_eq!(second.node, 1);
        // What was attached by the first one ends by itself, also what is under way.
        assert!(endings.settle(under_way.into_iter().map(|ending| (1, ending)).collect()));
        endings.keep(Ending::new(first, vec![detach(1)]));
        assert_eq!(waiting(&endings), (0, 0));
        endings.keep(Ending::new(second, vec![detach(1)]));
        assert_eq!(waiting(&endings), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_ending_counts_for_whoever_owes_it_until_it_is_answered() {
        let (endings, account) = (Endings::new(1), Arc::new(()));
        endings.keep(Ending::new(endings.incarnation(), vec![detach(1)]).counted(&account));
        assert_eq!(Arc::strong_count(&account), 2);
        assert!(timeout(SOON, endings.run(async |_| done())).await.is_err());
        assert_eq!(Arc::strong_count(&account), 1);
    }
}
