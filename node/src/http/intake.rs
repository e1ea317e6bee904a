//! How large bodies are taken in, so that more of them than can be carried out do no harm.
//!
//! What a chunk costs this node is mostly its body: to read it, to decode it, to hash it. Two things keep that in
//! bounds. How long one more would take is foreseen before its body is read ([`Strain`]), and refused for little if that
//! is too long. And those that are taken in are worked on a few at a time, so that a thread that has many of them comes
//! round soon to whoever else waits: to a refusal, a question, a socket.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use actix_web::{HttpRequest, web};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::shared::Shared;
use super::strain::Strain;
use crate::listener::Tap;

/// How many a thread works on before it looks after everything else.
const AT_ONCE: usize = 2;

thread_local! {
    static TURNS: Rc<Semaphore> = Rc::new(Semaphore::new(AT_ONCE));
}

/// The large bodies of a node.
#[derive(Debug)]
pub(super) struct Intake(Mutex<Strain>);

/// One that was taken in, until its request is answered.
pub(super) struct Taken {
    shared: web::Data<Shared>,
    /// Whether its sender is waited for.
    suspended: bool,
}

impl Intake {
    /// `deadline` is what a request has, all in all.
    pub(super) fn new(deadline: Duration) -> Self {
        Self(Mutex::new(Strain::new(deadline, Instant::now())))
    }

    /// Whether one more would wait for too long.
    pub(super) fn is_pressed(&self) -> bool {
        !self.strain().would_bear(Instant::now())
    }

    fn strain(&self) -> MutexGuard<'_, Strain> {
        self.0.lock().expect("nothing panics while this is held")
    }
}

impl Taken {
    /// `None` if one more would wait for too long.
    pub(super) fn of(shared: &web::Data<Shared>) -> Option<Self> {
        let taken = shared.cluster.has_room() && shared.intake.strain().enter(Instant::now());
        taken.then(|| Self { shared: shared.clone(), suspended: false })
    }

    /// Reads the body once it has its turn. While its sender is waited for it does not count.
    pub(super) async fn read<T>(&mut self, request: &HttpRequest, body: impl Future<Output = T>) -> T {
        let turns = TURNS.with(Rc::clone);
        let turn = turns.acquire().await;
        // Held until this thread has been round once; then the next ones go.
        tokio::task::yield_now().await;
        drop(turn);
        let tap = request.conn_data::<Tap>();
        let mut body = pin!(body);
        poll_fn(|cx| {
            let read = body.as_mut().poll(cx);
            self.suspend(read.is_pending() && tap.is_some_and(Tap::is_starved));
            read
        })
        .await
    }

    fn suspend(&mut self, suspended: bool) {
        if self.suspended != suspended {
            self.suspended = suspended;
            let mut strain = self.shared.intake.strain();
            if suspended { strain.suspend() } else { strain.resume() }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // One whose sender gave up was not answered.
        if !self.suspended {
            self.shared.intake.strain().leave(Instant::now());
        }
    }
}
