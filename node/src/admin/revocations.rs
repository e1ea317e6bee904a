//! `/admin/v1/revocations`: credentials that are no longer accepted.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::state::revocation;

use super::api_types::{Lift, Lifted, Revocation, Revocations, Revoke, Revoked, Whose};
use super::audit;
use super::body::Body;
use super::error::{Error, check_names};
use super::server::{parse, services};
use super::state::AdminState;
use crate::access::tenant;
use crate::service::revocations;

/// How long something is revoked by default: longer than a token should live.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const REVOKE: &str = r#"{"whose": {"token": "ID"}, "forSeconds": 60} is asked for"#;
const LIFT: &str = r#"{"whose": {"token": "ID"}} is asked for"#;

/// All that is revoked
#[utoipa::path(
    get,
    path = "/admin/v1/revocations",
    tag = "access",
    operation_id = "revocations",
    responses((status = 200, description = "At most 10,000", body = Revocations))
)]
pub(super) async fn list(state: web::Data<AdminState>) -> Result<HttpResponse, Error> {
    let list = revocations::list(services(&state)?).await?;
    let revocations = list.into_iter().map(|view| Revocation {
        whose: whose(view.revoked),
        since_ms: view.since_ms,
        expires_ms: view.expires_ms,
    });
    Ok(HttpResponse::Ok().json(Revocations { revocations: revocations.collect() }))
}

/// Revoke credentials on every node
///
/// What they are used for ends within a second.
#[utoipa::path(
    post,
    path = "/admin/v1/revocations",
    tag = "access",
    operation_id = "revoke",
    request_body(content = Revoke),
    responses(
        (status = 200, description = "It is revoked", body = Revoked),
        (status = 400, description = "`invalid_input`"),
        (status = 409, description = "`revocations_full`"),
    )
)]
pub(super) async fn revoke(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let Revoke { whose, for_seconds } = parse(&body, REVOKE)?;
    let ttl = match for_seconds {
        Some(0) => return Err(Error::Input("`forSeconds` is at least 1")),
        Some(seconds) => Duration::from_secs(seconds.into()),
        None => YEAR,
    };
    let about = audit::about(&whose);
    let revoked = revoked(whose)?;
    let expires_ms = audit::audited(&request, &state, &about, async {
        Ok(revocations::revoke(services(&state)?, revoked, ttl).await?)
    })
    .await?;
    tracing::info!(expires_ms, "revoked credentials");
    Ok(HttpResponse::Ok().json(Revoked { expires_ms }))
}

/// Lift a revocation before its time
#[utoipa::path(
    post,
    path = "/admin/v1/revocations/lift",
    tag = "access",
    operation_id = "liftRevocation",
    request_body(content = Lift),
    responses((status = 200, description = "It is not revoked", body = Lifted), (status = 400, description = "`invalid_input`"))
)]
pub(super) async fn lift(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let Lift { whose } = parse(&body, LIFT)?;
    let about = audit::about(&whose);
    let revoked = revoked(whose)?;
    let was_revoked = audit::audited(&request, &state, &about, async {
        Ok(revocations::lift(services(&state)?, revoked).await?)
    })
    .await?;
    tracing::info!(was_revoked, "lifted a revocation");
    Ok(HttpResponse::Ok().json(Lifted { was_revoked }))
}

fn revoked(whose: Whose) -> Result<revocation::Revoked, Error> {
    let tenant = whose.tenant.clone();
    check_names(tenant.as_deref(), &[&whose.token, &whose.subject, &whose.device].map(Option::as_deref))?;
    let within = |name: &str| tenant::qualified(tenant.as_deref(), name).into_owned();
    match whose {
        Whose { token: Some(id), subject: None, device: None, .. } => {
            Ok(revocation::Revoked::Token(within(&id)))
        }
        Whose { token: None, subject: Some(name), device: None, .. } => {
            Ok(revocation::Revoked::Subject(within(&name)))
        }
        Whose { token: None, subject: Some(subject), device: Some(device), .. } => {
            Ok(revocation::Revoked::Device { subject: within(&subject), device })
        }
        _ => Err(Error::Input("it is `token`, or `subject`, or `subject` and `device`")),
    }
}

fn whose(revoked: revocation::Revoked) -> Whose {
    let whose = |qualified: &str, name: fn(String) -> Whose| {
        let (tenant, own) = tenant::split(qualified);
        Whose { tenant: tenant.map(str::to_owned), ..name(own.to_owned()) }
    };
    match revoked {
        revocation::Revoked::Token(id) => whose(&id, |id| Whose { token: Some(id), ..Whose::default() }),
        revocation::Revoked::Subject(name) => {
            whose(&name, |name| Whose { subject: Some(name), ..Whose::default() })
        }
        revocation::Revoked::Device { subject, device } => {
            let of = whose(&subject, |subject| Whose { subject: Some(subject), ..Whose::default() });
            Whose { device: Some(device), ..of }
        }
    }
}
