//! Generations: which of a session's connections asks.
//!
//! A join and a claim are about other keys than the session that asks, which may lie in another cell. So they can't look
//! the session up. They carry the generation of their connection, which the session gave it when it was opened or resumed
//! there, a later one a greater generation (a fencing token). A member and a claim remember the generation that they hang
//! on, and refuse what comes with a lesser one: a connection that lost its session takes nothing back from the one that has
//! it, however late its commands come.
//!
//! When such a thing goes, its generation stays for a while as a *departure*, so that what was under way meanwhile puts nothing
//! back either. That covers commands as late as one can be. Whatever is attached beyond that, because a connection has not
//! heard yet that it lost its session, is ended by its own node, which can't note it in the session; and if that node dies,
//! its incarnation lapses.

use serde::{Deserialize, Serialize};

use super::context::ApplyContext;
use super::expiry::{ExpiryKey, Lease};
use super::id::Key;
use super::limits::{DEPARTURE_MS, DEPARTURES_MAX};
use super::socket;
use super::storage_quota::Load;
use super::table::{Stored, Table};

/// Which of the connections that one session is on, one after the other. The fields' order is the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Generation {
    /// The log's time when the connection was given the session, in milliseconds since the Unix epoch, or one more than the
    /// generation before. So it is greater than all before though nobody remembers those.
    number: u64,
    /// Whether another connection may have had the session shortly before, so that something of it may still come.
    follows: bool,
}

impl Generation {
    /// The first generation of a session.
    pub const fn first(number: u64) -> Self {
        Self { number, follows: false }
    }

    /// The generation after the last one that is known.
    pub(super) fn after(last: Option<Self>, now_ms: u64) -> Self {
        match last {
            Some(last) => Self { number: now_ms.max(last.number.saturating_add(1)), follows: true },
            None => Self::first(now_ms),
        }
    }
}

/// What stays for a while of a session, or of what it had under another key, when that is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    /// Whose it was last.
    pub(super) generation: Generation,
}

impl Stored for Departure {
    /// The key that it was under, and the session's.
    type Key = (Key, Key);
    type Life = Lease;
    const EXPIRY: fn((Key, Key)) -> ExpiryKey = |(key, session)| ExpiryKey::Departure(key, session);

    /// On nobody's account: whoever leaves stores nothing. [`DEPARTURES_MAX`] bounds them.
    fn load(&self) -> Load {
        Load::NONE
    }
}

impl Table<Departure> {
    /// Refuses a generation that comes after a greater one. `here`: that of what is under the key now.
    pub(super) fn admit(
        &self,
        name: (Key, Key),
        generation: Generation,
        here: Option<Generation>,
        now_ms: u64,
    ) -> Result<(), socket::Refusal> {
        let last = here.max(self.last(name, now_ms));
        if last.is_some_and(|last| generation < last) { Err(socket::Refusal::Replaced) } else { Ok(()) }
    }

    /// The generation of what went from here not long ago.
    pub(super) fn last(&self, name: (Key, Key), now_ms: u64) -> Option<Generation> {
        self.alive(&name, now_ms).map(|departure| departure.generation)
    }

    /// Remembers the generation of what a session had under another key. Nothing of a connection before can come after one that
    /// none was before.
    pub(super) fn leave(&mut self, name: (Key, Key), generation: Generation, ctx: &mut ApplyContext) {
        if generation.follows {
            self.keep(name, generation, ctx);
        }
    }

    /// Remembers the last generation of a session, for the one that is opened under the same key next.
    pub(super) fn close(&mut self, session: Key, generation: Generation, ctx: &mut ApplyContext) {
        self.keep((session, session), generation, ctx);
    }

    fn keep(&mut self, name: (Key, Key), generation: Generation, ctx: &mut ApplyContext) {
        self.free(name, ctx);
        // At the bound the node of what comes late ends it, and nothing else does.
        if self.len() < DEPARTURES_MAX {
            self.add(name, Departure { generation }, ctx.after(DEPARTURE_MS), ctx);
        }
    }
}
