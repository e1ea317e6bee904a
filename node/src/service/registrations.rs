//! Registered devices: who is let in, decided by somebody and known to every node within a moment.

use std::sync::Arc;
use std::time::Duration;

use conclave_cluster::Draft;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Digest;
use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::query;
use conclave_cluster::state::registration::{self, Action, After, Standing, View};
use tokio::time::{sleep, timeout};

use super::{Error, Services, settle, storage_keys};
use crate::access::auth::Devices;
use crate::access::credential_rights;

/// After what time the list is read again though nobody said that it changed: who says so may be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Between two readings. Many who are let in one after the other are read together.
const REST: Duration = Duration::from_millis(100);

/// All registered devices.
///
/// # Errors
/// See [`Error`].
pub async fn list(services: &Services) -> Result<Vec<View>, Error> {
    let key = storage_keys::registrations().key;
    let (mut views, mut after) = (Vec::new(), After(None));
    loop {
        let part = services.cluster.read_linearizable(query::Registrations(key, after)).await?;
        views.extend(part.views);
        match part.next {
            Some(next) => after = After(Some(next)),
            None => return Ok(views),
        }
    }
}

/// Who shows the public key of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// The device, or who may speak for it: another key takes the place of the one before.
    Own,
    /// Somebody else of the same subject: what is registered stays as it is.
    Another,
}

/// The public key of a device is shown; says how it stands. `subject` is qualified by its organisation.
///
/// # Errors
/// See [`Error`]; refused if there are as many as there may be, or if somebody else shows another key than the device did.
pub async fn register(
    services: &Services,
    shows: Shows,
    subject: String,
    device: String,
    public_key: String,
) -> Result<Standing, Error> {
    let shown = (subject.clone(), device.clone(), public_key.clone());
    let action = match shows {
        Shows::Own => Action::Register { subject, device, public_key },
        Shows::Another => Action::Introduce { subject, device, public_key },
    };
    let standing = change_standing(services, action).await?;
    if standing == Standing::Pending {
        let (subject, device, public_key) = &shown;
        services.webhooks.device_pending(subject, device, public_key);
    }
    Ok(standing)
}

/// Somebody decides about a device; `seen` is the digest of the public key that he saw, as the device spelled it.
///
/// # Errors
/// See [`Error`]; refused if there is no such device, or if its key is another one.
pub async fn decide(
    services: &Services,
    subject: String,
    device: String,
    standing: Standing,
    seen: Option<Digest>,
) -> Result<Standing, Error> {
    let action = match seen {
        Some(seen) => Action::DecideSeen { subject, device, standing, seen },
        None => Action::Decide { subject, device, standing },
    };
    change_standing(services, action).await
}

/// Takes a device off the list; false if it was not on it.
///
/// # Errors
/// See [`Error`].
pub async fn forget(services: &Services, subject: String, device: String) -> Result<bool, Error> {
    match change(services, Action::Forget { subject, device }).await? {
        registration::Outcome::Forgotten { was_known } => Ok(was_known),
        registration::Outcome::Stands(_) => Err(Error::Unexpected),
    }
}

async fn change_standing(services: &Services, action: Action) -> Result<Standing, Error> {
    match change(services, action).await? {
        registration::Outcome::Stands(standing) => Ok(standing),
        registration::Outcome::Forgotten { .. } => Err(Error::Unexpected),
    }
}

async fn change(services: &Services, action: Action) -> Result<registration::Outcome, Error> {
    let op = Op::Registration(registration::Op { key: storage_keys::registrations().key, action });
    let outcome = settle(services.cluster.propose(Draft::of(op)).await?.outcome)?;
    let Outcome::Registration(outcome) = outcome else { return Err(Error::Unexpected) };
    Ok(outcome)
}

/// Tells this node's judge of tokens which devices are let in, whenever that changes. Runs until it is dropped; at once where
/// nobody asks for that.
pub async fn follow(services: Arc<Services>) {
    if !services.auth.asks_for_devices() {
        return;
    }
    loop {
        // Watched first, then read: no change is missed.
        let watch = services.registry.attend(storage_keys::registrations()).await;
        match list(&services).await {
            Ok(list) => services.auth.know_devices(devices(&list)),
            Err(error) => tracing::debug!(%error, "which devices are let in could not be read"),
        }
        sleep(REST).await;
        if let Ok(mut watch) = watch
            && services.auth.knows_approved()
        {
            // A change, or time to look again.
            let _ = timeout(LOOK_AGAIN, watch.changed()).await;
        }
    }
}

fn devices(list: &[View]) -> Devices {
    let key = |view: &View| credential_rights::device(&view.subject, &view.device);
    let (approved, kept_out): (Vec<_>, Vec<_>) =
        list.iter().partition(|view| view.standing == Standing::Approved);
    Devices {
        approved: approved.into_iter().map(key).collect(),
        kept_out: kept_out.into_iter().map(key).collect(),
    }
}
