//! What a socket watches instead of polling.

use std::future::Future;
use std::pin::Pin;

use bytestring::ByteString;
use conclave_cluster::Cluster;
use conclave_cluster::state::negotiation::{Envelope, Role};
use conclave_cluster::state::query;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use uuid::Uuid;

use super::json::Writer;
use super::operations::{Code, Target};
use crate::actors::{Registry, StateKey, Watch};
use crate::service::storage_keys::Namespace;

/// Things that one socket may watch.
const WATCHES_MAX: usize = 16;

/// How a watched thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Transfer { received: u32, total: u16, acknowledged: bool },
    Negotiation { offer: bool, answer: bool },
    Gone,
}

/// One watched thing.
struct Watched {
    target: Target,
    place: StateKey,
    last: Option<Sight>,
}

type Wait = Pin<Box<dyn Future<Output = (Target, Option<Watch>)>>>;

/// A thing that changed and was not looked at yet.
struct Due {
    target: Target,
    /// Whether its next change is waited for already.
    awaited: bool,
}

/// All that one socket watches.
#[derive(Default)]
pub(super) struct Watches {
    things: Vec<Watched>,
    waits: FuturesUnordered<Wait>,
    due: Option<Due>,
}

impl Watches {
    pub(super) fn is_empty(&self) -> bool {
        self.waits.is_empty() && self.due.is_none()
    }

    /// What is watched.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.things.iter().map(|thing| &thing.target)
    }

    /// Begins to watch; says how the thing is now.
    pub(super) async fn add(
        &mut self,
        target: Target,
        within: Namespace,
        registry: &Registry,
        cluster: &Cluster,
    ) -> Result<ByteString, Code> {
        let place = place(within, &target).ok_or(Code::InvalidInput)?;
        let known = self.things.iter().position(|thing| thing.target == target);
        // A bell of a thing that is no longer watched stays until it rings.
        let full = self.things.len() >= WATCHES_MAX || self.waits.len() >= 4 * WATCHES_MAX;
        if known.is_none() && full {
            return Err(Code::TooManyWatches);
        }
        let place_of = known.unwrap_or(self.things.len());
        if known.is_none() {
            // Registered first, looked at then: a change in between rings.
            let watch = registry.attend(place).await?;
            self.waits.push(Box::pin(wait_for_change(target.clone(), watch)));
            self.things.push(Watched { target: target.clone(), place, last: None });
        }
        cluster.read_linearizable(query::Reach(place.key)).await?;
        let sight = look(&target, &place, cluster).await?;
        self.things[place_of].last = Some(sight);
        Ok(spell(&target, sight))
    }

    /// Ends a watch; false if there was none.
    pub(super) fn remove(&mut self, target: &Target) -> bool {
        let before = self.things.len();
        self.things.retain(|thing| thing.target != *target);
        self.things.len() < before
    }

    /// Waits until something changed, and says how it is now.
    ///
    /// # Cancel safety
    /// Cancel safe: what changed is due until it was looked at, however often this is dropped meanwhile.
    pub(super) async fn next(&mut self, registry: &Registry, cluster: &Cluster) -> Option<ByteString> {
        if self.due.is_none() {
            let (target, watch) = self.waits.next().await?;
            let awaited = watch.is_some();
            self.waits
                .extend(watch.map(|watch| -> Wait { Box::pin(wait_for_change(target.clone(), watch)) }));
            self.due = Some(Due { target, awaited });
        }
        let told = self.look_at_due(registry, cluster).await;
        self.due = None;
        told
    }

    async fn look_at_due(&mut self, registry: &Registry, cluster: &Cluster) -> Option<ByteString> {
        let Due { target, awaited } = self.due.as_mut()?;
        let thing = self.things.iter_mut().find(|thing| thing.target == *target)?;
        if !*awaited {
            // The actor is gone; the next one is asked.
            let watch = registry.attend(thing.place).await.ok()?;
            self.waits.push(Box::pin(wait_for_change(target.clone(), watch)));
            *awaited = true;
        }
        // What cannot be read now is told when it can be: then it rings.
        let sight = look(target, &thing.place, cluster).await.ok()?;
        if thing.last == Some(sight) {
            return None;
        }
        thing.last = Some(sight);
        Some(spell(target, sight))
    }
}

async fn wait_for_change(target: Target, mut watch: Watch) -> (Target, Option<Watch>) {
    let alive = watch.changed().await;
    (target, alive.then_some(watch))
}

fn place(within: Namespace, target: &Target) -> Option<StateKey> {
    match target {
        Target::Transfer(id) => within.transfer_of_id(id),
        Target::Negotiation(id) => id.parse::<Uuid>().ok().map(|id| within.negotiation(id)),
    }
}

/// How a thing is, by what this node knows.
async fn look(
    target: &Target,
    &StateKey { key, .. }: &StateKey,
    cluster: &Cluster,
) -> Result<Sight, conclave_cluster::Error> {
    let acknowledged = (query::Transfer(key), query::Acknowledged(key));
    Ok(match target {
        Target::Transfer(_) => match cluster.read_stale(acknowledged).await? {
            (Some(view), _) => Sight::Transfer {
                received: view.received.iter().map(|(first, last)| u32::from(last - first) + 1).sum(),
                total: view.total,
                acknowledged: view.acknowledged,
            },
            (None, true) => Sight::Transfer { received: 0, total: 0, acknowledged: true },
            (None, false) => Sight::Gone,
        },
        Target::Negotiation(_) => {
            let envelope = |role| query::Envelope(key, role);
            match cluster.read_stale((envelope(Role::Offer), envelope(Role::Answer))).await? {
                (Envelope::Expired, _) | (_, Envelope::Expired) => Sight::Gone,
                (offer, answer) => Sight::Negotiation {
                    offer: matches!(offer, Envelope::Present(_)),
                    answer: matches!(answer, Envelope::Present(_)),
                },
            }
        }
    })
}

fn spell(target: &Target, sight: Sight) -> ByteString {
    match target {
        Target::Transfer(id) => {
            let (received, total, acknowledged) = match sight {
                Sight::Transfer { received, total, acknowledged } => (received, total, acknowledged),
                Sight::Negotiation { .. } | Sight::Gone => (0, 0, false),
            };
            Writer::push("transfer")
                .text("transfer", id)
                .value("received", received)
                .value("total", total)
                .value("done", total > 0 && received == u32::from(total))
                .value("acknowledged", acknowledged)
                .value("gone", sight == Sight::Gone)
                .done()
        }
        Target::Negotiation(id) => {
            let (offer, answer) = match sight {
                Sight::Negotiation { offer, answer } => (offer, answer),
                Sight::Transfer { .. } | Sight::Gone => (false, false),
            };
            Writer::push("exchange")
                .text("session", id)
                .value("offer", offer)
                .value("answer", answer)
                .value("gone", sight == Sight::Gone)
                .done()
        }
    }
}
