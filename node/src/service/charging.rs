//! What clients pay for what they ask, and what is refused once they have spent their allowance.

use conclave_cluster::Draft;
use conclave_cluster::state::allowance::{Balance, Charge, Tier};
use conclave_cluster::state::command::{IdempotencyKey, Op};
use conclave_cluster::state::outcome::{Outcome, Scope};
use conclave_cluster::state::query::Query;

use super::{Caller, Error, Services, settle};
use crate::access::guessing::Denied;

impl Services {
    /// The charge for a change, unless this node knows that the allowance is spent: a flood of refusals must not reach the
    /// log. It is paid with the change itself: what is refused before that was not charged.
    ///
    /// # Errors
    /// [`Error::Limited`].
    pub fn admit(&self, caller: &Caller, tier: Tier, count: u32) -> Result<Option<Charge>, Error> {
        let Some(charge) = self.charge(caller, tier, count) else { return Ok(None) };
        self.told(caller, tier, self.cluster.admits(&charge))?;
        Ok(Some(charge))
    }

    /// Pays for a read, or for a change before it is made. What this node knows of the allowance decides, so that nothing waits
    /// for it; the log learns of it with the next batch.
    ///
    /// # Errors
    /// [`Error::Limited`].
    pub fn pay(&self, caller: &Caller, tier: Tier, count: u32) -> Result<(), Error> {
        let Some(charge) = self.charge(caller, tier, count) else { return Ok(()) };
        self.told(caller, tier, self.cluster.charge_read(charge))?;
        caller.charge();
        Ok(())
    }

    /// Pays exactly, before anything is given away for it: the charge is committed when this returns.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn pay_exactly(&self, caller: &Caller, tier: Tier) -> Result<(), Error> {
        let Some(charge) = self.admit(caller, tier, 1)? else { return Ok(()) };
        self.change(caller, Some(charge), None, Op::Pay).await?;
        Ok(())
    }

    /// Looks for something that only those who were told its name should find; `Err` is a miss, which is dear.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn look_up<Q: Query, R, M>(
        &self,
        caller: &Caller,
        query: Q,
        found: impl FnOnce(Q::Answer) -> Result<R, M>,
    ) -> Result<Result<R, M>, Error> {
        let Some(charge) = self.charge(caller, Tier::Lookup, 1) else {
            return Ok(found(self.cluster.read_linearizable(query).await?));
        };
        match self.guesses.look_up(&self.cluster, charge, query, found).await {
            Ok((found, balance)) => {
                caller.charge();
                caller.tell(Tier::Lookup, balance);
                Ok(found)
            }
            Err(Denied::Spent(balance)) => Err(self.limited(caller, Tier::Lookup, balance)),
            Err(Denied::Failed(error)) => Err(error.into()),
        }
    }

    /// Has a change carried out.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn change(
        &self,
        caller: &Caller,
        charge: Option<Charge>,
        idempotency_key: Option<IdempotencyKey>,
        op: Op,
    ) -> Result<Outcome, Error> {
        let tier = charge.as_ref().map(|charge| charge.tier);
        if tier.is_some() {
            caller.charge();
        }
        self.refuse_without_room(caller, charge, idempotency_key, &op).await?;
        let draft = Draft { charge, owner: Some(caller.owner), idempotency_key, op };
        let propose = async |draft| self.cluster.propose_traced(draft, caller.trace.clone()).await;
        let answer = self.guesses.propose(&self.cluster, draft, propose).await?;
        if let (Some(tier), Some(balance)) = (tier, answer.balance) {
            caller.tell(tier, balance);
        }
        settle(answer.outcome).inspect_err(|error| self.full_shares.note(&caller.owner, error))
    }

    fn charge(&self, caller: &Caller, tier: Tier, count: u32) -> Option<Charge> {
        let rule = caller.tenant.rule(self.terms.allowance.as_ref()?.rule(tier));
        Some(rule.charge(caller.client, tier, count))
    }

    pub(super) fn told(
        &self,
        caller: &Caller,
        tier: Tier,
        balance: Result<Balance, Balance>,
    ) -> Result<(), Error> {
        match balance {
            Ok(balance) => {
                caller.tell(tier, balance);
                Ok(())
            }
            Err(balance) => Err(self.limited(caller, tier, balance)),
        }
    }

    fn limited(&self, caller: &Caller, tier: Tier, balance: Balance) -> Error {
        caller.tell(tier, balance);
        let retry_after_ms = balance.reset_ms.saturating_sub(self.log_ms());
        Error::Limited { retry_after_ms, scope: Scope::Client }
    }
}
