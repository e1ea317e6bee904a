//! How large bodies are taken in, so that more of them than can be carried out do no harm.
//!
//! What a chunk costs this node is mostly its body: to read it, to decode it, to hash it. Two things keep that in
//! bounds. How long one more would take is foreseen before its body is read ([`Strain`]), and refused for little if that
//! is too long. And those that are taken in are worked on a few at a time, so that a thread that has many of them comes
//! round soon to whoever else waits: to a refusal, a question, a socket.

use std::rc::Rc;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use actix_web::web;
use conclave_cluster::Strain;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::shared::Shared;

/// Bodies from so many bytes on are large. A smaller one is read before anything else is asked: it may be a question,
/// and costs little.
pub(super) const LARGE: usize = 4 << 10;
/// How many a thread works on before it looks after everything else.
const AT_ONCE: usize = 4;

thread_local! {
    static TURNS: Rc<Semaphore> = Rc::new(Semaphore::new(AT_ONCE));
}

/// The large bodies of a node.
#[derive(Debug)]
pub(super) struct Intake(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    open: usize,
    strain: Strain,
}

/// One that was taken in, until its request is answered.
pub(super) struct Taken(web::Data<Shared>);

impl Intake {
    /// `deadline` is what a request has, all in all.
    pub(super) fn new(deadline: Duration) -> Self {
        Self(Mutex::new(Inner { open: 0, strain: Strain::new(deadline) }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while this is held")
    }

    fn enter(&self, now: Instant) -> bool {
        let mut inner = self.inner();
        let open = inner.open;
        if open == 0 {
            inner.strain.begin(now);
        }
        let borne = inner.strain.bears(open, now);
        inner.open += usize::from(borne);
        borne
    }

    fn leave(&self, now: Instant) {
        let mut inner = self.inner();
        inner.open -= 1;
        inner.strain.answered(1, now);
    }
}

impl Taken {
    /// `None` if one more would wait for too long.
    pub(super) fn of(shared: &web::Data<Shared>) -> Option<Self> {
        let taken = shared.cluster.has_room() && shared.intake.enter(Instant::now());
        taken.then(|| Self(shared.clone()))
    }

    /// Waits for a turn to work on the body. The work is done before anything else is awaited.
    pub(super) async fn turn(&self) {
        let turns = TURNS.with(Rc::clone);
        let turn = turns.acquire().await;
        // Held until this thread has been round once; then the next ones go.
        tokio::task::yield_now().await;
        drop(turn);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.intake.leave(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_can_be_carried_out_are_refused_and_leave_no_trace() {
        let intake = Intake::new(Duration::from_secs(5));
        let mut now = Instant::now();
        // A hundred a second are answered.
        let mut taken = 0;
        for _ in 0..400 {
            taken += usize::from(intake.enter(now));
        }
        assert_eq!(taken, 400, "nothing is known of the pace yet");
        for _ in 0..60 {
            now += Duration::from_millis(10);
            intake.leave(now);
        }
        assert!(!intake.enter(now), "it would wait for 3.4 s");
        for _ in 0..340 {
            intake.leave(now);
        }
        assert!(intake.enter(now));
        intake.leave(now);
        assert_eq!(intake.inner().open, 0);
    }
}
