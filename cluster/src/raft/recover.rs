//! The way back for a cluster whose majority is gone for good: one stopped node becomes its only member.
//!
//! The change is one more entry at the end of that node's log, a membership that names it alone, in a term that no node
//! has seen. Raft takes the last membership of a log for the one in force, so that the node elects itself when it is
//! started. What other nodes have and this one lacks is lost; what this one has and no majority had counts from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::mpsc;

use super::disk_traits::{Disk, LogId, Member, Membership, Payload, Record, Vote};
use super::files;
use crate::state::slot::CellId;

/// Bytes of entries that are looked through at a time.
const READ_BYTES_MAX: usize = 1 << 20;

/// Why a node cannot be recovered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be used; a node that runs holds its lock.
    #[error(transparent)]
    Disk(#[from] files::Error),
    /// There is nothing to go on from.
    #[error("{0} holds no node that ever was part of a cluster")]
    Empty(String),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What is on the disk of a stopped node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The term of its last entry.
    pub term: u64,
    /// The index of its last entry.
    pub last: u64,
    /// The index up to which it knows that entries are committed.
    pub committed: Option<u64>,
    /// Who votes, as it knows.
    pub voters: BTreeSet<u64>,
    /// Every member's peer address, as it knows.
    pub members: BTreeMap<u64, String>,
}

/// A stopped node, whose disk nobody else can open meanwhile.
pub struct Stopped {
    node_id: u64,
    disk: Disk,
    cell: CellId,
    found: Found,
}

impl Stopped {
    /// Opens the directory of a stopped node and looks at what is there.
    ///
    /// # Errors
    /// If the node runs, if there is none, or if the disk is damaged.
    pub fn open(dir: &Path, node_id: u64, cluster: &str) -> Result<Self, Error> {
        let empty = || Error::Empty(dir.display().to_string());
        // A directory that may not be looked into is not an empty one: opening it says so.
        if dir.join("identity").try_exists().is_ok_and(|exists| !exists) {
            return Err(empty());
        }
        let disk = files::open(dir, node_id, cluster)?;
        let last = disk.log.last().ok_or_else(empty)?;
        let membership = membership(&disk, last)?.ok_or_else(empty)?;
        let cell = membership.nodes.values().next().map_or(CellId::FIRST, |member| member.cell);
        let found = Found {
            term: last.term,
            last: last.index,
            committed: disk.log.committed().map(|id| id.index),
            voters: membership.voters.iter().flatten().copied().collect(),
            members: membership.nodes.into_iter().map(|(id, member)| (id, member.peer)).collect(),
        };
        Ok(Self { node_id, disk, cell, found })
    }

    /// What is there.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Makes this node the only member, reached by its later peers at `peer`. It may be started afterwards.
    ///
    /// # Errors
    /// If the disk does not take it; then nothing is promised about it, and the call may be made again.
    pub fn become_only_member(mut self, peer: String) -> Result<(), Error> {
        let log = &mut self.disk.log;
        let term = log.vote().map_or(0, |vote| vote.term).max(self.found.term) + 1;
        log.save_vote(Vote { term, node: self.node_id, committed: false })?;
        let alone = Membership {
            voters: vec![vec![self.node_id]],
            nodes: BTreeMap::from([(self.node_id, Member::new(peer, self.cell))]),
        };
        let id = LogId { term, index: self.found.last + 1 };
        log.append(vec![Record { id, payload: Payload::Membership(alone) }])?;
        let (done, flushed) = mpsc::channel();
        log.flush(Box::new(move |result| {
            // The other end waits below.
            let _ = done.send(result);
        }))?;
        flushed.recv().map_err(|_| io::Error::other("the disk went away in the middle of a flush"))??;
        Ok(())
    }
}

/// The last membership there is: in the log, or in the snapshot before it.
fn membership(disk: &Disk, last: LogId) -> io::Result<Option<Membership>> {
    let mut found = disk.snapshots.current().map(|snapshot| snapshot.meta().membership.clone());
    let mut next = disk.log.purged().map_or(0, |purged| purged.index + 1);
    while next <= last.index {
        let records = disk.log.read(next..last.index + 1, READ_BYTES_MAX)?;
        if records.is_empty() {
            break;
        }
        next += records.len() as u64;
        for record in records {
            if let Payload::Membership(membership) = record.payload {
                found = Some(membership);
            }
        }
    }
    Ok(found.filter(|membership| !membership.nodes.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "blue";

    fn three() -> Membership {
        Membership {
            voters: vec![vec![1, 2, 3]],
            nodes: (1..=3).map(|id| (id, Member::new(format!("n{id}:1"), CellId::FIRST))).collect(),
        }
    }

    fn write(dir: &Path, records: Vec<Record>) {
        let mut disk = files::open(dir, 1, CLUSTER).unwrap();
        disk.log.save_vote(Vote { term: 7, node: 2, committed: true }).unwrap();
        disk.log.append(records).unwrap();
        let (done, flushed) = mpsc::channel();
        disk.log.flush(Box::new(move |result| done.send(result).unwrap())).unwrap();
        flushed.recv().unwrap().unwrap();
    }

    #[test]
    fn the_last_membership_names_one_node_in_a_term_that_nobody_saw() {
        let dir = tempfile::tempdir().unwrap();
        let record = |term, index, payload| Record { id: LogId { term, index }, payload };
        write(
            dir.path(),
            vec![
                record(0, 0, Payload::Membership(three())),
                record(6, 1, Payload::Blank),
                record(6, 2, Payload::Blank),
            ],
        );
        let stopped = Stopped::open(dir.path(), 1, CLUSTER).unwrap();
        let found = stopped.found().clone();
        assert_eq!((found.term, found.last, found.voters), (6, 2, BTreeSet::from([1, 2, 3])));
        assert_eq!(found.members[&2], "n2:1");
        stopped.become_only_member("here:9".to_owned()).unwrap();

        let disk = files::open(dir.path(), 1, CLUSTER).unwrap();
        assert_eq!(disk.log.last(), Some(LogId { term: 8, index: 3 }));
        assert_eq!(disk.log.vote(), Some(Vote { term: 8, node: 1, committed: false }));
        let alone = membership(&disk, disk.log.last().unwrap()).unwrap().unwrap();
        assert_eq!(alone.voters, [[1]]);
        assert_eq!(alone.nodes, BTreeMap::from([(1, Member::new("here:9".to_owned(), CellId::FIRST))]));
    }

    #[test]
    fn a_directory_without_a_node_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Stopped::open(dir.path(), 1, CLUSTER), Err(Error::Empty(_))));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_node_that_runs_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let payload = Payload::Membership(three());
        write(dir.path(), vec![Record { id: LogId { term: 0, index: 0 }, payload }]);
        let told = |cluster| Stopped::open(dir.path(), 1, cluster).err().unwrap().to_string();
        assert!(
            told("red").contains("belongs to node 1 of cluster") && !told("red").contains("end it first")
        );
        let _runs = files::open(dir.path(), 1, CLUSTER).unwrap();
        assert!(matches!(Stopped::open(dir.path(), 1, CLUSTER), Err(Error::Disk(_))));
        assert_eq!(told(CLUSTER).matches("another process uses the directory; end it first").count(), 1);
        assert_eq!(told(CLUSTER).matches("uses").count(), 1);
    }
}
