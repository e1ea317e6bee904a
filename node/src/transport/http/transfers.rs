//! Transfers, resumable: the same ones as relay's, by their id and with raw bytes.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use conclave_cluster::state::allowance::Charge;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Digest;
use conclave_cluster::state::limits::CHUNK_BYTES_MAX;
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::query;
use conclave_cluster::state::transfer::{self, Action, Encoding};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answers::{ChunkStored, Deleted, Gone, Kept, Transfer, TransferBegun};
use super::relay::Acknowledged;
use crate::access::tier_limits::millis;
use crate::actors::StateKey;
use crate::json_field::{Integer, Raw, Text};
use crate::service::transfer_keep_alive::{keep_alive, late};
use crate::service::{self, storage_keys};
use crate::transport::request::body;
use crate::transport::request::context::Context;
use crate::transport::request::digest::{self, CONTENT_DIGEST};
use crate::transport::request::error::{Code, Error, Extra};
use crate::transport::request::fields::{ChunkIndex, PasswordHash, TotalChunks, TransferPin};
use crate::transport::request::reply::{answer, ok};

/// What a transfer begins with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BeginTransfer)]
pub(crate) struct Open<'a> {
    #[serde(borrow, default)]
    #[schema(value_type = TransferPin, required)]
    pin: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = PasswordHash, required)]
    password_hash: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = TotalChunks, required)]
    total_chunks: Raw<'a>,
}

impl Open<'_> {
    /// Pin, password hash and total.
    fn check(&self) -> Result<(&str, &str, u16), Code> {
        let pin = self.pin.filled().ok_or(Code::MissingFields)?;
        let password_hash = self.password_hash.filled().ok_or(Code::MissingFields)?;
        let total = match self.total_chunks.integer() {
            Integer::Is(total) => TotalChunks::of(total),
            Integer::Unfit => None,
            Integer::Absent | Integer::Other => return Err(Code::MissingFields),
        };
        let total = total.ok_or(Code::InvalidInput)?;
        if !TransferPin::fits(pin) || !PasswordHash::fits(password_hash) {
            return Err(Code::InvalidInput);
        }
        Ok((pin, password_hash, total))
    }
}

/// Begin a transfer, or find it begun
#[utoipa::path(
    post,
    path = "/api/v1/transfers",
    tag = "transfers",
    operation_id = "openTransfer",
    request_body(content = Open),
    responses(
        (status = 200, description = "It lived already", body = TransferBegun),
        (status = 201, description = "It begins", body = TransferBegun),
        (status = 400, description = "`missing_fields`, `invalid_input`"),
        (status = 409, description = "`total_mismatch`"),
        (status = 507, description = ""),
    )
)]
pub(crate) async fn create(mut ctx: Context) -> Result<HttpResponse, Error> {
    let charge = ctx.admit(ctx.tier())?;
    let body = ctx.json().await?;
    let parsed = body::parse::<Open<'_>>(&body)?;
    let (pin, password_hash, total) = parsed.check()?;
    let target = ctx.namespace().transfer(pin, password_hash);
    ctx.about(&target);
    let outcome = change(&ctx, target, charge, Action::Open { total }).await?;
    let created = matches!(outcome, transfer::Outcome::Opened { created: true });
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let transfer_id = storage_keys::transfer_id(pin, password_hash).to_string();
    Ok(answer(status, &TransferBegun { transfer_id, ttl_sec: ctx.ttl().chunk.as_secs() }))
}

