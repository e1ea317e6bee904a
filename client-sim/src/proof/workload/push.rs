//! Mailboxes that are pushed to a socket while signals for them are posted at all nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Workload;
use super::caller::Caller;
use super::mailbox;
use super::member::{Member, Told};
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome, Wish};

const FAMILY: Family = Family::Push;
/// How long a mailbox is used; well below a signal's time, so that none expires while it is.
const AGE: Duration = Duration::from_secs(10);
/// Between two signals.
const PAUSE: Duration = Duration::from_millis(40);
/// Without anything new a socket that lacks something looks elsewhere.
const STALLED: Duration = Duration::from_secs(3);
/// Numbers of their clients begin here.
const FIRST_CLIENT: u32 = 30_000;

/// What sender and receiver know together.
#[derive(Default)]
struct Progress {
    /// Signals that were acknowledged, and heard.
    acknowledged: AtomicU64,
    heard: AtomicU64,
    silent: AtomicBool,
}

/// Uses one mailbox after the other until the run is over.
pub(super) async fn keep(workload: Arc<Workload>, lane: u32) {
    let (sender, receiver) = (FIRST_CLIENT + 2 * lane, FIRST_CLIENT + 2 * lane + 1);
    while !workload.is_over() {
        let key: Arc<str> = format!("push-{:x}-{}", workload.run, workload.number()).into();
        let mut member = Member::new(&workload, FAMILY, &key, receiver, lane as usize);
        if member.enter().await.is_ok() && claim(&workload, &mut member, &key).await {
            let progress = Progress::default();
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

async fn post(workload: &Workload, caller: &mut Caller, key: &Arc<str>, progress: &Progress) {
    let begun = Instant::now();
    while begun.elapsed() < AGE && !workload.is_over() {
        if let Outcome::Answered(_) = mailbox::signal(caller, FAMILY, key).await {
            progress.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
    progress.silent.store(true, Ordering::Relaxed);
}

async fn receive(workload: &Workload, member: &mut Member, key: &Arc<str>, client: u32, progress: &Progress) {
    let (mut last_word, mut fresh) = (None, Instant::now());
    let (mut highest, mut confirming, mut confirmed) = (0, None, 0);
    let outcome = loop {
        let heard = tokio::time::timeout(PAUSE, member.listen()).await;
        if member.heard > highest {
            highest = member.heard;
            fresh = Instant::now();
            progress.heard.fetch_add(1, Ordering::Relaxed);
        }
        // One confirmation is on the way at a time; the next is for all that came meanwhile.
        if let Some((id, seq, _)) = confirming
            && let Some(told) = member.answer(id)
        {
            let (_, _, begun) = confirming.take().expect("it was there a moment ago");
            let outcome = match told {
                Told::Done(_) => {
                    confirmed = seq;
                    Outcome::Answered(Answer::Done)
                }
                Told::Refused { code, .. } => Outcome::Unknown(code.into()),
            };
            workload.recorder.end(begun, 0, outcome);
        }
        if confirming.is_none() && highest > confirmed && member.open {
            let begun = workload.recorder.begin(FAMILY, key, client, Wish::Confirm { seq: highest });
            match member.send(|id| format!(r#"{{"op":"ack","id":{id},"seq":{highest}}}"#)).await {
                Ok(id) => confirming = Some((id, highest, begun)),
                Err(_) => workload.recorder.end(begun, 0, Outcome::Unknown("io".into())),
            }
        }
        let lacks = progress.heard.load(Ordering::Relaxed) < progress.acknowledged.load(Ordering::Relaxed);
        let silent = progress.silent.load(Ordering::Relaxed);
        if silent && !lacks {
            break Outcome::Answered(Answer::Done);
        }
        if silent && Instant::now() > *last_word.get_or_insert_with(|| Instant::now() + 2 * STALLED) {
            break match member.open {
                true => Outcome::Answered(Answer::Done),
                false => Outcome::Unknown("no connection".into()),
            };
        }
        if matches!(heard, Ok(Err(_))) || (lacks && fresh.elapsed() > STALLED) {
            fresh = Instant::now();
            if let Some((_, _, begun)) = confirming.take() {
                workload.recorder.end(begun, 0, Outcome::Unknown("lost".into()));
            }
            match member.enter().await {
                Ok(true) => {}
                // Another session has no right to the mailbox until the first one's lease is over.
                Ok(false) | Err(_) => break Outcome::Unknown("not resumed".into()),
            }
        }
    };
    if let Some((_, _, begun)) = confirming.take() {
        workload.recorder.end(begun, 0, Outcome::Unknown("parted".into()));
    }
    let part = workload.recorder.begin(FAMILY, key, client, Wish::Part);
    workload.recorder.end(part, 0, outcome);
    while !progress.silent.load(Ordering::Relaxed) {
        tokio::time::sleep(PAUSE).await;
    }
}
