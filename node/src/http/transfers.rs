//! Transfers, resumable: the same ones as relay's, by their id and with raw bytes.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::state::allowance::Charge;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::id::Digest;
use conclave_cluster::state::limits::{CHUNK_BYTES_MAX, TRANSFER_CHUNKS_MAX};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::transfer::{self, Encoding, Verb};
use serde::Deserialize;
use serde_json::json;

use super::call::Call;
use super::digest::{self, CONTENT_DIGEST};
use super::error::{Code, Error};
use super::lease::{keep_alive, late};
use super::reply::{fixed, json as json_reply, ok};
use super::shared::Shared;
use super::{body, gate};
use crate::access::allowance::millis;
use crate::actors::Place;
use crate::field::{Integer, Raw, Text, chars};
use crate::service::keys;
use crate::service::limits::{PASSWORD_HASH_CHARS_MAX, TRANSFER_PIN_CHARS_MAX};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open<'a> {
    #[serde(borrow, default)]
    pin: Text<'a>,
    #[serde(borrow, default)]
    password_hash: Text<'a>,
    #[serde(borrow, default)]
    total_chunks: Raw<'a>,
}

impl Open<'_> {
    fn check(&self) -> Result<(Place, u16), Code> {
        let pin = self.pin.filled().ok_or(Code::MissingFields)?;
        let password_hash = self.password_hash.filled().ok_or(Code::MissingFields)?;
        let total = match self.total_chunks.integer() {
            Integer::Is(total) => u16::try_from(total).ok(),
            Integer::Unfit => None,
            Integer::Absent | Integer::Other => return Err(Code::MissingFields),
        };
        let total =
            total.filter(|total| (1..=TRANSFER_CHUNKS_MAX).contains(total)).ok_or(Code::InvalidInput)?;
        if chars(pin) > TRANSFER_PIN_CHARS_MAX || chars(password_hash) > PASSWORD_HASH_CHARS_MAX {
            return Err(Code::InvalidInput);
        }
        Ok((keys::transfer(pin, password_hash), total))
    }
}

/// `POST /api/v1/transfers`.
pub(super) async fn create(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = open(&mut call, payload).await;
    call.finish(result)
}

