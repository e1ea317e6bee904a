//! Mailboxes that are pushed to a socket while signals for them are posted at all nodes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Workload;
use super::caller::Caller;
use super::mailbox;
use super::member::{Listener, Member, Moment, PAUSE, Told, Want};
use crate::proof::Family;
use crate::proof::history::{Answer, Begun, Outcome, Wish};

const FAMILY: Family = Family::Push;
/// How long a mailbox is used; well below a signal's time, so that none expires while it is.
const AGE: Duration = Duration::from_secs(10);
/// Numbers of their clients begin here.
const FIRST_CLIENT: u32 = 30_000;

/// What sender and receiver know together.
#[derive(Default)]
struct Progress {
    /// Signals that were acknowledged.
    acknowledged: HashSet<u64>,
    /// Signals that were pushed.
    heard: HashSet<u64>,
    /// Nobody signals any more.
    silent: bool,
}

/// The same, between two tasks. A std mutex, since nothing awaits inside.
#[derive(Default)]
struct Shared(Mutex<Progress>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Uses one mailbox after the other until the run is over.
pub(super) async fn keep(workload: Arc<Workload>, lane: u32) {
    let (sender, receiver) = (FIRST_CLIENT + 2 * lane, FIRST_CLIENT + 2 * lane + 1);
    while !workload.is_over() {
        let key: Arc<str> = format!("push-{:x}-{}", workload.run, workload.number()).into();
        let mut member = Member::new(&workload, FAMILY, &key, receiver, lane as usize);
        if member.enter().await.is_ok() && claim(&workload, &mut member, &key).await {
            let progress = Shared::default();
            let mut caller = Caller::new(workload.clone(), sender);
            tokio::join!(
                post(&workload, &mut caller, &key, &progress),
                receive(&workload, &mut member, &key, receiver, &progress)
            );
        }
        member.close().await;
        workload.recorder.close(&key);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn claim(workload: &Workload, member: &mut Member, key: &str) -> bool {
    let sent = member.send(|id| format!(r#"{{"op":"claim","id":{id},"peerId":"{key}"}}"#)).await;
    let Ok(id) = sent else { return false };
    let told = member.answered(id, Instant::now() + workload.options.deadline).await;
    let claimed = matches!(told, Ok(Told::Done(_)));
    if claimed {
        member.claimed();
    }
    claimed
}

async fn post(workload: &Workload, caller: &mut Caller, key: &Arc<str>, progress: &Shared) {
    let begun = Instant::now();
    while begun.elapsed() < AGE && !workload.is_over() {
        let number = caller.fresh();
        if let Outcome::Answered(_) = mailbox::signal(caller, FAMILY, key, number).await {
            progress.lock().acknowledged.insert(number);
        }
        tokio::time::sleep(PAUSE).await;
    }
    progress.lock().silent = true;
}

async fn receive(workload: &Workload, member: &mut Member, key: &Arc<str>, client: u32, progress: &Shared) {
    let mut receiver = Receiver { workload, key, client, progress, confirming: None, confirmed: 0 };
    let outcome = member.listen_until(&mut receiver).await;
    if let Some(it) = receiver.confirming.take() {
        workload.recorder.end(it.begun, 0, Outcome::Unknown("parted".into()));
    }
    let part = workload.recorder.begin(FAMILY, key, client, Wish::Part);
    workload.recorder.end(part, 0, outcome);
}

/// Who a mailbox is pushed to.
struct Receiver<'a> {
    workload: &'a Workload,
    key: &'a Arc<str>,
    client: u32,
    progress: &'a Shared,
    confirming: Option<Confirming>,
    confirmed: u64,
}

/// A confirmation that is on its way.
struct Confirming {
    id: u64,
    seq: u64,
    begun: Begun,
}

impl Listener for Receiver<'_> {
    async fn look(&mut self, member: &mut Member, moment: Moment) -> Want {
        if moment == Moment::Heard {
            self.progress.lock().heard.insert(member.number);
        }
        self.confirmation(member, moment);
        if moment != Moment::Lost && member.open {
            self.confirm(member).await;
        }
        let progress = self.progress.lock();
        match (progress.acknowledged.is_subset(&progress.heard), progress.silent) {
            (true, true) => Want::Nothing,
            (true, false) => Want::Later,
            (false, false) => Want::Something,
            (false, true) => Want::TheRest,
        }
    }
}

impl Receiver<'_> {
    /// Takes down what came of the last confirmation, if that is known.
    fn confirmation(&mut self, member: &mut Member, moment: Moment) {
        let Some(it) = self.confirming.take() else { return };
        let outcome = match (member.answer(it.id), moment) {
            (Some(Told::Done(_)), _) => {
                self.confirmed = it.seq;
                Outcome::Answered(Answer::Done)
            }
            (Some(Told::Refused { code, .. }), _) => Outcome::Unknown(code.into()),
            (None, Moment::Lost) => Outcome::Unknown("lost".into()),
            (None, Moment::Heard | Moment::Passed) => {
                self.confirming = Some(it);
                return;
            }
        };
        self.workload.recorder.end(it.begun, 0, outcome);
    }

    /// Confirms what was heard. One confirmation is on the way at a time; the next is for all that came meanwhile.
    async fn confirm(&mut self, member: &mut Member) {
        let seq = member.heard;
        if self.confirming.is_some() || seq <= self.confirmed {
            return;
        }
        let begun = self.workload.recorder.begin(FAMILY, self.key, self.client, Wish::Confirm { seq });
        match member.send(|id| format!(r#"{{"op":"ack","id":{id},"seq":{seq}}}"#)).await {
            Ok(id) => self.confirming = Some(Confirming { id, seq, begun }),
            Err(_) => self.workload.recorder.end(begun, 0, Outcome::Unknown("io".into())),
        }
    }
}
