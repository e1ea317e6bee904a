//! Which pages may call (the CORS protocol of the Fetch standard).

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap,
    HeaderValue, ORIGIN, VARY,
};

use super::options::Origins;

/// The methods that pages may use.
pub(super) const METHODS: &str = "GET, POST, PUT, DELETE, OPTIONS";
const HEADERS: &str = "Authorization, Content-Type, Content-Digest, Idempotency-Key, Prefer, X-Request-ID";
const EXPOSED: &str = "Content-Digest, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, \
     X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-ID, X-Session-Affinity";

/// What a request's `Origin` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is none: not a page.
    None,
    /// Every origin may call.
    Any,
    /// This one is on the list.
    Listed(HeaderValue),
    /// This one is not.
    Refused,
}

impl Verdict {
    pub(super) fn of(headers: &HeaderMap, origins: &Origins) -> Self {
        let Some(origin) = headers.get(ORIGIN) else { return Self::None };
        match origins {
            Origins::Any => Self::Any,
            Origins::Listed(_) => match origin.to_str() {
                Ok(text) if origins.allow(text) => Self::Listed(origin.clone()),
                Ok(_) | Err(_) => Self::Refused,
            },
        }
    }

    /// Writes what a browser needs to hand the answer to the page.
    pub(super) fn write(self, headers: &mut HeaderMap, origins: &Origins, preflight: bool) {
        if matches!(origins, Origins::Listed(_)) {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        match self {
            Self::None | Self::Refused => return,
            Self::Any => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Self::Listed(origin) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
        if preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        } else {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(origin: &'static str, origins: &Origins, preflight: bool) -> (Verdict, HeaderMap) {
        let mut request = HeaderMap::new();
        request.insert(ORIGIN, HeaderValue::from_static(origin));
        let verdict = Verdict::of(&request, origins);
        let mut response = HeaderMap::new();
        verdict.clone().write(&mut response, origins, preflight);
        (verdict, response)
    }

    #[test]
    fn a_listed_origin_gets_credentials() {
        let origins = Origins::of(["https://app.example"]);
        let (_, headers) = judged("https://app.example", &origins, true);
        assert_eq!(headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), "https://app.example");
        assert_eq!(headers.get(ACCESS_CONTROL_ALLOW_CREDENTIALS).unwrap(), "true");
        assert_eq!(headers.get(ACCESS_CONTROL_ALLOW_METHODS).unwrap(), METHODS);
        assert_eq!(headers.get(VARY).unwrap(), "Origin");
    }

    #[test]
    fn a_star_never_comes_with_credentials() {
        let (_, headers) = judged("https://app.example", &Origins::Any, false);
        assert_eq!(headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), "*");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }

    #[test]
    fn others_get_nothing() {
        let origins = Origins::of(["https://app.example"]);
        for origin in ["https://evil.test", "https://app.example.evil.test", "null"] {
            let (verdict, headers) = judged(origin, &origins, true);
            assert_eq!(verdict, Verdict::Refused);
            assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        }
    }
}
