//! How fast one client may ask for what no allowance counts: paths that are not there, credentials that are worth nothing,
//! JSON that is none, the page, reports. A token bucket for each client, as the generic cell rate algorithm (ITU-T I.371).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client_identity::Client;
use super::recent::Recent;

/// How fast, and how much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, in the long run.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

#[derive(Debug)]
struct Buckets {
    rate: Rate,
    /// When each client's bucket is full again. Whoever is forgotten starts afresh.
    full: Recent<Instant>,
}

impl Buckets {
    /// How long it takes until what was taken beyond the burst is back; zero if there is some left.
    fn debt(&self, client: Client, now: Instant) -> Duration {
        let rest = self.full.get(client).map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        let each = Duration::from_secs(1) / self.rate.per_second.max(1);
        (rest + each).saturating_sub(each * self.rate.burst)
    }

    /// Takes one. It may go below nothing by what is under way at once, and no further than one burst.
    fn take(&mut self, client: Client, now: Instant) -> Left {
        let known = self.full.get(client);
        let each = Duration::from_secs(1) / self.rate.per_second.max(1);
        let full = (known.unwrap_or(now).max(now) + each).min(now + each * self.rate.burst * 2);
        self.full.set(client, full);
        let full_in = full.saturating_duration_since(now);
        let taken = u32::try_from(full_in.as_nanos().div_ceil(each.as_nanos().max(1))).unwrap_or(u32::MAX);
        Left { rate: self.rate, remaining: self.rate.burst.saturating_sub(taken), full_in }
    }
}

/// What a client may still ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// What all clients have.
    pub rate: Rate,
    /// How much at once.
    pub remaining: u32,
    /// When it is a whole burst again.
    pub full_in: Duration,
}

/// The buckets of a node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Mutex<Buckets>>);

impl Pace {
    /// Every bucket is full.
    pub fn new(rate: Rate) -> Self {
        Self(Arc::new(Mutex::new(Buckets { rate, full: Recent::default() })))
    }

    /// Whether `client` may ask for something.
    ///
    /// # Errors
    /// After how long it may again.
    pub fn admit(&self, client: Client, now: Instant) -> Result<(), Duration> {
        match self.lock().debt(client, now) {
            Duration::ZERO => Ok(()),
            debt => Err(debt),
        }
    }

    /// What `client` asked for was free of charge. Returns what it may still ask for.
    pub fn take(&self, client: Client, now: Instant) -> Left {
        self.lock().take(client, now)
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 50 };

    fn of(last: u32) -> Client {
        Client::V4(last)
    }

    /// How many of `count` attempts at once are let in.
    fn burst(pace: &Pace, client: Client, count: usize, now: Instant) -> usize {
        let one = || {
            let admitted = pace.admit(client, now).is_ok();
            if admitted {
                pace.take(client, now);
            }
            admitted
        };
        (0..count).filter(|_| one()).count()
    }

    #[test]
    fn so_many_at_once_and_then_at_its_pace() {
        let (pace, now) = (Pace::new(RATE), Instant::now());
        assert_eq!(burst(&pace, of(1), 100, now), 50);
        assert_eq!(burst(&pace, of(2), 100, now), 50, "others have their own");
        let wait = pace.admit(of(1), now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(burst(&pace, of(1), 100, now + wait), 1);
        assert_eq!(burst(&pace, of(1), 100, now + Duration::from_secs(60)), 50);
    }

    #[test]
    fn what_is_left_is_told() {
        let (pace, now) = (Pace::new(RATE), Instant::now());
        let left = pace.take(of(1), now);
        assert_eq!(left, Left { rate: RATE, remaining: 49, full_in: Duration::from_millis(100) });
        (0..100).for_each(|_| {
            pace.take(of(1), now);
        });
        assert_eq!(pace.take(of(1), now).remaining, 0);
    }

    #[test]
    fn a_debt_is_bounded() {
        let (pace, now) = (Pace::new(RATE), Instant::now());
        (0..10_000).for_each(|_| {
            pace.take(of(1), now);
        });
        let wait = pace.admit(of(1), now).unwrap_err();
        assert!(wait <= Duration::from_millis(5_100), "{wait:?}");
    }
}
