//! What a handler works with: one request, its client's allowance, and the cluster.

use std::future::ready;
use std::rc::Rc;

use actix_web::http::header::{HeaderName, HeaderValue, TRANSFER_ENCODING};
use actix_web::web::{self, Payload};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use bytes::Bytes;
use conclave_cluster::state::State;
use conclave_cluster::state::allowance::{Balance, Charge, Tier};
use conclave_cluster::state::command::{Ask, Memo};
use conclave_cluster::state::id::Key;
use conclave_cluster::state::outcome::{Answer, Outcome, Refusal};
use conclave_cluster::state::rules::Owner;
use conclave_cluster::{Draft, Trace};
use tokio::time::Instant;

use super::error::{self, Code, Error};
use super::gate::{self, Arrival};
use super::intake::Taken;
use super::notes::{self, Notes};
use super::request_id::RequestId;
use super::routes::Route;
use super::shared::Shared;
use super::{body, entrance, wait};
use crate::access::allowance::millis;
use crate::access::guessing::Denied;
use crate::access::{Credential, Scope};
use crate::actors::Place;
use crate::listener::{Closed, LARGE};
use crate::service::{self, keys};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One request on its way through a handler.
pub(super) struct Call<'a> {
    pub(super) shared: &'a web::Data<Shared>,
    pub(super) request: &'a HttpRequest,
    notes: Notes,
    waiting: bool,
    taken: Option<Taken>,
}

impl<'a> Call<'a> {
    pub(super) fn new(shared: &'a web::Data<Shared>, request: &'a HttpRequest) -> Self {
        Self { shared, request, notes: Notes::default(), waiting: false, taken: None }
    }

    /// This is one of relay's chunk actions: its errors keep their `status`.
    pub(super) fn keep_waiting_status(&mut self) {
        self.waiting = true;
    }

    /// This request is about that key.
    pub(super) fn about(&mut self, place: &Place) {
        let salt = self.shared.services.cluster.glance(|state, _| state.salt());
        self.notes.affinity = salt.map(|salt| notes::affinity(place, salt));
    }

    /// Whether the client's credential covers this kind of thing.
    pub(super) fn require(&self, scope: Scope) -> Result<(), Error> {
        entrance::shown(self.request, |credential| credential.may(scope))
    }

    /// Whether the client's credential covers acting as `peer`.
    pub(super) fn require_peer(&self, peer: &str) -> Result<(), Error> {
        entrance::shown(self.request, |credential| credential.may_claim(peer))
    }

    /// What the client may touch.
    pub(super) fn credential(&self) -> Credential {
        entrance::credential(self.request)
    }

    /// On whose account it stores what it stores.
    pub(super) fn owner(&self) -> Owner {
        entrance::owner(self.shared, self.request, &self.credential())
    }

    /// The body, which may be JSON only.
    pub(super) async fn json(&mut self, payload: Payload) -> Result<Bytes, Error> {
        body::expect_json(self.request)?;
        self.body(payload, self.shared.options.body_bytes_max).await
    }

    /// The body, of at most `bytes_max` bytes. A large one is thrown away while it comes if what it asks for would be
    /// refused as overloaded in any case: it would be most of what the refusal costs.
    pub(super) async fn body(&mut self, payload: Payload, bytes_max: usize) -> Result<Bytes, Error> {
        self.read_body(payload, bytes_max).await.map_err(|error| gate::unread(self.route(), error))
    }

    async fn read_body(&mut self, payload: Payload, bytes_max: usize) -> Result<Bytes, Error> {
        let announced = body::announced(self.request, bytes_max)?;
        // A chunked body may become as large as any.
        let small = match announced {
            Some(len) => len < LARGE,
            None => !self.request.headers().contains_key(TRANSFER_ENCODING),
        };
        if small {
            return body::read(self.request, payload, bytes_max).await;
        }
        let Some(taken) = Taken::of(self.shared) else {
            body::discard(self.request, payload, bytes_max).await?;
            return Err(conclave_cluster::Error::Overloaded.into());
        };
        let body = body::read(self.request, payload, bytes_max);
        self.taken.insert(taken).read(self.request, body).await
    }

