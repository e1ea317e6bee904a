//! Devices: registered endpoints of a user. Enterprise edition only.

use std::time::Duration;

use actix_web::HttpResponse;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::device::{self, Action};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::query;
use conclave_cluster::state::registration::{self, Standing};
use serde::Deserialize;
use utoipa::ToSchema;

use super::answers::{Approval, Device, DeviceList, DeviceRegistered, Fine};
use crate::access::tier_limits::millis;
use crate::access::{Credential, Scope, credential_rights};
use crate::json_field::{Integer, Raw, Text};
use crate::service::registrations::Shows;
use crate::service::{self, registrations};
use crate::transport::request::app_state::AppState;
use crate::transport::request::body;
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error};
use crate::transport::request::fields::{DeviceId, Onion, Port, PublicKey, UserId};
use crate::transport::request::reply::ok;

const TTL_SECONDS_MIN: i64 = 30;
const TTL_SECONDS_MAX: i64 = 86_400;

/// A device that registers. It says where it is reached, or shows a public key, or does both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RegisterDevice)]
pub(crate) struct Register<'a> {
    #[serde(borrow, default)]
    #[schema(value_type = UserId, required)]
    user_id: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = DeviceId, required)]
    device_id: Text<'a>,
    /// Whoever shows one asks to be let in by an operator.
    #[serde(borrow, default)]
    #[schema(value_type = Option<PublicKey>)]
    public_key: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = Option<Onion>)]
    onion: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = Option<Port>)]
    port: Raw<'a>,
    /// For how many seconds it is reached there: 180 unless it is said, and 30 to 86,400 whatever is said.
    #[serde(borrow, default)]
    #[schema(value_type = Option<f64>)]
    ttl_sec: Raw<'a>,
}

impl Register<'_> {
    /// The user and the device.
    fn names(&self) -> Result<(&str, &str), Code> {
        let user = self.user_id.filled().filter(|user| UserId::fits(user)).ok_or(Code::InvalidInput)?;
        let device_id = self.device_id.filled().filter(|id| DeviceId::fits(id)).ok_or(Code::InvalidInput)?;
        Ok((user, device_id))
    }

    /// The public key of a device that asks to be let in. Its names have no control characters.
    fn public_key(&self) -> Result<Option<&str>, Code> {
        let Some(public_key) = self.public_key.filled() else { return Ok(None) };
        let (user, device_id) = self.names()?;
        let named = ![user, device_id].into_iter().any(|name| name.contains(char::is_control));
        if PublicKey::fits(public_key) && named { Ok(Some(public_key)) } else { Err(Code::InvalidInput) }
    }

    /// Whether it says where it is reached. One that shows a key need not.
    fn has_presence(&self) -> bool {
        self.onion.filled().is_some() || self.public_key.filled().is_none()
    }

    /// The user, and what to do. `bound`: within which times devices of the organisation live.
    fn check(
        &self,
        default_ttl_ms: u32,
        bound: impl FnOnce(Duration) -> Duration,
    ) -> Result<(&str, Action), Code> {
        let (user, device_id) = self.names()?;
        let onion = self.onion.filled().filter(|onion| Onion::fits(onion)).ok_or(Code::InvalidInput)?;
        let port = match self.port.integer() {
            Integer::Absent => None,
            Integer::Is(port) => Some(Port::of(port).ok_or(Code::InvalidInput)?),
            Integer::Unfit | Integer::Other => return Err(Code::InvalidInput),
        };
        let ttl_ms = match seconds(self.ttl_sec)? {
            // As the original server has it.
            Some(0) | None => default_ttl_ms,
            Some(seconds) => {
                let seconds = seconds.clamp(TTL_SECONDS_MIN, TTL_SECONDS_MAX) as u64;
                millis(bound(Duration::from_secs(seconds)))
            }
        };
        let (device_id, onion) = (device_id.to_owned(), onion.to_owned());
        Ok((user, Action::Register { device_id, onion, port, ttl_ms }))
    }
}

