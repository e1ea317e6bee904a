//! Sessions: one WebRTC offer and its answer. Inside they are called exchanges.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use conclave_cluster::state::allowance::Charge;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::exchange::{self, Envelope, Outcome as Exchanged, Resolved, Role, Verb};
use conclave_cluster::state::limits::ENVELOPE_BYTES_MAX;
use conclave_cluster::state::outcome::{Outcome, Refusal};
use serde::Deserialize;
use uuid::Uuid;

use super::call::Call;
use super::error::{Code, Error, Extra};
use super::reply::{fixed, json};
use super::shared::Shared;
use super::wait::Patience;
use super::{body, gate, query};
use crate::access::allowance::millis;
use crate::actors::Place;
use crate::field::{Integer, Raw, Text, chars, is_portable};
use crate::service::keys;
use crate::service::limits::SESSION_PIN_CHARS_MAX;

const ENVELOPE_VERSION: i64 = 1;

#[derive(Debug, Default, Deserialize)]
struct Create<'a> {
    #[serde(borrow, default)]
    pin: Text<'a>,
}

impl Create<'_> {
    /// The pin, if one is wished.
    fn pin(&self) -> Result<Option<&str>, Code> {
        match &self.pin {
            Text::Absent => Ok(None),
            Text::String(pin) if pin.is_empty() => Ok(None),
            Text::String(pin) if chars(pin) <= SESSION_PIN_CHARS_MAX => Ok(Some(pin)),
            Text::String(_) | Text::Other => Err(Code::InvalidInput),
        }
    }
}

/// `POST /api/v1/sessions`.
pub(super) async fn create(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = begin(&mut call, payload).await;
    call.finish(result)
}

