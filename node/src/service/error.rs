//! Why a command was not carried out. Each transport maps it once: to a status, to a code of its messages, or to the end
//! of a stream.

use conclave_cluster::state::outcome::{Outcome, Refusal, Scope};

/// Why a command was not carried out, whatever it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The allowance is spent.
    #[error("the allowance is spent for another {retry_after_ms} ms")]
    Limited {
        /// Milliseconds until the window ends.
        retry_after_ms: u64,
        /// Whose bound was met.
        scope: Scope,
    },
    /// The cluster's storage quota is exhausted.
    #[error("the cluster's storage quota is exhausted")]
    StorageFull,
    /// The storage quota of the client, or of its network, is exhausted.
    #[error("the client's storage quota is exhausted")]
    ShareFull,
    /// The storage quota of the client's organisation is exhausted.
    #[error("the organisation's storage quota is exhausted")]
    TenantShareFull,
    /// The state refused it, for a reason that only this kind of command has.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// The state answered with what this command cannot come to, which is a fault of ours.
    #[error("the outcome is not one of this command")]
    Unexpected,
    /// The cluster did not answer.
    #[error(transparent)]
    Cluster(#[from] conclave_cluster::Error),
}

/// What became of a command, with the refusals that concern every command alike told apart from those of this one.
///
/// # Errors
/// See [`Error`].
pub fn settle(outcome: Result<Outcome, Refusal>) -> Result<Outcome, Error> {
    outcome.map_err(|refusal| match refusal {
        Refusal::Allowance { retry_after_ms, scope } => Error::Limited { retry_after_ms, scope },
        Refusal::StorageFull => Error::StorageFull,
        Refusal::ShareFull => Error::ShareFull,
        Refusal::TenantShareFull => Error::TenantShareFull,
        // No request id is used twice, so a node that works never sees this; if one does, trying again is right.
        Refusal::Stale => Error::Cluster(conclave_cluster::Error::NoLeader),
        // The slot is on its way from one cell to another, or the client's window ended on the way.
        Refusal::Moved { .. } | Refusal::Unready | Refusal::Lapsed => {
            Error::Cluster(conclave_cluster::Error::NoLeader)
        }
        refusal => Error::Refused(refusal),
    })
}

#[cfg(test)]
mod tests {
    use conclave_cluster::state::invite_code;

    use super::*;

    #[test]
    fn what_concerns_every_command_is_told_apart() {
        let limited = Refusal::Allowance { retry_after_ms: 7, scope: Scope::Cluster };
        let error = Error::Limited { retry_after_ms: 7, scope: Scope::Cluster };
        assert_eq!(settle(Err(limited)), Err(error));
        assert_eq!(settle(Err(Refusal::StorageFull)), Err(Error::StorageFull));
        assert_eq!(settle(Err(Refusal::ShareFull)), Err(Error::ShareFull));
        let stale = Error::Cluster(conclave_cluster::Error::NoLeader);
        assert_eq!(settle(Err(Refusal::Stale)), Err(stale));
        let in_use = Refusal::Rendezvous(invite_code::Refusal::InUse);
        assert_eq!(settle(Err(in_use.clone())), Err(Error::Refused(in_use)));
        assert_eq!(settle(Ok(Outcome::Spent)), Ok(Outcome::Spent));
    }
}
