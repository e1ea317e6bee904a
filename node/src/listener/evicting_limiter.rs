//! Places for connections where there are few: whoever lets the node wait for longest makes room for whoever comes.
//!
//! `Table` decides, without a clock and without a socket. A newcomer is refused only where everybody who could make room has
//! shown who it is, or is changing something.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::force_close::Hangup;
use super::seldom::Seldom;
use crate::admission::client_identity::Client;
use crate::admission::share::{Bounds, Refused};

/// A connection on which nothing was said yet keeps its permit for so long. Whoever comes meanwhile waits: otherwise a crowd that
/// comes again and again would push out what others are about to say.
const GRACE: Duration = Duration::from_millis(50);
/// Whoever comes waits for so long where all that it may have is being answered, and nobody makes room.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    /// Nobody makes room.
    Refused(Refused),
    /// Somebody does, so much later.
    Later(Duration),
}

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// No request has begun.
    Rests,
    /// The client is waited for: for the rest of a request, or until it takes its answer.
    Waits,
    /// A request is being answered.
    Answers,
}

#[derive(Debug)]
struct Holder {
    client: Client,
    standing: Standing,
    /// Until when it keeps its permit for nothing. `None`: something was said.
    fresh_until: Option<Instant>,
    /// When it came to that, in turns of the table.
    since: u64,
    /// It has shown who it is.
    is_known: bool,
    /// What is being answered changes something, and is not to be broken off.
    changes: bool,
    hangup: Hangup,
}

impl Holder {
    /// For how long it keeps its permit for nothing.
    fn rest(&self, now: Instant) -> Option<Duration> {
        self.fresh_until?.checked_duration_since(now).filter(|rest| !rest.is_zero())
    }
}

#[derive(Debug)]
struct Table {
    bounds: Bounds,
    turns: u64,
    /// By the turn in which they came. No more than `bounds.all`.
    holders: BTreeMap<u64, Holder>,
}

impl Table {
    /// A permit, by its number, and whom it was taken from.
    fn enter(&mut self, client: Client, hangup: Hangup, now: Instant) -> Result<(u64, Option<Holder>), Full> {
        let is_own = |holder: &Holder| holder.client == client;
        let is_near = |holder: &Holder| client.site().is_some() && holder.client.site() == client.site();
        let count = |is: &dyn Fn(&Holder) -> bool| self.holders.values().filter(|one| is(one)).count();
        let leaver = if count(&is_own) >= self.bounds.client {
            Some(self.leaver(is_own, now).ok_or(Full::Refused(Refused::Client))?)
        } else if count(&is_near) >= self.bounds.site {
            Some(self.leaver(is_near, now).ok_or(Full::Refused(Refused::Client))?)
        } else if self.holders.len() >= self.bounds.all {
            Some(self.leaver(|_| true, now).ok_or(Full::Refused(Refused::All))?)
        } else {
            None
        };
        if let Some(rest) = leaver.and_then(|number| self.holders.get(&number)?.rest(now)) {
            return Err(Full::Later(rest));
        }
        let left = leaver.and_then(|number| self.holders.remove(&number));
        let number = self.turn();
        let holder = Holder {
            client,
            standing: Standing::Rests,
            fresh_until: Some(now + GRACE),
            since: number,
            is_known: false,
            changes: false,
            hangup,
        };
        self.holders.insert(number, holder);
        Ok((number, left))
    }

    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    /// Who makes room: of those who may be asked to, one of whoever has the most limiter, and of these the one that has let
    /// the node wait for longest.
    fn leaver(&self, is_asked: impl Fn(&Holder) -> bool, now: Instant) -> Option<u64> {
        let limiter = |of: Client| self.holders.values().filter(|one| one.client == of).count();
        let asked = self.holders.iter().filter(|(_, holder)| is_asked(holder));
        let leavers = asked.filter_map(|(number, holder)| {
            Some((
                holder.rest(now),
                Self::rank(holder)?,
                Reverse(limiter(holder.client)),
                holder.since,
                *number,
            ))
        });
        leavers.min().map(|(.., number)| number)
    }

    /// The lower, the sooner it makes room. `None`: never.
    fn rank(holder: &Holder) -> Option<u8> {
        match (holder.is_known, holder.standing) {
            (false, Standing::Rests | Standing::Waits) => Some(0),
            (false, Standing::Answers) => (!holder.changes).then_some(1),
            // Whoever asks comes again where a connection that rested is gone.
            (true, Standing::Rests) => Some(2),
            (true, Standing::Waits | Standing::Answers) => None,
        }
    }

