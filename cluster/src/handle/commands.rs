//! Commands on their way to the cell that carries them out.
//!
//! A command is bound to the cell that it is sent to, until that has answered. One that the cell does not carry out because
//! the slot is elsewhere is sent there under another id: the first one is remembered as refused, and never carried out.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::limits::RETRY_EVERY;
use super::queue::Request;
use super::request_trace::Trace;
use super::{Draft, Error, Inner};
use crate::state::allowance::Charge;
use crate::state::command::Op;
use crate::state::outcome::{Answer, Refusal};
use crate::state::slot::CellId;

impl Inner {
    /// Has a command carried out by the cell that its key is in, and charged by the one that its client's window is in.
    pub(super) async fn propose(
        self: &Arc<Self>,
        draft: Draft,
        trace: Option<Trace>,
    ) -> Result<Answer, Error> {
        if let Op::Incarnation(_) = draft.op {
            return self.propose_everywhere(draft).await;
        }
        let since = Instant::now();
        loop {
            let cell = self.cell_of(&draft);
            let answer = match draft.charge {
                Some(charge) if draft.op.key().is_some() && !self.is_single() => {
                    self.propose_charged(cell, charge, &draft, since, trace.clone()).await?
                }
                _ => self.propose_to(cell, draft.clone().into(), since, trace.clone()).await?,
            };
            if !self.is_elsewhere(&answer).await {
                return Ok(answer);
            }
            if since.elapsed() >= self.options.deadline {
                return Err(Error::NoLeader);
            }
        }
    }

    /// The cell that carries a command out.
    pub(super) fn cell_of(&self, draft: &Draft) -> CellId {
        let client = || draft.charge.as_ref().map(|charge| &charge.client);
        // What is about no key is about its client's window, or else about the cluster.
        draft.op.key().or_else(client).map_or(CellId::FIRST, |key| self.routes.cell_of(key))
    }

    /// Whether the slot of what was asked is in another cell, or on its way there. If nobody knows where it is by now, waits a
    /// moment.
    pub(super) async fn is_elsewhere(&self, answer: &Answer) -> bool {
        let news = match answer.outcome {
            Err(Refusal::Moved { slot, epoch, to }) => self.routes.moved(slot, epoch, to),
            Err(Refusal::Unready) => false,
            Ok(_) | Err(_) => return false,
        };
        if !news {
            sleep(RETRY_EVERY).await;
        }
        true
    }

    /// Whether all that this node knows of is its own cell, as in every cluster of one cell without fronts.
    fn is_single(&self) -> bool {
        self.topology.is_seated() && !self.topology.has_heard()
    }

    pub(super) async fn propose_to(
        &self,
        cell: CellId,
        request: Request,
        since: Instant,
        trace: Option<Trace>,
    ) -> Result<Answer, Error> {
        self.paths.to(cell).proposer.propose(request, since, trace).await
    }

    /// Has a command carried out by a cell, whatever it is about.
    pub(super) async fn propose_in(&self, cell: CellId, draft: Draft) -> Result<Answer, Error> {
        self.propose_to(cell, draft.into(), Instant::now(), None).await
    }

    /// Has a command about a node carried out by all cells that hold slots; the answer of the first one, unless one refuses.
    async fn propose_everywhere(&self, draft: Draft) -> Result<Answer, Error> {
        let cells = self.topology.serving_cells();
        let answers = join_all(cells.into_iter().map(|cell| self.propose_in(cell, draft.clone()))).await;
        let mut answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let refused = answers.iter().position(|answer| answer.outcome.is_err()).unwrap_or_default();
        Ok(answers.swap_remove(refused))
    }

    /// Has a command carried out for a client whose window may be in another cell: then it is paid for by a token.
    async fn propose_charged(
        self: &Arc<Self>,
        cell: CellId,
        charge: Charge,
        draft: &Draft,
        since: Instant,
        trace: Option<Trace>,
    ) -> Result<Answer, Error> {
        loop {
            let token = match self.take_token(&charge) {
                Some(token) => token,
                // In one cell the window is charged in the same step.
                None if self.routes.cell_of(&charge.client) == cell => {
                    return self.propose_to(cell, draft.clone().into(), since, trace).await;
                }
                None => match self.lease_token(&charge, since).await? {
                    Ok(token) => token,
                    Err(refused) => return Ok(refused),
                },
            };
            let request = Request::paid(draft.clone(), token.payment());
            match self.propose_to(cell, request, since, trace.clone()).await {
                Ok(Answer { outcome: Err(Refusal::Lapsed), .. }) => self.tokens.expire(token),
                Ok(answer) => {
                    let surely_not = matches!(answer.outcome, Err(Refusal::Moved { .. } | Refusal::Unready));
                    if surely_not || answer.replayed {
                        self.tokens.give_back(token);
                    }
                    let balance = self.tokens.balance(&charge, self.clock.now_ms());
                    return Ok(Answer { balance, ..answer });
                }
                // It may have been carried out, or may be yet.
                Err(Error::NoLeader) => return Err(Error::NoLeader),
                Err(error) => {
                    self.tokens.give_back(token);
                    return Err(error);
                }
            }
            if since.elapsed() >= self.options.deadline {
                return Err(Error::NoLeader);
            }
        }
    }
}
