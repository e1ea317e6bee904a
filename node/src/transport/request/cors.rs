//! Which pages may call (the CORS protocol of the Fetch standard).

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap,
    HeaderValue, ORIGIN, VARY,
};

use super::edge_options::Origins;

/// The methods that pages may use.
pub(crate) const METHODS: &str = "GET, POST, PUT, DELETE, OPTIONS";
const HEADERS: &str = "Authorization, Cache-Control, Content-Digest, Content-Encoding, Content-Type, Idempotency-Key, \
     Last-Event-ID, Prefer, Traceparent, Tracestate, X-Request-ID";
const EXPOSED: &str = "Content-Digest, Deprecation, Link, Location, Preference-Applied, RateLimit, RateLimit-Policy, \
     Retry-After, Sunset, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-ID, \
     X-Session-Affinity";

/// What a request's `Origin` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
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
    /// `own` is the origin of pages that this server served, told only where it matters.
    pub(crate) fn of(headers: &HeaderMap, origins: &Origins, own: impl FnOnce() -> Option<Own>) -> Self {
        let mut lines = headers.get_all(ORIGIN);
        let Some(origin) = lines.next() else { return Self::None };
        if lines.next().is_some() {
            // A browser sends one; of two, another reader may believe the other.
            return Self::Refused;
        }
        match origins {
            Origins::Any => Self::Any,
            Origins::Listed(_) => match origin.to_str() {
                Ok(text) if origins.allow(text) || own().is_some_and(|own| own.is(text)) => {
                    Self::Listed(origin.clone())
                }
                Ok(_) | Err(_) => Self::Refused,
            },
        }
    }

    /// Writes what a browser needs to hand the answer to the page.
    pub(crate) fn write(&self, headers: &mut HeaderMap, origins: &Origins, preflight: bool) {
        if matches!(origins, Origins::Listed(_)) {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        match self {
            Self::Refused => return,
            // Whoever asks without an origin what a page may do is told all that does not depend on it.
            Self::None if !preflight => return,
            Self::None if matches!(origins, Origins::Listed(_)) => {}
            Self::None | Self::Any => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Self::Listed(origin) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
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

/// The origin under which a request was sent (RFC 6454, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    /// `https` or `http`, as the client came.
    pub(crate) scheme: &'static str,
    /// Host, and port unless it is the scheme's own.
    pub(crate) authority: String,
}

impl Own {
    /// Whether a request's `Origin` is this.
    fn is(&self, origin: &str) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let port = if self.scheme == "https" { ":443" } else { ":80" };
        let bare = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
        scheme == self.scheme && !authority.is_empty() && bare(authority) == bare(&self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(origin: &'static str, origins: &Origins, preflight: bool) -> (Verdict, HeaderMap) {
        let mut request = HeaderMap::new();
        request.insert(ORIGIN, HeaderValue::from_static(origin));
        let own = Own { scheme: "https", authority: "One.example:443".to_owned() };
        let verdict = Verdict::of(&request, origins, || Some(own));
        let mut response = HeaderMap::new();
        verdict.write(&mut response, origins, preflight);
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
        for origin in [
            "https://evil.test",
            "https://app.example.evil.test",
            "null",
            "http://one.example",
            "https://one.example:8443",
            "https://one.example.evil.test",
            "https://",
            "one.example",
        ] {
            let (verdict, headers) = judged(origin, &origins, true);
            assert_eq!(verdict, Verdict::Refused);
            assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        }
    }

    #[test]
    fn a_page_may_call_the_server_that_served_it() {
        let origins = Origins::of(["https://app.example"]);
        for origin in ["https://one.example", "https://one.example:443"] {
            let (_, headers) = judged(origin, &origins, false);
            assert_eq!(headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), origin);
        }
    }

    #[test]
    fn two_origins_are_none() {
        for origins in [Origins::Any, Origins::of(["https://app.example"])] {
            let mut request = HeaderMap::new();
            request.append(ORIGIN, HeaderValue::from_static("https://app.example"));
            request.append(ORIGIN, HeaderValue::from_static("https://evil.test"));
            assert_eq!(Verdict::of(&request, &origins, || None), Verdict::Refused);
        }
    }

    #[test]
    fn who_asks_without_an_origin_is_told_what_does_not_depend_on_it() {
        for (origins, allowed) in [(Origins::Any, Some("*")), (Origins::of(["https://app.example"]), None)] {
            let mut headers = HeaderMap::new();
            Verdict::None.write(&mut headers, &origins, true);
            let of = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap());
            assert_eq!(of(ACCESS_CONTROL_ALLOW_METHODS), Some(METHODS));
            assert_eq!(of(ACCESS_CONTROL_ALLOW_HEADERS), Some(HEADERS));
            assert_eq!(of(ACCESS_CONTROL_ALLOW_ORIGIN), allowed);
            let mut headers = HeaderMap::new();
            Verdict::None.write(&mut headers, &origins, false);
            assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        }
    }
}
