//! What one family is about: how its things are made, asked about, left and looked at in the end.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Audit;
use super::caller::Caller;
use super::keyspace::{Keyspace, Live, Span, Turn};
use crate::proof::history::{Answer, Outcome};

/// One family's questions.
pub(super) trait Subject: Send + Sync + 'static {
    /// Things at a time.
    const SLOTS: usize;
    /// How long each is asked about.
    const SPAN: Span;
    /// For how long after that it can be looked at without being near its expiry.
    const KEPT: Duration;
    /// So many at most; the oldest are not looked at again.
    const KEPT_MAX: usize = 128;
    /// What clients know of a thing beside its key.
    type Data: Send + Sync + 'static;

    /// A new thing; `None` if the servers would not.
    fn make(&self, caller: &mut Caller) -> impl Future<Output = Option<Live<Self::Data>>> + Send;

    /// One question about it.
    fn ask(&self, caller: &mut Caller, thing: &Live<Self::Data>) -> impl Future<Output = Outcome> + Send;

    /// How it looks.
    fn see(&self, caller: &mut Caller, thing: &Live<Self::Data>) -> impl Future<Output = Outcome> + Send;

    /// The last word about it when it is replaced; whether it shall be looked at once more in the end.
    fn leave(&self, caller: &mut Caller, thing: &Live<Self::Data>) -> impl Future<Output = bool> + Send {
        async {
            self.see(caller, thing).await;
            true
        }
    }

    /// The next question of the last look at one node, after these answers there; `None` if that was all.
    fn look(
        &self,
        caller: &mut Caller,
        thing: &Live<Self::Data>,
        answers: &[Answer],
    ) -> impl Future<Output = Option<Outcome>> + Send {
        async { if answers.is_empty() { Some(self.see(caller, thing).await) } else { None } }
    }
}

/// All things of one family.
pub(super) struct Things<S: Subject> {
    subject: S,
    live: Keyspace<S::Data>,
    /// Those that were left as they are, to be looked at in the end.
    kept: Mutex<VecDeque<Arc<Live<S::Data>>>>,
}

/// Between two questions to a node that does not answer.
const PAUSE: Duration = Duration::from_millis(100);

impl<S: Subject> Things<S> {
    pub(super) fn new(subject: S) -> Self {
        Self { subject, live: Keyspace::new(S::SLOTS, S::SPAN), kept: Mutex::default() }
    }

    /// One client's turn.
    pub(super) async fn step(&self, caller: &mut Caller) {
        match self.live.turn(&mut caller.rng) {
            Turn::Ask(thing) => {
                if let Outcome::Unknown(_) = self.subject.ask(caller, &thing).await {
                    thing.doubtful();
                }
            }
            Turn::Replace(old, vacancy) => {
                if let Some(old) = old {
                    self.leave(caller, old).await;
                }
                if let Some(thing) = self.subject.make(caller).await {
                    vacancy.fill(thing);
                }
            }
            Turn::Pass => {}
        }
    }

    async fn leave(&self, caller: &mut Caller, thing: Arc<Live<S::Data>>) {
        if !self.subject.leave(caller, &thing).await {
            return caller.close(&thing.key);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(thing);
        let late = |thing: &Arc<Live<S::Data>>| thing.age() > S::SPAN.age + S::KEPT;
        while kept.len() > S::KEPT_MAX || kept.front().is_some_and(late) {
            if let Some(thing) = kept.pop_front() {
                caller.close(&thing.key);
            }
        }
    }

    /// Everything that is to be looked at in the end.
    pub(super) fn all(&self) -> Vec<Arc<Live<S::Data>>> {
        let mut all = self.live.all();
        all.extend(self.kept.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
        all
    }

    /// Looks at one thing on every node.
    pub(super) async fn audit(
        &self,
        caller: &mut Caller,
        thing: &Live<S::Data>,
        give_up: Instant,
        audit: &mut Audit,
    ) {
        audit.things += 1;
        for target in 0..caller.targets() {
            let mut answers = Vec::new();
            loop {
                caller.turn_to(target);
                match self.subject.look(caller, thing, &answers).await {
                    None => break,
                    Some(Outcome::Answered(answer)) => {
                        audit.answers += 1;
                        answers.push(answer);
                    }
                    Some(_) if Instant::now() < give_up => tokio::time::sleep(PAUSE).await,
                    Some(_) => {
                        audit.unanswered += 1;
                        break;
                    }
                }
            }
        }
        caller.close(&thing.key);
    }
}
