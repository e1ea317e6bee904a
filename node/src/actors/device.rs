//! The actor in front of one peer's mailbox on this node.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, ResponseFuture};
use conclave_cluster::state::outcome::Answer;
use conclave_cluster::{Cluster, Error};

use super::Place;
use super::desk::{Carry, Desk, IDLE_MAX, Listen, Refresh, Wake};
use super::line::Line;
use super::registry::{Front, Registry};

/// Carries the calls for a peer's mailbox and wakes whoever waits for it here: long polls, and whatever else listens
/// at the same bell, since poll and push share one queue.
///
/// A listener pulls from the mailbox itself when it is woken; the actor never holds a signal, so that nothing is
/// delivered twice and nothing is lost with it.
pub struct DeviceActor {
    desk: Desk,
    registry: Registry,
}

impl Front for DeviceActor {
    fn new(place: Place, line: Arc<Line>, cluster: Cluster, registry: Registry) -> Self {
        Self { desk: Desk::new(place, line, cluster), registry }
    }
}

impl Actor for DeviceActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(IDLE_MAX, |actor, ctx| {
            if !actor.desk.line.was_used() && actor.registry.forget(&actor.desk.place, &actor.desk.line) {
                actix::ActorContext::stop(ctx);
            }
        });
    }
}

impl Handler<Carry> for DeviceActor {
    type Result = ResponseFuture<Result<Answer, Error>>;

    fn handle(&mut self, message: Carry, _: &mut Self::Context) -> Self::Result {
        self.desk.carry(message)
    }
}

impl Handler<Refresh> for DeviceActor {
    type Result = ();

    fn handle(&mut self, message: Refresh, _: &mut Self::Context) {
        self.desk.refresh(message);
    }
}

impl Handler<Listen> for DeviceActor {
    type Result = MessageResult<Listen>;

    fn handle(&mut self, _: Listen, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.desk.listen())
    }
}

impl Handler<Wake> for DeviceActor {
    type Result = ();

    fn handle(&mut self, _: Wake, _: &mut Self::Context) {
        self.desk.ring();
    }
}
