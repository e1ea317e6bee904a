//! `/admin/v1/devices`: registered devices, and their approval.

use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::state::id::Digest;
use conclave_cluster::state::registration::{Standing, View};

use super::api_types::{ApproveDevice, Decided, Device, Devices, Forgotten, WhichDevice};
use super::audit;
use super::body::Body;
use super::error::{Error, check_names};
use super::query::Query;
use super::server::{parse, services};
use super::state::AdminState;
use crate::access::tenant;
use crate::service::registrations;

const WHICH: &str = r#"{"subject": "NAME", "device": "NAME"}, and perhaps "tenant", is asked for"#;

const APPROVE: &str = r#"{"subject": "NAME", "device": "NAME"}, and perhaps "tenant", "publicKey" or "keyDigest", is asked for"#;

const STANDINGS: [Standing; 3] = [Standing::Pending, Standing::Approved, Standing::Revoked];

/// The query of the list.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Those alone that stand so: `pending`, `approved` or `revoked`.
    #[param(pattern = "^(pending|approved|revoked)$")]
    standing: Option<String>,
}

/// Devices that showed a public key
#[utoipa::path(
    get,
    path = "/admin/v1/devices",
    tag = "access",
    operation_id = "devices",
    params(Asked),
    responses((status = 200, description = "By their subjects", body = Devices), (status = 400, description = "`invalid_query`, `invalid_input`"))
)]
pub(super) async fn list(state: web::Data<AdminState>, asked: Query<Asked>) -> Result<HttpResponse, Error> {
    if asked.standing.as_deref().is_some_and(|wanted| !STANDINGS.iter().any(|known| name(*known) == wanted)) {
        return Err(Error::Input("`standing` is `pending`, `approved` or `revoked`"));
    }
    let devices = registrations::list(services(&state)?).await?.into_iter().map(shown);
    let wanted = |device: &Device| asked.standing.as_ref().is_none_or(|wanted| device.standing == *wanted);
    Ok(HttpResponse::Ok().json(Devices { devices: devices.filter(wanted).collect() }))
}

/// Let a device in
///
/// Send the public key that was seen, or its digest: a device that has shown another one since is not let in.
#[utoipa::path(
    post,
    path = "/admin/v1/devices/approve",
    tag = "access",
    operation_id = "approveDevice",
    request_body(content = ApproveDevice),
    responses(
        (status = 200, description = "How it stands now", body = Decided),
        (status = 400, description = "`invalid_input`"),
        (status = 404, description = "`unknown_device`"),
        (status = 409, description = "`device_changed`: it shows another key"),
    )
)]
pub(super) async fn approve(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let ApproveDevice { tenant, subject, device, public_key, key_digest } = parse(&body, APPROVE)?;
    let seen = match (public_key, key_digest) {
        (Some(_), Some(_)) => return Err(Error::Input("`publicKey` and `keyDigest` are the same twice")),
        (Some(public_key), None) => Some(Digest::of(public_key.as_bytes())),
        (None, Some(text)) => {
            Some(digest(&text).ok_or(Error::Input("`keyDigest` has 64 hexadecimal digits"))?)
        }
        (None, None) => None,
    };
    decide(&request, &state, WhichDevice { tenant, subject, device }, Standing::Approved, seen).await
}

/// Keep a device out
#[utoipa::path(
    post,
    path = "/admin/v1/devices/revoke",
    tag = "access",
    operation_id = "revokeDevice",
    request_body(content = WhichDevice),
    responses(
        (status = 200, description = "How it stands now", body = Decided),
        (status = 400, description = "`invalid_input`"),
        (status = 404, description = "`unknown_device`"),
    )
)]
pub(super) async fn revoke(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    decide(&request, &state, parse(&body, WHICH)?, Standing::Revoked, None).await
}

/// Forget a device, which may then register anew
#[utoipa::path(
    post,
    path = "/admin/v1/devices/forget",
    tag = "access",
    operation_id = "forgetDevice",
    request_body(content = WhichDevice),
    responses((status = 200, description = "It is not registered", body = Forgotten), (status = 400, description = "`invalid_input`"))
)]
pub(super) async fn forget(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let (about, subject, device) = which(parse(&body, WHICH)?)?;
    let was_known = audit::audited(&request, &state, &about, async {
        Ok(registrations::forget(services(&state)?, subject, device).await?)
    })
    .await?;
    Ok(HttpResponse::Ok().json(Forgotten { was_known }))
}

async fn decide(
    request: &HttpRequest,
    state: &AdminState,
    device: WhichDevice,
    standing: Standing,
    seen: Option<Digest>,
) -> Result<HttpResponse, Error> {
    let (about, subject, device) = which(device)?;
    let standing = audit::audited(request, state, &about, async {
        Ok(registrations::decide(services(state)?, subject, device, standing, seen).await?)
    })
    .await?;
    tracing::info!(standing = name(standing), "decided about a device");
    Ok(HttpResponse::Ok().json(Decided { standing: name(standing).to_owned() }))
}

/// A digest for the audit log, the subject qualified by its organisation, and the device.
fn which(device: WhichDevice) -> Result<(String, String, String), Error> {
    let WhichDevice { tenant, subject, device } = device;
    check_names(tenant.as_deref(), &[Some(&subject), Some(&device)])?;
    let subject = tenant::qualified(tenant.as_deref(), &subject).into_owned();
    let about = audit::digest(&format!("device:{}/{device}", subject.replace('\n', "/")));
    Ok((about, subject, device))
}

/// A digest, as `{:x}` spells it, in digits of either case.
fn digest(text: &str) -> Option<Digest> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(Digest::from_bytes(bytes))
}

fn shown(view: View) -> Device {
    let View { subject, device, public_key, standing, since_ms } = view;
    let key_digest = format!("{:x}", Digest::of(public_key.as_bytes()));
    let (tenant, subject) = tenant::split(&subject);
    Device {
        tenant: tenant.map(str::to_owned),
        subject: subject.to_owned(),
        device,
        public_key,
        key_digest,
        standing: name(standing).to_owned(),
        since_ms,
    }
}

fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Pending => "pending",
        Standing::Approved => "approved",
        Standing::Revoked => "revoked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_spelled() {
        let of = Digest::of(b"key");
        let text = format!("{of:x}");
        assert_eq!((digest(&text), digest(&text.to_uppercase())), (Some(of), Some(of)));
        for wrong in ["", &text[1..], &format!("{text}0"), &text.replace('2', "g"), &"é".repeat(32)] {
            assert_eq!(digest(wrong), None, "{wrong}");
        }
    }
}
