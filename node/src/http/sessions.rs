//! Sessions: one WebRTC offer and its answer. Inside they are called exchanges.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::exchange::{self, Envelope, Outcome as Exchanged, Resolved, Role, Verb};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::call::Call;
use super::error::{Code, Error};
use super::field::{Integer, Raw, Text, chars};
use super::reply::{fixed, json};
use super::shared::Shared;
use super::wait::Patience;
use super::{body, keys, query};
use crate::access::allowance::millis;
use crate::actors::Place;

const PIN_CHARS_MAX: usize = 64;
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
            Text::String(pin) if chars(pin) <= PIN_CHARS_MAX => Ok(Some(pin)),
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
    let charge = call.admit(Tier::Create)?;
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
            let seconds = call.shared.options.ttl.session.as_secs();
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
        call.pay(Tier::Lookup)?;
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

/// An envelope as it is kept: these four fields and no others.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept<'a> {
    version: i64,
    session_id: &'a str,
    nonce: &'a str,
    ct: &'a str,
}

impl Sealed<'_> {
    fn keep(&self, session: Uuid) -> Result<Vec<u8>, Code> {
        let sized = |text: &Text<'_>, least: usize, most: usize| {
            text.filled().is_some_and(|text| (least..=most).contains(&chars(text)))
        };
        let ours = self.session_id.filled().and_then(|id| id.parse().ok()) == Some(session);
        let valid = self.version.integer() == Integer::Is(ENVELOPE_VERSION)
            && ours
            && sized(&self.nonce, 12, 32)
            && sized(&self.ct, 16, 65_536);
        match (self.session_id.filled(), self.nonce.filled(), self.ct.filled()) {
            (Some(session_id), Some(nonce), Some(ct)) if valid => {
                let kept = Kept { version: ENVELOPE_VERSION, session_id, nonce, ct };
                Ok(serde_json::to_vec(&kept).expect("strings and a number always serialize"))
            }
            _ => Err(Code::InvalidEnvelope),
        }
    }
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
    let charge = call.admit(Tier::Signal)?;
    let (session, place) = session(call)?;
    let body = call.json(payload).await?;
    let sealed: Sealed<'_> = body::parse(&body)?;
    let envelope = Body::new(sealed.keep(session)?.into());
    match exchange(call, place, charge, Verb::Put { role, envelope }).await? {
        Exchanged::Created | Exchanged::Stored | Exchanged::Deleted => {
            let seconds = call.shared.options.ttl.session.as_secs();
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
    call.pay(Tier::Poll)?;
    let wait: Duration = query::wait(call.request)?;
    let (_, place) = session(call)?;
    let mut patience = Patience::new(call.shared, place, wait).await?;
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
        seen = call.shared.cluster.glance(|state, now_ms| state.envelope(&place.key, role, now_ms));
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
    let charge = call.admit(Tier::Poll)?;
    let (_, place) = session(call)?;
    match exchange(call, place, charge, Verb::Delete).await? {
        Exchanged::Created | Exchanged::Stored | Exchanged::Deleted => Ok(fixed(r#"{"status":"deleted"}"#)),
    }
}

/// The session that the path names. An id that can't be one is answered as one that is gone.
fn session(call: &mut Call<'_>) -> Result<(Uuid, Place), Error> {
    let id = call.request.match_info().query("id").parse::<Uuid>().map_err(|_| Code::SessionExpired)?;
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
    let ttl_ms = millis(call.shared.options.ttl.session);
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

    fn kept(value: serde_json::Value) -> Result<serde_json::Value, Code> {
        let text = value.to_string();
        let sealed: Sealed<'_> = serde_json::from_str(&text).unwrap();
        sealed.keep(ID).map(|kept| serde_json::from_slice(&kept).unwrap())
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
    fn a_valid_envelope_is_kept_without_what_else_was_sent() {
        let mut sent = envelope(12, 16);
        sent["more"] = json!("ignored");
        assert_eq!(kept(sent), Ok(envelope(12, 16)));
        assert_eq!(kept(envelope(32, 65_536)), Ok(envelope(32, 65_536)));
    }

    #[test]
    fn envelopes_are_checked() {
        for (nonce, ct) in [(11, 16), (33, 16), (12, 15), (12, 65_537)] {
            assert_eq!(kept(envelope(nonce, ct)), Err(Code::InvalidEnvelope), "{nonce} {ct}");
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
            assert_eq!(kept(bad), Err(Code::InvalidEnvelope), "{field}");
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
