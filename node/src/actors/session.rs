//! The actor in front of one transfer, exchange or other key in use on this node.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, ResponseFuture};
use conclave_cluster::state::outcome::Answer;
use conclave_cluster::{Cluster, Error};

use super::Place;
use super::desk::{Carry, Desk, IDLE_MAX, Listen, Refresh, Wake};
use super::line::Line;
use super::registry::{Front, Registry};

/// Orders and bounds the calls for its key, wakes its watchers, and leaves when nobody needs it.
///
/// It holds no truth: a node that loses it loses nothing, and another one is started on the next use.
pub struct SessionActor {
    desk: Desk,
    registry: Registry,
}

impl Front for SessionActor {
    fn new(place: Place, line: Arc<Line>, cluster: Cluster, registry: Registry) -> Self {
        Self { desk: Desk::new(place, line, cluster), registry }
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(IDLE_MAX, |actor, ctx| {
            if !actor.desk.line.was_used() && actor.registry.forget(&actor.desk.place, &actor.desk.line) {
                actix::ActorContext::stop(ctx);
            }
        });
    }
}

impl Handler<Carry> for SessionActor {
    type Result = ResponseFuture<Result<Answer, Error>>;

    fn handle(&mut self, message: Carry, _: &mut Self::Context) -> Self::Result {
        self.desk.carry(message)
    }
}

impl Handler<Refresh> for SessionActor {
    type Result = ();

    fn handle(&mut self, message: Refresh, _: &mut Self::Context) {
        self.desk.refresh(message);
    }
}

impl Handler<Listen> for SessionActor {
    type Result = MessageResult<Listen>;

    fn handle(&mut self, _: Listen, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.desk.listen())
    }
}

impl Handler<Wake> for SessionActor {
    type Result = ();

    fn handle(&mut self, _: Wake, _: &mut Self::Context) {
        self.desk.ring();
    }
}
