//! What can be asked of the state: one struct a question, each with its own answer.
//!
//! Nothing above this crate looks at the state itself. A query is data, so that it can be answered wherever the state is: by
//! this node's replica, or, as [`Question`]s and [`Reply`]s, by another node's. Two in a tuple are one query: both are
//! answered in the same look, where one cell holds both.

mod body_carrier;
pub(crate) mod codec;
mod page;
mod unless_remembered;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::body::Body;
use super::id::{Digest, Key};
use super::incarnation::Attachment;
use super::negotiation::{self, Resolved, Role};
use super::outcome::{Answer, Refusal};
use super::slot::{CellId, Slot};
use super::{
    State, account, allowance, audit, device, inventory, mailbox, registration, revocation, room, socket,
    transfer,
};
pub use page::Page;
pub use unless_remembered::UnlessRemembered;

mod sealed {
    /// Keeps queries in this crate.
    pub trait Sealed {}
}

/// A question about the state, answered in one look. It can't be implemented outside of this crate.
pub trait Query: sealed::Sealed + Copy + Send + Sync + 'static {
    /// What it is answered by.
    type Answer: Send;

    /// Answers it. `now_ms` is the reader's clock, at least [`State::now_ms`]; what expired by then is not seen,
    /// whether it was freed or not.
    fn answer(self, state: &State, now_ms: u64) -> Self::Answer;

    /// Shows the keys that it is about: it is answered where their slots are.
    #[doc(hidden)]
    fn each_key(&self, visit: &mut dyn FnMut(&Key));

    /// Adds what has to be asked of a node that has the state.
    #[doc(hidden)]
    fn ask(&self, questions: &mut Vec<Question>);

    /// Takes the replies to what [`ask`](Self::ask) added; `None` if they are others.
    #[doc(hidden)]
    fn hear(&self, replies: &mut dyn Iterator<Item = Reply>) -> Option<Self::Answer>;
}

/// Where a slot went, as the cell knows it that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// Which slot.
    pub slot: Slot,
    /// Its epoch after the last move that the cell knows of.
    pub epoch: u64,
    /// The cell that it went to with that.
    pub to: Option<CellId>,
}

/// Why a look at these keys is not answered by this state; `None` if it is.
pub(crate) fn elsewhere(state: &State, each_key: impl FnOnce(&mut dyn FnMut(&Key))) -> Option<Reply> {
    let mut refusal = None;
    each_key(&mut |key| refusal = refusal.take().or_else(|| state.refusal(key)));
    Some(Reply::Elsewhere(match refusal? {
        Refusal::Moved { slot, epoch, to } => Some(Elsewhere { slot, epoch, to }),
        _ => None,
    }))
}

/// What a query may be about.
trait Subject {
    /// The key, if this is one.
    fn key(&self) -> Option<&Key> {
        None
    }
}

impl Subject for Key {
    fn key(&self) -> Option<&Key> {
        Some(self)
    }
}

impl Subject for allowance::Charge {
    fn key(&self) -> Option<&Key> {
        Some(&self.client)
    }
}

impl Subject for u16 {}
impl Subject for u64 {}
impl Subject for Role {}
impl Subject for Page {}
impl Subject for inventory::Wanted {}
impl Subject for account::Owned {}
impl Subject for registration::After {}
impl Subject for transfer::NewChunk {}

/// The list of queries: the struct of each, what it is answered by, and how.
macro_rules! queries {
    ($($(#[$doc:meta])* $query:ident $(($($part:ident: $of:ty),*))? -> $answer:ty,
       |$state:pat_param, $now_ms:pat_param| $look:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $query $(($(pub $of),*))?;

        impl sealed::Sealed for $query {}

        impl Query for $query {
            type Answer = $answer;

            fn answer(self, $state: &State, $now_ms: u64) -> Self::Answer {
                let Self $(($($part),*))? = self;
                $look
            }

            fn each_key(&self, visit: &mut dyn FnMut(&Key)) {
                let Self $(($($part),*))? = self;
                let parts: &[Option<&Key>] = &[$($(Subject::key($part),)*)?];
                // The first key is what it is about; others are only named.
                parts.iter().flatten().take(1).for_each(|key| visit(key));
            }

            fn ask(&self, questions: &mut Vec<Question>) {
                questions.push(Question::$query(*self));
            }

            fn hear(&self, replies: &mut dyn Iterator<Item = Reply>) -> Option<Self::Answer> {
                if let Reply::$query(answer) = replies.next()? { Some(answer) } else { None }
            }
        }
    )*

        /// A query on its way to a node that has the state. New ones are added at the end: the order is the wire format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Question {
            $(#[doc = concat!("See [`", stringify!($query), "`].")] $query($query),)*
        }

        /// What a [`Question`] is answered by.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Reply {
            $(#[doc = concat!("See [`", stringify!($query), "`].")] $query($answer),)*
            /// The only reply to a look at a slot that is not there: where it went, if that is known.
            Elsewhere(Option<Elsewhere>),
        }

        impl Question {
            /// Answers it; see [`Query::answer`].
            pub(crate) fn answer(self, state: &State, now_ms: u64) -> Reply {
                match self {
                    $(Self::$query(query) => Reply::$query(query.answer(state, now_ms)),)*
                }
            }

            /// Shows the key that it is about; see [`Query::each_key`].
            pub(crate) fn each_key(&self, visit: &mut dyn FnMut(&Key)) {
                match self {
                    $(Self::$query(query) => query.each_key(visit),)*
                }
            }
        }

        impl body_carrier::BodyCarrier for Reply {
            fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Body)) {
                match self {
                    $(Self::$query(answer) => body_carrier::BodyCarrier::each(answer, visit),)*
                    Self::Elsewhere(_) => {}
                }
            }

            fn each_mut(&mut self, fill: body_carrier::Fill<'_>) -> Result<(), super::codec::Error> {
                match self {
                    $(Self::$query(answer) => body_carrier::BodyCarrier::each_mut(answer, fill),)*
                    Self::Elsewhere(_) => Ok(()),
                }
            }
        }
    };
}

