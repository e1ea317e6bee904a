//! Who was just refused for want of room.
//!
//! Such a refusal costs what a change costs: the chunk goes through the log to the disks of a majority, to be stored nowhere.
//! Whoever was refused goes on, so the chunks that follow are asked about first, and only what may have room is proposed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conclave_cluster::state::allowance::Charge;
use conclave_cluster::state::command::{IdempotencyKey, Op};
use conclave_cluster::state::id::Key;
use conclave_cluster::state::leader_rules::Owner;
use conclave_cluster::state::query::{ChunkRefusal, UnlessRemembered};
use conclave_cluster::state::transfer::{Action, NewChunk};
use tokio::time::Instant;

use super::{Caller, Error, Services, settle};

/// For how long a refusal is remembered. Each second one chunk goes through the log, whatever was asked before.
const MEMORY: Duration = Duration::from_secs(1);
/// Two accounts that share one are asked about together, which costs a question more.
const BUCKETS: usize = 1024;

/// Which accounts, or whether all of them, have no room.
pub(super) struct FullShares {
    since: Instant,
    /// Until when, in milliseconds after `since`.
    all: AtomicU64,
    accounts: Box<[AtomicU64]>,
}

impl Default for FullShares {
    fn default() -> Self {
        let accounts = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { since: Instant::now(), all: AtomicU64::new(0), accounts }
    }
}

impl FullShares {
    /// Takes note of what a change of this owner came to.
    pub(super) fn note(&self, owner: &Owner, error: &Error) {
        let until = self.now() + u64::try_from(MEMORY.as_millis()).unwrap_or(u64::MAX);
        match error {
            Error::StorageFull => self.all.store(until, Ordering::Relaxed),
            // Which of them is full is not told.
            Error::ShareFull | Error::TenantShareFull => {
                owner.accounts().for_each(|key| self.account(key).store(until, Ordering::Relaxed));
            }
            _ => {}
        }
    }

    /// Whether a chunk of this owner may find no room.
    pub(super) fn may_refuse(&self, owner: &Owner) -> bool {
        let now = self.now();
        let is_noted = |until: &AtomicU64| until.load(Ordering::Relaxed) > now;
        is_noted(&self.all) || owner.accounts().any(|key| is_noted(self.account(key)))
    }

    fn account(&self, key: &Key) -> &AtomicU64 {
        let [first, second, ..] = *key.as_bytes();
        &self.accounts[usize::from(u16::from_be_bytes([first, second])) % BUCKETS]
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Services {
    /// Refuses a chunk that has no room, and charges for it, if its owner was just refused so. The state itself is asked, no
    /// earlier one than when this is called, and where this node has it: others propose. What is not refused is to be proposed.
    ///
    /// # Errors
    /// The refusal, [`Error::Limited`], and the cluster's.
    pub(crate) async fn refuse_without_room(
        &self,
        caller: &Caller,
        charge: Option<Charge>,
        idempotency_key: Option<IdempotencyKey>,
        op: &Op,
    ) -> Result<(), Error> {
        let Op::Transfer(transfer) = op else { return Ok(()) };
        let Action::Put { index, total, body, .. } = &transfer.action else { return Ok(()) };
        let is_here = self.cluster.cell() == Some(self.cluster.cell_of(&transfer.key));
        if !is_here || !self.full_shares.may_refuse(&caller.owner) {
            return Ok(());
        }
        let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let (owner, remembered) = (caller.owner, idempotency_key.map(|key| key.key));
        let chunk = NewChunk { index: *index, total: *total, bytes, owner, remembered: remembered.is_some() };
        let query = UnlessRemembered(remembered, ChunkRefusal(transfer.key, chunk));
        let Some(refusal) = self.cluster.read_linearizable(query).await?.unwrap_or_default() else {
            return Ok(());
        };
        if let Some(charge) = charge {
            self.told(caller, charge.tier, self.cluster.charge_read(charge))?;
        }
        settle(Err(refusal)).map(drop)
    }
}
