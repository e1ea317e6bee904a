//! `/admin/v1/tenants`: organisations, their policies and what each stores.

use actix_web::{HttpResponse, web};
use futures_util::future::try_join_all;

use super::api_types::{Holding, SecondsRange, Tenant, Tenants};
use super::error::{Error, check_names};
use super::query::Query;
use super::server::services;
use super::state::AdminState;
use crate::service::{self, Services};

/// Which.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// This one alone, also if only tokens name it.
    #[param(max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    tenant: Option<String>,
}

/// Organisations, what each may have and what it holds
///
/// Those that have a policy or a host name. Others are under the policy of everybody, and told one by one.
#[utoipa::path(
    get,
    path = "/admin/v1/tenants",
    tag = "access",
    operation_id = "tenants",
    params(Asked),
    responses((status = 200, description = "By name", body = Tenants), (status = 400, description = "`invalid_query`, `invalid_input`"))
)]
pub(super) async fn list(state: web::Data<AdminState>, asked: Query<Asked>) -> Result<HttpResponse, Error> {
    check_names(asked.tenant.as_deref(), &[])?;
    let services = services(&state)?;
    let mut configured = services.auth.tenants().configured();
    if let Some(name) = asked.tenant.as_deref() {
        let hosts = configured.remove(name).unwrap_or_default();
        configured = [(name, hosts)].into();
    }
    let told = configured.into_iter().map(|(name, hosts)| tell(services, name, hosts));
    Ok(HttpResponse::Ok().json(Tenants { tenants: try_join_all(told).await? }))
}

async fn tell(services: &Services, name: &str, hosts: Vec<&str>) -> Result<Tenant, Error> {
    let tenant = services.auth.tenants().named(Some(name));
    let cells = service::tenants::holdings(services, &tenant).await?;
    let policy = tenant.policy().ok_or(Error::NotFound)?;
    let seconds =
        |range: &std::ops::RangeInclusive<u32>| SecondsRange { from: *range.start(), to: *range.end() };
    Ok(Tenant {
        tenant: name.to_owned(),
        hosts: hosts.into_iter().map(str::to_owned).collect(),
        storage_percent: policy.storage_percent,
        allowance_percent: policy.allowance_percent,
        ttl_seconds: policy.ttl_seconds.as_ref().map(seconds),
        origins: policy.origins.iter().map(ToString::to_string).collect(),
        require_approved_device: policy.requires_approved_device,
        cells: cells
            .into_iter()
            .map(|holds| Holding {
                stored_bytes: holds.bytes,
                mailboxes: holds.mailboxes,
                rooms: holds.rooms,
                idempotency_keys: holds.keys,
            })
            .collect(),
    })
}
