//! Devices: registered endpoints of a user. Enterprise edition only.

use actix_web::HttpResponse;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::device::{self, Action};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::query;
use conclave_cluster::state::registration::{self, Standing};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::tier_limits::millis;
use crate::json_field::{Integer, Raw, Text};
use crate::service::{self, registrations};
use crate::transport::request::app_state::AppState;
use crate::transport::request::body;
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error};
use crate::transport::request::reply::{fixed, ok};

const USER_CHARS_MAX: usize = 256;
const DEVICE_CHARS_MAX: usize = 256;
/// Of visible ASCII characters and blanks: base64, hexadecimal digits, or a JWK.
const PUBLIC_KEY_BYTES_MAX: usize = 512;
const TTL_SECONDS_MIN: i64 = 30;
const TTL_SECONDS_MAX: i64 = 86_400;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Register<'a> {
    #[serde(borrow, default)]
    user_id: Text<'a>,
    #[serde(borrow, default)]
    device_id: Text<'a>,
    /// Whoever shows one asks to be let in.
    #[serde(borrow, default)]
    public_key: Text<'a>,
    #[serde(borrow, default)]
    onion: Text<'a>,
    #[serde(borrow, default)]
    port: Raw<'a>,
    #[serde(borrow, default)]
    ttl_sec: Raw<'a>,
}

impl Register<'_> {
    /// The user and the device.
    fn names(&self) -> Result<(&str, &str), Code> {
        let user = self.user_id.bounded(USER_CHARS_MAX).ok_or(Code::InvalidInput)?;
        let device_id = self.device_id.bounded(DEVICE_CHARS_MAX).ok_or(Code::InvalidInput)?;
        Ok((user, device_id))
    }

    /// The public key of a device that asks to be let in. Its names have no control characters.
    fn public_key(&self) -> Result<Option<&str>, Code> {
        let Some(public_key) = self.public_key.filled() else { return Ok(None) };
        let (user, device_id) = self.names()?;
        let fits = public_key.len() <= PUBLIC_KEY_BYTES_MAX
            && public_key.bytes().all(|b| (b' '..=b'~').contains(&b));
        let named = ![user, device_id].into_iter().any(|name| name.contains(char::is_control));
        if fits && named { Ok(Some(public_key)) } else { Err(Code::InvalidInput) }
    }

    /// Whether it says where it is reached. One that shows a key need not.
    fn has_presence(&self) -> bool {
        self.onion.filled().is_some() || self.public_key.filled().is_none()
    }

    /// The user, and what to do.
    fn check(&self, default_ttl_ms: u32) -> Result<(&str, Action), Code> {
        let (user, device_id) = self.names()?;
        let onion = self.onion.filled().filter(|onion| is_onion(onion)).ok_or(Code::InvalidInput)?;
        let port = match self.port.integer() {
            Integer::Absent => None,
            Integer::Is(port @ 1..=65_535) => Some(port as u16),
            Integer::Is(_) | Integer::Unfit | Integer::Other => return Err(Code::InvalidInput),
        };
        let ttl_ms = match seconds(self.ttl_sec)? {
            // As the original server has it.
            Some(0) | None => default_ttl_ms,
            Some(seconds) => seconds.clamp(TTL_SECONDS_MIN, TTL_SECONDS_MAX) as u32 * 1000,
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

/// `^[a-z2-7]{16,56}\.onion$`
fn is_onion(address: &str) -> bool {
    address.strip_suffix(".onion").is_some_and(|name| {
        (16..=56).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
    })
}

/// `POST /api/v1/devices`.
pub(crate) async fn register(mut ctx: Context) -> Result<HttpResponse, Error> {
    enterprise(&ctx.shared)?;
    let charge = ctx.admit(ctx.tier())?;
    let body = ctx.json().await?;
    let parsed: Register<'_> = body::parse(&body)?;
    let (user, device_id) = parsed.names()?;
    ctx.expect(|credential| credential.may_register(user, device_id))?;
    let public_key = parsed.public_key()?;
    if parsed.has_presence() {
        let (_, action) = parsed.check(millis(ctx.services().terms.ttl.device_default))?;
        // One that is not let in yet shows its key, and is nowhere to be reached.
        if public_key.is_none() {
            ctx.require_device()?;
        }
        let target = ctx.namespace().devices(user);
        let op = Op::Device(device::Op { key: target.key, action });
        match ctx.change(charge, None, op).await? {
            Outcome::Device(device::Outcome::Registered) => {}
            _ => return Err(Code::Internal.into()),
        }
    } else {
        ctx.pay_exactly(ctx.tier()).await?;
    }
    let Some(public_key) = public_key else { return Ok(fixed(r#"{"status":"ok"}"#)) };
    let subject = ctx.credential().qualified(user).into_owned();
    let (device, public_key) = (device_id.to_owned(), public_key.to_owned());
    let standing = registrations::register(ctx.services(), subject, device, public_key).await;
    Ok(ok(&json!({ "status": "ok", "approval": named(refused_as_input(standing)?) })))
}

/// How a device stands, as clients read it.
fn named(standing: Standing) -> &'static str {
    match standing {
        Standing::Pending => "pending",
        Standing::Approved => "approved",
        Standing::Revoked => "revoked",
    }
}

/// More devices than there may be are the caller's to mend.
fn refused_as_input(standing: Result<Standing, service::Error>) -> Result<Standing, Error> {
    match standing {
        Err(service::Error::Refused(Refusal::Registration(registration::Refusal::Full))) => {
            Err(Code::TooManyDevices.into())
        }
        other => Ok(other?),
    }
}

/// `GET /api/v1/devices/{userId}`.
pub(crate) async fn list(ctx: Context) -> Result<HttpResponse, Error> {
    enterprise(&ctx.shared)?;
    let user = ctx.parameter("userId");
    ctx.expect(|credential| credential.may_see_devices_of(user))?;
    ctx.pay(ctx.tier())?;
    let target = ctx.namespace().devices(user);
    let devices = ctx.look(query::Devices(target.key)).await?;
    let devices: Vec<Value> = devices
        .iter()
        .map(|device| {
            let mut shown = json!({
                "deviceId": device.device_id,
                "onion": device.onion,
                "expires": device.expires_ms,
            });
            // One that was not named is not named here, either.
            if let Some(port) = device.port {
                shown["port"] = port.into();
            }
            shown
        })
        .collect();
    Ok(ok(&json!({ "devices": devices })))
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
        let (user, Action::Register { port, ttl_ms, .. }) = register.check(180_000)?;
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
    fn onions_are_onions() {
        assert!(is_onion(ONION));
        assert!(is_onion(&format!("{}.onion", "a".repeat(56))));
        let long = format!("{}.onion", "a".repeat(57));
        for bad in
            ["abc.onion", "ABCDEFGHIJ234567.onion", "abcdefghij234561.onion", "abcdefghij234567", &long]
        {
            assert!(!is_onion(bad), "{bad}");
        }
    }

    #[test]
    fn names_are_required() {
        for body in ["{}", r#"{"userId":"u","onion":"abcdefghij234567.onion"}"#, r#"{"userId":1}"#] {
            let register: Register<'_> = serde_json::from_str(body).unwrap();
            assert_eq!(register.check(1).unwrap_err(), Code::InvalidInput, "{body}");
        }
    }
}
