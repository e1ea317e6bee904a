//! Getting tokens: by a lease from the cell that holds a client's window, or as a gift from another node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::limits::GIVE_TIMEOUT;
use super::purse::{At, Leased, Purse, Token, TokenRequest};
use super::{Cluster, Draft, Error, Inner};
use crate::raft::message::{self, kind};
use crate::state::allowance::{Balance, Charge, Tier};
use crate::state::command::Op;
use crate::state::id::Key;
use crate::state::outcome::{Answer, Outcome, Refusal, Scope};
use crate::wire::{Frame, Lane, Outgoing};

/// Asks another node for some of its tokens of a window.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Gift {
    client: Key,
    tier: Tier,
    until_ms: u64,
    want: u32,
}

/// Held by whoever leases tokens of a window; others wait for the result.
type Leasing = Arc<tokio::sync::Mutex<()>>;

/// The tokens of this run of the node. Std mutexes: nothing awaits while one is held.
pub(super) struct Tokens {
    purse: Mutex<Purse>,
    leasing: Mutex<BTreeMap<At, Leasing>>,
}

/// A request that is given up when this is dropped before it was answered, as where the client hung up: or nothing more would
/// be asked for until it is forgotten.
struct Asked<'a> {
    tokens: &'a Tokens,
    request: TokenRequest,
    answered: bool,
}

impl<'a> Asked<'a> {
    fn new(tokens: &'a Tokens, request: TokenRequest) -> Self {
        Self { tokens, request, answered: false }
    }

    /// It is answered.
    fn answered(mut self) -> TokenRequest {
        self.answered = true;
        self.request
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.tokens.purse().give_up(self.request);
        }
    }
}

impl Tokens {
    pub(super) fn new(run: u64) -> Self {
        Self { purse: Mutex::new(Purse::new(run)), leasing: Mutex::default() }
    }

    fn purse(&self) -> MutexGuard<'_, Purse> {
        self.purse.lock().expect("nothing panics while this is held")
    }

    pub(super) fn give_back(&self, token: Token) {
        self.purse().give_back(token);
    }

    pub(super) fn expire(&self, token: Token) {
        metrics::counter!("conclave_tokens_lapsed_total").increment(1);
        self.purse().expire(token);
    }

    /// The window as it may be reported to its client.
    pub(super) fn balance(&self, charge: &Charge, now_ms: u64) -> Option<Balance> {
        self.purse().balance((charge.client, charge.tier), charge.limit, now_ms)
    }

    /// Forgets windows that have ended.
    pub(super) fn forget_closed_windows(&self, now_ms: u64) {
        self.purse().forget_closed_windows(now_ms);
    }

    fn leasing(&self, at: At) -> Leasing {
        let mut all = self.leasing.lock().expect("nothing panics while this is held");
        // Everybody who leases or waits holds a clone, and clones are made under the lock.
        all.retain(|_, leasing| Arc::strong_count(leasing) > 1);
        all.entry(at).or_default().clone()
    }
}

/// The answer to a request of a client whose window is spent.
fn spent(balance: Balance, now_ms: u64) -> Answer {
    let retry_after_ms = balance.reset_ms.saturating_sub(now_ms);
    let outcome = Err(Refusal::Allowance { retry_after_ms, scope: Scope::Client });
    Answer { outcome, balance: Some(Balance { remaining: 0, ..balance }), replayed: false }
}

impl Cluster {
    /// What this node holds of a client's window in another cell: when the window ends, and how many tokens. Audits ask for it.
    pub fn held_tokens(&self, client: &Key, tier: Tier) -> Option<(u64, u32)> {
        self.inner.tokens.purse().held((*client, tier))
    }
}

impl Inner {
    /// Spends a token on a read.
    pub(super) fn spend_token(&self, token: Token, charge: &Charge) -> Option<Balance> {
        drop(token);
        self.tokens.balance(charge, self.clock.now_ms())
    }

    /// A token of a client's open window, if this node has one. If few are left, more are leased in the background.
    pub(super) fn take_token(self: &Arc<Self>, charge: &Charge) -> Option<Token> {
        let (at, now_ms) = ((charge.client, charge.tier), self.clock.now_ms());
        let (token, is_low) = {
            let mut purse = self.tokens.purse();
            (purse.take(at, now_ms)?, purse.is_low(at, now_ms))
        };
        if is_low {
            tokio::spawn(self.clone().lease_ahead(*charge));
        }
        Some(token)
    }

    async fn lease_ahead(self: Arc<Self>, charge: Charge) {
        let leasing = self.tokens.leasing((charge.client, charge.tier));
        // A lease is under way already.
        let Ok(_turn) = leasing.try_lock() else { return };
        if let Ok(Ok(token)) = self.lease(&charge, Instant::now(), false).await {
            self.tokens.give_back(token);
        }
    }

