//! Guessing: how many tries at somebody's code or pin a client gets.
//!
//! A try that misses costs [`MISS_COST`] requests of its tier instead of one, and so does a conflict, which says as much
//! as a lookup that hits. The cost is committed before the answer is sent. A try is refused once the client's window is
//! spent, hit or miss, by the state that the try itself reads. So the tries in one window are at most the limit divided
//! by [`MISS_COST`], and those that were under way at that moment: at most [`turns`] on each node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conclave_cluster::state::allowance::{Balance, Charge, Tier};
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::outcome::{Answer, Refusal};
use conclave_cluster::state::query::{self, Query};
use conclave_cluster::state::{invite_code, negotiation};
use conclave_cluster::{Cluster, Draft, Error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// What a miss or a conflict costs.
pub const MISS_COST: u32 = 5;
/// Tries of one client that are under way on one node, at least; others wait for their turn.
const TURNS_MIN: u32 = 4;
/// With a higher limit there are more turns: one for so many requests of the limit, which is less than a hundredth of the
/// tries that the limit allows.
const LIMIT_PER_TURN: u32 = 750;

/// How many tries of one client may be under way on one node.
pub fn turns(limit: u32) -> usize {
    (limit / LIMIT_PER_TURN).max(TURNS_MIN) as usize
}

/// Why a try was not made, or its answer is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The client's window is spent.
    Spent(Balance),
    /// The cluster did not answer.
    Failed(Error),
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The tries that are under way on this node. Cheap to clone; all clones are the same.
///
/// There is an entry for each client with a request that holds or awaits a turn, so the map is bounded by the requests
/// under way.
#[derive(Debug, Clone, Default)]
pub struct Guesses(Arc<Mutex<Semaphores>>);

/// The turns of each client in each tier.
type Semaphores = BTreeMap<(Key, Tier), Arc<Semaphore>>;

/// One client's turn, or its place in the queue for one. Dropping it lets the next one in.
#[derive(Debug)]
struct GuessPermit {
    guesses: Guesses,
    whose: (Key, Tier),
    permit: Option<OwnedSemaphorePermit>,
}

impl Guesses {
    /// Looks for something that only those who were told its name should find; `found` says whether the answer is a hit. A
    /// hit costs `charge`, a miss [`MISS_COST`]; the balance is what is left afterwards.
    ///
    /// # Errors
    /// If the client's window is spent, whether or not there is something under that name.
    pub async fn look_up<Q: Query, R, M>(
        &self,
        cluster: &Cluster,
        charge: Charge,
        query: Q,
        found: impl FnOnce(Q::Answer) -> Result<R, M>,
    ) -> Result<(Result<R, M>, Balance), Denied> {
        cluster.admits(&charge).map_err(Denied::Spent)?;
        let permit = self.turn(cluster, &charge).await?;
        // While it waited for its turn, others may have spent the rest.
        cluster.admits(&charge).map_err(Denied::Spent)?;
        let (answer, before) = cluster.read_linearizable((query, query::Balance(charge))).await?;
        if before.remaining < charge.count {
            return Err(Denied::Spent(before));
        }
        match found(answer) {
            Ok(found) => Ok((Ok(found), cluster.charge_read(charge).map_err(Denied::Spent)?)),
            Err(missed) => {
                let after = permit.spend(cluster, Charge { count: MISS_COST, ..charge }).await?;
                Ok((Err(missed), after.unwrap_or(before)))
            }
        }
    }

    /// Proposes `draft` by `propose`. If its refusal tells that something exists, the rest of [`MISS_COST`] is charged
    /// before the refusal is returned.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn propose(
        &self,
        cluster: &Cluster,
        draft: Draft,
        propose: impl AsyncFnOnce(Draft) -> Result<Answer, Error>,
    ) -> Result<Answer, Error> {
        let Some(charge) = draft.charge else { return propose(draft).await };
        let permit = match takes_turns(&draft.op) {
            true => Some(self.turn(cluster, &charge).await?),
            false => None,
        };
        let mut answer = propose(draft).await?;
        if answer.outcome.as_ref().is_err_and(tells) {
            let rest = Charge { count: MISS_COST.saturating_sub(charge.count), ..charge };
            let balance = match permit {
                Some(permit) => permit.spend(cluster, rest).await?,
                None => spend(cluster, rest).await?,
            };
            answer.balance = balance.or(answer.balance);
        }
        Ok(answer)
    }

    async fn turn(&self, cluster: &Cluster, charge: &Charge) -> Result<GuessPermit, Error> {
        let whose = (charge.client, charge.tier);
        let turns = {
            let mut all = self.lock();
            all.entry(whose).or_insert_with(|| Arc::new(Semaphore::new(turns(charge.limit)))).clone()
        };
        // From here on the entry is removed with its last turn, even if this one is never reached.
        let mut permit = GuessPermit { guesses: self.clone(), whose, permit: None };
        let acquired = cluster
            .wait_unless_leaderless(Some(&charge.client), Instant::now(), turns.acquire_owned())
            .await?;
        permit.permit = Some(acquired.expect("the semaphore is never closed"));
        Ok(permit)
    }

    fn lock(&self) -> MutexGuard<'_, Semaphores> {
        // A map of counters is sound whatever happened to the one who held it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GuessPermit {
    /// Charges the client and ends the turn, once that is committed. If the request is abandoned meanwhile, the turn is
    /// kept until then all the same: it would be a free try otherwise.
    async fn spend(self, cluster: &Cluster, charge: Charge) -> Result<Option<Balance>, Error> {
        let cluster = cluster.clone();
        let spent = tokio::spawn(async move {
            let balance = spend(&cluster, charge).await;
            drop(self);
            balance
        });
        // A task that is lost with its thread told nobody whether it had charged.
        spent.await.unwrap_or(Err(Error::NoLeader))
    }
}

impl Drop for GuessPermit {
    fn drop(&mut self) {
        let mut all = self.guesses.lock();
        drop(self.permit.take());
        // Whoever holds or awaits a turn has a clone, and clones are made under the lock.
        if all.get(&self.whose).is_some_and(|turns| Arc::strong_count(turns) == 1) {
            all.remove(&self.whose);
        }
    }
}

/// Charges what is left of `charge`, in the log.
async fn spend(cluster: &Cluster, charge: Charge) -> Result<Option<Balance>, Error> {
    let draft = Draft { charge: Some(charge), ..Draft::of(Op::Spend) };
    Ok(cluster.propose(draft).await?.balance)
}

/// Whether a refusal tells that something exists under a name that was tried, or that nothing does.
fn tells(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Rendezvous(invite_code::Refusal::InUse)
            | Refusal::Negotiation(negotiation::Refusal::PinInUse)
            | Refusal::Transfer(_)
    )
}

/// Whether the commands of one client are carried out in turns. Those about transfers are not: their tier
/// admits so many that those under way add next to nothing, and a transfer would be slowed down.
fn takes_turns(op: &Op) -> bool {
    match op {
        Op::Rendezvous(_) => true,
        Op::Negotiation(negotiation::Op { action: negotiation::Action::Create { pin, .. }, .. }) => {
            pin.is_some()
        }
        _ => false,
    }
}
