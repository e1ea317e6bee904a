//! Errors that concern every command alike. Each transport maps them once: to a status, to a code of its messages, or to
//! the end of a stream.

use conclave_cluster::state::outcome::{Outcome, Refusal, Scope};

/// Why a command was not carried out, whatever it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
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
    /// The state answered with what this command cannot come to, which is a fault of ours.
    #[error("the outcome is not one of this command")]
    Unexpected,
    /// The cluster did not answer.
    #[error(transparent)]
    Cluster(#[from] conclave_cluster::Error),
}

/// Splits what became of a command: what concerns every command alike is an error, all else is for whoever knows this one.
///
/// # Errors
/// See [`Error`].
pub fn settle(outcome: Result<Outcome, Refusal>) -> Result<Result<Outcome, Refusal>, Error> {
    match outcome {
        Err(Refusal::Allowance { retry_after_ms, scope }) => Err(Error::Limited { retry_after_ms, scope }),
        Err(Refusal::StorageFull) => Err(Error::StorageFull),
        Err(Refusal::ShareFull) => Err(Error::ShareFull),
        // No request id is used twice, so a node that works never sees this; if one does, trying again is right.
        Err(Refusal::Stale) => Err(Error::Cluster(conclave_cluster::Error::NoLeader)),
        outcome => Ok(outcome),
    }
}

#[cfg(test)]
mod tests {
    use conclave_cluster::state::rendezvous;

    use super::*;

    #[test]
    fn what_concerns_every_command_is_an_error_and_the_rest_is_not() {
        let limited = Refusal::Allowance { retry_after_ms: 7, scope: Scope::Cluster };
        let error = Error::Limited { retry_after_ms: 7, scope: Scope::Cluster };
        assert_eq!(settle(Err(limited)), Err(error));
        assert_eq!(settle(Err(Refusal::StorageFull)), Err(Error::StorageFull));
        assert_eq!(settle(Err(Refusal::ShareFull)), Err(Error::ShareFull));
        let stale = Error::Cluster(conclave_cluster::Error::NoLeader);
        assert_eq!(settle(Err(Refusal::Stale)), Err(stale));
        let in_use = Refusal::Rendezvous(rendezvous::Refusal::InUse);
        assert_eq!(settle(Err(in_use.clone())), Ok(Err(in_use)));
        assert_eq!(settle(Ok(Outcome::Spent)), Ok(Ok(Outcome::Spent)));
    }
}
