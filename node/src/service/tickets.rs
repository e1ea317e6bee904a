//! Tickets: a credential for one use within half a minute, for clients that can show it only in a URL; and nonces of signed
//! requests, each of which is taken once.
//!
//! A URL ends up in logs and histories. A token there would be worth something to whoever reads them; a ticket was used
//! by then. The cluster keeps what a ticket grants under the hash of its text, and hands it out once.

use std::time::Duration;

use bytes::Bytes;
use conclave_cluster::Draft;
use conclave_cluster::state::allowance::Charge;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::leader_rules::Owner;
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::ticket::{self, Action};

use super::{Caller, Error, Services, settle, storage_keys};
use crate::access::Credential;
use crate::access::tier_limits::millis;

/// Within this time a ticket must be used.
pub const TTL: Duration = Duration::from_secs(30);
const TICKET_BYTES: usize = 32;
/// Characters of a ticket: 32 bytes as base64url.
const TICKET_CHARS: usize = 43;

/// Issues a ticket for what `credential` grants, and returns its text.
///
/// # Errors
/// See [`Error`].
pub async fn issue(
    services: &Services,
    caller: &Caller,
    charge: Option<Charge>,
    credential: &Credential,
) -> Result<String, Error> {
    let text = storage_keys::secret::<TICKET_BYTES>()?;
    let grant = serde_json::to_vec(credential).map_err(|_| Error::Unexpected)?;
    let action = Action::Issue { grant: Body::new(grant.into()), ttl_ms: millis(TTL) };
    let op = Op::Ticket(ticket::Op { key: storage_keys::ticket(&text).key, action });
    match services.change(caller, charge, None, op).await? {
        Outcome::Ticket(ticket::Outcome::Issued) => Ok(text),
        _ => Err(Error::Unexpected),
    }
}

/// Uses a ticket up, and returns what it grants; `None` if it grants nothing.
///
/// # Errors
/// See [`Error`].
pub async fn redeem(services: &Services, text: &str) -> Result<Option<Credential>, Error> {
    if text.len() != TICKET_CHARS {
        return Ok(None);
    }
    let op = Op::Ticket(ticket::Op { key: storage_keys::ticket(text).key, action: Action::Redeem });
    let answer = services.cluster.propose(Draft::of(op)).await?;
    match settle(answer.outcome) {
        Ok(Outcome::Ticket(ticket::Outcome::Redeemed { grant })) => {
            Ok(serde_json::from_slice(grant.bytes()).ok())
        }
        Err(Error::Refused(Refusal::Ticket(ticket::Refusal::Unknown))) => Ok(None),
        Ok(_) => Err(Error::Unexpected),
        Err(error) => Err(error),
    }
}

/// Uses up the nonce of a signature by `key`, which is remembered for `ttl_ms`; false if it was used before. Nodes that are
/// shown the same one at once propose it twice, and the log orders them.
///
/// # Errors
/// See [`Error`].
pub async fn use_nonce(
    services: &Services,
    subject: Option<Key>,
    key: &str,
    nonce: &str,
    ttl_ms: u32,
) -> Result<bool, Error> {
    let action = Action::Issue { grant: Body::new(Bytes::new()), ttl_ms };
    let op = Op::Ticket(ticket::Op { key: storage_keys::nonce(key, nonce).key, action });
    let owner = subject.map(|client| Owner { client, group: None });
    let answer = services.cluster.propose(Draft { owner, ..Draft::of(op) }).await?;
    match settle(answer.outcome) {
        Ok(_) => Ok(true),
        Err(Error::Refused(Refusal::Ticket(ticket::Refusal::InUse))) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_long_and_never_the_same() {
        let fresh = || storage_keys::secret::<TICKET_BYTES>().unwrap();
        let (one, other) = (fresh(), fresh());
        assert_eq!(one.len(), TICKET_CHARS);
        assert_ne!(one, other);
        assert_ne!(storage_keys::ticket(&one), storage_keys::ticket(&other));
    }
}
