//! Reads of the state: from this node's replica, or a host in the cell that holds what is read.

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::limits::RETRY_EVERY;
use super::{Cluster, Error, Inner};
use crate::state::Totals;
use crate::state::query::{self, Elsewhere, Query, Question, Reply};
use crate::state::slot::CellId;

impl Cluster {
    /// Reads the state linearizably: everything answered by any node before this call is seen.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::NoLeader`], [`Error::Behind`] or [`Error::ShuttingDown`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn read_linearizable<Q: Query>(&self, query: Q) -> Result<Q::Answer, Error> {
        self.inner.read(query, true).await
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
        self.inner.read(query, false).await
    }

    /// Waits until whatever is read stale of a cell is no older than what any node answered before this call.
    ///
    /// # Errors
    /// As [`Cluster::read_linearizable`].
    pub async fn reach(&self, cell: CellId) -> Result<(), Error> {
        self.inner.ask_cell(cell, Vec::new(), true, Instant::now()).await.map(drop)
    }

    /// Asks each cell that holds slots a question about no key in particular, linearizably in each by itself.
    ///
    /// # Errors
    /// As [`Cluster::read_linearizable`], if any of them gives no answer.
    pub async fn read_each_cell<Q: Query>(&self, query: Q) -> Result<Vec<Q::Answer>, Error> {
        let (inner, since) = (&self.inner, Instant::now());
        let mut questions = Vec::new();
        query.ask(&mut questions);
        let cells = self.cells();
        let asked = cells.into_iter().map(|cell| inner.ask_cell(cell, questions.clone(), true, since));
        let answers = try_join_all(asked).await?;
        answers.into_iter().map(|said| query.hear(&mut said.into_iter()).ok_or(Error::NoLeader)).collect()
    }

    /// Whether this node has a seat in a cell, and so a replica; else it is a front.
    pub fn is_seated(&self) -> bool {
        self.inner.topology.is_seated()
    }

    /// The cell that this node has a seat in; none if it is a front.
    pub fn cell(&self) -> Option<CellId> {
        self.inner.topology.own_cell()
    }

    /// The time by which the state is read and windows end, in milliseconds since the Unix epoch.
    pub fn log_ms(&self) -> u64 {
        let now_ms = self.inner.clock.now_ms();
        if self.is_seated() { self.inner.answer(query::Now, now_ms) } else { now_ms }
    }

    /// A random number that all nodes agree on and no client knows, once it is known here.
    pub fn salt(&self) -> Option<u128> {
        self.inner.topology.salt()
    }

    /// How much there is in all in this node's cell, where it has a replica.
    pub fn totals(&self) -> Option<Totals> {
        self.is_seated().then(|| self.inner.answer(query::Totals, self.inner.clock.now_ms()))
    }

    /// Reads this node's replica by the log's time, together with the number of entries applied to it. Two nodes of a cell at
    /// the same number hold the same state, which is what audits compare.
    pub fn read_at_applied_index<Q: Query>(&self, query: Q) -> (Q::Answer, u64) {
        let replica = self.inner.node.replica();
        replica.read_at_applied_index(|state, applied| (query.answer(state, state.now_ms()), applied))
    }
}

impl Inner {
    fn answer<Q: Query>(&self, query: Q, now_ms: u64) -> Q::Answer {
        self.node.replica().read(|state| query.answer(state, now_ms.max(state.now_ms())))
    }

    async fn read<Q: Query>(&self, query: Q, linearizably: bool) -> Result<Q::Answer, Error> {
        if let Some(own) = self.topology.own_cell()
            && self.is_in(own, &query)
        {
            let now_ms = self.read_time(linearizably).await?;
            let look = |state: &_| {
                let elsewhere = query::elsewhere(state, |visit| query.each_key(visit));
                elsewhere.is_none().then(|| query.answer(state, now_ms.max(state.now_ms())))
            };
            if let Some(answer) = self.node.replica().read(look) {
                return Ok(answer);
            }
        }
        self.read_where_it_is(query, linearizably).await
    }

