//! `/admin/v1/allowances`: what a client has left, and how it is reset.

use std::net::IpAddr;

use actix_web::{HttpRequest, HttpResponse, web};
use conclave_cluster::state::allowance::{Balance, Tier};
use conclave_cluster::state::query;
use futures_util::future::try_join_all;

use super::api_types::{Allowance, Allowances, ResetAllowances, WindowsReset};
use super::audit;
use super::body::Body;
use super::error::{Error, check_names};
use super::query::Query;
use super::server::{parse, services};
use super::state::AdminState;
use crate::access::{client, tier_limits};
use crate::service;

const RESET: &str = r#"{"address": "203.0.113.9"} is asked for"#;

/// Whose.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// The client's address, IPv4 or IPv6, without a port. Required.
    address: Option<String>,
    /// Refused with a text of its own: allowances count addresses, whatever credential is shown.
    #[param(ignore)]
    subject: Option<String>,
    /// The organisation in which it is counted.
    #[param(max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    tenant: Option<String>,
}

/// What a client has left
#[utoipa::path(
    get,
    path = "/admin/v1/allowances",
    tag = "backend",
    operation_id = "allowances",
    params(Asked),
    responses(
        (status = 200, description = "One for each class of requests", body = Allowances),
        (status = 400, description = "`invalid_query`, `invalid_input`"),
    )
)]
pub(super) async fn show(state: web::Data<AdminState>, asked: Query<Asked>) -> Result<HttpResponse, Error> {
    if asked.subject.is_some() {
        return Err(Error::Input(
            "allowances count addresses, whatever credential is shown: `address` says which",
        ));
    }
    let address = asked.address.as_deref().ok_or(Error::Input("`address` says whose allowance"))?;
    let address = parse_address(address)?;
    check_names(asked.tenant.as_deref(), &[])?;
    let services = services(&state)?;
    let Some(rules) = &services.terms.allowance else {
        return Ok(HttpResponse::Ok().json(Allowances { enabled: false, tiers: Vec::new() }));
    };
    let (client, tenant) = (client::key(address), services.auth.tenants().named(asked.tenant.as_deref()));
    let asked = Tier::ALL.map(async |tier| {
        let charge = tenant.rule(rules.rule(tier)).charge(client, tier, 1);
        let balance = services.cluster.read_linearizable(query::Balance(charge)).await;
        balance.map(|balance| shown(tier, balance)).map_err(service::Error::from)
    });
    Ok(HttpResponse::Ok().json(Allowances { enabled: true, tiers: try_join_all(asked).await? }))
}

/// Give a client back all that it spent
///
/// Of every class of requests, on every node within a second or two.
#[utoipa::path(
    post,
    path = "/admin/v1/allowances/reset",
    tag = "backend",
    operation_id = "resetAllowances",
    request_body(content = ResetAllowances),
    responses(
        (status = 200, description = "Nothing is spent", body = WindowsReset),
        (status = 400, description = "`invalid_input`"),
    )
)]
pub(super) async fn reset(
    request: HttpRequest,
    state: web::Data<AdminState>,
    body: Body,
) -> Result<HttpResponse, Error> {
    let ResetAllowances { address } = parse(&body, RESET)?;
    let address = parse_address(&address)?;
    let (client, about) = (client::key(address), about(address));
    let windows = audit::audited(&request, &state, &about, async {
        let services = services(&state)?;
        Ok(service::allowances::reset(services, client).await?)
    })
    .await?;
    tracing::info!(windows, "reset a client's allowances");
    Ok(HttpResponse::Ok().json(WindowsReset { windows }))
}

/// A digest of the address, however it was typed.
fn about(address: IpAddr) -> String {
    audit::digest(&format!("address:{}", address.to_canonical()))
}

fn parse_address(text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| Error::Input("`address` is one of IPv4 or IPv6, without a port"))
}

fn shown(tier: Tier, balance: Balance) -> Allowance {
    let Balance { limit, remaining, reset_ms } = balance;
    // A window in which nothing was spent is not open.
    let reset_ms = Some(reset_ms).filter(|_| remaining < limit);
    Allowance { tier: tier_limits::name(tier).to_owned(), limit, remaining, reset_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_digest_however_it_is_typed() {
        let of = |text: &str| about(parse_address(text).unwrap());
        assert_eq!(of("2001:DB8:0:0::1"), of("2001:db8::1"));
        assert_eq!(of("::ffff:203.0.113.9"), of("203.0.113.9"));
        assert_eq!(of("203.0.113.9"), audit::digest("address:203.0.113.9"));
        assert_ne!(of("2001:db8::1"), of("2001:db8::2"));
    }
}
