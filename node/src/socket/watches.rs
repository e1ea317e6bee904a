//! What a socket watches instead of polling.

use std::future::Future;
use std::pin::Pin;

use bytestring::ByteString;
use conclave_cluster::Cluster;
use conclave_cluster::state::State;
use conclave_cluster::state::exchange::{Envelope, Role};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use uuid::Uuid;

use super::frame::{Code, Target};
use super::json::Writer;
use crate::actors::{Place, Registry, Watch};
use crate::service::keys;

/// Things that one socket may watch.
const WATCHES_MAX: usize = 16;

/// How a watched thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Transfer { received: u32, total: u16, acknowledged: bool },
    Exchange { offer: bool, answer: bool },
    Gone,
}

/// One watched thing.
struct Watched {
    target: Target,
    place: Place,
    last: Option<Sight>,
}

type Bell = Pin<Box<dyn Future<Output = (Target, Option<Watch>)>>>;

/// All that one socket watches.
#[derive(Default)]
pub(super) struct Watches {
    things: Vec<Watched>,
    bells: FuturesUnordered<Bell>,
}

impl Watches {
    pub(super) fn is_empty(&self) -> bool {
        self.bells.is_empty()
    }

    /// Begins to watch; says how the thing is now.
    pub(super) async fn add(
        &mut self,
        target: Target,
        registry: &Registry,
        cluster: &Cluster,
    ) -> Result<ByteString, Code> {
        let place = place(&target).ok_or(Code::InvalidInput)?;
        let known = self.things.iter().position(|thing| thing.target == target);
        // A bell of a thing that is no longer watched stays until it rings.
        let full = self.things.len() >= WATCHES_MAX || self.bells.len() >= 4 * WATCHES_MAX;
        if known.is_none() && full {
            return Err(Code::TooManyWatches);
        }
        let place_of = known.unwrap_or(self.things.len());
        if known.is_none() {
            // Registered first, looked at then: a change in between rings.
            let watch = registry.attend(place).await?;
            self.bells.push(Box::pin(ring(target.clone(), watch)));
            self.things.push(Watched { target: target.clone(), place, last: None });
        }
        let sight = cluster.read(|state, now_ms| look(&target, &place, state, now_ms)).await?;
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
    pub(super) async fn next(&mut self, registry: &Registry, cluster: &Cluster) -> Option<ByteString> {
        let (target, watch) = self.bells.next().await?;
        let thing = self.things.iter_mut().find(|thing| thing.target == target)?;
        let watch = match watch {
            Some(watch) => watch,
            // The actor is gone; the next one is asked.
            None => registry.attend(thing.place).await.ok()?,
        };
        self.bells.push(Box::pin(ring(target.clone(), watch)));
        let sight = cluster.glance(|state, now_ms| look(&target, &thing.place, state, now_ms));
        if thing.last == Some(sight) {
            return None;
        }
        thing.last = Some(sight);
        Some(spell(&target, sight))
    }
}

async fn ring(target: Target, mut watch: Watch) -> (Target, Option<Watch>) {
    let alive = watch.changed().await;
    (target, alive.then_some(watch))
}

fn place(target: &Target) -> Option<Place> {
    match target {
        Target::Transfer(id) => keys::transfer_of_id(id),
        Target::Exchange(id) => id.parse::<Uuid>().ok().map(keys::exchange),
    }
}

fn look(target: &Target, place: &Place, state: &State, now_ms: u64) -> Sight {
    match target {
        Target::Transfer(_) => match state.transfer(&place.key, now_ms) {
            Some(view) => Sight::Transfer {
                received: view.received.iter().map(|(first, last)| u32::from(last - first) + 1).sum(),
                total: view.total,
                acknowledged: view.acknowledged,
            },
            None if state.acknowledged(&place.key, now_ms) => {
                Sight::Transfer { received: 0, total: 0, acknowledged: true }
            }
            None => Sight::Gone,
        },
        Target::Exchange(_) => {
            let offer = state.envelope(&place.key, Role::Offer, now_ms);
            let answer = state.envelope(&place.key, Role::Answer, now_ms);
            match (offer, answer) {
                (Envelope::Expired, _) | (_, Envelope::Expired) => Sight::Gone,
                (offer, answer) => Sight::Exchange {
                    offer: matches!(offer, Envelope::Present(_)),
                    answer: matches!(answer, Envelope::Present(_)),
                },
            }
        }
    }
}

fn spell(target: &Target, sight: Sight) -> ByteString {
    match target {
        Target::Transfer(id) => {
            let (received, total, acknowledged) = match sight {
                Sight::Transfer { received, total, acknowledged } => (received, total, acknowledged),
                Sight::Exchange { .. } | Sight::Gone => (0, 0, false),
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
        Target::Exchange(id) => {
            let (offer, answer) = match sight {
                Sight::Exchange { offer, answer } => (offer, answer),
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
