//! The actor of a key: everybody on this node who is interested in the key is known here.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt as _, AsyncContext, Context, Handler, Message, MessageResult,
    WrapFuture as _,
};
use conclave_cluster::Cluster;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::sync::watch;

use super::StateKey;
use super::idle_check::Usage;
use super::registry::Registry;

/// How long an actor lives without being used.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// What one kind of actor adds.
pub(super) trait Kind: Sized + Unpin + 'static {
    /// The capacity of the actor's message queue, wake-ups aside, if not actix's default.
    const QUEUE_MAX: Option<usize> = None;

    /// Starts at a key.
    fn begin(target: StateKey, cluster: Cluster) -> Self;

    /// The key changed, or may have. Watchers are notified after what is returned, and nothing else is handled before that.
    fn woken(&mut self) -> Option<LocalBoxFuture<'static, ()>> {
        None
    }
}

/// Subscribes to changes of the key.
#[derive(Message)]
#[rtype(result = "watch::Receiver<()>")]
pub(super) struct Subscribe;

/// The key changed, or may have.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Wake;

/// Notifies the watchers of its key, and stops when nobody needs it.
///
/// It holds no state that counts: when it is lost, nothing is, and the next use starts another one.
pub(super) struct KeyActor<K> {
    target: StateKey,
    usage: Arc<Usage>,
    registry: Registry,
    changes: watch::Sender<()>,
    /// What its kind adds.
    pub(super) kind: K,
}

impl<K: Kind> KeyActor<K> {
    pub(super) fn new(target: StateKey, usage: Arc<Usage>, cluster: Cluster, registry: Registry) -> Self {
        Self { target, usage, registry, changes: watch::Sender::new(()), kind: K::begin(target, cluster) }
    }
}

impl<K: Kind> Actor for KeyActor<K> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(max) = K::QUEUE_MAX {
            ctx.set_mailbox_capacity(max);
        }
        ctx.run_interval(IDLE_MAX, |actor, ctx| {
            if !actor.usage.was_used() && actor.registry.forget(&actor.target, &actor.usage) {
                ctx.stop();
            }
        });
    }
}

impl<K: Kind> Handler<Subscribe> for KeyActor<K> {
    type Result = MessageResult<Subscribe>;

    fn handle(&mut self, _: Subscribe, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.changes.subscribe())
    }
}

impl<K: Kind> Handler<Wake> for KeyActor<K> {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        // A replica of this node's own answers at once.
        let unfinished = self.kind.woken().and_then(|mut work| match (&mut work).now_or_never() {
            Some(()) => None,
            None => Some(work),
        });
        match unfinished {
            None => {
                self.changes.send_replace(());
            }
            Some(work) => ctx.wait(work.into_actor(self).map(|(), actor, _| {
                actor.changes.send_replace(());
            })),
        }
    }
}
