//! Rooms in which two speak and two listen, all over sockets that are resumed elsewhere when they are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Workload;
use super::member::{Member, Told};
use super::words::text;
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome, Wish};

const FAMILY: Family = Family::Room;
const SPEAKERS: u32 = 2;
const LISTENERS: u32 = 2;
/// How long a room is used.
const AGE: Duration = Duration::from_secs(12);
/// Between two messages of one speaker.
const PAUSE: Duration = Duration::from_millis(40);
/// Without anything new a listener that lacks something looks elsewhere.
const STALLED: Duration = Duration::from_secs(3);
/// Numbers of their clients begin here.
const FIRST_CLIENT: u32 = 20_000;

/// What all members of a room know together.
struct Room {
    key: Arc<str>,
    workload: Arc<Workload>,
    begun: Instant,
    /// The last place that was acknowledged.
    last: AtomicU64,
    /// Nobody speaks any more.
    silent: AtomicBool,
}

/// Opens one room after the other until the run is over.
pub(super) async fn keep(workload: Arc<Workload>, lane: u32) {
    while !workload.is_over() {
        let key: Arc<str> = format!("room-{:x}-{}", workload.run, workload.number()).into();
        let room = Arc::new(Room {
            key,
            workload: workload.clone(),
            begun: Instant::now(),
            last: AtomicU64::new(0),
            silent: AtomicBool::new(false),
        });
        let (mut speakers, mut listeners) = (JoinSet::new(), JoinSet::new());
        for number in 0..SPEAKERS + LISTENERS {
            let client = FIRST_CLIENT + 16 * lane + number;
            if number < LISTENERS {
                listeners.spawn(room.clone().listen(client));
            } else {
                speakers.spawn(room.clone().speak(client));
            }
        }
        while speakers.join_next().await.is_some() {}
        room.silent.store(true, Ordering::Relaxed);
        while listeners.join_next().await.is_some() {}
        workload.recorder.close(&room.key);
        // If nobody could enter, the next try has to wait.
        tokio::time::sleep(PAUSE).await;
    }
}

impl Room {
    fn member(&self, client: u32) -> Member {
        Member::new(&self.workload, FAMILY, &self.key, client, client as usize)
    }

    async fn speak(self: Arc<Self>, client: u32) {
        let mut member = self.member(client);
        if member.enter().await.is_err() {
            return;
        }
        while self.begun.elapsed() < AGE && !self.workload.is_over() {
            if self.publish(&mut member, client).await.is_err() {
                return;
            }
            let until = Instant::now() + PAUSE;
            while let Ok(heard) = tokio::time::timeout_at(until, member.listen()).await {
                if heard.is_err() && member.enter().await.is_err() {
                    return;
                }
            }
        }
        member.close().await;
    }

    /// Says something and waits until it has its place; says it again under its number when the connection was lost.
    async fn publish(&self, member: &mut Member, client: u32) -> Result<(), ()> {
        let number = self.workload.number();
        let begun = self.workload.recorder.begin(FAMILY, &self.key, client, Wish::Publish { number });
        let give_up = Instant::now() + self.workload.options.audit_patience;
        let (outcome, goes_on) = loop {
            let data = text(number);
            let sent = member
                .send(|id| format!(r#"{{"op":"publish","id":{id},"messageId":{number},"data":"{data}"}}"#))
                .await;
            let told = match sent {
                Ok(id) => member.answered(id, Instant::now() + self.workload.options.deadline).await.ok(),
                Err(_) => None,
            };
            match told {
                Some(Told::Done(reply)) => {
                    let answer = match reply.place {
                        Some(place) => {
                            self.last.fetch_max(place.offset, Ordering::Relaxed);
                            let epoch = place.epoch.as_ref().into();
                            Answer::Placed { epoch, offset: place.offset, number }
                        }
                        None => Answer::Wrong("an acknowledgement without a place".into()),
                    };
                    break (Outcome::Answered(answer), Ok(()));
                }
                Some(Told::Refused { code, .. }) if code != "no_leader" => {
                    break (Outcome::Refused(code.into()), Ok(()));
                }
                Some(Told::Refused { .. }) | None => {}
            }
            let unknown = || Outcome::Unknown("lost".into());
            match member.enter().await {
                // Another session would say it a second time.
                Ok(true) if Instant::now() < give_up => {}
                Ok(_) => break (unknown(), Ok(())),
                Err(_) => break (unknown(), Err(())),
            }
        };
        self.workload.recorder.end(begun, 0, outcome);
        goes_on
    }

    async fn listen(self: Arc<Self>, client: u32) {
        let mut member = self.member(client);
        if member.enter().await.is_err() {
            return;
        }
        let mut last_word = None;
        let mut fresh = Instant::now();
        let outcome = loop {
            let heard = tokio::time::timeout(PAUSE, member.listen()).await;
            if let Ok(Ok(())) = heard {
                fresh = Instant::now();
            }
            let lacks = member.heard < self.last.load(Ordering::Relaxed);
            let silent = self.silent.load(Ordering::Relaxed);
            if silent && !lacks {
                break Outcome::Answered(Answer::Done);
            }
            if silent {
                let give_up =
                    *last_word.get_or_insert_with(|| Instant::now() + self.workload.options.audit_patience);
                if Instant::now() > give_up {
                    break match member.open {
                        true => Outcome::Answered(Answer::Done),
                        false => Outcome::Unknown("no connection".into()),
                    };
                }
            }
            let stalled = lacks && fresh.elapsed() > STALLED;
            if matches!(heard, Ok(Err(_))) || stalled {
                fresh = Instant::now();
                if member.enter().await.is_err() && silent {
                    break Outcome::Unknown("no connection".into());
                }
            }
        };
        let part = self.workload.recorder.begin(FAMILY, &self.key, client, Wish::Part);
        self.workload.recorder.end(part, 0, outcome);
        member.close().await;
    }
}
