//! Rooms in which two speak and two listen, all over sockets that are resumed elsewhere when they are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Workload;
use super::member::{Listener, Member, Moment, PAUSE, Told, Want};
use super::words::text;
use crate::proof::Family;
use crate::proof::history::{Answer, Outcome, Wish};

const FAMILY: Family = Family::Room;
const SPEAKERS: u32 = 2;
const LISTENERS: u32 = 2;
/// How long a room is used.
const AGE: Duration = Duration::from_secs(12);
/// Numbers of their clients begin here.
const FIRST_CLIENT: u32 = 20_000;

/// What all members of a room know together.
struct Room {
    key: Arc<str>,
    workload: Arc<Workload>,
    begun: Instant,
    /// The last place that was acknowledged, or told to anybody.
    last: Arc<AtomicU64>,
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
            last: Arc::default(),
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
        let mut member = Member::new(&self.workload, FAMILY, &self.key, client, client as usize);
        member.furthest = self.last.clone();
        member
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
                    let answer = match reply.position {
                        Some(place) => {
                            self.last.fetch_max(place.offset, Ordering::SeqCst);
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
        let outcome = member.listen_until(&mut Ear(&self)).await;
        let part = self.workload.recorder.begin(FAMILY, &self.key, client, Wish::Part);
        self.workload.recorder.end(part, 0, outcome);
        member.close().await;
    }
}

/// Who only listens.
struct Ear<'a>(&'a Room);

impl Listener for Ear<'_> {
    async fn look(&mut self, member: &mut Member, _: Moment) -> Want {
        let lacks = member.heard < self.0.last.load(Ordering::SeqCst);
        match (lacks, self.0.silent.load(Ordering::Relaxed)) {
            (false, true) => Want::Nothing,
            (false, false) => Want::Later,
            (true, false) => Want::Something,
            (true, true) => Want::TheRest,
        }
    }
}