/// Store one chunk
#[utoipa::path(
    put,
    path = "/api/v1/transfers/{id}/chunks/{n}",
    tag = "transfers",
    operation_id = "putChunk",
    params(
        ("id" = String, Path, pattern = "^[A-Za-z0-9_-]{43}$", description = "The transfer"),
        ("n" = ChunkIndex, Path, description = "The place of the chunk, from 0"),
        ("Content-Digest" = Option<String>, Header, description = "RFC 9530; other algorithms than sha-256 are not looked at",
            example = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
    ),
    request_body(content_type = "application/octet-stream", description = "At most 49,152 bytes"),
    responses(
        (status = 200, description = "The same bytes were stored before", body = ChunkStored),
        (status = 201, description = "It is stored", body = ChunkStored),
        (status = 400, description = "`invalid_input`, `invalid_coding`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`chunk_conflict`, `total_mismatch`"),
        (status = 415, description = "`unsupported_media_type`: coded in another way than it may be"),
        (status = 422, description = "`digest_mismatch`"),
        (status = 507, description = ""),
    )
)]
pub(crate) async fn put_chunk(mut ctx: Context) -> Result<HttpResponse, Error> {
    let charge = ctx.admit(ctx.tier())?;
    let target = transfer_of(&ctx)?;
    let index = index_of(ctx.parameter("n"))?;
    if ChunkIndex::of(index.into()).is_none() {
        return Err(Code::InvalidInput.into());
    }
    let promised = body::promised(&ctx.request)?;
    let bytes = ctx.body(CHUNK_BYTES_MAX).await?;
    let digest = Digest::of(&bytes);
    if promised.is_some_and(|promised| promised != digest) {
        return Err(Code::DigestMismatch.into());
    }
    let (encoding, body) = (Encoding::Base64, Body::new(body::kept(&bytes, &bytes)));
    let action = Action::Put { index, total: None, digest, encoding, body };
    match change(&ctx, target, charge, action).await {
        Ok(transfer::Outcome::Stored) => {
            ctx.shared.metrics.chunks_stored.increment(1);
            Ok(answer(StatusCode::CREATED, &ChunkStored { status: Kept::Stored, duplicate: None }))
        }
        Ok(transfer::Outcome::Duplicate) => Ok(duplicate()),
        Ok(_) => Err(Code::Internal.into()),
        // A delivered chunk may be stored still; the same bytes again are a retry, not a conflict.
        Err(service::Error::Refused(Refusal::Transfer(transfer::Refusal::Delivered))) => {
            let look = (query::Chunk(target.key, index), query::Transfer(target.key));
            match ctx.look(look).await? {
                (Some((_, stored, _)), _) if stored == digest => Ok(duplicate()),
                // Its chunks are gone, and nobody knows what they were.
                (None, Some(view)) if view.acknowledged => {
                    Err(Error::from(Code::ChunkConflict).with(Extra::Acknowledged))
                }
                _ => Err(Code::ChunkConflict.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn duplicate() -> HttpResponse {
    ok(&ChunkStored { status: Kept::Stored, duplicate: Some(true) })
}

/// What arrived so far
#[utoipa::path(
    get,
    path = "/api/v1/transfers/{id}",
    tag = "transfers",
    operation_id = "getTransfer",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{43}$", description = "The transfer")),
    responses(
        (status = 200, description = "It lives", body = Transfer),
        (status = 404, description = "`not_found`"),
    )
)]
pub(crate) async fn get(ctx: Context) -> Result<HttpResponse, Error> {
    ctx.pay(ctx.tier())?;
    let target = transfer_of(&ctx)?;
    let ttl_ms = u64::from(millis(ctx.ttl().chunk));
    let transfer = (query::Transfer(target.key), query::Now);
    let ((view, now_ms), acknowledged) = ctx.look((transfer, query::Acknowledged(target.key))).await?;
    let Some(view) = view else {
        // The acknowledgement outlives the transfer, so that its sender hears of it.
        let extra = if acknowledged { Extra::Acknowledged } else { Extra::None };
        return Err(Error::from(Code::NotFound).with(extra));
    };
    keep_alive(ctx.services(), target, ctx.ttl().chunk, late(&view, ttl_ms, now_ms));
    Ok(ok(&Transfer {
        total_chunks: view.total,
        received: view.received,
        delivered: view.delivered,
        acknowledged: view.acknowledged,
        expires_at: view.expires_ms,
    }))
}

/// One chunk's bytes, as often as wished until the transfer is acknowledged
#[utoipa::path(
    get,
    path = "/api/v1/transfers/{id}/chunks/{n}",
    tag = "transfers",
    operation_id = "getChunk",
    params(
        ("id" = String, Path, pattern = "^[A-Za-z0-9_-]{43}$", description = "The transfer"),
        ("n" = ChunkIndex, Path, description = "The place of the chunk, from 0"),
    ),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream",
            headers(("Content-Digest" = String, description = "SHA-256 of the bytes (RFC 9530)"))),
        (status = 404, description = "`not_found`"),
    )
)]
pub(crate) async fn get_chunk(ctx: Context) -> Result<HttpResponse, Error> {
    ctx.pay(ctx.tier())?;
    let target = transfer_of(&ctx)?;
    let index = index_of(ctx.parameter("n"))?;
    let ttl_ms = u64::from(millis(ctx.ttl().chunk));
    let transfer = (query::Transfer(target.key), query::Now);
    let (chunk, (view, now_ms)) = ctx.look((query::Chunk(target.key, index), transfer)).await?;
    let late = view.is_some_and(|view| late(&view, ttl_ms, now_ms));
    let (_, digest, body) = chunk.ok_or(Code::NotFound)?;
    keep_alive(ctx.services(), target, ctx.ttl().chunk, late);
    let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(body.bytes().clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_DIGEST, digest::header(&digest));
    Ok(response)
}