    /// Gets a token of a client's window when this node has none: from the cell that holds it, or from other nodes. If there
    /// is none, the answer for the client.
    pub(super) async fn lease_token(
        &self,
        charge: &Charge,
        since: Instant,
    ) -> Result<Result<Token, Answer>, Error> {
        let at = (charge.client, charge.tier);
        let leasing = self.tokens.leasing(at);
        let turn = timeout_at(since + self.options.deadline, leasing.lock()).await;
        let _turn = turn.map_err(|_| Error::NoLeader)?;
        let now_ms = self.clock.now_ms();
        {
            let mut purse = self.tokens.purse();
            if let Some(token) = purse.take(at, now_ms) {
                return Ok(Ok(token));
            }
            if let Some(reset_ms) = purse.exhausted(at, now_ms) {
                return Ok(Err(spent(Balance { limit: charge.limit, remaining: 0, reset_ms }, now_ms)));
            }
        }
        self.lease(charge, since, true).await
    }

    /// Leases tokens from the cell that holds the window. `insists`: if nothing is left there, ask other nodes.
    async fn lease(
        &self,
        charge: &Charge,
        since: Instant,
        insists: bool,
    ) -> Result<Result<Token, Answer>, Error> {
        let (at, now_ms) = ((charge.client, charge.tier), self.clock.now_ms());
        let (want, request) = {
            let mut purse = self.tokens.purse();
            let want = purse.want(at, charge.limit);
            (want, purse.request_lease(at, want, now_ms).ok_or(Error::Overloaded)?)
        };
        let asked = Asked::new(&self.tokens, request);
        let op = Op::Lease { node: self.options.node_id };
        let draft = Draft { charge: Some(Charge { count: want, ..*charge }), ..Draft::of(op) };
        let answer = self.propose_at_home(draft, since).await?;
        let (Ok(Outcome::Leased { count, holders }), Some(balance)) = (&answer.outcome, answer.balance)
        else {
            return Ok(Err(answer));
        };
        metrics::counter!("conclave_tokens_leased_total").increment(u64::from(*count));
        let request = asked.answered();
        if let Some(token) = self.tokens.purse().credit(request, Leased { count: *count, balance }) {
            return Ok(Ok(token));
        }
        if !insists {
            return Ok(Err(spent(balance, now_ms)));
        }
        match self.ask_holders(charge, balance.reset_ms, holders).await {
            Some(token) => Ok(Ok(token)),
            None => {
                let now_ms = self.clock.now_ms();
                self.tokens.purse().exhaust(at, balance.reset_ms, now_ms);
                Ok(Err(spent(balance, now_ms)))
            }
        }
    }

    async fn propose_at_home(&self, draft: Draft, since: Instant) -> Result<Answer, Error> {
        loop {
            let cell = self.cell_of(&draft);
            let answer = self.propose_to(cell, draft.clone().into(), since, None).await?;
            if !self.is_elsewhere(&answer).await {
                return Ok(answer);
            }
            if since.elapsed() >= self.options.deadline {
                return Err(Error::NoLeader);
            }
        }
    }

    /// Asks the other nodes that leased tokens of a window for some of what they have left.
    async fn ask_holders(&self, charge: &Charge, until_ms: u64, holders: &[u64]) -> Option<Token> {
        let at = (charge.client, charge.tier);
        let own_id = self.options.node_id;
        let others = holders.iter().filter(|id| **id != own_id);
        let others: Vec<_> = others.filter_map(|id| Some((*id, self.topology.address_of(*id)?))).collect();
        let want = self.tokens.purse().want_of_each(at, charge.limit, others.len());
        let asked = others.into_iter().map(|(id, address)| async move {
            let now_ms = self.clock.now_ms();
            let request = self.tokens.purse().request_gift(at, until_ms, want, now_ms)?;
            let asked = Asked::new(&self.tokens, request);
            let gift = Gift { client: charge.client, tier: charge.tier, until_ms, want };
            let frame = message::of(kind::GIVE, &gift);
            let reply = self.links.call(id, &address, Lane::Control, frame, GIVE_TIMEOUT).await;
            let count = reply.ok().and_then(|reply| message::decode::<u32>(&reply.header).ok());
            let request = asked.answered();
            let mut purse = self.tokens.purse();
            match count {
                Some(count) => purse.receive(request, count),
                None => {
                    purse.give_up(request);
                    None
                }
            }
        });
        let mut tokens = join_all(asked).await.into_iter().flatten();
        let first = tokens.next();
        tokens.for_each(|token| self.tokens.give_back(token));
        first
    }

    /// Gives tokens to another node. They are taken out of the purse before the answer says so.
    pub(super) fn serve_give(&self, request: &Frame) -> Outgoing {
        let Ok(Gift { client, tier, until_ms, want }) = message::decode(&request.header) else {
            return message::bare(kind::FAILED);
        };
        let given = self.tokens.purse().give((client, tier), until_ms, want);
        metrics::counter!("conclave_tokens_given_total").increment(u64::from(given));
        message::of(kind::GIVE, &given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::id::Domain;

    #[test]
    fn a_lease_whose_client_hung_up_keeps_no_other_out() {
        let (tokens, at) = (Tokens::new(1), (Key::derive(Domain::Client, &[b"ann"]), Tier::Poll));
        let request = || tokens.purse().request_lease(at, 1, 1_000);
        let asked = Asked::new(&tokens, request().expect("none is under way"));
        assert_eq!(request(), None, "one at a time");
        drop(asked);
        let asked = Asked::new(&tokens, request().expect("it was given up"));
        let request = asked.answered();
        let balance = Balance { limit: 5, remaining: 4, reset_ms: 2_000 };
        assert!(tokens.purse().credit(request, Leased { count: 1, balance }).is_some());
    }
}
