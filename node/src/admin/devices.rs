//! `/admin/v1/devices`: registered devices, and their approval.

use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::state::registration::{Standing, View};

use super::api_types::{Decided, Device, Devices, Forgotten, WhichDevice};
use super::audit;
use super::body::Body;
use super::error::{Error, check_names};
use super::query::Query;
use super::server::{parse, services};
use super::state::AdminState;
use crate::access::tenant;
use crate::service::registrations;

const WHICH: &str = r#"{"subject": "NAME", "device": "NAME"}, and perhaps "tenant", is asked for"#;

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
#[utoipa::path(
    post,
    path = "/admin/v1/devices/approve",
    tag = "access",
    operation_id = "approveDevice",
    request_body(content = WhichDevice),
    responses(
        (status = 200, description = "How it stands now", body = Decided),
        (status = 400, description = "`invalid_input`"),
        (status = 404, description = "`unknown_device`"),
    )
)]
pub(super) async fn approve(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    decide(&request, &state, &body, Standing::Approved).await
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
    decide(&request, &state, &body, Standing::Revoked).await
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
    let (about, subject, device) = which(&body)?;
    let was_known = audit::audited(&request, &state, &about, async {
        Ok(registrations::forget(services(&state)?, subject, device).await?)
    })
    .await?;
    Ok(HttpResponse::Ok().json(Forgotten { was_known }))
}

async fn decide(
    request: &HttpRequest,
    state: &AdminState,
    body: &[u8],
    standing: Standing,
) -> Result<HttpResponse, Error> {
    let (about, subject, device) = which(body)?;
    let standing = audit::audited(request, state, &about, async {
        Ok(registrations::decide(services(state)?, subject, device, standing).await?)
    })
    .await?;
    tracing::info!(standing = name(standing), "decided about a device");
    Ok(HttpResponse::Ok().json(Decided { standing: name(standing).to_owned() }))
}

/// A digest for the audit log, the subject qualified by its organisation, and the device.
fn which(body: &[u8]) -> Result<(String, String, String), Error> {
    let WhichDevice { tenant, subject, device } = parse(body, WHICH)?;
    check_names(tenant.as_deref(), &[Some(&subject), Some(&device)])?;
    let subject = tenant::qualified(tenant.as_deref(), &subject).into_owned();
    let about = audit::digest(&format!("device:{}/{device}", subject.replace('\n', "/")));
    Ok((about, subject, device))
}

fn shown(view: View) -> Device {
    let View { subject, device, public_key, standing, since_ms } = view;
    let (tenant, subject) = tenant::split(&subject);
    Device {
        tenant: tenant.map(str::to_owned),
        subject: subject.to_owned(),
        device,
        public_key,
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