impl sealed::Sealed for () {}

/// Asks nothing. Awaited linearizably, it is a barrier: what this node's replica tells afterwards is no older.
impl Query for () {
    type Answer = ();

    fn answer(self, _: &State, _: u64) {}

    fn each_key(&self, _: &mut dyn FnMut(&Key)) {}

    fn ask(&self, _: &mut Vec<Question>) {}

    fn hear(&self, _: &mut dyn Iterator<Item = Reply>) -> Option<()> {
        Some(())
    }
}

impl<A: Query, B: Query> sealed::Sealed for (A, B) {}

/// Both, in one look if their keys are in one cell.
impl<A: Query, B: Query> Query for (A, B) {
    type Answer = (A::Answer, B::Answer);

    fn answer(self, state: &State, now_ms: u64) -> Self::Answer {
        (self.0.answer(state, now_ms), self.1.answer(state, now_ms))
    }

    fn each_key(&self, visit: &mut dyn FnMut(&Key)) {
        self.0.each_key(visit);
        self.1.each_key(visit);
    }

    fn ask(&self, questions: &mut Vec<Question>) {
        self.0.ask(questions);
        self.1.ask(questions);
    }

    fn hear(&self, replies: &mut dyn Iterator<Item = Reply>) -> Option<Self::Answer> {
        Some((self.0.hear(replies)?, self.1.hear(replies)?))
    }
}

