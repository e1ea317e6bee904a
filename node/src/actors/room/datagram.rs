//! What is said to a room and kept nowhere, from node to node past the log.

use actix::Message;
use bytes::Bytes;
use conclave_cluster::state::id::Key;

use crate::actors::registry::Registry;

/// Tell everybody, keep nothing.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Datagram {
    pub(super) member: Key,
    pub(super) data: Bytes,
    /// What goes to the other nodes; `None` if it came from one.
    pub(super) onward: Option<Bytes>,
}

/// What one node sends to another: the room, who says it, and what.
pub fn onward(room: &Key, member: &Key, data: &[u8]) -> Bytes {
    [room.as_bytes(), member.as_bytes(), data].concat().into()
}

/// Delivers datagrams of other nodes to the rooms that have members here, until there are no more.
///
/// Spawn it once per node with [`Cluster::datagrams`](conclave_cluster::Cluster::datagrams).
pub async fn run(mut datagrams: tokio::sync::mpsc::Receiver<(u64, Bytes)>, registry: Registry) {
    while let Some((_, datagram)) = datagrams.recv().await {
        let Some((head, _)) = datagram.split_first_chunk::<64>() else { continue };
        let key = |from: usize| {
            let bytes = head[from..from + 32].try_into().expect("the head has two keys of 32 bytes");
            Key::from_bytes(bytes)
        };
        registry.overhear(&key(0), key(32), datagram.slice(64..));
    }
}

impl Registry {
    /// A datagram for a room that may have members here.
    fn overhear(&self, room: &Key, member: Key, data: Bytes) {
        if let Some(address) = self.room(room) {
            // One that finds the actor's queue full is dropped, as datagrams may be.
            let _ = address.try_send(Datagram { member, data, onward: None });
        }
    }
}
