//! What a handler works with: one request, its client's allowance, and the cluster.

use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::http::header::{CONTENT_ENCODING, HeaderName, HeaderValue, TRANSFER_ENCODING};
use actix_web::web::{self, Payload};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, dev};
use bytes::Bytes;
use conclave_cluster::Trace;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::command::{IdempotencyKey, Op};
use conclave_cluster::state::id::Key;
use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::query::Query;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::app_state::AppState;
use super::arrival::Arrival;
use super::error::{Code, Error};
use super::route::Answer;
use super::{authenticate, body, fields, rate_limit_headers, wait};
use crate::access::tier_limits::millis;
use crate::access::{Credential, Scope};
use crate::actors::StateKey;
use crate::admission::buffers::Held;
use crate::admission::client_identity::Client;
use crate::admission::large_body::Admitted;
use crate::listener::{BodyGate, Closed, LARGE};
use crate::service::storage_keys::{self, Namespace};
use crate::service::{self, Caller, Services, Ttl};

/// A coded body costs one of the tier `poll` for each so many bytes that it comes to.
const DECODED_UNIT_BYTES: usize = 16 << 10;
/// A longer list of preferences is not looked at.
const PREFER_BYTES_MAX: usize = 1024;
/// What the server keeps for a large head: a head of 30 KB was found to take 88 KB.
const HEAD_FACTOR: usize = 3;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One request on its way through a handler.
pub(crate) struct Context {
    pub(crate) shared: web::Data<AppState>,
    pub(crate) request: HttpRequest,
    pub(crate) arrival: Rc<Arrival>,
    payload: Option<Payload>,
    admitted: Option<Admitted>,
}

impl FromRequest for Context {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let shared = request.app_data::<web::Data<AppState>>().cloned();
        let arrival = request.extensions().get::<Rc<Arrival>>().cloned();
        let payload = Payload::from_request(request, payload).into_inner().ok();
        let request = request.clone();
        let context = shared.zip(arrival).map(|(shared, arrival)| Self {
            shared,
            request,
            arrival,
            payload,
            admitted: None,
        });
        ready(context.ok_or_else(|| Code::Internal.into()))
    }
}

impl Context {
    /// Has it answered by a handler that reads no body.
    pub(crate) fn plain<F>(mut self, handler: impl FnOnce(Self) -> F) -> Answer
    where
        F: Future<Output = Result<HttpResponse, Error>> + 'static,
    {
        self.payload = None;
        self.with_body(handler)
    }

    /// Has it answered by a handler that reads the body.
    pub(crate) fn with_body<F>(self, handler: impl FnOnce(Self) -> F) -> Answer
    where
        F: Future<Output = Result<HttpResponse, Error>> + 'static,
    {
        handler(self).boxed_local()
    }

    /// What all transports share.
    pub(crate) fn services(&self) -> &Services {
        &self.shared.services
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> &Caller {
        self.arrival.caller.get_or_init(|| self.caller_with(&self.credential()))
    }

    /// Who asks, by a credential that was looked at in the handler.
    pub(crate) fn caller_with(&self, credential: &Credential) -> Caller {
        let trace = self.arrival.id.to_str().ok().and_then(Trace::new);
        authenticate::caller(&self.shared, &self.request, credential, trace)
    }

    /// How long what is stored for the client lives.
    pub(crate) fn ttl(&self) -> Ttl {
        self.services().terms.ttl.of(&self.caller().tenant)
    }

    /// Where the names of this request mean something.
    pub(crate) fn namespace(&self) -> Namespace {
        self.caller().namespace()
    }

    /// The client as this node's shares count it: within its organisation, if it belongs to one; as what it is elsewhere, too,
    /// if it shows nothing that says so.
    pub(crate) fn sharer(&self) -> Client {
        let client = authenticate::sharer(&self.shared, &self.request);
        match self.caller().tenant.key() {
            Some(tenant) if self.credential().subject.is_some() => client.of_tenant(tenant),
            Some(tenant) => client.guest_of(tenant),
            None => client,
        }
    }

    /// This request is about that key.
    pub(crate) fn about(&self, target: &StateKey) {
        let salt = self.services().cluster.salt();
        self.arrival.affinity.set(salt.map(|salt| rate_limit_headers::affinity(target, salt)));
    }

    /// A parameter of the request's path, decoded. Empty where the path has none of that name.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.arrival.parameter(name).unwrap_or_default()
    }

