//! What every actor here is: a desk, and what its kind adds to it.

use std::sync::Arc;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, MessageResult, ResponseFuture};
use conclave_cluster::state::outcome::Answer;
use conclave_cluster::{Cluster, Error};

use super::Place;
use super::desk::{Carry, Desk, IDLE_MAX, Listen, Refresh, Wake};
use super::line::Line;
use super::registry::Registry;

/// What one kind of actor adds.
pub(super) trait Kind: Sized + Unpin + 'static {
    /// What may wait for the actor beside wakes, if that is not what actix lets wait.
    const QUEUE_MAX: Option<usize> = None;

    /// Begins at a key.
    fn begin(place: Place, cluster: Cluster) -> Self;

    /// The key changed, or may have. Those who wait are woken after this.
    fn woken(&mut self) {}
}

/// Orders and bounds the calls for its key, wakes its watchers, and leaves when nobody needs it.
///
/// It holds no truth: a node that loses it loses nothing, and another one is started on the next use.
pub(super) struct Front<K> {
    desk: Desk,
    registry: Registry,
    /// What its kind adds.
    pub(super) kind: K,
}

impl<K: Kind> Front<K> {
    pub(super) fn new(place: Place, line: Arc<Line>, cluster: Cluster, registry: Registry) -> Self {
        Self { desk: Desk::new(place, line, cluster.clone()), registry, kind: K::begin(place, cluster) }
    }
}

impl<K: Kind> Actor for Front<K> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(max) = K::QUEUE_MAX {
            ctx.set_mailbox_capacity(max);
        }
        ctx.run_interval(IDLE_MAX, |actor, ctx| {
            if !actor.desk.line.was_used() && actor.registry.forget(&actor.desk.place, &actor.desk.line) {
                ctx.stop();
            }
        });
    }
}

impl<K: Kind> Handler<Carry> for Front<K> {
    type Result = ResponseFuture<Result<Answer, Error>>;

    fn handle(&mut self, message: Carry, _: &mut Self::Context) -> Self::Result {
        self.desk.carry(message)
    }
}

impl<K: Kind> Handler<Refresh> for Front<K> {
    type Result = ();

    fn handle(&mut self, message: Refresh, _: &mut Self::Context) {
        self.desk.refresh(message);
    }
}

impl<K: Kind> Handler<Listen> for Front<K> {
    type Result = MessageResult<Listen>;

    fn handle(&mut self, _: Listen, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.desk.listen())
    }
}

impl<K: Kind> Handler<Wake> for Front<K> {
    type Result = ();

    fn handle(&mut self, _: Wake, _: &mut Self::Context) {
        self.kind.woken();
        self.desk.ring();
    }
}