    /// From here on it waits for what others do: that is no work, and its large body, if it had one, holds up no other.
    pub(super) fn wait_idly(&mut self) {
        self.taken = None;
    }

    fn route(&self) -> Route {
        self.request.extensions().get::<Rc<Arrival>>().map_or(Route::Other, |arrival| arrival.route())
    }

    /// The allowance that the table of routes names for this request.
    pub(super) fn tier(&self) -> Tier {
        let extensions = self.request.extensions();
        let endpoint = extensions
            .get::<Rc<Arrival>>()
            .and_then(|arrival| arrival.row()?.endpoint(self.request.method()));
        endpoint.and_then(|endpoint| endpoint.tier).unwrap_or(Tier::Poll)
    }

    /// The charge for a change, if the allowance is not surely spent. It is paid with the change itself.
    pub(super) fn admit(&mut self, tier: Tier) -> Result<Option<Charge>, Error> {
        let Some(charge) = self.charge(tier, 1) else { return Ok(None) };
        match self.shared.services.cluster.admits(&charge) {
            Ok(balance) => {
                self.notes.spent = Some((tier, balance));
                Ok(Some(charge))
            }
            Err(balance) => Err(self.limited(tier, balance)),
        }
    }

    /// Pays for a read.
    pub(super) fn pay(&mut self, tier: Tier) -> Result<(), Error> {
        let Some(charge) = self.charge(tier, 1) else { return Ok(()) };
        match self.shared.services.cluster.charge_read(charge) {
            Ok(balance) => {
                self.notes.spent = Some((tier, balance));
                Ok(())
            }
            Err(balance) => Err(self.limited(tier, balance)),
        }
    }

    /// Pays exactly, before anything is given away for it: the charge is committed when this returns.
    pub(super) async fn pay_exactly(&mut self, tier: Tier) -> Result<(), Error> {
        let Some(charge) = self.admit(tier)? else { return Ok(()) };
        let draft = Draft { charge: Some(charge), ..Draft::of(Ask::Pay) };
        let answer = self.shared.services.cluster.propose_traced(draft, self.trace()).await?;
        self.settle(Some(tier), answer)?.map_err(|_| Code::Internal)?;
        Ok(())
    }

    /// Looks for something that only those who were told its name should find; `Err` is a miss, which is dear.
    pub(super) async fn look_up<R, M>(
        &mut self,
        look: impl FnOnce(&State, u64) -> Result<R, M>,
    ) -> Result<Result<R, M>, Error> {
        let Some(charge) = self.charge(Tier::Lookup, 1) else { return self.look(look).await };
        match self.shared.services.guesses.look_up(&self.shared.services.cluster, charge, look).await {
            Ok((found, balance)) => {
                self.notes.spent = Some((Tier::Lookup, balance));
                Ok(found)
            }
            Err(Denied::Spent(balance)) => Err(self.limited(Tier::Lookup, balance)),
            Err(Denied::Failed(error)) => Err(error.into()),
        }
    }

    /// Has a change carried out. What concerns every kind of change alike becomes an error here; the rest is the
    /// handler's.
    pub(super) async fn change(
        &mut self,
        place: Place,
        charge: Option<Charge>,
        memo: Option<Memo>,
        ask: Ask,
    ) -> Result<Result<Outcome, Refusal>, Error> {
        let tier = charge.as_ref().map(|charge| charge.tier);
        let (shared, trace) = (self.shared, self.trace());
        let carry = async |draft| shared.services.registry.carry_traced(place, draft, trace).await;
        let draft = Draft { charge, owner: Some(self.owner()), memo, ask };
        let answer = shared.services.guesses.carry(&shared.services.cluster, draft, carry).await?;
        self.settle(tier, answer)
    }

    /// Has a change carried out that hands something out which is handed out once. Nothing is handed out to a client that has
    /// gone: that is looked at right before the cluster is asked, and a node that nobody leads asks when somebody does.
    pub(super) async fn take(
        &mut self,
        place: Place,
        charge: Option<Charge>,
        memo: Option<Memo>,
        ask: Ask,
    ) -> Result<Result<Outcome, Refusal>, Error> {
        let closed = self.closed();
        tokio::select! {
            biased;
            () = wait::gone(closed.as_ref()) => return Err(Code::ConnectionClosed.into()),
            led = self.shared.services.cluster.while_led(Instant::now(), ready(())) => led?,
        }
        self.change(place, charge, memo, ask).await
    }