    /// Whether all keys of a query are in a cell, as far as this node knows.
    fn is_in<Q: Query>(&self, cell: CellId, query: &Q) -> bool {
        let mut all = true;
        query.each_key(&mut |key| all &= self.routes.cell_of(key) == cell);
        all
    }

    /// The time to read this node's replica by, once it may be read.
    async fn read_time(&self, linearizably: bool) -> Result<u64, Error> {
        if linearizably { self.read_index.wait().await } else { Ok(self.clock.now_ms()) }
    }

    /// Asks the cells that hold what is read, as often as slots move meanwhile.
    async fn read_where_it_is<Q: Query>(&self, query: Q, linearizably: bool) -> Result<Q::Answer, Error> {
        let since = Instant::now();
        let mut questions = Vec::new();
        query.ask(&mut questions);
        loop {
            let parts = self.parts(&questions);
            let asked = parts.iter().map(|(cell, places)| {
                let part = places.iter().map(|place| questions[*place]).collect();
                self.ask_cell(*cell, part, linearizably, since)
            });
            let said = try_join_all(asked).await?;
            let mut replies: Vec<Option<Reply>> = vec![None; questions.len()];
            let (mut whole, mut news) = (true, false);
            for ((_, places), said) in parts.iter().zip(said) {
                if let [Reply::Elsewhere(known)] = &said[..] {
                    whole = false;
                    if let Some(Elsewhere { slot, epoch, to }) = *known {
                        news |= self.routes.moved(slot, epoch, to);
                    }
                    continue;
                }
                for (place, reply) in places.iter().zip(said) {
                    replies[*place] = Some(reply);
                }
            }
            if whole {
                // A host that answers something else than it was asked is none.
                return query.hear(&mut replies.into_iter().flatten()).ok_or(Error::NoLeader);
            }
            if since.elapsed() >= self.options.deadline {
                return Err(Error::NoLeader);
            }
            if !news {
                sleep(RETRY_EVERY).await;
            }
        }
    }

    /// Questions by the cell that each is asked of, as far as this node knows. What is about no key is asked with what is,
    /// or else of the own cell.
    fn parts(&self, questions: &[Question]) -> Vec<(CellId, Vec<usize>)> {
        let cell_of = |question: &Question| {
            let mut cell = None;
            question.each_key(&mut |key| cell = Some(self.routes.cell_of(key)));
            cell
        };
        let own = questions.iter().find_map(cell_of).or(self.topology.own_cell()).unwrap_or_default();
        let mut parts: Vec<(CellId, Vec<usize>)> = Vec::new();
        for (place, question) in questions.iter().enumerate() {
            let cell = cell_of(question).unwrap_or(own);
            match parts.iter_mut().find(|(known, _)| *known == cell) {
                Some((_, places)) => places.push(place),
                None => parts.push((cell, vec![place])),
            }
        }
        // Nothing is asked, and still waited for: a barrier.
        if parts.is_empty() { vec![(own, Vec::new())] } else { parts }
    }

    pub(super) async fn ask_cell(
        &self,
        cell: CellId,
        questions: Vec<Question>,
        linearizably: bool,
        since: Instant,
    ) -> Result<Vec<Reply>, Error> {
        if self.topology.own_cell() != Some(cell) {
            match self.paths.to(cell).remote_reads.ask(questions.clone(), linearizably, since).await {
                // This node has a replica by now.
                Err(Error::ShuttingDown) if self.topology.own_cell() == Some(cell) => {}
                said => return said,
            }
        }
        let now_ms = self.read_time(linearizably).await?;
        Ok(self.answer_here(&questions, now_ms))
    }

    /// Answers questions from this node's replica, all in one look; or says where a slot of them went.
    pub(super) fn answer_here(&self, questions: &[Question], now_ms: u64) -> Vec<Reply> {
        self.node.replica().read(|state| {
            let each_key =
                |visit: &mut dyn FnMut(&_)| questions.iter().for_each(|question| question.each_key(visit));
            match query::elsewhere(state, each_key) {
                Some(elsewhere) => vec![elsewhere],
                None => {
                    let now_ms = now_ms.max(state.now_ms());
                    questions.iter().map(|question| question.answer(state, now_ms)).collect()
                }
            }
        })
    }
}
