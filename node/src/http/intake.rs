//! How large bodies are taken in, so that more of them than can be carried out do no harm.
//!
//! What a chunk costs this node is mostly its body: to read it, to decode it, to hash it. Three things keep that in
//! bounds. How long one more would take is foreseen before its body is read ([`Strain`]), and refused for little if that
//! is too long. Of those that are taken in only so many are under way, and the others wait with their bodies outside:
//! work that lies ready for the cluster's threads would keep the processor from those that serve connections. And a
//! thread begins a few at a time, so that it comes round soon to whoever else waits: to a refusal, a question, a socket.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix_web::{HttpRequest, web};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::error::Error;
use super::shared::Shared;
use super::strain::Strain;
use crate::listener::Tap;

/// How many a thread begins before it looks after everything else.
const AT_ONCE: usize = 2;
/// How many of a thread's are under way, from before their bodies are read until they are answered. So many fill the
/// batches of the log.
const UNDER_WAY: usize = 128;

thread_local! {
    static TURNS: Rc<Semaphore> = Rc::new(Semaphore::new(AT_ONCE));
    static PLACES: Arc<Semaphore> = Arc::new(Semaphore::new(UNDER_WAY));
}

/// The large bodies of a node.
#[derive(Debug)]
pub(super) struct Intake(Mutex<Strain>);

/// One that was taken in, until its request is answered.
pub(super) struct Taken {
    shared: web::Data<Shared>,
    since: Instant,
    place: Place,
    /// Whether its sender is waited for.
    suspended: bool,
}

/// One's place among those under way, if it has one.
#[derive(Default)]
struct Place(Option<OwnedSemaphorePermit>);

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
        let since = Instant::now();
        let taken = shared.services.cluster.has_room() && shared.intake.strain().enter(since);
        taken.then(|| Self { shared: shared.clone(), since, place: Place::default(), suspended: false })
    }

    /// Reads the body once it has its place and its turn. While its sender is waited for it has no place, and does not
    /// count. While nobody leads nobody gets a place, and whoever waits for one is refused with those who have theirs.
    pub(super) async fn read<T>(
        &mut self,
        request: &HttpRequest,
        body: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let shared = self.shared.clone();
        shared.services.cluster.while_led(self.since, self.place.take()).await?;
        let turns = TURNS.with(Rc::clone);
        let turn = turns.acquire().await;
        // Held until this thread has been round once; then the next ones go.
        tokio::task::yield_now().await;
        drop(turn);
        let tap = request.conn_data::<Tap>();
        let mut body = pin!(body);
        let read = poll_fn(|cx| {
            let read = body.as_mut().poll(cx);
            self.suspend(read.is_pending() && tap.is_some_and(Tap::is_starved));
            read
        })
        .await?;
        // Whoever was waited for comes again.
        shared.services.cluster.while_led(Instant::now(), self.place.take()).await?;
        Ok(read)
    }

    fn suspend(&mut self, suspended: bool) {
        if self.suspended != suspended {
            self.suspended = suspended;
            let mut strain = self.shared.intake.strain();
            if suspended {
                self.place.give_up();
                strain.suspend();
            } else {
                strain.resume();
            }
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

impl Place {
    /// Waits for a place, unless it has one. Whoever came first is first.
    async fn take(&mut self) {
        if self.0.is_none() {
            let places = PLACES.with(Arc::clone);
            self.0 = Some(places.acquire_owned().await.expect("nobody closes it"));
        }
    }

    fn give_up(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn so_many_are_under_way_and_the_others_wait_in_turn() {
        let mut under_way = Vec::new();
        for _ in 0..UNDER_WAY {
            let mut place = Place::default();
            place.take().await;
            place.take().await;
            under_way.push(place);
        }
        // The runtime has a task pause after so many.
        tokio::task::yield_now().await;
        let (mut next, mut last) = (Place::default(), Place::default());
        let (mut next, mut last) = (pin!(next.take()), pin!(last.take()));
        assert!(poll!(&mut next).is_pending() && poll!(&mut last).is_pending());
        under_way[0].give_up();
        assert!(poll!(&mut last).is_pending() && poll!(&mut next).is_ready());
        under_way.pop();
        assert_eq!(poll!(&mut last), Poll::Ready(()));
    }
}