queries! {
    /// The time by which the state is read, in milliseconds since the Unix epoch.
    Now -> u64, |_, now_ms| now_ms;

    /// A transfer, without its chunks.
    Transfer(key: Key) -> Option<transfer::View>, |state, now_ms| state.transfers.view(&key, now_ms);

    /// One stored chunk, delivered or not; `None` once it was freed.
    Chunk(key: Key, index: u16) -> Option<(transfer::Encoding, Digest, Body)>, |state, now_ms| {
        let (encoding, blob) = state.transfers.chunk(&key, index, now_ms)?;
        let (digest, body) = state.ctx.blobs.get(blob)?;
        Some((encoding, digest, body.clone()))
    };

    /// Whether an acknowledgement is remembered under a transfer's key.
    Acknowledged(key: Key) -> bool, |state, now_ms| state.transfers.acknowledged(&key, now_ms);

    /// One side's envelope of a negotiation.
    Envelope(key: Key, role: Role) -> negotiation::Envelope, |state, now_ms| state.negotiations.envelope(&key, role, now_ms);

    /// What a pin resolves to.
    Resolve(pin: Key) -> Resolved, |state, now_ms| state.negotiations.resolve(&pin, now_ms);

    /// How many signals wait in a mailbox for a poll; none while it is pushed to a socket.
    Waiting(key: Key) -> usize, |state, now_ms| {
        let pushed = state.claims.is_attached(&key, &state.ctx.incarnations, now_ms);
        if pushed { 0 } else { state.mailboxes.waiting(&key, now_ms) }
    };

    /// A mailbox's signals, oldest first: what is pushed to the socket that holds it. Bytes are those of payloads.
    Signals(key: Key, page: Page) -> Vec<Arc<mailbox::Message>>, |state, now_ms| {
        state.mailboxes.signals(&key, page, now_ms)
    };

    /// The session that holds a mailbox's peer id, and the connection its signals go to, if the incarnation of that lives.
    Holder(key: Key) -> Option<(Key, Option<Attachment>)>, |state, now_ms| {
        state.claims.holder(&key, &state.ctx.incarnations, now_ms)
    };

    /// A socket session.
    Socket(key: Key) -> Option<socket::View>, |state, now_ms| {
        state.sockets.view(&key, &state.ctx.incarnations, now_ms)
    };

    /// A room.
    Room(key: Key) -> Option<room::View>, |state, now_ms| state.rooms.view(&key, now_ms);

    /// A room's messages, oldest first.
    RoomMessages(key: Key, page: Page) -> Vec<Arc<room::Message>>, |state, now_ms| {
        state.rooms.messages(&key, page, now_ms)
    };

    /// A room, and its messages on a page of the numbering of `epoch`; from the first one on if it is numbered anew since.
    RoomSince(key: Key, epoch: u64, page: Page) -> Option<(room::View, Vec<Arc<room::Message>>)>, |state, now_ms| {
        let view = state.rooms.view(&key, now_ms)?;
        let after = if view.epoch == epoch { page.after } else { 0 };
        Some((view, state.rooms.messages(&key, Page { after, ..page }, now_ms)))
    };

    /// A room's members: the keys of their socket sessions, in order.
    RoomMembers(key: Key) -> Vec<Key>, |state, _| state.rooms.members(&key).copied().collect();

    /// A room's members, if they are others than at a version of them in the numbering of `epoch`.
    RoomMembersSince(key: Key, epoch: u64, version: u64) -> Option<Vec<Key>>, |state, now_ms| {
        let view = state.rooms.view(&key, now_ms)?;
        let known = view.epoch == epoch && view.members_version == version;
        (!known).then(|| RoomMembers(key).answer(state, now_ms))
    };

    /// Where a member of a room is, if the incarnation of its connection lives.
    RoomMember(key: Key, member: Key) -> Option<Attachment>, |state, now_ms| {
        state.rooms.member((key, member), &state.ctx.incarnations, now_ms)
    };

    /// The nodes that hold a connection of one of a room's members, in order.
    RoomNodes(key: Key) -> Vec<u64>, |state, now_ms| {
        state.rooms.nodes(&key, &state.ctx.incarnations, now_ms)
    };

    /// The peer an invite code resolves to.
    Peer(key: Key) -> Option<String>, |state, now_ms| state.register.peer(&key, now_ms);

    /// A user's live devices, by id.
    Devices(key: Key) -> Vec<device::Device>, |state, now_ms| state.devices.of(&key, now_ms);

    /// A client's window as it would be seen by a charge.
    Balance(charge: allowance::Charge) -> allowance::Balance, |state, now_ms| state.windows.balance(&charge, now_ms);

    /// The remembered answer under an idempotency key, marked as a repeated one.
    Remembered(key: Key) -> Option<Answer>, |state, now_ms| state.idempotency_keys.answer(&key, now_ms);

    /// How much there is in all.
    Totals -> super::Totals, |state, _| super::Totals {
        counts: state.counts(),
        stored_bytes: state.stored_bytes(),
        remembered_bytes: state.idempotency_keys.bytes(),
        next_expiry_ms: state.next_expiry_ms(),
    };

    /// SHA-256 over the whole state, as [`State::fingerprint`] makes it.
    Fingerprint -> Digest, |state, _| state.fingerprint();

    /// What is on the account of an owner in a cell: of a client, a subject, a network or an organisation.
    Holding(owner: account::Owned) -> account::Holding, |state, _| state.ctx.storage.holding(&owner.0);

    /// Nothing of a key. Awaited linearizably, it is a barrier: what is read of the key afterwards is no older.
    Reach(_key: Key) -> (), |_, _| ();

    /// The slots that are served from this state, in order, and their epochs.
    Slots -> Vec<(Slot, u64)>, |state, _| state.open_slots().collect();

    /// How much is stored under keys of slots that are not here. Only a fault of the server leaves any; audits ask for it.
    Strays -> usize, |state, _| state.strays();

    /// The placement, as this state has it.
    Placement -> super::placement::Plan, |state, _| state.placement();

    /// How many entries an audit log had, and the hash of the last one.
    AuditHead(key: Key) -> Option<audit::Head>, |state, _| state.audit.head(&key);

    /// An audit log's entries, oldest first.
    AuditEntries(key: Key, page: Page) -> Vec<audit::View>, |state, now_ms| state.audit.page(&key, page, now_ms);

    /// What is on a list of revocations.
    Revocations(key: Key) -> Vec<revocation::View>, |state, now_ms| state.revocations.list(&key, now_ms);

    /// A part of what a cell stores, as operators may see it. Of a slot on its way both cells tell.
    Inventory(wanted: inventory::Wanted) -> inventory::Listing, |state, now_ms| state.inventory(&wanted, now_ms);

    /// A part of a list of registered devices.
    Registrations(key: Key, after: registration::After) -> registration::List, |state, _| {
        state.registrations.list(&key, after)
    };

    /// How many slots are served from this state, and how many are on their way from it.
    Held -> (usize, usize), |state, _| (state.open_slots().count(), state.sealed_slots().len());

    /// Why a chunk would be refused for want of room. `None`: it has room, something else decides over it, or only a proposal can
    /// tell, because it would free what is due, or because no rules are known yet.
    ChunkRefusal(key: Key, chunk: transfer::NewChunk) -> Option<Refusal>, |state, now_ms| {
        let is_due = state.next_expiry_ms().is_some_and(|due_ms| due_ms <= now_ms);
        if is_due || state.version() == 0 {
            return None;
        }
        if chunk.remembered && state.idempotency_keys.is_full() {
            return Some(Refusal::StorageFull);
        }
        state.transfers.refusal(&key, &chunk, &state.ctx, now_ms)
    };
}
