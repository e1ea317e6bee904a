//! How far ahead of what this node knows a term or an index may be. No socket, no clock.
//!
//! A term is a number of which a cluster has 2⁶⁴, and whoever makes it the last one ends all elections for ever. An honest
//! cluster comes nowhere near: an election a second needs 136 years for the terms that one step may take here, and a million
//! entries a second nine years for the indices.

use super::disk_traits::{LogId, Vote};

/// Terms by which a peer may be ahead.
pub(super) const TERMS_AHEAD_MAX: u64 = 1 << 32;
/// Entries by which a peer may be ahead.
pub(super) const ENTRIES_AHEAD_MAX: u64 = 1 << 48;

/// Further ahead than an honest peer can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value} is absurd: this node knows of {known}")]
pub(super) struct Absurd {
    what: &'static str,
    value: u64,
    known: u64,
}

/// What a node knows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Horizon {
    /// Its term.
    pub(super) term: u64,
    /// The index of its last entry.
    pub(super) index: u64,
}

impl Horizon {
    pub(super) fn vote(&self, vote: Vote) -> Result<(), Absurd> {
        within("term", vote.term, self.term, TERMS_AHEAD_MAX)
    }

    pub(super) fn id(&self, id: Option<LogId>) -> Result<(), Absurd> {
        let Some(id) = id else { return Ok(()) };
        within("term", id.term, self.term, TERMS_AHEAD_MAX)?;
        within("index", id.index, self.index, ENTRIES_AHEAD_MAX)
    }
}

fn within(what: &'static str, value: u64, known: u64, ahead_max: u64) -> Result<(), Absurd> {
    if value.saturating_sub(known) > ahead_max { Err(Absurd { what, value, known }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Horizon = Horizon { term: 7, index: 100 };

    fn vote(term: u64) -> Vote {
        Vote { term, node: 1, committed: true }
    }

    #[test]
    fn what_an_honest_cluster_reaches_is_taken() {
        for term in [0, 7, 8, 7 + TERMS_AHEAD_MAX] {
            assert_eq!(HERE.vote(vote(term)), Ok(()));
        }
        for (term, index) in [(0, 0), (7, 100 + ENTRIES_AHEAD_MAX), (7 + TERMS_AHEAD_MAX, 0)] {
            assert_eq!(HERE.id(Some(LogId { term, index })), Ok(()));
        }
        assert_eq!(HERE.id(None), Ok(()));
    }

    #[test]
    fn what_none_reaches_is_absurd() {
        for term in [8 + TERMS_AHEAD_MAX, u64::MAX] {
            assert!(HERE.vote(vote(term)).is_err());
            assert!(HERE.id(Some(LogId { term, index: 0 })).is_err());
        }
        for index in [101 + ENTRIES_AHEAD_MAX, u64::MAX] {
            assert!(HERE.id(Some(LogId { term: 7, index })).is_err());
        }
    }
}
