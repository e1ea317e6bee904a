//! `/admin/v1/publish` and `/admin/v1/signal`: messages and signals of an operator's backend.
//!
//! No content is logged or audited. Since there may be many calls, they are summed up in the log of security events, in place
//! of an entry each among the changes.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::limits::PAYLOAD_BYTES_MAX;

use super::api_types::{Publish, Published, Signal, Signaled};
use super::body::Body;
use super::error::{Error, check_names};
use super::server::{parse, services};
use super::state::AdminState;
use crate::access::Tenant;
use crate::access::name_pattern::BACKEND;
use crate::access::tier_limits::millis;
use crate::json_field::{chars, is_portable};
use crate::service::inventory::Id;
use crate::service::name_lengths::{PEER_CHARS_MAX, ROOM_CHARS_MAX};
use crate::service::security_events::Event;
use crate::service::signaling::kind_of;
use crate::service::storage_keys::Namespace;
use crate::service::{Services, backend, room_format};

const PUBLISH: &str = r#"{"room": "NAME", "data": JSON}, and perhaps "tenant", is asked for"#;
const SIGNAL: &str =
    r#"{"from": "NAME", "to": "PEER", "type": "offer", "payload": JSON}, and perhaps "tenant", is asked for"#;

/// Say something in a room
///
/// Members see the sender `0000000000000000`. What is said is in no log.
#[utoipa::path(
    post,
    path = "/admin/v1/publish",
    tag = "backend",
    operation_id = "publish",
    request_body(content = Publish, description = "At most 65,536 bytes of data"),
    responses(
        (status = 200, description = "Where it stands", body = Published),
        (status = 400, description = "`invalid_input`"),
        (status = 507, description = "`storage_full`"),
    )
)]
pub(super) async fn publish(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let Publish { tenant, room, data } = parse(&body, PUBLISH)?;
    let services = services(&state)?;
    let within = Namespace::of(&known(services, tenant.as_deref())?);
    if !(1..=ROOM_CHARS_MAX).contains(&chars(&room)) {
        return Err(Error::Input("`room` has 1 to 128 characters"));
    }
    let data = content(data.get())?;
    let history = state.sockets().ok_or(Error::Starting)?.options.history;
    let keep = conclave_cluster::state::room::Keep {
        count: history.messages_max,
        bytes: history.bytes_max,
        age_ms: millis(history.age_max),
    };
    let key = within.room(&room).key;
    let tagged = [&[room_format::TEXT], data.as_bytes()].concat();
    let (epoch, offset) = backend::publish(services, key, tagged.into(), keep).await?;
    note(services, Event::Publish, &request, &key);
    Ok(HttpResponse::Ok().json(Published { epoch, offset }))
}

/// Send a signal to a peer
///
/// Its sender is `backend:` and `from`. What is sent is in no log.
#[utoipa::path(
    post,
    path = "/admin/v1/signal",
    tag = "backend",
    operation_id = "signal",
    request_body(content = Signal, description = "At most 65,536 bytes of payload"),
    responses(
        (status = 200, description = "It waits for the peer", body = Signaled),
        (status = 400, description = "`invalid_input`"),
        (status = 507, description = "`storage_full`"),
    )
)]
pub(super) async fn signal(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let Signal { tenant, from, to, kind, payload } = parse(&body, SIGNAL)?;
    let services = services(&state)?;
    let tenant = known(services, tenant.as_deref())?;
    let kind = kind_of(&kind)
        .ok_or(Error::Input("`type` is `offer`, `answer`, `ice-candidate`, `ready` or `bye`"))?;
    if !(1..=PEER_CHARS_MAX - BACKEND.len()).contains(&chars(&from)) {
        return Err(Error::Input("`from` has 1 to 248 characters"));
    }
    if !(1..=PEER_CHARS_MAX).contains(&chars(&to)) {
        return Err(Error::Input("`to` has 1 to 256 characters"));
    }
    let payload = Bytes::copy_from_slice(content(payload.get())?.as_bytes());
    let from = format!("{BACKEND}{from}");
    let key = Namespace::of(&tenant).mailbox(&to).key;
    backend::signal(services, &tenant, &from, &to, kind, payload).await?;
    note(services, Event::Signal, &request, &key);
    Ok(HttpResponse::Ok().json(Signaled { from }))
}

/// JSON that every client can parse.
fn content(json: &str) -> Result<&str, Error> {
    if json.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    if !is_portable(json) {
        return Err(Error::Input(
            "half a surrogate pair, a number beyond a double, or 65 brackets in each other",
        ));
    }
    Ok(json)
}

fn known(services: &Services, tenant: Option<&str>) -> Result<Tenant, Error> {
    check_names(tenant, &[])?;
    Ok(services.auth.tenants().named(tenant))
}

fn note(services: &Services, event: Event, request: &HttpRequest, key: &Key) {
    let from = request.peer_addr().map(|peer| peer.ip());
    services.note(event, from, Some(Id::of(key).to_string()));
}