/// Any number is a time to live, since it is clamped anyway; a fraction of a second is cut.
fn seconds(field: Raw<'_>) -> Result<Option<i64>, Code> {
    match field.integer() {
        Integer::Absent => Ok(None),
        Integer::Is(seconds) => Ok(Some(seconds)),
        Integer::Unfit => {
            let float = field.0.and_then(|raw| raw.get().parse::<f64>().ok()).unwrap_or(0.0);
            Ok(Some(float as i64))
        }
        Integer::Other => Err(Code::InvalidInput),
    }
}

/// Register a device, or renew its lease
#[utoipa::path(
    post,
    path = "/api/v1/devices",
    tag = "devices",
    operation_id = "registerDevice",
    request_body(content = Register),
    responses(
        (status = 200, description = "It is registered", body = DeviceRegistered),
        (status = 400, description = "`invalid_input`"),
        (status = 403, description = "`enterprise_required`, `device_not_approved`"),
        (status = 409, description = "`too_many_devices`"),
        (status = 507, description = ""),
    )
)]
pub(crate) async fn register(mut ctx: Context) -> Result<HttpResponse, Error> {
    enterprise(&ctx.shared)?;
    let mut charge = ctx.admit(ctx.tier())?;
    let body = ctx.json().await?;
    let parsed: Register<'_> = body::parse(&body)?;
    let (user, device_id) = parsed.names()?;
    ctx.expect(|credential| credential.may_register(user, device_id))?;
    let public_key = parsed.public_key()?;
    let presence = match parsed.has_presence() {
        true => {
            let tenant = &ctx.caller().tenant;
            Some(parsed.check(millis(ctx.ttl().device_default), |ttl| tenant.ttl(ttl))?.1)
        }
        false => None,
    };
    let (approval, is_reached) = match public_key {
        None => {
            ctx.require_device()?;
            (None, true)
        }
        Some(public_key) => {
            let credential = ctx.credential();
            let shows = shows(&ctx, &credential, user, device_id)?;
            charge = None;
            ctx.pay_exactly(ctx.tier()).await?;
            let subject = credential.qualified(user).into_owned();
            let (device, public_key) = (device_id.to_owned(), public_key.to_owned());
            let standing = registrations::register(ctx.services(), shows, subject, device, public_key).await;
            let standing = refused_as_input(standing)?;
            // One that is not let in shows its key, and is nowhere to be reached.
            let is_let_in = shows == Shows::Own && standing == Standing::Approved;
            let is_free = !ctx.services().auth.needs_devices(credential.tenant.as_deref());
            (Some(approval(standing)), is_free || is_let_in)
        }
    };
    if let Some(action) = presence.filter(|_| is_reached) {
        let target = ctx.namespace().devices(user);
        let op = Op::Device(device::Op { key: target.key, action });
        match ctx.change(charge, None, op).await? {
            Outcome::Device(device::Outcome::Registered) => {}
            _ => return Err(Code::Internal.into()),
        }
    }
    Ok(ok(&DeviceRegistered { status: Fine::Ok, approval }))
}

/// Who shows the key of a device. Where devices are let in, what one of them has shown is its own to change, or that of who
/// is let in and looks after everybody's; a token of the user that names no device is neither.
fn shows(ctx: &Context, credential: &Credential, user: &str, device: &str) -> Result<Shows, Error> {
    let is_free = !ctx.services().auth.needs_devices(credential.tenant.as_deref());
    if is_free || credential.is_given_to(user, device) {
        return Ok(Shows::Own);
    }
    let is_trusted = credential.may(Scope::AllDevices) || !credential.needs_device;
    if credential.is_anonymous() || !is_trusted {
        return Ok(Shows::Another);
    }
    ctx.require_device()?;
    Ok(Shows::Own)
}

/// How a device stands, as clients read it.
fn approval(standing: Standing) -> Approval {
    match standing {
        Standing::Pending => Approval::Pending,
        Standing::Approved => Approval::Approved,
        Standing::Revoked => Approval::Revoked,
    }
}

