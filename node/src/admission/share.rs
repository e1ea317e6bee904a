//! Things of which a node has so many, and one client may have only a part.
//!
//! `Counts` decides; [`Share`] is what the rest of the node holds, one for each kind of thing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client_identity::{Client, Site};

/// How many there may be. Whoever wants no bound says `usize::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Of all clients.
    pub all: usize,
    /// Of one client.
    pub client: usize,
    /// Of one site, that is of all clients in one IPv6 /48.
    pub site: usize,
}

impl Bounds {
    /// Of a whole, the parts in percent that one client and one site may have, but never fewer than `least`.
    pub fn of(all: usize, parts: Parts, least: usize) -> Self {
        let part = |percent: Option<u8>| match percent {
            Some(percent) => {
                (all / 100 * usize::from(percent) + all % 100 * usize::from(percent) / 100).max(least)
            }
            None => usize::MAX,
        };
        Self { all, client: part(parts.client), site: part(parts.site) }
    }
}

/// Which part of a whole one client may have, and one site, in percent. `None`: all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts {
    /// One client.
    pub client: Option<u8>,
    /// One site.
    pub site: Option<u8>,
}

/// Whose bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The client's own, or that of its site.
    #[error("this client has as many as it may")]
    Client,
    /// The node's.
    #[error("there are as many as this node may have")]
    All,
}

#[derive(Debug)]
struct Counts {
    bounds: Bounds,
    all: usize,
    /// Who has any; no more than `all`.
    clients: HashMap<Client, usize>,
    sites: HashMap<Site, usize>,
}

impl Counts {
    fn enter(&mut self, client: Client) -> Result<(), Refused> {
        let mut sites = client.sites().map(|site| self.sites.get(&site).copied().unwrap_or(0));
        let of_client = self.clients.get(&client.counted()).copied().unwrap_or(0);
        if of_client >= self.bounds.client || sites.any(|held| held >= self.bounds.site) {
            return Err(Refused::Client);
        }
        if self.all >= self.bounds.all {
            return Err(Refused::All);
        }
        *self.clients.entry(client.counted()).or_default() += 1;
        for site in client.sites() {
            *self.sites.entry(site).or_default() += 1;
        }
        self.all += 1;
        Ok(())
    }

    fn leave(&mut self, client: Client) {
        self.all -= 1;
        take_one(&mut self.clients, client.counted());
        for site in client.sites() {
            take_one(&mut self.sites, site);
        }
    }
}

fn take_one<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// One kind of thing. Clones count together.
///
/// The mutex is std's: nothing is awaited while it is held.
#[derive(Debug, Clone)]
pub struct Share(Arc<Mutex<Counts>>);

/// One of them, held by a client until this is dropped.
#[derive(Debug)]
pub struct Slot {
    share: Share,
    client: Client,
}

impl Share {
    /// None is held yet.
    pub fn new(bounds: Bounds) -> Self {
        let (clients, sites) = (HashMap::new(), HashMap::new());
        Self(Arc::new(Mutex::new(Counts { bounds, all: 0, clients, sites })))
    }

    /// One for `client`.
    ///
    /// # Errors
    /// If the client, its site or the node has as many as it may.
    pub fn enter(&self, client: Client) -> Result<Slot, Refused> {
        self.lock().enter(client)?;
        Ok(Slot { share: self.clone(), client })
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Whose it is.
    pub fn client(&self) -> Client {
        self.client
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.share.lock().leave(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Client {
        Client::of(address.parse().unwrap())
    }

    #[test]
    fn one_client_leaves_room_for_others() {
        let share = Share::new(Bounds { all: 4, client: 2, site: 3 });
        let one = [share.enter(of("192.0.2.1")).unwrap(), share.enter(of("192.0.2.1")).unwrap()];
        assert_eq!(share.enter(of("192.0.2.1")).unwrap_err(), Refused::Client);
        let _others = [share.enter(of("192.0.2.2")).unwrap(), share.enter(of("192.0.2.3")).unwrap()];
        assert_eq!(share.enter(of("192.0.2.4")).unwrap_err(), Refused::All);
        drop(one);
        assert_eq!(share.held(), 2);
        assert!(share.enter(of("192.0.2.1")).is_ok());
        assert_eq!(share.held(), 2, "nothing is left of a place that was given back");
    }

    #[test]
    fn a_site_has_more_than_a_client_and_less_than_all() {
        let share = Share::new(Bounds { all: 9, client: 2, site: 3 });
        let _held = [
            share.enter(of("2001:db8::1")),
            share.enter(of("2001:db8::2")),
            share.enter(of("2001:db8:0:1::1")),
        ]
        .map(Result::unwrap);
        assert_eq!(share.enter(of("2001:db8:0:2::1")).unwrap_err(), Refused::Client);
        assert!(share.enter(of("2001:db8:1::1")).is_ok());
        assert_eq!(share.lock().sites.len(), 1);
    }

    #[test]
    fn parts_are_percents_of_the_whole() {
        let parts = Parts { client: Some(25), site: Some(50) };
        assert_eq!(Bounds::of(25_000, parts, 16), Bounds { all: 25_000, client: 6_250, site: 12_500 });
        assert_eq!(Bounds::of(30, parts, 16), Bounds { all: 30, client: 16, site: 16 });
        assert_eq!(
            Bounds::of(30, Parts::default(), 16),
            Bounds { all: 30, client: usize::MAX, site: usize::MAX }
        );
    }
}