async fn begin(call: &mut Call<'_>, payload: web::Payload) -> Result<HttpResponse, Error> {
    let charge = call.admit(call.tier())?;
    let body = call.json(payload).await?;
    // Existing clients that wish no pin may send no body at all.
    let wish: Create<'_> = if body.is_empty() { Create::default() } else { body::parse(&body)? };
    let pin = wish.pin()?.map(keys::pin);
    let id = Uuid::new_v4();
    let place = keys::exchange(id);
    call.about(&place);
    let verb = Verb::Create { id: id.as_u128(), pin };
    match exchange(call, place, charge, verb).await? {
        Exchanged::Created | Exchanged::Stored | Exchanged::Deleted => {
            let seconds = call.shared.services.terms.ttl.session.as_secs();
            Ok(json(StatusCode::OK, format!(r#"{{"sessionId":"{id}","ttlSec":{seconds}}}"#)))
        }
    }
}

/// `GET /api/v1/sessions/resolve?pin=`.
pub(super) async fn resolve(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = look_up(&mut call).await;
    call.finish(result)
}

async fn look_up(call: &mut Call<'_>) -> Result<HttpResponse, Error> {
    let Some(pin) = query::param(call.request, "pin")?.filter(|pin| !pin.is_empty()) else {
        call.pay(call.tier())?;
        return Err(Code::MissingPin.into());
    };
    let key = keys::pin(&pin);
    let found = call.look_up(|state, now_ms| match state.resolve(&key, now_ms) {
        Resolved::Live(id) => Ok(Uuid::from_u128(id)),
        Resolved::Expired => Err(Code::PinExpired),
        Resolved::Unknown => Err(Code::PinNotFound),
    });
    let id = found.await??;
    call.about(&keys::exchange(id));
    Ok(json(StatusCode::OK, format!(r#"{{"sessionId":"{id}"}}"#)))
}

/// An envelope as it arrives.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sealed<'a> {
    #[serde(borrow, default)]
    version: Raw<'a>,
    #[serde(borrow, default)]
    session_id: Text<'a>,
    #[serde(borrow, default)]
    nonce: Text<'a>,
    #[serde(borrow, default)]
    ct: Text<'a>,
}

impl Sealed<'_> {
    /// Whether the four fields that every envelope has are in order. What else it has is its sender's.
    fn check(&self, session: Uuid) -> Result<(), Code> {
        let sized = |text: &Text<'_>, least: usize, most: usize| {
            text.filled().is_some_and(|text| (least..=most).contains(&chars(text)))
        };
        let ours = self.session_id.filled().and_then(|id| id.parse().ok()) == Some(session);
        let valid = self.version.integer() == Integer::Is(ENVELOPE_VERSION)
            && ours
            && sized(&self.nonce, 12, 32)
            && sized(&self.ct, 16, 65_536);
        if valid { Ok(()) } else { Err(Code::InvalidEnvelope) }
    }
}

/// An envelope as it is kept: letter by letter as it was sent, if every reader can read it.
fn kept(body: Bytes, session: Uuid) -> Result<Bytes, Error> {
    if body.len() > ENVELOPE_BYTES_MAX {
        return Err(Error::from(Code::PayloadTooLarge).with(Extra::Limit(ENVELOPE_BYTES_MAX)));
    }
    body::parse::<Sealed<'_>>(&body)?.check(session)?;
    if !str::from_utf8(&body).is_ok_and(is_portable) {
        return Err(Code::InvalidEnvelope.into());
    }
    Ok(body)
}

/// `POST …/offer`.
pub(super) async fn put_offer(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = put(&mut call, payload, Role::Offer).await;
    call.finish(result)
}

/// `POST …/answer`.
pub(super) async fn put_answer(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = put(&mut call, payload, Role::Answer).await;
    call.finish(result)
}

async fn put(call: &mut Call<'_>, payload: web::Payload, role: Role) -> Result<HttpResponse, Error> {
    let charge = call.admit(call.tier())?;
    let (session, place) = session(call)?;
    let body = call.json(payload).await?;
    let envelope = Body::new(kept(body, session)?);
    match exchange(call, place, charge, Verb::Put { role, envelope }).await? {
        Exchanged::Created | Exchanged::Stored | Exchanged::Deleted => {
            let seconds = call.shared.services.terms.ttl.session.as_secs();
            Ok(json(StatusCode::OK, format!(r#"{{"status":"ok","ttlSec":{seconds}}}"#)))
        }
    }
}

/// `GET …/offer`.
pub(super) async fn get_offer(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = get(&mut call, Role::Offer).await;
    call.finish(result)
}

/// `GET …/answer`.
pub(super) async fn get_answer(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = get(&mut call, Role::Answer).await;
    call.finish(result)
}

async fn get(call: &mut Call<'_>, role: Role) -> Result<HttpResponse, Error> {
    call.pay(call.tier())?;
    let wait: Duration = query::wait(call.request)?;
    let (_, place) = session(call)?;
    let mut patience = Patience::new(call, place, wait).await?;
    let mut seen = call.look(|state, now_ms| state.envelope(&place.key, role, now_ms)).await?;
    loop {
        match seen {
            Envelope::Present(envelope) => return Ok(json(StatusCode::OK, envelope_body(envelope.bytes()))),
            Envelope::Expired => return Err(Code::SessionExpired.into()),
            Envelope::Missing => {
                if !patience.another_look().await {
                    return Err(Code::NotFound.into());
                }
            }
        }
        seen = call.shared.services.cluster.glance(|state, now_ms| state.envelope(&place.key, role, now_ms));
    }
}

fn envelope_body(envelope: &[u8]) -> Vec<u8> {
    [br#"{"envelope":"#, envelope, b"}"].concat()
}

/// `DELETE …/{sessionId}`.
pub(super) async fn delete(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = end(&mut call).await;
    call.finish(result)
}

async fn end(call: &mut Call<'_>) -> Result<HttpResponse, Error> {
    let charge = call.admit(call.tier())?;
    let (_, place) = session(call)?;
    match exchange(call, place, charge, Verb::Delete).await? {
        Exchanged::Created | Exchanged::Stored | Exchanged::Deleted => Ok(fixed(r#"{"status":"deleted"}"#)),
    }
}

/// The session that the path names. An id that can't be one is answered as one that is gone.
fn session(call: &mut Call<'_>) -> Result<(Uuid, Place), Error> {
    let id = gate::parameter(call.request, "id").parse::<Uuid>().map_err(|_| Code::SessionExpired)?;
    let place = keys::exchange(id);
    call.about(&place);
    Ok((id, place))
}

async fn exchange(
    call: &mut Call<'_>,
    place: Place,
    charge: Option<Charge>,
    verb: Verb,
) -> Result<Exchanged, Error> {
    let ttl_ms = millis(call.shared.services.terms.ttl.session);
    let ask = Ask::Exchange(exchange::Ask { key: place.key, ttl_ms, verb });
    match call.change(place, charge, None, ask).await? {
        Ok(Outcome::Exchange(outcome)) => Ok(outcome),
        Err(Refusal::Exchange(exchange::Refusal::PinInUse)) => Err(Code::PinInUse.into()),
        Err(Refusal::Exchange(exchange::Refusal::Expired)) => Err(Code::SessionExpired.into()),
        Ok(_) | Err(_) => Err(Code::Internal.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn keep(text: &str) -> Result<String, Code> {
        let kept = kept(Bytes::copy_from_slice(text.as_bytes()), ID).map_err(|error| error.code)?;
        Ok(String::from_utf8(kept.to_vec()).unwrap())
    }

    fn judged(value: &serde_json::Value) -> Result<(), Code> {
        keep(&value.to_string()).map(drop)
    }

    fn envelope(nonce: usize, ct: usize) -> serde_json::Value {
        json!({
            "version": 1,
            "sessionId": ID.to_string(),
            "nonce": "n".repeat(nonce),
            "ct": "c".repeat(ct),
        })
    }

    #[test]
    fn a_valid_envelope_is_kept_letter_by_letter() {
        let ct = "c".repeat(16);
        let text = format!(
            r#"{{ "more": {{"x":[1.50,"\u00e4"]}},"version":1.0,"sessionId":"{ID}","nonce":"nnnnnnnnnnnn","ct":"{ct}"}}"#
        );
        assert_eq!(keep(&text), Ok(text.clone()));
        assert_eq!(judged(&envelope(32, 65_536)), Ok(()));
        for bad in [r#""\ud800""#, "1e400", &"[".repeat(65)] {
            let closing = "]".repeat(bad.matches('[').count());
            let text = text.replace("1.50", &format!("{bad}{closing}"));
            assert_eq!(keep(&text), Err(Code::InvalidEnvelope), "{text}");
        }
    }

    #[test]
    fn envelopes_are_checked() {
        for (nonce, ct) in [(11, 16), (33, 16), (12, 15), (12, 65_537)] {
            assert_eq!(judged(&envelope(nonce, ct)), Err(Code::InvalidEnvelope), "{nonce} {ct}");
        }
        for (field, value) in [
            ("version", json!(2)),
            ("version", json!("1")),
            ("sessionId", json!(Uuid::from_u128(8).to_string())),
            ("sessionId", json!(7)),
            ("nonce", json!(null)),
            ("ct", json!(["c"])),
        ] {
            let mut bad = envelope(12, 16);
            bad[field] = value;
            assert_eq!(judged(&bad), Err(Code::InvalidEnvelope), "{field}");
        }
    }

    #[test]
    fn a_pin_is_wished_or_not() {
        let pin = |body: &str| {
            let wish: Create<'_> = serde_json::from_str(body).unwrap();
            wish.pin().map(|pin| pin.map(str::to_owned))
        };
        assert_eq!(pin("{}"), Ok(None));
        assert_eq!(pin(r#"{"pin":null}"#), Ok(None));
        assert_eq!(pin(r#"{"pin":"1234"}"#), Ok(Some("1234".to_owned())));
        assert_eq!(pin(r#"{"pin":1234}"#), Err(Code::InvalidInput));
        assert_eq!(pin(&format!(r#"{{"pin":"{}"}}"#, "1".repeat(65))), Err(Code::InvalidInput));
    }

    #[test]
    fn an_envelope_stands_in_its_answer_as_it_was_kept() {
        assert_eq!(envelope_body(br#"{"ct":"x"}"#), br#"{"envelope":{"ct":"x"}}"#);
    }
}