    fn stand(&mut self, number: u64, standing: Standing) {
        let turn = self.turn();
        if let Some(holder) = self.holders.get_mut(&number).filter(|holder| holder.standing != standing) {
            (holder.standing, holder.since, holder.fresh_until) = (standing, turn, None);
        }
    }
}

#[derive(Debug)]
struct Inner {
    /// Whose they are, for the log.
    listener: &'static str,
    // A std mutex: nothing is awaited while it is held.
    table: Mutex<Table>,
    /// A permit is free, or somebody could make room.
    freed: Notify,
    said: Seldom,
}

/// The limiter of a listener. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct EvictingLimiter(Arc<Inner>);

impl EvictingLimiter {
    /// All of them are free.
    pub(super) fn new(listener: &'static str, bounds: Bounds) -> Self {
        let table = Table { bounds, turns: 0, holders: BTreeMap::new() };
        Self(Arc::new(Inner {
            listener,
            table: Mutex::new(table),
            freed: Notify::new(),
            said: Seldom::default(),
        }))
    }

    /// A permit for a connection from `address`. Whoever made room is cut off. Where nobody can, those that are being answered are
    /// waited for.
    ///
    /// # Errors
    /// If all are taken, or all that the client may have, and nobody makes room within [`PATIENCE`].
    pub(super) async fn enter(&self, address: IpAddr) -> Result<EvictablePermit, Refused> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut freed = pin!(self.0.freed.notified());
            freed.as_mut().enable();
            match self.try_enter(address, Instant::now()) {
                Ok(permit) => return Ok(permit),
                Err(Full::Refused(why)) => timeout_at(deadline, freed).await.map_err(|_| why)?,
                Err(Full::Later(rest)) => tokio::time::sleep(rest).await,
            }
        }
    }

    fn try_enter(&self, address: IpAddr, now: Instant) -> Result<EvictablePermit, Full> {
        let (client, hangup) = (Client::of(address), Hangup::default());
        let entered = self.lock().enter(client, hangup.clone(), now);
        if !matches!(entered, Ok((_, None))) {
            self.say(address);
        }
        let (number, left) = entered?;
        if let Some(left) = left {
            left.hangup.cut();
        }
        Ok(EvictablePermit { limiter: self.clone(), number, client, hangup })
    }

    fn say(&self, address: IpAddr) {
        if let Some(count) = self.0.said.another(Instant::now()) {
            let listener = self.0.listener;
            tracing::warn!(
                %address, count, listener,
                "connections closed to make room, or refused: the last one that was too many is from this address"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's, until this is dropped or somebody else needs it.
#[derive(Debug)]
pub(super) struct EvictablePermit {
    limiter: EvictingLimiter,
    number: u64,
    client: Client,
    hangup: Hangup,
}

impl EvictablePermit {
    /// Whose it is.
    pub(super) fn client(&self) -> Client {
        self.client
    }

    /// Takes note of what the connection is about.
    pub(super) fn stand(&self, standing: Standing) {
        self.limiter.lock().stand(self.number, standing);
        if standing != Standing::Answers {
            self.limiter.0.freed.notify_waiters();
        }
    }

    /// Asked when the permit is somebody else's.
    pub(super) fn hangup(&self) -> &Hangup {
        &self.hangup
    }

    /// For whoever answers the connection's requests.
    pub(super) fn claim(&self) -> Claim {
        Claim { limiter: self.limiter.clone(), number: self.number }
    }
}

impl Drop for EvictablePermit {
    fn drop(&mut self) {
        self.limiter.lock().holders.remove(&self.number);
        self.limiter.0.freed.notify_waiters();
    }
}

/// What a connection's permit may be kept for; among the connection's data.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    limiter: EvictingLimiter,
    number: u64,
}

impl Claim {
    /// The client has shown who it is: nobody takes the permit while it is used.
    pub(crate) fn is_known(&self) {
        self.set(|holder| holder.is_known = true);
    }

    /// Whether the request that is being answered changes something: nobody takes the permit until it is.
    pub(crate) fn changes(&self, changes: bool) {
        self.set(|holder| holder.changes = changes);
    }

    fn set(&self, set: impl FnOnce(&mut Holder)) {
        if let Some(holder) = self.limiter.lock().holders.get_mut(&self.number) {
            set(holder);
        }
    }
}

#[cfg(test)]
mod tests;