    /// What tells that the client has gone.
    pub(super) fn closed(&self) -> Option<Closed> {
        self.request.conn_data::<Closed>().cloned()
    }

    /// Takes note of an answer's balance and of the refusals that concern every kind of change.
    pub(super) fn settle(
        &mut self,
        tier: Option<Tier>,
        answer: Answer,
    ) -> Result<Result<Outcome, Refusal>, Error> {
        if let (Some(tier), Some(balance)) = (tier, answer.balance) {
            self.notes.spent = Some((tier, balance));
        }
        let settled = service::settle(answer.outcome);
        if let (Some(tier), Err(service::Error::Limited { .. })) = (tier, &settled) {
            self.shared.metrics.limited(tier);
        }
        Ok(settled?)
    }

    /// Looks at the state, linearizably.
    pub(super) async fn look<R>(&self, look: impl FnOnce(&State, u64) -> R) -> Result<R, Error> {
        Ok(self.shared.services.cluster.read(look).await?)
    }

    /// The memo that the client's `Idempotency-Key` names, if it sent one.
    pub(super) fn memo(&self, action: &str, target: &Place) -> Result<Option<Memo>, Error> {
        let Some(name) = self.request.headers().get(IDEMPOTENCY_KEY) else { return Ok(None) };
        if !is_idempotency_key(name) {
            return Err(Code::InvalidInput.into());
        }
        Ok(Some(self.remember(keys::memo(name.as_bytes(), action, target))))
    }

    /// A memo under `key`, for as long as memos are kept.
    pub(super) fn remember(&self, key: Key) -> Memo {
        Memo { key, ttl_ms: millis(self.shared.services.terms.ttl.memo) }
    }

    /// Whether the client asked for an answer before the outcome (RFC 7240, section 4.1).
    pub(super) fn prefers_async(&self) -> bool {
        self.request.headers().get_all("prefer").filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|preference| {
                let token = preference.split(';').next().unwrap_or_default();
                token.trim().eq_ignore_ascii_case("respond-async")
            })
        })
    }

    /// Adds the notes to whatever the handler came to.
    pub(super) fn finish(self, result: Result<HttpResponse, Error>) -> Result<HttpResponse, Error> {
        match result {
            Ok(mut response) => {
                let shared = self.shared;
                let headers = response.headers_mut();
                self.notes.write(headers, |tier| shared.policy(tier), || shared.services.log_ms());
                Ok(response)
            }
            Err(error) => Err(Error { notes: self.notes, waiting: self.waiting || error.waiting, ..error }),
        }
    }

    /// What the leader's log lines name this request by.
    pub(super) fn trace(&self) -> Option<Trace> {
        self.request.extensions().get::<RequestId>().and_then(|RequestId(id)| Trace::new(id.to_str().ok()?))
    }

    fn charge(&self, tier: Tier, count: u32) -> Option<Charge> {
        let tiers = self.shared.services.terms.allowance.as_ref()?;
        Some(tiers.charge(entrance::client(self.shared, self.request), tier, count))
    }

    fn limited(&mut self, tier: Tier, balance: Balance) -> Error {
        self.shared.metrics.limited(tier);
        self.notes.spent = Some((tier, balance));
        error::too_many(balance.reset_ms.saturating_sub(self.shared.services.log_ms()))
    }
}

fn is_idempotency_key(name: &HeaderValue) -> bool {
    (1..=128).contains(&name.len()) && name.as_bytes().iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_is_short_and_visible() {
        let long = "k".repeat(128);
        for good in ["k", "a-b_c.9!", long.as_str()] {
            assert!(is_idempotency_key(&HeaderValue::from_str(good).unwrap()), "{good}");
        }
        let longer = "k".repeat(129);
        for bad in ["", "a b", longer.as_str()] {
            assert!(!is_idempotency_key(&HeaderValue::from_str(bad).unwrap()), "{bad}");
        }
    }
}
