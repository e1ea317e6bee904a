//! How many files and connections this process may have open, and how many of them the public gets.
//!
//! A node that has none left cannot write its log or its snapshots. So the public's connections are held below the limit,
//! and what is left over is for the log, snapshots, the other nodes and the admin listener.

use std::io;

/// Kept for the node itself: threads and timers (about 50), the log and its snapshots, links and 64 handshakes of other
/// nodes, 32 connections of operators and 32 of scrapers.
const RESERVE: u64 = 256;

/// What was found at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The limit that the process was started with.
    pub before: u64,
    /// The limit now.
    pub limit: u64,
}

/// Raises the soft limit so far that `connections` fit, or as far as it may be raised.
///
/// # Errors
/// If the system does not say what the limit is, or refuses to raise it.
pub fn raise(connections: usize) -> io::Result<Found> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let before = current.unwrap_or(u64::MAX);
    let limit = wanted(before, maximum.unwrap_or(u64::MAX), connections);
    if limit > before {
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum })?;
    }
    Ok(Found { before, limit })
}

fn wanted(soft: u64, hard: u64, connections: usize) -> u64 {
    soft.max(hard.min(connections as u64 + RESERVE))
}

/// How many connections of the public fit, at the most `configured`: where there are few descriptors, a quarter.
pub fn connections(limit: u64, configured: usize) -> usize {
    let room = limit.saturating_sub(RESERVE).max(limit / 4);
    usize::try_from(room).unwrap_or(usize::MAX).min(configured).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_is_of_use() {
        assert_eq!(wanted(1024, 1 << 20, 25_000), 25_256);
        assert_eq!(wanted(1024, 4096, 25_000), 4096);
        assert_eq!(wanted(1 << 20, 1 << 20, 25_000), 1 << 20, "it is never lowered");
    }

    #[test]
    fn what_the_node_itself_needs_is_kept_from_the_public() {
        assert_eq!(connections(25_256, 25_000), 25_000);
        assert_eq!(connections(20_000, 25_000), 19_744);
        assert_eq!(connections(1024, 25_000), 768);
        assert_eq!(connections(256, 25_000), 64);
        assert_eq!(connections(2, 25_000), 1);
    }
}
