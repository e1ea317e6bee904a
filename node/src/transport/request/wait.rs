//! Waiting for a change without polling.

use std::time::Duration;

use actix_web::web;
use tokio::time::{Instant, timeout_at};

use super::app_state::AppState;
use super::context::Context;
use super::error::Error;
use crate::actors::{StateKey, Watch};
use crate::admission::buffers::Held;
use crate::admission::share;
use crate::listener::Closed;

/// A request's patience: none, or a registered watcher and the instant until which it waits.
pub(crate) struct Patience {
    shared: web::Data<AppState>,
    target: StateKey,
    closed: Option<Closed>,
    watch: Option<(Watch, Instant)>,
    /// Its place among its client's waits.
    _part: Option<share::Slot>,
    _head: Option<Held>,
}

impl Patience {
    /// Registers the watcher, if there is any patience at all. Look at the state after this.
    pub(crate) async fn new(ctx: &Context, target: StateKey, wait: Duration) -> Result<Self, Error> {
        let shared = ctx.shared.clone();
        let (part, head) = if wait.is_zero() {
            (None, None)
        } else {
            let part = shared.options.shares.waits.enter(ctx.sharer())?;
            (Some(part), ctx.hold_head()?)
        };
        let watch = if wait.is_zero() {
            None
        } else {
            let until = Instant::now() + wait;
            Some((shared.services.registry.watch(target).await?, until))
        };
        Ok(Self { shared, target, closed: ctx.closed(), watch, _part: part, _head: head })
    }

    /// Waits until it makes sense to look again; false once patience is at its end, or the client has gone.
    pub(crate) async fn another_look(&mut self) -> bool {
        let Some((watch, until)) = &mut self.watch else { return false };
        if self.shared.is_draining() {
            return false;
        }
        let changed = tokio::select! {
            biased;
            () = gone(self.closed.as_ref()) => return false,
            changed = timeout_at(*until, watch.changed()) => changed,
        };
        match changed {
            Ok(true) => true,
            // The actor is gone; whoever comes next has another one.
            Ok(false) => match self.shared.services.registry.watch(self.target).await {
                Ok(fresh) => {
                    *watch = fresh;
                    true
                }
                Err(_) => false,
            },
            Err(_) => false,
        }
    }
}

/// Waits until the client has gone; for ever if nothing is known of its connection.
pub(crate) async fn gone(closed: Option<&Closed>) {
    match closed {
        Some(closed) => closed.closed().await,
        None => std::future::pending().await,
    }
}
