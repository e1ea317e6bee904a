//! Admission of large bodies: when this node refuses a request for load.
//!
//! Most of what a chunk costs a node is its body: reading, decoding and hashing it. Two rules bound that cost.
//!
//! 1. Before a body is read, the controller predicts how long the request would take. Too long, or a full command
//!    queue, is refused at the head, which is cheap.
//! 2. At most `IN_FLIGHT_MAX` admitted bodies are being read or carried out. The others wait with their bodies still in
//!    the system's buffers, so that queued work does not starve the threads that serve connections.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use conclave_cluster::{Cluster, Error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::controller::Controller;

/// Bodies in flight on the node, from the first read until their requests are answered. So many fill the batches of the
/// log.
const IN_FLIGHT_MAX: usize = 128;

/// Admits the large bodies of one node. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct BodyAdmission(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    controller: Mutex<Controller>,
    in_flight: Arc<Semaphore>,
}

/// An admitted body, until its request is answered.
pub struct Admitted {
    admission: BodyAdmission,
    since: Instant,
    permit: Permit,
    /// Whether the client is slow to send, so that the body counts for nothing.
    suspended: bool,
}

/// A place among the bodies in flight, if there is one.
struct Permit {
    semaphore: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl BodyAdmission {
    /// Nothing is admitted yet.
    pub fn new(cluster: Cluster) -> Self {
        let controller = Mutex::new(Controller::new(cluster.deadline(), Instant::now()));
        Self(Arc::new(Inner { cluster, controller, in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)) }))
    }

    /// Whether one more body would be refused.
    pub fn is_overloaded(&self) -> bool {
        !self.0.cluster.has_room() || !self.controller().would_admit(Instant::now())
    }

    /// Admits one more body; `None` is a refusal.
    pub fn admit(&self) -> Option<Admitted> {
        let since = Instant::now();
        let admitted = self.0.cluster.has_room() && self.controller().admit(since);
        let permit = Permit { semaphore: self.0.in_flight.clone(), held: None };
        admitted.then(|| Admitted { admission: self.clone(), since, permit, suspended: false })
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.0.controller.lock().expect("nothing panics while this is held")
    }
}

impl Admitted {
    /// Reads the body when there is a permit. While `is_starved`, the client is slow to send: the body
    /// gives its permit up and does not count. Without a leader nobody gets a permit, and bodies that wait for one are
    /// refused as commands are.
    ///
    /// # Errors
    /// Those of [`Cluster::wait_unless_leaderless`], and those of `body`.
    pub async fn read<T, E: From<Error>>(
        &mut self,
        is_starved: impl Fn() -> bool,
        body: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let cluster = self.admission.0.cluster.clone();
        cluster.wait_unless_leaderless(None, self.since, self.permit.acquire()).await?;
        let mut body = pin!(body);
        let read = poll_fn(|cx| {
            let read = body.as_mut().poll(cx);
            self.suspend(read.is_pending() && is_starved());
            read
        })
        .await?;
        // A body that was suspended has to get a permit again.
        cluster.wait_unless_leaderless(None, Instant::now(), self.permit.acquire()).await?;
        Ok(read)
    }

    fn suspend(&mut self, suspended: bool) {
        if self.suspended != suspended {
            self.suspended = suspended;
            let mut controller = self.admission.controller();
            if suspended {
                self.permit.release();
                controller.suspend();
            } else {
                controller.resume();
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // A suspended one, whose client gave up, does not count as answered.
        if !self.suspended {
            self.admission.controller().complete(Instant::now());
        }
    }
}

impl Permit {
    /// Waits for a permit, unless one is held. First come, first served.
    async fn acquire(&mut self) {
        if self.held.is_none() {
            let permit = self.semaphore.clone().acquire_owned().await;
            self.held = Some(permit.expect("the semaphore is never closed"));
        }
    }

    fn release(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn bodies_in_flight_are_bounded_and_the_others_wait_in_order() {
        let semaphore = Arc::new(Semaphore::new(3));
        let permit = || Permit { semaphore: semaphore.clone(), held: None };
        let mut in_flight = Vec::new();
        for _ in 0..3 {
            let mut permit = permit();
            permit.acquire().await;
            permit.acquire().await;
            in_flight.push(permit);
        }
        let (mut next, mut last) = (permit(), permit());
        let (mut next, mut last) = (pin!(next.acquire()), pin!(last.acquire()));
        assert!(poll!(&mut next).is_pending() && poll!(&mut last).is_pending());
        in_flight[0].release();
        assert!(poll!(&mut last).is_pending() && poll!(&mut next).is_ready());
        in_flight.pop();
        assert_eq!(poll!(&mut last), Poll::Ready(()));
    }
}
