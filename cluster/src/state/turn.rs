//! Turns: which of a session's connections asks.
//!
//! A join and a claim are about other keys than the session that asks, which may lie in another cell. So they can't look
//! the session up. They carry the turn of their connection, which the session gave it when it was opened or resumed there,
//! a later one a greater turn (a fencing token). A member and a claim remember the turn that they hang on, and refuse what
//! comes with a lesser one: a connection that lost its session takes nothing back from the one that has it, however late
//! its commands come.
//!
//! When such a thing goes, its turn stays for a while as a *departure*, so that what was under way meanwhile puts nothing
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
pub struct Turn {
    /// The log's time when the connection was given the session, in milliseconds since the Unix epoch, or one more than the
    /// turn before. So it is greater than all before though nobody remembers those.
    number: u64,
    /// Whether another connection may have had the session shortly before, so that something of it may still come.
    follows: bool,
}

impl Turn {
    /// The first turn of a session.
    pub const fn first(number: u64) -> Self {
        Self { number, follows: false }
    }

    /// The turn after the last one that is known.
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
    pub(super) turn: Turn,
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
    /// Refuses a turn that comes after a greater one. `here`: that of what is under the key now.
    pub(super) fn admit(
        &self,
        name: (Key, Key),
        turn: Turn,
        here: Option<Turn>,
        now_ms: u64,
    ) -> Result<(), socket::Refusal> {
        let last = here.max(self.last(name, now_ms));
        if last.is_some_and(|last| turn < last) { Err(socket::Refusal::Replaced) } else { Ok(()) }
    }

    /// The turn of what went from here not long ago.
    pub(super) fn last(&self, name: (Key, Key), now_ms: u64) -> Option<Turn> {
        self.alive(&name, now_ms).map(|departure| departure.turn)
    }

    /// Remembers the turn of what a session had under another key. Nothing of a connection before can come after one that
    /// none was before.
    pub(super) fn leave(&mut self, name: (Key, Key), turn: Turn, ctx: &mut ApplyContext) {
        if turn.follows {
            self.keep(name, turn, ctx);
        }
    }

    /// Remembers the last turn of a session, for the one that is opened under the same key next.
    pub(super) fn close(&mut self, session: Key, turn: Turn, ctx: &mut ApplyContext) {
        self.keep((session, session), turn, ctx);
    }

    fn keep(&mut self, name: (Key, Key), turn: Turn, ctx: &mut ApplyContext) {
        self.free(name, ctx);
        // At the bound the node of what comes late ends it, and nothing else does.
        if self.len() < DEPARTURES_MAX {
            self.add(name, Departure { turn }, ctx.after(DEPARTURE_MS), ctx);
        }
    }
}
