//! Waiting for a change without polling.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::call::Call;
use super::entrance;
use super::error::Error;
use super::shared::Shared;
use crate::actors::{Place, Watch};
use crate::admission::share;
use crate::listener::Closed;

/// A request's patience: none, or a registered watcher and the instant until which it waits.
pub(super) struct Patience<'a> {
    shared: &'a Shared,
    place: Place,
    closed: Option<Closed>,
    watch: Option<(Watch, Instant)>,
    /// Its place among its client's waits.
    _part: Option<share::Place>,
}

impl<'a> Patience<'a> {
    /// Registers the watcher, if there is any patience at all. Look at the state after this.
    pub(super) async fn new(call: &Call<'a>, place: Place, wait: Duration) -> Result<Self, Error> {
        let shared: &'a Shared = call.shared;
        let part = match wait.is_zero() {
            true => None,
            false => Some(shared.options.shares.waits.enter(entrance::sharer(shared, call.request))?),
        };
        let watch = if wait.is_zero() {
            None
        } else {
            let until = Instant::now() + wait;
            Some((shared.services.registry.watch(place).await?, until))
        };
        Ok(Self { shared, place, closed: call.closed(), watch, _part: part })
    }

    /// Waits until it makes sense to look again; false once patience is at its end, or the client has gone.
    pub(super) async fn another_look(&mut self) -> bool {
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
            Ok(false) => match self.shared.services.registry.watch(self.place).await {
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
pub(super) async fn gone(closed: Option<&Closed>) {
    match closed {
        Some(closed) => closed.closed().await,
        None => std::future::pending().await,
    }
}
