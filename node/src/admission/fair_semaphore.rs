//! Things that are done so many at a time, and for one client only some of them. Whoever comes too early waits.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client_identity::{Client, Site};
use super::share::Bounds;

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    all: Arc<Semaphore>,
    clients: Mutex<HashMap<Client, Arc<Semaphore>>>,
    sites: Mutex<HashMap<Site, Arc<Semaphore>>>,
}

/// The turns. Clones are the same.
#[derive(Debug, Clone)]
pub struct FairSemaphore(Arc<Inner>);

/// One turn, until it is dropped. So is one that is still waited for.
#[derive(Debug)]
pub struct FairPermit {
    semaphore: FairSemaphore,
    client: Option<Client>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl FairSemaphore {
    /// So many at a time.
    pub fn new(bounds: Bounds) -> Self {
        let most = |bound: usize| bound.min(Semaphore::MAX_PERMITS);
        let bounds = Bounds { all: most(bounds.all), client: most(bounds.client), site: most(bounds.site) };
        let all = Arc::new(Semaphore::new(bounds.all));
        Self(Arc::new(Inner { bounds, all, clients: Mutex::default(), sites: Mutex::default() }))
    }

    /// Waits for a turn: first among those of the same client, then of its site, then of all. `None` is a client that
    /// stands for many.
    pub async fn take(&self, client: Option<Client>) -> FairPermit {
        let mut permit = FairPermit { semaphore: self.clone(), client, permits: Vec::with_capacity(3) };
        let mut queues = Vec::with_capacity(3);
        if let Some(client) = client {
            queues.push(queue(&self.0.clients, client, self.0.bounds.client));
            queues.extend(client.site().map(|site| queue(&self.0.sites, site, self.0.bounds.site)));
        }
        queues.push(self.0.all.clone());
        for queue in queues {
            permit.permits.push(queue.acquire_owned().await.expect("nothing closes it"));
        }
        permit
    }
}

fn queue<K: Eq + Hash>(queues: &Mutex<HashMap<K, Arc<Semaphore>>>, key: K, bound: usize) -> Arc<Semaphore> {
    let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
    queues.entry(key).or_insert_with(|| Arc::new(Semaphore::new(bound))).clone()
}

/// Forgets a queue that nothing else holds.
fn forget<K: Eq + Hash>(queues: &Mutex<HashMap<K, Arc<Semaphore>>>, key: &K) {
    let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
    if queues.get(key).is_some_and(|queue| Arc::strong_count(queue) == 1) {
        queues.remove(key);
    }
}

impl Drop for FairPermit {
    fn drop(&mut self) {
        self.permits.clear();
        if let Some(client) = self.client {
            forget(&self.semaphore.0.clients, &client);
            if let Some(site) = client.site() {
                forget(&self.semaphore.0.sites, &site);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt as _, poll};

    use super::*;

    fn of(address: &str) -> Option<Client> {
        Some(Client::of(address.parse().unwrap()))
    }

    #[tokio::test]
    async fn whoever_waits_behind_its_own_keeps_nothing_from_others() {
        let semaphore = FairSemaphore::new(Bounds { all: 4, client: 2, site: 3 });
        let held = [semaphore.take(of("192.0.2.1")).await, semaphore.take(of("192.0.2.1")).await];
        let mut third = pin!(semaphore.take(of("192.0.2.1")));
        assert!(poll!(&mut third).is_pending());
        assert!(semaphore.take(of("192.0.2.2")).now_or_never().is_some(), "another is not held up");
        assert!(semaphore.take(None).now_or_never().is_some());
        drop(held);
        assert!(poll!(&mut third).is_ready());
    }

    #[tokio::test]
    async fn a_site_has_its_own_bound_and_nothing_is_kept_of_whoever_left() {
        let semaphore = FairSemaphore::new(Bounds { all: 9, client: 2, site: 3 });
        let mut held = Vec::new();
        for address in ["2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1"] {
            held.push(semaphore.take(of(address)).await);
        }
        assert!(semaphore.take(of("2001:db8:0:3::1")).now_or_never().is_none());
        assert!(semaphore.take(of("2001:db8:1::1")).now_or_never().is_some());
        drop(held);
        assert!(semaphore.take(of("2001:db8:0:3::1")).now_or_never().is_some());
        assert!(semaphore.0.clients.lock().unwrap().is_empty());
        assert!(semaphore.0.sites.lock().unwrap().is_empty());
    }
}
