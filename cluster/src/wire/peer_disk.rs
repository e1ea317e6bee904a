//! Which disk the other end of a connection has, and whether its id is bound to that one.

use super::links::Core;
use super::{PeerId, Reason};

/// The disk that the other end named in its handshake, for as long as nothing is known of its id.
///
/// A binding is for ever, so that a disk that was found to be the right one is not looked at again. One that was let in
/// while nothing was bound here, as by a node that just starts or is behind, is compared before every frame: the
/// connection ends with the first frame after the replica knows better, and the next handshake is refused in so many
/// words.
#[derive(Debug)]
pub(super) struct PeerDisk {
    peer: PeerId,
    /// `None` once it is known to be the right one.
    unknown: Option<u128>,
}

impl PeerDisk {
    pub(super) fn new(peer: PeerId, named: u128) -> Self {
        Self { peer, unknown: Some(named) }
    }

    /// Compares it with what this node's replica has bound to the peer's id. Nothing bound is no objection.
    pub(super) fn check(&mut self, core: &Core) -> Result<(), Reason> {
        let Some(named) = self.unknown else { return Ok(()) };
        match core.disk_of(self.peer) {
            Some(bound) if bound == named => {
                self.unknown = None;
                Ok(())
            }
            Some(_) => Err(Reason::Disk),
            None => Ok(()),
        }
    }
}
