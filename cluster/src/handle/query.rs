//! Reads of the state: from this node's replica, or a front's host.

use super::{Cluster, Error};
use crate::state::Totals;
use crate::state::query::{self, Query};

impl Cluster {
    /// Reads the state linearizably: everything answered by any node before this call is seen.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::NoLeader`], [`Error::Behind`] or [`Error::ShuttingDown`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn read_linearizable<Q: Query>(&self, query: Q) -> Result<Q::Answer, Error> {
        if !self.is_seated()
            && let Some(answer) = self.read_remotely(query, true).await?
        {
            return Ok(answer);
        }
        let now_ms = self.inner.read_index.wait().await?;
        Ok(self.answer(query, now_ms))
    }

    /// Reads a replica as it is, this node's or its host's. It may be stale, but what a linearizable read saw here before is
    /// seen. Good for deciding whether to propose at all.
    ///
    /// # Errors
    /// As [`Cluster::read_linearizable`]. Whatever this node cannot read now has its actors woken when it can.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn read_stale<Q: Query>(&self, query: Q) -> Result<Q::Answer, Error> {
        if !self.is_seated()
            && let Some(answer) = self.read_remotely(query, false).await?
        {
            return Ok(answer);
        }
        Ok(self.answer(query, self.inner.clock.now_ms()))
    }

    /// Has another node answer. `None`: this node has a replica by now.
    async fn read_remotely<Q: Query>(
        &self,
        query: Q,
        linearizably: bool,
    ) -> Result<Option<Q::Answer>, Error> {
        match self.inner.remote_reads.read(query, linearizably).await {
            Err(Error::ShuttingDown) if self.is_seated() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Whether this node has a seat in the cell, and so a replica; else it is a front.
    pub fn is_seated(&self) -> bool {
        self.inner.topology.is_seated()
    }

    /// The time by which the state is read and windows end, in milliseconds since the Unix epoch.
    pub fn log_ms(&self) -> u64 {
        let now_ms = self.inner.clock.now_ms();
        if self.is_seated() { self.answer(query::Now, now_ms) } else { now_ms }
    }

    /// A random number that all nodes agree on and no client knows, once it is known here.
    pub fn salt(&self) -> Option<u128> {
        self.inner.topology.salt()
    }

    /// How much there is in all, where this node has a replica.
    pub fn totals(&self) -> Option<Totals> {
        self.is_seated().then(|| self.answer(query::Totals, self.inner.clock.now_ms()))
    }

    fn answer<Q: Query>(&self, query: Q, now_ms: u64) -> Q::Answer {
        self.inner.node.replica().read(|state| query.answer(state, now_ms.max(state.now_ms())))
    }

    /// Reads this node's replica by the log's time, together with the number of entries applied to it. Two nodes at the same
    /// number hold the same state, which is what audits compare.
    pub fn read_at_applied_index<Q: Query>(&self, query: Q) -> (Q::Answer, u64) {
        let replica = self.inner.node.replica();
        replica.read_at_applied_index(|state, applied| (query.answer(state, state.now_ms()), applied))
    }
}