/// The receiver has everything
#[utoipa::path(
    post,
    path = "/api/v1/transfers/{id}/ack",
    tag = "transfers",
    operation_id = "acknowledgeTransfer",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{43}$", description = "The transfer")),
    responses(
        (status = 200, description = "That is remembered, and the chunks of a complete transfer are freed", body = Acknowledged),
        (status = 404, description = "`not_found`"),
    )
)]
pub(crate) async fn ack(ctx: Context) -> Result<HttpResponse, Error> {
    end(&ctx, Action::Acknowledge { existing: true }, &Acknowledged { ok: true }).await
}

/// Drop a transfer with its chunks
#[utoipa::path(
    delete,
    path = "/api/v1/transfers/{id}",
    tag = "transfers",
    operation_id = "deleteTransfer",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{43}$", description = "The transfer")),
    responses(
        (status = 200, description = "It is gone", body = Deleted),
        (status = 404, description = "`not_found`"),
    )
)]
pub(crate) async fn delete(ctx: Context) -> Result<HttpResponse, Error> {
    end(&ctx, Action::Discard, &Deleted { status: Gone::Deleted }).await
}

async fn end(ctx: &Context, action: Action, done: &impl Serialize) -> Result<HttpResponse, Error> {
    let charge = ctx.admit(ctx.tier())?;
    let target = transfer_of(ctx)?;
    match change(ctx, target, charge, action).await? {
        transfer::Outcome::Absent => Err(Code::NotFound.into()),
        _ => Ok(ok(done)),
    }
}

async fn change(
    ctx: &Context,
    target: StateKey,
    charge: Option<Charge>,
    action: Action,
) -> Result<transfer::Outcome, service::Error> {
    let ttl_ms = millis(ctx.ttl().chunk);
    let op = Op::Transfer(transfer::Op { key: target.key, ttl_ms, action });
    match ctx.change(charge, None, op).await? {
        Outcome::Transfer(outcome) => Ok(outcome),
        _ => Err(service::Error::Unexpected),
    }
}

/// The transfer that the path names; what can't be an id is nobody's.
fn transfer_of(ctx: &Context) -> Result<StateKey, Error> {
    let target = ctx.namespace().transfer_of_id(ctx.parameter("id")).ok_or(Code::NotFound)?;
    ctx.about(&target);
    Ok(target)
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
            open.check().map(|(_, _, total)| total)
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