    /// Whether the client's credential covers this kind of thing.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Error> {
        authenticate::shown(&self.request, |credential| credential.may(scope))
    }

    /// Whether the client's credential covers acting as `peer`.
    pub(crate) fn require_peer(&self, peer: &str) -> Result<(), Error> {
        self.expect(|credential| credential.may_claim(peer))
    }

    /// Refuses with 403 unless what the client showed covers it.
    pub(crate) fn expect(&self, covers: impl FnOnce(&Credential) -> bool) -> Result<(), Error> {
        authenticate::shown(&self.request, covers)
    }

    /// Refuses with 403 unless the client's device is let in, where that matters.
    pub(crate) fn require_device(&self) -> Result<(), Error> {
        let credential = self.credential();
        Ok(self.services().auth.judge(&credential, self.services().now_ms())?)
    }

    /// What the client may touch.
    pub(crate) fn credential(&self) -> Credential {
        authenticate::credential(&self.request)
    }

    /// The body, which may be JSON only.
    pub(crate) async fn json(&mut self) -> Result<Bytes, Error> {
        body::expect_json(&self.request)?;
        self.body(self.shared.options.body_bytes_max).await
    }

    /// The body, of at most `bytes_max` bytes. A large one is thrown away while it comes if what it asks for would be
    /// refused as overloaded in any case: it would be most of what the refusal costs.
    pub(crate) async fn body(&mut self, bytes_max: usize) -> Result<Bytes, Error> {
        let payload = self.payload()?;
        let client = authenticate::sharer(&self.shared, &self.request);
        let announced = body::announced(&self.request, bytes_max)?;
        // A chunked body may become as large as any, and so may one that is coded.
        let small = match announced {
            _ if self.request.headers().contains_key(CONTENT_ENCODING) => false,
            Some(len) => len < LARGE,
            None => !self.request.headers().contains_key(TRANSFER_ENCODING),
        };
        if small {
            return body::read(&self.request, client, payload, bytes_max).await;
        }
        let Some(admitted) = self.shared.bodies.admit() else {
            body::discard(&self.request, payload, bytes_max).await?;
            return Err(conclave_cluster::Error::Overloaded.into());
        };
        let request = self.request.clone();
        let gate = request.conn_data::<BodyGate>();
        let body = body::read(&request, client, payload, bytes_max);
        let is_starved = || gate.is_some_and(BodyGate::is_starved);
        let body = self.admitted.insert(admitted).read(is_starved, body).await?;
        let decoded = body.len() / DECODED_UNIT_BYTES;
        if decoded > 0 && request.headers().contains_key(CONTENT_ENCODING) {
            // To read what a few bytes come to is what costs, and it is in no other charge.
            let count = u32::try_from(decoded).unwrap_or(u32::MAX);
            self.counted(Tier::Poll, self.services().pay(self.caller(), Tier::Poll, count))?;
        }
        Ok(body)
    }

    /// The body as it comes; it can be taken once.
    pub(crate) fn payload(&mut self) -> Result<Payload, Error> {
        self.payload.take().ok_or_else(|| Code::Internal.into())
    }

    /// From here on it waits for what others do, and its body is gone: that is no work, and holds up no other.
    pub(crate) fn wait_idly(&mut self) {
        self.admitted = None;
        if let Some(gate) = self.request.conn_data::<BodyGate>() {
            gate.buffers().clear_body();
        }
    }

    /// Holds the request's head on its client's account, for as long as an answer that may take long: the server keeps it
    /// until then. `None` is a head as most are.
    ///
    /// # Errors
    /// If there is no room for it.
    pub(crate) fn hold_head(&self) -> Result<Option<Held>, Error> {
        let headers = self.request.headers().iter();
        let bytes: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
        let bytes = bytes + self.request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        let gate = self.request.conn_data::<BodyGate>().filter(|_| bytes >= LARGE);
        let Some(gate) = gate else { return Ok(None) };
        let client = authenticate::sharer(&self.shared, &self.request);
        let account = gate.buffers().all().account(Some(client));
        account.room()?;
        let held = account.hold();
        held.set(HEAD_FACTOR * bytes);
        Ok(Some(held))
    }

    /// The allowance that the table of routes names for this request.
    pub(crate) fn tier(&self) -> Tier {
        let endpoint = self.arrival.endpoint(self.request.method());
        endpoint.and_then(|endpoint| endpoint.tier).unwrap_or(Tier::Poll)
    }

    /// The charge for a change, if the allowance is not surely spent. It is paid with the change itself.
    pub(crate) fn admit(&self, tier: Tier) -> Result<Option<Charge>, Error> {
        self.counted(tier, self.services().admit(self.caller(), tier, 1))
    }

    /// Pays for a read.
    pub(crate) fn pay(&self, tier: Tier) -> Result<(), Error> {
        self.counted(tier, self.services().pay(self.caller(), tier, 1))
    }

    /// Pays exactly, before anything is given away for it: the charge is committed when this returns.
    pub(crate) async fn pay_exactly(&self, tier: Tier) -> Result<(), Error> {
        self.counted(tier, self.services().pay_exactly(self.caller(), tier).await)
    }

    /// Looks for something that only those who were told its name should find; `found` says whether the answer is a hit, and
    /// `Err` is a miss, which is dear.
    pub(crate) async fn look_up<Q: Query, R, M>(
        &self,
        query: Q,
        found: impl FnOnce(Q::Answer) -> Result<R, M>,
    ) -> Result<Result<R, M>, Error> {
        self.counted(Tier::Lookup, self.services().look_up(self.caller(), query, found).await)
    }

    /// Has a change carried out.
    pub(crate) async fn change(
        &self,
        charge: Option<Charge>,
        idempotency_key: Option<IdempotencyKey>,
        op: Op,
    ) -> Result<Outcome, service::Error> {
        let tier = charge.as_ref().map(|charge| charge.tier);
        let outcome = self.services().change(self.caller(), charge, idempotency_key, op).await;
        if let Some(tier) = tier {
            self.count(tier, &outcome);
        }
        outcome
    }

    /// What a service came to; refusals because an allowance is spent are counted.
    pub(crate) fn counted<T>(&self, tier: Tier, result: Result<T, service::Error>) -> Result<T, Error> {
        self.count(tier, &result);
        Ok(result?)
    }

    fn count<T>(&self, tier: Tier, result: &Result<T, service::Error>) {
        if let Err(service::Error::Limited { .. }) = result {
            self.shared.metrics.limited(tier);
        }
    }

    /// Has a change carried out that hands something out which is handed out once. Nothing is handed out to a client that has
    /// gone: that is looked at right before the cluster is asked, and a node that nobody leads asks when somebody does.
    pub(crate) async fn take(
        &self,
        charge: Option<Charge>,
        idempotency_key: Option<IdempotencyKey>,
        op: Op,
    ) -> Result<Result<Outcome, service::Error>, Error> {
        let closed = self.closed();
        tokio::select! {
            biased;
            () = wait::gone(closed.as_ref()) => return Err(Code::ConnectionClosed.into()),
            led = self.services().cluster.wait_unless_leaderless(None, Instant::now(), ready(())) => led?,
        }
        Ok(self.change(charge, idempotency_key, op).await)
    }

    /// What tells that the client has gone.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.request.conn_data::<Closed>().cloned()
    }

    /// Looks at the state, linearizably.
    pub(crate) async fn look<Q: Query>(&self, query: Q) -> Result<Q::Answer, Error> {
        Ok(self.shared.services.cluster.read_linearizable(query).await?)
    }

    /// The idempotency key that the client's `Idempotency-Key` names, if it sent one. `asked` is what is asked of `target`, as
    /// far as two requests could differ in it.
    pub(crate) fn idempotency_key(
        &self,
        action: &str,
        target: &StateKey,
        asked: &[&[u8]],
    ) -> Result<Option<IdempotencyKey>, Error> {
        let Some(name) = self.request.headers().get(IDEMPOTENCY_KEY) else { return Ok(None) };
        if !is_idempotency_key(name) {
            return Err(Code::InvalidInput.into());
        }
        let subject = self.credential().subject;
        let key = storage_keys::idempotency(name.as_bytes(), subject.as_ref(), action, target, asked);
        Ok(Some(self.remember(key)))
    }

    /// An idempotency key under `key`, for as long as idempotency keys are kept.
    pub(crate) fn remember(&self, key: Key) -> IdempotencyKey {
        IdempotencyKey { key, ttl_ms: millis(self.shared.services.terms.ttl.memo) }
    }

    /// Whether the client asked for an answer before the outcome (RFC 7240, section 4.1).
    pub(crate) fn prefers_async(&self) -> bool {
        let values = self.request.headers().get_all("prefer").filter(|value| value.len() <= PREFER_BYTES_MAX);
        values.filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|preference| {
                let token = preference.split(';').next().unwrap_or_default();
                token.trim().eq_ignore_ascii_case("respond-async")
            })
        })
    }
}

fn is_idempotency_key(name: &HeaderValue) -> bool {
    name.to_str().is_ok_and(fields::IdempotencyKey::fits)
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
