//! The greeting: the first frame each way says who speaks, to whom, and for which cluster.

use bytes::{Buf, BufMut};

use super::{Lane, PeerId, Reason};

const MAGIC: &[u8; 8] = b"conclave";
/// The oldest and the newest protocol this build speaks.
const VERSIONS: (u16, u16) = (2, 2);

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
}

impl Hello {
    pub(super) fn new(cluster: &str, from: PeerId, to: PeerId, lane: Lane, run: u64) -> Self {
        Self { versions: VERSIONS, cluster: cluster.to_owned(), from, to, lane, run }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40 + self.cluster.len());
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
        if bytes.len() < 25 {
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
        let cluster = std::str::from_utf8(bytes).map_err(|_| Reason::Garbage)?.to_owned();
        Ok(Self { versions, cluster, from, to, lane, run })
    }

    /// Whether the one who greets may speak with `node` of `cluster`.
    pub(super) fn check(&self, cluster: &str, node: PeerId) -> Result<(), Reason> {
        if self.cluster != cluster {
            return Err(Reason::Cluster);
        }
        if self.to != node || self.from == node {
            return Err(Reason::Identity);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_greeting_arrives_as_it_was_sent() {
        let hello = Hello::new("blue", 1, 2, Lane::Bulk, 77);
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }

    #[test]
    fn a_foreign_version_is_told_apart_from_garbage() {
        let future = Hello { versions: (9, 12), ..Hello::new("blue", 1, 2, Lane::Bulk, 77) };
        assert_eq!(Hello::decode(&future.encode()), Err(Reason::Version));
        let first = Hello { versions: (1, 1), ..future.clone() };
        assert_eq!(Hello::decode(&first.encode()), Err(Reason::Version));
        let ranges = Hello { versions: (2, 12), ..future };
        assert!(Hello::decode(&ranges.encode()).is_ok());
    }

    #[test]
    fn only_the_wanted_node_of_the_same_cluster_is_greeted() {
        let hello = Hello::new("blue", 1, 2, Lane::Control, 0);
        assert_eq!(hello.check("blue", 2), Ok(()));
        assert_eq!(hello.check("red", 2), Err(Reason::Cluster));
        assert_eq!(hello.check("blue", 3), Err(Reason::Identity));
        assert_eq!(Hello { from: 2, ..hello }.check("blue", 2), Err(Reason::Identity));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), magic: bool) {
            if magic {
                bytes.splice(0..0, MAGIC.iter().copied());
            }
            let _ = Hello::decode(&bytes);
        }
    }
}
