//! Who may open a long-lived connection at all: so many in all, so many from one client, so many in so short a time.
//!
//! `Counts` decides, with the time passed in; [`ConnectionLimiter`] is what the rest of the node holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use conclave_cluster::state::id::Key;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Connections that this node holds at once.
    pub connections_max: usize,
    /// Connections that one client holds at once.
    pub per_client_max: usize,
    /// How many connections one client may open within `window`, whether it keeps them or not. They may come all at
    /// once; after that, one more every `window / opens`.
    pub opens: u32,
    /// See `opens`.
    pub window: Duration,
    /// How many clients' pace is remembered. Beyond it the half that was not heard of for longest is forgotten, so
    /// that a flood from many addresses costs bounded memory; who is forgotten starts afresh.
    pub clients_max: usize,
}

/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The client opens connections too fast, or holds as many as it may.
    #[error("too many connections of this client")]
    Client {
        /// When it makes sense to come back.
        retry_after: Duration,
    },
    /// The node holds as many as it may.
    #[error("too many connections")]
    Full,
}

/// After how long a client may try again that holds as many connections as it may; nobody knows when it ends one.
const COUNT_REST: Duration = Duration::from_secs(5);

/// Counts connections and remembers each client's pace.
#[derive(Debug)]
struct Counts {
    rules: Rules,
    held: usize,
    /// Clients that hold connections; at most `connections_max`.
    holders: HashMap<Key, usize>,
    /// When each client's pace is back to nothing. Looked for in both, written to the younger.
    young: HashMap<Key, Instant>,
    old: HashMap<Key, Instant>,
}

impl Counts {
    fn new(rules: Rules) -> Self {
        Self { rules, held: 0, holders: HashMap::new(), young: HashMap::new(), old: HashMap::new() }
    }

    fn enter(&mut self, client: Key, now: Instant) -> Result<(), Refused> {
        if self.held >= self.rules.connections_max {
            return Err(Refused::Full);
        }
        if self.holders.get(&client).copied().unwrap_or(0) >= self.rules.per_client_max {
            return Err(Refused::Client { retry_after: COUNT_REST });
        }
        self.pace(client, now)?;
        *self.holders.entry(client).or_default() += 1;
        self.held += 1;
        Ok(())
    }

    /// Each opening pushes the client's rest forward by its share of the window; a rest longer than the window is one
    /// opening too many.
    fn pace(&mut self, client: Key, now: Instant) -> Result<(), Refused> {
        let Rules { opens, window, .. } = self.rules;
        let known = self.young.get(&client).or_else(|| self.old.get(&client));
        let rest = known.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let after = rest + window / opens.max(1);
        if after > window {
            return Err(Refused::Client { retry_after: after - window });
        }
        if self.young.len() >= (self.rules.clients_max / 2).max(1) && !self.young.contains_key(&client) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(client, now + after);
        Ok(())
    }

    fn leave(&mut self, client: &Key) {
        self.held = self.held.saturating_sub(1);
        if let Some(count) = self.holders.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(client);
            }
        }
    }
}

/// Where connections are let in. Cheap to clone; all clones are the same limiter.
///
/// The mutex is std's: nothing is awaited while it is held.
#[derive(Debug, Clone)]
pub struct ConnectionLimiter(Arc<Mutex<Counts>>);

/// One connection that was let in. It counts until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    limiter: ConnectionLimiter,
    client: Key,
}

impl ConnectionLimiter {
    /// A limiter nobody went through yet.
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(Mutex::new(Counts::new(rules))))
    }

    /// Lets a connection of `client` in; see [`client::key`](crate::access::client::key). Keep the pass as long as the
    /// connection.
    ///
    /// # Errors
    /// If the client or the node has too many. A refused attempt costs the client nothing.
    pub fn enter(&self, client: Key, now: Instant) -> Result<ConnectionPermit, Refused> {
        self.lock().enter(client, now)?;
        Ok(ConnectionPermit { limiter: self.clone(), client })
    }

    /// How many are in.
    pub fn held(&self) -> usize {
        self.lock().held
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.lock().leave(&self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::client;

    const RULES: Rules = Rules {
        connections_max: 4,
        per_client_max: 2,
        opens: 3,
        window: Duration::from_secs(30),
        clients_max: 8,
    };

    fn of(last: u8) -> Key {
        client::key([192, 0, 2, last].into())
    }

    #[test]
    fn a_client_holds_so_many_and_gets_room_back() {
        let (limiter, now) = (ConnectionLimiter::new(RULES), Instant::now());
        let first = limiter.enter(of(1), now).unwrap();
        let _second = limiter.enter(of(1), now).unwrap();
        assert_eq!(limiter.enter(of(1), now).unwrap_err(), Refused::Client { retry_after: COUNT_REST });
        drop(first);
        assert!(limiter.enter(of(1), now).is_ok(), "the third opening of the window");
        assert_eq!(limiter.held(), 1);
    }

    #[test]
    fn a_client_opens_so_many_at_once_and_then_at_its_pace() {
        let (limiter, now) = (ConnectionLimiter::new(RULES), Instant::now());
        for _ in 0..3 {
            drop(limiter.enter(of(1), now).unwrap());
        }
        let refused = limiter.enter(of(1), now).unwrap_err();
        assert_eq!(refused, Refused::Client { retry_after: Duration::from_secs(10) });
        assert!(limiter.enter(of(2), now).is_ok(), "others are not held back");
        let almost = now + Duration::from_millis(9_999);
        assert!(limiter.enter(of(1), almost).is_err());
        let later = now + Duration::from_secs(10);
        assert!(limiter.enter(of(1), later).is_ok());
        assert!(limiter.enter(of(1), later).is_err());
    }

    #[test]
    fn a_node_holds_so_many() {
        let (limiter, now) = (ConnectionLimiter::new(RULES), Instant::now());
        let passes: Vec<_> = (0..4).map(|last| limiter.enter(of(last), now).unwrap()).collect();
        assert_eq!(limiter.enter(of(9), now).unwrap_err(), Refused::Full);
        drop(passes);
        assert_eq!(limiter.held(), 0);
        assert!(limiter.enter(of(9), now).is_ok());
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_half_by_half() {
        let (limiter, now) = (ConnectionLimiter::new(RULES), Instant::now());
        for last in 0..=255 {
            drop(limiter.enter(of(last), now).unwrap());
            let inside = limiter.lock();
            assert!(inside.young.len() + inside.old.len() <= RULES.clients_max);
            assert!(inside.holders.is_empty());
        }
    }

    #[test]
    fn who_comes_often_is_not_forgotten() {
        let (limiter, now) = (ConnectionLimiter::new(RULES), Instant::now());
        for turn in 0..3_u8 {
            drop(limiter.enter(of(1), now).unwrap());
            for other in 0..3 {
                drop(limiter.enter(of(10 + turn * 3 + other), now).unwrap());
            }
        }
        assert!(limiter.enter(of(1), now).is_err(), "three openings are remembered");
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let (limiter, now) = (ConnectionLimiter::new(RULES), Instant::now());
        for _ in 0..3 {
            drop(limiter.enter(of(1), now).unwrap());
        }
        for _ in 0..100 {
            assert!(limiter.enter(of(1), now).is_err());
        }
        assert!(limiter.enter(of(1), now + Duration::from_secs(10)).is_ok());
    }
}