/// More devices than there may be, and the key of somebody else's, are the caller's to mend.
fn refused_as_input(standing: Result<Standing, service::Error>) -> Result<Standing, Error> {
    match standing {
        Err(service::Error::Refused(Refusal::Registration(registration::Refusal::Full))) => {
            Err(Code::TooManyDevices.into())
        }
        Err(service::Error::Refused(Refusal::Registration(registration::Refusal::OtherKey))) => {
            Err(Code::Forbidden.into())
        }
        other => Ok(other?),
    }
}

/// A user's live devices
#[utoipa::path(
    get,
    path = "/api/v1/devices/{userId}",
    tag = "devices",
    operation_id = "listDevices",
    params(("userId" = String, Path, description = "The user")),
    responses(
        (status = 200, description = "None is an empty list", body = DeviceList),
        (status = 403, description = "`enterprise_required`"),
    )
)]
pub(crate) async fn list(ctx: Context) -> Result<HttpResponse, Error> {
    enterprise(&ctx.shared)?;
    let user = ctx.parameter("userId");
    ctx.expect(|credential| credential.may_see_devices_of(user))?;
    ctx.pay(ctx.tier())?;
    let target = ctx.namespace().devices(user);
    let devices = ctx.look(query::Devices(target.key)).await?;
    let (credential, auth) = (ctx.credential(), &ctx.services().auth);
    // One that was let in, and is no more, may still have a lease.
    let is_kept_out = |device_id: &str| {
        let device = credential_rights::device(&credential.qualified(user), device_id);
        auth.keeps_out(credential.tenant.as_deref(), &device)
    };
    let devices = devices.into_iter().filter(|device| !is_kept_out(&device.device_id)).map(|device| Device {
        device_id: device.device_id,
        onion: device.onion,
        port: device.port,
        expires: device.expires_ms,
    });
    Ok(ok(&DeviceList { devices: devices.collect() }))
}

fn enterprise(shared: &AppState) -> Result<(), Error> {
    if shared.options.edition.is_enterprise() { Ok(()) } else { Err(Code::EnterpriseRequired.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONION: &str = "abcdefghij234567.onion";

    fn check(more: &str) -> Result<(Option<u16>, u32), Code> {
        let body = format!(r#"{{"userId":"u","deviceId":"d","onion":"{ONION}"{more}}}"#);
        let register: Register<'_> = serde_json::from_str(&body).unwrap();
        let (user, Action::Register { port, ttl_ms, .. }) = register.check(180_000, |ttl| ttl)?;
        assert_eq!(user, "u");
        Ok((port, ttl_ms))
    }

    #[test]
    fn a_time_to_live_is_clamped() {
        assert_eq!(check(""), Ok((None, 180_000)));
        assert_eq!(check(r#","ttlSec":60"#), Ok((None, 60_000)));
        assert_eq!(check(r#","ttlSec":60.9"#), Ok((None, 60_000)));
        assert_eq!(check(r#","ttlSec":0"#), Ok((None, 180_000)));
        for low in ["1", "-5", "-1e99"] {
            assert_eq!(check(&format!(r#","ttlSec":{low}"#)), Ok((None, 30_000)), "{low}");
        }
        for high in ["86401", "1e99"] {
            assert_eq!(check(&format!(r#","ttlSec":{high}"#)), Ok((None, 86_400_000)), "{high}");
        }
        assert_eq!(check(r#","ttlSec":"60""#), Err(Code::InvalidInput));
    }

    #[test]
    fn a_port_is_one_of_them() {
        assert_eq!(check(r#","port":65535"#), Ok((Some(65_535), 180_000)));
        assert_eq!(check(r#","port":null"#), Ok((None, 180_000)));
        for bad in ["0", "65536", "1.5", "\"80\"", "-1"] {
            assert_eq!(check(&format!(r#","port":{bad}"#)), Err(Code::InvalidInput), "{bad}");
        }
    }

    #[test]
    fn names_are_required() {
        for body in ["{}", r#"{"userId":"u","onion":"abcdefghij234567.onion"}"#, r#"{"userId":1}"#] {
            let register: Register<'_> = serde_json::from_str(body).unwrap();
            assert_eq!(register.check(1, |ttl| ttl).unwrap_err(), Code::InvalidInput, "{body}");
        }
    }
}
