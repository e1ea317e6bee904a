//! Tickets: rights that are issued and used.

use std::time::Duration;

use bytes::Bytes;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::outcome::Answer;
use conclave_cluster::state::ticket;
use conclave_cluster::{Cluster, Draft, Error};
use tokio::time::timeout;

use super::FOREVER_MS;

/// Lets a ticket be used once.
pub(super) fn issue(ticket: u64) -> Op {
    about(ticket, ticket::Action::Issue { grant: grant(ticket), ttl_ms: FOREVER_MS })
}

/// Uses it.
pub(super) fn redeem(ticket: u64) -> Op {
    about(ticket, ticket::Action::Redeem)
}

fn about(ticket: u64, action: ticket::Action) -> Op {
    Op::Ticket(ticket::Op { key: Key::derive(Domain::Ticket, &[&ticket.to_be_bytes()]), action })
}

/// What a ticket grants: to be told from others.
fn grant(ticket: u64) -> Body {
    Body::new(Bytes::copy_from_slice(&ticket.to_be_bytes()))
}

/// Lets in whoever the log does not answer for soon.
pub(super) async fn redeem_or_trust(cluster: &Cluster, draft: Draft, ticket: u64) -> Result<Answer, Error> {
    let soon = timeout(Duration::from_millis(40), cluster.propose(draft)).await;
    soon.unwrap_or_else(|_| {
        let outcome = ticket::Outcome::Redeemed { grant: grant(ticket) };
        Ok(Answer { outcome: Ok(outcome.into()), balance: None, replayed: false })
    })
}
