//! Tickets: a credential for one use within half a minute, for clients that can show it only in a URL.
//!
//! A URL ends up in logs and histories. A token there would be worth something to whoever reads them; a ticket was used
//! by then. The cluster keeps what a ticket grants under the hash of its text, and hands it out once.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_cluster::Draft;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::ticket::{self, Verb};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use super::call::Call;
use super::error::{Code, Error};
use super::reply::json;
use super::shared::Shared;
use crate::access::Credential;
use crate::access::allowance::millis;
use crate::service::{keys, settle};

/// Within this time a ticket must be used.
const TTL: Duration = Duration::from_secs(30);
const TICKET_BYTES: usize = 32;
/// Characters of a ticket: 32 bytes as base64url.
const TICKET_CHARS: usize = 43;

/// `POST /api/v1/tickets`.
pub(super) async fn issue(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = issue_to(&mut call).await;
    call.finish(result)
}

async fn issue_to(call: &mut Call<'_>) -> Result<HttpResponse, Error> {
    let charge = call.admit(call.tier())?;
    let text = fresh()?;
    let grant = serde_json::to_vec(&call.credential()).map_err(|_| Code::Internal)?;
    let place = keys::ticket(&text);
    let verb = Verb::Issue { grant: Body::new(grant.into()), ttl_ms: millis(TTL) };
    let ask = Ask::Ticket(ticket::Ask { key: place.key, verb });
    match call.change(place, charge, None, ask).await? {
        Ok(Outcome::Ticket(ticket::Outcome::Issued)) => {
            let body = json!({ "ticket": text, "ttlSec": TTL.as_secs() });
            Ok(json(StatusCode::CREATED, body.to_string()))
        }
        Ok(_) | Err(_) => Err(Code::Internal.into()),
    }
}

/// Uses a ticket up, and returns what it grants.
pub(super) async fn redeem(shared: &Shared, text: &str) -> Result<Credential, Error> {
    if text.len() != TICKET_CHARS {
        return Err(Code::Unauthorized.into());
    }
    let place = keys::ticket(text);
    let ask = Ask::Ticket(ticket::Ask { key: place.key, verb: Verb::Redeem });
    let answer = shared.services.registry.carry(place, Draft::of(ask)).await?;
    match settle(answer.outcome)? {
        Ok(Outcome::Ticket(ticket::Outcome::Redeemed { grant })) => {
            serde_json::from_slice(grant.bytes()).map_err(|_| Code::Unauthorized.into())
        }
        Err(Refusal::Ticket(ticket::Refusal::Unknown)) => Err(Code::Unauthorized.into()),
        Ok(_) | Err(_) => Err(Code::Internal.into()),
    }
}

/// 256 random bits.
fn fresh() -> Result<String, Error> {
    let mut bytes = [0; TICKET_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Code::Internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_long_and_never_the_same() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_eq!(one.len(), TICKET_CHARS);
        assert_ne!(one, other);
        assert_ne!(keys::ticket(&one), keys::ticket(&other));
    }
}
