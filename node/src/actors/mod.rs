//! Actors: for each key in use on this node, everybody who is interested in it.
//!
//! A `SessionActor` belongs to a transfer, a negotiation or another key, a `DeviceActor` to a peer's mailbox, a `RoomActor`
//! to a room. Long polls, event streams and sockets subscribe to them; [`dispatch`] tells them what the replicated state
//! changed; a `RoomActor` delivers, the others notify. A `SessionActor` also remembers when its key's lease was renewed.
//! Actors hold no truth, and commands do not pass them: those go to the cluster directly. [`Registry`] finds or starts
//! actors.
//!
//! No wake-up is lost: a watcher subscribes first, then reads the state, then waits. A change applied before the read is
//! seen by the read, and one applied after it notifies.

mod device;
pub mod dispatch;
mod idle_check;
mod key_actor;
mod registry;
pub mod room;
mod session;

pub use registry::{Limits, Registry, Watch};

use conclave_cluster::state::id::{Domain, Key};

/// What an actor fronts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateKey {
    /// What kind of thing.
    pub domain: Domain,
    /// Which one.
    pub key: Key,
}
