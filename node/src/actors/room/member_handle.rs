//! A member's hold on the room's actor.

use actix::Addr;
use bytes::Bytes;
use conclave_cluster::Error;
use conclave_cluster::state::id::Key;

use super::datagram::Datagram;
use super::{Attach, Listener, Meet, Part, RoomActor};
use crate::actors::idle_check::WatchPermit;

/// A member's place in the room on this node, until dropped.
pub struct Presence {
    address: Addr<RoomActor>,
    _watcher: WatchPermit,
    member: Key,
    connection: u64,
}

impl Presence {
    pub(in crate::actors) fn new(
        address: Addr<RoomActor>,
        watcher: WatchPermit,
        member: Key,
        connection: u64,
    ) -> Self {
        Self { address, _watcher: watcher, member, connection }
    }

    /// Attaches a member that has everything up to `after`. True: it hears all that comes. False: it lacks so much
    /// that it hears of members only, reads messages by itself at its own pace, and calls [`Presence::meet`] when it
    /// has nearly all.
    ///
    /// # Errors
    /// `Overloaded` if the actor is gone, and those of a read; begin anew.
    pub async fn attach(&self, after: u64, listener: Box<dyn Listener>) -> Result<bool, Error> {
        let attach = Attach { member: self.member, connection: self.connection, after, listener };
        self.address.send(attach).await.unwrap_or(Err(Error::Overloaded))
    }

    /// Tries to hear messages from `after` on. False: it lacks too much still.
    ///
    /// # Errors
    /// `Overloaded` if the actor is gone, and those of a read; begin anew.
    pub async fn meet(&self, after: u64) -> Result<bool, Error> {
        let meet = Meet { member: self.member, connection: self.connection, after };
        self.address.send(meet).await.unwrap_or(Err(Error::Overloaded))
    }

    /// Says something to the other members that is kept nowhere. `onward` is what the other nodes are told. False if
    /// there is too much of it.
    pub fn cast(&self, data: Bytes, onward: Bytes) -> bool {
        self.address.try_send(Datagram { member: self.member, data, onward: Some(onward) }).is_ok()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.address.do_send(Part { member: self.member, connection: self.connection });
    }
}