async fn open(call: &mut Call<'_>, payload: web::Payload) -> Result<HttpResponse, Error> {
    let charge = call.admit(call.tier())?;
    let body = call.json(payload).await?;
    let (place, total) = body::parse::<Open<'_>>(&body)?.check()?;
    call.about(&place);
    let outcome = change(call, place, charge, Verb::Open { total }).await?;
    let created = matches!(outcome, Ok(transfer::Outcome::Opened { created: true }));
    outcome.map_err(refused)?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let (id, seconds) = (keys::transfer_id(&place), call.shared.services.terms.ttl.chunk.as_secs());
    Ok(json_reply(status, format!(r#"{{"transferId":"{id}","ttlSec":{seconds}}}"#)))
}

/// `PUT …/chunks/{n}`.
pub(super) async fn put_chunk(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = put(&mut call, payload).await;
    call.finish(result)
}

async fn put(call: &mut Call<'_>, payload: web::Payload) -> Result<HttpResponse, Error> {
    let charge = call.admit(call.tier())?;
    let place = transfer_of(call)?;
    let index = index_of(&gate::parameter(call.request, "n"))?;
    if index >= TRANSFER_CHUNKS_MAX {
        return Err(Code::InvalidInput.into());
    }
    let promised = body::promised(call.request)?;
    let bytes = call.body(payload, CHUNK_BYTES_MAX).await?;
    let digest = Digest::of(&bytes);
    if promised.is_some_and(|promised| promised != digest) {
        return Err(Code::DigestMismatch.into());
    }
    let (encoding, body) = (Encoding::Base64, Body::new(bytes));
    let verb = Verb::Put { index, total: None, digest, encoding, body };
    match change(call, place, charge, verb).await? {
        Ok(transfer::Outcome::Stored) => {
            call.shared.metrics.chunks_stored.increment(1);
            Ok(json_reply(StatusCode::CREATED, r#"{"status":"stored"}"#))
        }
        Ok(transfer::Outcome::Duplicate) => Ok(duplicate()),
        Ok(_) => Err(Code::Internal.into()),
        // A delivered chunk may be stored still; the same bytes again are a retry, not a conflict.
        Err(transfer::Refusal::Delivered) => {
            let stored = call.look(|state, now_ms| state.chunk(&place.key, index, now_ms)).await?;
            match stored {
                Some((_, stored, _)) if stored == digest => Ok(duplicate()),
                Some(_) | None => Err(Code::ChunkConflict.into()),
            }
        }
        Err(refusal) => Err(refused(refusal)),
    }
}

fn duplicate() -> HttpResponse {
    fixed(r#"{"status":"stored","duplicate":true}"#)
}

/// `GET …/transfers/{id}`.
pub(super) async fn get(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = describe(&mut call).await;
    call.finish(result)
}

async fn describe(call: &mut Call<'_>) -> Result<HttpResponse, Error> {
    call.pay(call.tier())?;
    let place = transfer_of(call)?;
    let (view, now_ms) = call.look(|state, now_ms| (state.transfer(&place.key, now_ms), now_ms)).await?;
    let view = view.ok_or(Code::NotFound)?;
    let ttl_ms = u64::from(millis(call.shared.services.terms.ttl.chunk));
    keep_alive(call.shared, place, late(&view, ttl_ms, now_ms));
    Ok(ok(&json!({
        "totalChunks": view.total,
        "received": view.received,
        "delivered": view.delivered,
        "acknowledged": view.acknowledged,
        "expiresAt": view.expires_ms,
    })))
}

/// `GET …/chunks/{n}`.
pub(super) async fn get_chunk(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = fetch(&mut call).await;
    call.finish(result)
}

async fn fetch(call: &mut Call<'_>) -> Result<HttpResponse, Error> {
    call.pay(call.tier())?;
    let place = transfer_of(call)?;
    let index = index_of(&gate::parameter(call.request, "n"))?;
    let ttl_ms = u64::from(millis(call.shared.services.terms.ttl.chunk));
    let (chunk, late) = call
        .look(|state, now_ms| {
            let view = state.transfer(&place.key, now_ms);
            let late = view.is_some_and(|view| late(&view, ttl_ms, now_ms));
            (state.chunk(&place.key, index, now_ms), late)
        })
        .await?;
    let (_, digest, body) = chunk.ok_or(Code::NotFound)?;
    keep_alive(call.shared, place, late);
    let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(body.bytes().clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_DIGEST, digest::header(&digest));
    Ok(response)
}

/// `POST …/ack`.
pub(super) async fn ack(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = end(&mut call, Verb::Acknowledge { existing: true }, r#"{"ok":true}"#).await;
    call.finish(result)
}

/// `DELETE …/transfers/{id}`.
pub(super) async fn delete(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = end(&mut call, Verb::Discard, r#"{"status":"deleted"}"#).await;
    call.finish(result)
}

async fn end(call: &mut Call<'_>, verb: Verb, done: &'static str) -> Result<HttpResponse, Error> {
    let charge = call.admit(call.tier())?;
    let place = transfer_of(call)?;
    match change(call, place, charge, verb).await? {
        Ok(transfer::Outcome::Absent) => Err(Code::NotFound.into()),
        Ok(_) => Ok(fixed(done)),
        Err(refusal) => Err(refused(refusal)),
    }
}

async fn change(
    call: &mut Call<'_>,
    place: Place,
    charge: Option<Charge>,
    verb: Verb,
) -> Result<Result<transfer::Outcome, transfer::Refusal>, Error> {
    let ttl_ms = millis(call.shared.services.terms.ttl.chunk);
    let ask = Ask::Transfer(transfer::Ask { key: place.key, ttl_ms, verb });
    match call.change(place, charge, None, ask).await? {
        Ok(Outcome::Transfer(outcome)) => Ok(Ok(outcome)),
        Err(Refusal::Transfer(refusal)) => Ok(Err(refusal)),
        Ok(_) | Err(_) => Err(Code::Internal.into()),
    }
}

fn refused(refusal: transfer::Refusal) -> Error {
    match refusal {
        transfer::Refusal::Conflict | transfer::Refusal::Delivered => Code::ChunkConflict.into(),
        transfer::Refusal::TotalMismatch => Code::TotalMismatch.into(),
        transfer::Refusal::OutOfRange => Code::InvalidInput.into(),
        transfer::Refusal::Absent => Code::NotFound.into(),
    }
}

/// The transfer that the path names; what can't be an id is nobody's.
fn transfer_of(call: &mut Call<'_>) -> Result<Place, Error> {
    let place = keys::transfer_of_id(&gate::parameter(call.request, "id")).ok_or(Code::NotFound)?;
    call.about(&place);
    Ok(place)
}

fn index_of(text: &str) -> Result<u16, Error> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        return Err(Code::NotFound.into());
    }
    Ok(text.parse().unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_is_checked() {
        let open = |body: &str| {
            let open: Open<'_> = serde_json::from_str(body).unwrap();
            open.check().map(|(_, total)| total)
        };
        assert_eq!(open(r#"{"pin":"p","passwordHash":"h","totalChunks":2048}"#), Ok(2048));
        for missing in [
            r#"{"passwordHash":"h","totalChunks":1}"#,
            r#"{"pin":"p","totalChunks":1}"#,
            r#"{"pin":"p","passwordHash":"h"}"#,
            r#"{"pin":"p","passwordHash":"h","totalChunks":"1"}"#,
        ] {
            assert_eq!(open(missing), Err(Code::MissingFields), "{missing}");
        }
        for total in ["0", "2049", "1.5", "-1"] {
            let body = format!(r#"{{"pin":"p","passwordHash":"h","totalChunks":{total}}}"#);
            assert_eq!(open(&body), Err(Code::InvalidInput), "{total}");
        }
    }

    #[test]
    fn an_index_is_digits() {
        let index = |n: &str| index_of(n).map_err(|error| error.code);
        assert_eq!(index("0"), Ok(0));
        assert_eq!(index("2047"), Ok(2047));
        assert_eq!(index("99999"), Ok(u16::MAX));
        for bad in ["", "-1", "+1", "1.0", "x", "100000"] {
            assert_eq!(index(bad), Err(Code::NotFound), "{bad}");
        }
    }
}
