//! Revocations: put on the cluster's list, and known to every node within a moment.

use std::sync::Arc;
use std::time::Duration;

use conclave_cluster::Draft;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::query;
use conclave_cluster::state::revocation::{self, Action, Revoked, View};
use tokio::time::{sleep, timeout};

use super::{Error, Services, settle, storage_keys};

/// After what time the list is read again though nobody said that it changed: who says so may be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Between two readings. Many who are revoked one after the other are read together.
const REST: Duration = Duration::from_millis(100);

/// What is revoked.
///
/// # Errors
/// See [`Error`].
pub async fn list(services: &Services) -> Result<Vec<View>, Error> {
    let list = query::Revocations(storage_keys::revocations().key);
    Ok(services.cluster.read_linearizable(list).await?)
}

/// Has the credentials of somebody or something be worth nothing for so long; says until when, in milliseconds since the Unix
/// epoch. Every node acts by it within a second.
///
/// # Errors
/// See [`Error`].
pub async fn revoke(services: &Services, revoked: Revoked, ttl: Duration) -> Result<u64, Error> {
    let ttl_s = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
    match change(services, Action::Revoke { revoked, ttl_s }).await? {
        revocation::Outcome::Revoked { expires_ms } => Ok(expires_ms),
        revocation::Outcome::Lifted { .. } => Err(Error::Unexpected),
    }
}

/// Takes a revocation back; false if there was none.
///
/// # Errors
/// See [`Error`].
pub async fn lift(services: &Services, revoked: Revoked) -> Result<bool, Error> {
    match change(services, Action::Lift { revoked }).await? {
        revocation::Outcome::Lifted { was_revoked } => Ok(was_revoked),
        revocation::Outcome::Revoked { .. } => Err(Error::Unexpected),
    }
}

async fn change(services: &Services, action: Action) -> Result<revocation::Outcome, Error> {
    let op = Op::Revocation(revocation::Op { key: storage_keys::revocations().key, action });
    let outcome = settle(services.cluster.propose(Draft::of(op)).await?.outcome)?;
    let Outcome::Revocation(outcome) = outcome else { return Err(Error::Unexpected) };
    Ok(outcome)
}

/// Tells this node's judge of tokens what is revoked, whenever that changes. Runs until it is dropped.
pub async fn follow(services: Arc<Services>) {
    loop {
        // Watched first, then read: no change is missed.
        let watch = services.registry.attend(storage_keys::revocations()).await;
        match list(&services).await {
            Ok(list) => services.auth.revoke(&list),
            Err(error) => tracing::debug!(%error, "what is revoked could not be read"),
        }
        sleep(REST).await;
        if let Ok(mut watch) = watch
            && services.auth.knows_revoked()
        {
            // A change, or time to look again.
            let _ = timeout(LOOK_AGAIN, watch.changed()).await;
        }
    }
}
