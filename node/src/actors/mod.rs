//! Who waits here.
//!
//! Actors hold no truth: what is so is in the replicated state. A `SessionActor` fronts one transfer, exchange or other
//! key in use on this node, a `DeviceActor` one peer's mailbox, a `RoomActor` one room. They order and bound the calls to
//! the cluster for their key, and wake whoever waits when [`dispatch`] says that the key changed. [`Registry`] finds or
//! starts them.
//!
//! No wake-up is lost: a watcher is registered first, then looks at the state, then waits. An effect that was
//! applied before the look is seen by the look, one applied after it rings.

mod desk;
mod device;
pub mod dispatch;
mod front;
mod line;
mod registry;
pub mod room;
mod session;

pub use registry::{Limits, Registry, Watch};

use conclave_cluster::state::id::{Domain, Key};

/// What an actor fronts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// What kind of thing.
    pub domain: Domain,
    /// Which one.
    pub key: Key,
}
