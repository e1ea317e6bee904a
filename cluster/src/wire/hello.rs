//! The greeting: the first frame each way says who speaks, to whom, and for which cluster.
//!
//! `magic | versions u16 u16 | from u64 | to u64 | lane u8 | run u64 | proves u8 | nonce [32] | cluster`, big endian.

use bytes::{Buf, BufMut};

use super::links::{Core, Options};
use super::secret::NONCE_BYTES;
use super::{Lane, PeerId, Reason};

const MAGIC: &[u8; 8] = b"conclave";
/// The oldest and the newest protocol this build speaks.
pub(super) const VERSIONS: (u16, u16) = (7, 7);
/// Bytes between the versions and the cluster's name.
const FIXED_BYTES: usize = 8 + 8 + 1 + 8 + 1 + NONCE_BYTES;

/// A greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: (u16, u16),
    pub(super) cluster: String,
    pub(super) from: PeerId,
    pub(super) to: PeerId,
    pub(super) lane: Lane,
    /// A random number drawn once per run of a node: tells a restart from a lost connection.
    pub(super) run: u64,
    /// Whether proofs of a shared secret follow, both ways.
    pub(super) proves: bool,
    /// A random number drawn for this connection, so that no proof is good for a second one.
    pub(super) nonce: [u8; NONCE_BYTES],
}

impl Hello {
    /// The nonce comes from the system and not from a seed: it must not be foreseen, and nothing else depends on it.
    pub(super) fn new(core: &Core, to: PeerId, lane: Lane) -> Self {
        let Options { node_id: from, cluster, secrets, .. } = &core.options;
        Self {
            versions: core.versions,
            cluster: cluster.clone(),
            from: *from,
            to,
            lane,
            run: core.run,
            proves: secrets.is_some(),
            nonce: rand::random(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12 + FIXED_BYTES + self.cluster.len());
        bytes.put_slice(MAGIC);
        bytes.put_u16(self.versions.0);
        bytes.put_u16(self.versions.1);
        bytes.put_u64(self.from);
        bytes.put_u64(self.to);
        bytes.put_u8(match self.lane {
            Lane::Control => 0,
            Lane::Bulk => 1,
            Lane::Snapshot => 2,
        });
        bytes.put_u64(self.run);
        bytes.put_u8(u8::from(self.proves));
        bytes.put_slice(&self.nonce);
        bytes.put_slice(self.cluster.as_bytes());
        bytes
    }

    /// Reads the magic and the versions first: what follows them may differ in another version.
    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, Reason> {
        let Some(rest) = bytes.strip_prefix(MAGIC) else { return Err(Reason::Garbage) };
        bytes = rest;
        if bytes.len() < 4 {
            return Err(Reason::Garbage);
        }
        let versions = (bytes.get_u16(), bytes.get_u16());
        if versions.0 > VERSIONS.1 || versions.1 < VERSIONS.0 {
            return Err(Reason::Version);
        }
        if bytes.len() < FIXED_BYTES {
            return Err(Reason::Garbage);
        }
        let (from, to) = (bytes.get_u64(), bytes.get_u64());
        let lane = match bytes.get_u8() {
            0 => Lane::Control,
            1 => Lane::Bulk,
            2 => Lane::Snapshot,
            _ => return Err(Reason::Garbage),
        };
        let run = bytes.get_u64();
        let proves = match bytes.get_u8() {
            0 => false,
            1 => true,
            _ => return Err(Reason::Garbage),
        };
        let mut nonce = [0; NONCE_BYTES];
        bytes.copy_to_slice(&mut nonce);
        let cluster = std::str::from_utf8(bytes).map_err(|_| Reason::Garbage)?.to_owned();
        Ok(Self { versions, cluster, from, to, lane, run, proves, nonce })
    }

    /// The newest protocol that both speak.
    pub(super) fn common(&self) -> u16 {
        self.versions.1.min(VERSIONS.1)
    }

    /// Whether the one who greets may speak with `node` of `cluster`, which has a shared secret or not.
    pub(super) fn check(&self, cluster: &str, node: PeerId, proves: bool) -> Result<(), Reason> {
        if self.cluster != cluster {
            return Err(Reason::Cluster);
        }
        if self.to != node || self.from == node {
            return Err(Reason::Identity);
        }
        if self.proves != proves {
            return Err(Reason::Secret);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::Tcp;
    use super::*;

    fn greeting(lane: Lane) -> Hello {
        let versions = VERSIONS;
        let (cluster, nonce) = ("blue".to_owned(), rand::random());
        Hello { versions, cluster, from: 1, to: 2, lane, run: 77, proves: false, nonce }
    }

    #[test]
    fn a_greeting_arrives_as_it_was_sent() {
        for proves in [false, true] {
            let hello = Hello { proves, ..greeting(Lane::Bulk) };
            assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        }
    }

    #[test]
    fn every_greeting_has_a_nonce_of_its_own() {
        let core = Core::new(Options::new(1, "blue", 1), Arc::new(Tcp));
        let nonce = || Hello::new(&core, 2, Lane::Bulk).nonce;
        assert_ne!(nonce(), nonce());
    }

    #[test]
    fn a_foreign_version_is_told_apart_from_garbage() {
        let future = Hello { versions: (9, 12), ..greeting(Lane::Bulk) };
        assert_eq!(Hello::decode(&future.encode()), Err(Reason::Version));
        for (versions, common) in [((2, 12), VERSIONS.1), ((2, VERSIONS.0), VERSIONS.0)] {
            let hello = Hello { versions, ..greeting(Lane::Bulk) };
            assert_eq!(Hello::decode(&hello.encode()).map(|hello| hello.common()), Ok(common));
        }
        let past = Hello { versions: (1, VERSIONS.0 - 1), ..greeting(Lane::Bulk) };
        assert_eq!(Hello::decode(&past.encode()), Err(Reason::Version));
    }

    #[test]
    fn only_the_wanted_node_of_the_same_cluster_is_greeted() {
        let hello = greeting(Lane::Control);
        assert_eq!(hello.check("blue", 2, false), Ok(()));
        assert_eq!(hello.check("red", 2, false), Err(Reason::Cluster));
        assert_eq!(hello.check("blue", 3, false), Err(Reason::Identity));
        assert_eq!(hello.check("blue", 2, true), Err(Reason::Secret));
        assert_eq!(Hello { from: 2, ..hello }.check("blue", 2, false), Err(Reason::Identity));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), magic: bool) {
            if magic {
                bytes.splice(0..0, MAGIC.iter().copied());
            }
            let _ = Hello::decode(&bytes);
        }
    }
}
