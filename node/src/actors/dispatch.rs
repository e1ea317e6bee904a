//! From effects to actors.

use conclave_cluster::Hint;
use conclave_cluster::state::effect::Effect;
use tokio::sync::mpsc;

use super::{Registry, StateKey};

/// Delivers hints to the actors that live on this node until there are no more hints.
///
/// Spawn it once per node with [`Cluster::hints`](conclave_cluster::Cluster::hints).
pub async fn run(mut hints: mpsc::Receiver<Hint>, registry: Registry) {
    while let Some(hint) = hints.recv().await {
        match hint {
            Hint::Effect(Effect::Wake(domain, key)) => registry.wake(&StateKey { domain, key }),
            Hint::Effect(Effect::Moved(slot)) => registry.wake_slot(slot),
            Hint::WakeAll => registry.wake_all(),
        }
    }
}
