//! What a handler leaves for the headers of its response, success or not.

use actix_web::dev::ServiceResponse;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use conclave_cluster::state::allowance::{Balance, Tier};

use super::app_state::AppState;
use super::authenticate;
use super::route::Row;
use crate::access::tier_limits;
use crate::actors::StateKey;
use crate::admission::request_rate::{Left, Rate};

const AFFINITY: HeaderName = HeaderName::from_static("x-session-affinity");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What is left of the client's allowance, and which key the request was about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RateLimitHeaders {
    pub(crate) told: Option<(Tier, Balance)>,
    pub(crate) affinity: Option<u32>,
}

/// A token that a load balancer can route by, the same on every node. It is salted, so that a balancer's log does not help
/// to guess the code or the pin that the key is derived from, and short: enough to spread load.
pub(crate) fn affinity(target: &StateKey, salt: u128) -> u32 {
    let mut salted = [0; 48];
    salted[..16].copy_from_slice(&salt.to_be_bytes());
    salted[16..].copy_from_slice(target.key.as_bytes());
    let digest = ring::digest::digest(&ring::digest::SHA256, &salted);
    digest.as_ref().iter().take(4).fold(0, |token, byte| token << 8 | u32::from(*byte))
}

impl RateLimitHeaders {
    /// Writes the headers. `policy` gives the `RateLimit-Policy` of a tier and a limit, `now_ms` is the clock of the balance.
    pub(crate) fn write(
        &self,
        headers: &mut HeaderMap,
        policy: impl FnOnce(Tier, u32) -> Option<HeaderValue>,
        now_ms: impl FnOnce() -> u64,
    ) {
        if let Some(affinity) = self.affinity {
            headers.insert(AFFINITY, ascii(format!("{affinity:08x}")));
        }
        let Some((tier, balance)) = self.told else { return };
        let seconds = seconds_until(&balance, now_ms());
        if let Some(policy) = policy(tier, balance.limit) {
            headers.insert(RATE_LIMIT_POLICY, policy);
        }
        limits(headers, tier_limits::name(tier), balance.limit, balance.remaining, seconds);
    }
}

fn limits(headers: &mut HeaderMap, name: &str, limit: u32, remaining: u32, seconds: u64) {
    headers.insert(RATE_LIMIT, ascii(format!("\"{name}\";r={remaining};t={seconds}")));
    headers.insert(X_LIMIT, HeaderValue::from(limit));
    headers.insert(X_REMAINING, HeaderValue::from(remaining));
    headers.insert(X_RESET, HeaderValue::from(seconds));
}

/// Tells how much more of what no allowance counts the client may ask for, where nothing else is told.
pub(crate) fn tell_free(left: &Left, headers: &mut HeaderMap) {
    if headers.contains_key(&RATE_LIMIT) {
        return;
    }
    let Rate { per_second, burst } = left.rate;
    let window = burst.div_ceil(per_second.max(1));
    headers.insert(RATE_LIMIT_POLICY, ascii(format!("\"free\";q={burst};w={window}")));
    let seconds = left.full_in.as_millis().div_ceil(1000);
    limits(headers, "free", burst, left.remaining, u64::try_from(seconds).unwrap_or(u64::MAX));
}

/// Tells what is left of a client's allowance where the handler did not: it may not have been reached.
pub(crate) fn tell(shared: &AppState, row: &Row, response: &mut ServiceResponse) {
    if response.headers().contains_key(&RATE_LIMIT) {
        return;
    }
    let (Some(tiers), request) = (&shared.services.terms.allowance, response.request()) else { return };
    let endpoint = row.endpoint(request.method()).or(row.endpoints.first());
    let Some(tier) = endpoint.and_then(|endpoint| endpoint.tier) else { return };
    let charge = tiers.rule(tier).charge(authenticate::client(shared, request), tier, 1);
    let (Ok(balance) | Err(balance)) = shared.services.cluster.admits(&charge);
    let notes = RateLimitHeaders { told: Some((tier, balance)), affinity: None };
    notes.write(
        response.headers_mut(),
        |tier, limit| shared.policy(tier, limit),
        || shared.services.now_ms(),
    );
}

/// Whole seconds until the window ends, rounded up.
pub(crate) fn seconds_until(balance: &Balance, now_ms: u64) -> u64 {
    balance.reset_ms.saturating_sub(now_ms).div_ceil(1000)
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits, letters and a few signs are a header value")
}

#[cfg(test)]
mod tests {
    use conclave_cluster::state::id::{Domain, Key};

    use super::*;

    #[test]
    fn an_affinity_tells_nothing_to_those_who_lack_the_salt() {
        let target_of = |word: &[u8]| StateKey {
            domain: Domain::Rendezvous,
            key: Key::derive(Domain::Rendezvous, &[word]),
        };
        let of = |word, salt| affinity(&target_of(word), salt);
        assert_eq!(of(b"aB3dE6gH", 7), of(b"aB3dE6gH", 7));
        assert_ne!(of(b"aB3dE6gH", 7), of(b"aB3dE6gH", 8));
        assert_ne!(of(b"aB3dE6gH", 7), of(b"aB3dE6gI", 7));
        let unsalted = target_of(b"aB3dE6gH").key.as_bytes()[..4].to_owned();
        assert_ne!(of(b"aB3dE6gH", 7).to_be_bytes(), *unsalted);
    }

    #[test]
    fn the_allowance_is_told_in_both_dialects() {
        let balance = Balance { limit: 100, remaining: 42, reset_ms: 31_500 };
        let notes = RateLimitHeaders { told: Some((Tier::Chunk, balance)), affinity: Some(0xab) };
        let mut headers = HeaderMap::new();
        let policy = HeaderValue::from_static("\"chunk\";q=100;w=60");
        notes.write(&mut headers, |_, _| Some(policy), || 1_000);
        let text = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(text("RateLimit"), "\"chunk\";r=42;t=31");
        assert_eq!(text("RateLimit-Policy"), "\"chunk\";q=100;w=60");
        assert_eq!(text("X-RateLimit-Limit"), "100");
        assert_eq!(text("X-RateLimit-Remaining"), "42");
        assert_eq!(text("X-RateLimit-Reset"), "31");
        assert_eq!(text("X-Session-Affinity"), "000000ab");
    }

    #[test]
    fn a_window_that_ended_is_open_now() {
        let balance = Balance { limit: 1, remaining: 0, reset_ms: 10 };
        assert_eq!(seconds_until(&balance, 11), 0);
        assert_eq!(seconds_until(&balance, 9), 1);
    }
}
