//! What `receive` and `poll` have in common: something is handed out once, or waited for.

use std::time::Duration;

use actix_web::HttpResponse;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::command::Op;
use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::query::{Query, UnlessRemembered};

use super::answer;
use crate::actors::StateKey;
use crate::service::settle;
use crate::service::transfer_keep_alive::keep_alive;
use crate::transport::request::context::Context;
use crate::transport::request::error::Error;
use crate::transport::request::reply::fixed;
use crate::transport::request::wait::Patience;

/// What a client finds. `late` is a transfer that has to be touched to live on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Something to take.
    Takeable,
    /// Nothing, and there will be no more: the body of the answer.
    Over { body: &'static str, late: bool },
    /// Nothing yet: the body of the answer once the client's patience is at its end.
    Nothing { body: &'static str, late: bool },
}

/// Where something is handed out, and how.
pub(super) struct Source<Q, S> {
    /// The action's name, as idempotency keys have it.
    pub(super) action: &'static str,
    pub(super) target: StateKey,
    pub(super) look: Q,
    /// What the look found.
    pub(super) seen: S,
    /// Takes it.
    pub(super) take: Op,
    /// Whether there was nothing to take after all.
    pub(super) is_empty: fn(&Outcome) -> bool,
}

/// Hands something out once it is there, or answers after `wait` that there is nothing.
pub(super) async fn hand_out<Q: Query + Copy, S: Fn(Q::Answer) -> Seen>(
    ctx: &mut Context,
    mut charge: Option<Charge>,
    source: Source<Q, S>,
    wait: Duration,
) -> Result<HttpResponse, Error> {
    let target = source.target;
    let idempotency_key = ctx.idempotency_key(source.action, &target, &[])?;
    let look = UnlessRemembered(idempotency_key.map(|idempotency_key| idempotency_key.key), source.look);

    ctx.wait_idly();
    let mut patience = Patience::new(ctx, target, wait).await?;
    let mut seen = ctx.services().cluster.read_stale(look).await?.map(&source.seen);
    if seen != Ok(Seen::Takeable) {
        // Nothing for sure: this is a read, and leaves nothing in the log.
        ctx.pay(Tier::Poll)?;
        charge = None;
        seen = ctx.look(look).await?.map(&source.seen);
    }
    // From here on this replica is as new as this request, so that a glance at it is an answer.
    loop {
        match seen {
            Ok(Seen::Takeable) => {
                let outcome = ctx.take(charge.take(), idempotency_key, source.take.clone()).await?;
                let empty = outcome.as_ref().is_ok_and(source.is_empty);
                // Somebody else took it. Under an idempotency key that is the answer for good.
                if !empty || idempotency_key.is_some() || !patience.another_look().await {
                    return answer(outcome, ctx);
                }
            }
            Ok(Seen::Over { body, late }) => {
                keep_alive(ctx.services(), target, ctx.ttl().chunk, late);
                return Ok(fixed(body));
            }
            Ok(Seen::Nothing { body, late }) => {
                keep_alive(ctx.services(), target, ctx.ttl().chunk, late);
                if !patience.another_look().await {
                    return Ok(fixed(body));
                }
            }
            Err(remembered) => return answer(settle(remembered.outcome), ctx),
        }
        seen = ctx.services().cluster.read_stale(look).await?.map(&source.seen);
    }
}
