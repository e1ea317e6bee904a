//! What is said to a room and kept nowhere, from node to node past the log.

use actix::Message;
use bytes::Bytes;
use conclave_cluster::state::id::Key;

use crate::actors::registry::Registry;

/// Tell everybody, keep nothing.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Cast {
    pub(super) member: Key,
    pub(super) data: Bytes,
    /// What goes to the other nodes; `None` if it came from one.
    pub(super) onward: Option<Bytes>,
}

/// What one node casts to another: the room, who says it, and what.
pub fn onward(room: &Key, member: &Key, data: &[u8]) -> Bytes {
    [room.as_bytes(), member.as_bytes(), data].concat().into()
}

/// Delivers casts of other nodes to the rooms that have members here, until there are no more.
///
/// Spawn it once per node with [`Cluster::casts`](conclave_cluster::Cluster::casts).
pub async fn run(mut casts: tokio::sync::mpsc::Receiver<(u64, Bytes)>, registry: Registry) {
    while let Some((_, cast)) = casts.recv().await {
        let Some((head, _)) = cast.split_first_chunk::<64>() else { continue };
        let key = |from: usize| {
            let bytes = head[from..from + 32].try_into().expect("the head has two keys of 32 bytes");
            Key::from_bytes(bytes)
        };
        registry.overhear(&key(0), key(32), cast.slice(64..));
    }
}

impl Registry {
    /// A cast for a room that may have members here.
    fn overhear(&self, room: &Key, member: Key, data: Bytes) {
        if let Some(address) = self.room(room) {
            // One that finds the actor's queue full is dropped, as casts may be.
            let _ = address.try_send(Cast { member, data, onward: None });
        }
    }
}
