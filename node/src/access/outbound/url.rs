//! URLs of HTTP servers elsewhere.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;

use crate::access::global_address::is_global;

/// Longer URLs are refused.
const URL_CHARS_MAX: usize = 2048;

/// A URL that a node may request: `https`, or `http` of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    pub(in crate::access) secure: bool,
    /// A name or an address, that of IPv6 without its brackets.
    pub(in crate::access) host: String,
    pub(in crate::access) port: u16,
    /// Host and port as they were written.
    pub(in crate::access) authority: String,
    /// Path and query.
    pub(in crate::access) target: String,
}

/// The text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error(
        "not a URL such as \"https://issuer.example/keys.json\": no user, no fragment, at most {URL_CHARS_MAX} characters"
    )]
    Form,
    /// Without TLS.
    #[error("https it must be: http is for this machine alone (localhost, 127.0.0.1, [::1])")]
    Plain,
    /// With a query where there may be none.
    #[error("an issuer has no query")]
    Query,
}

impl HttpUrl {
    /// Whether its host is not of the public internet, whatever names lead to.
    pub(crate) fn is_private(&self) -> bool {
        self.host
            .parse()
            .map_or(self.host.eq_ignore_ascii_case("localhost"), |address: IpAddr| !is_global(address))
    }

    /// Scheme, host and port: nothing of it is a secret.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority)
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

impl FromStr for HttpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        // The parser would drop a fragment.
        if text.len() > URL_CHARS_MAX || text.contains('#') {
            return Err(UrlError::Form);
        }
        let uri = text.parse::<Uri>().map_err(|_| UrlError::Form)?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or(UrlError::Form)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(UrlError::Form),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(UrlError::Form);
        }
        let local = host.parse::<IpAddr>().map_or(host == "localhost", |address| address.is_loopback());
        if !secure && !local {
            return Err(UrlError::Plain);
        }
        Ok(Self {
            secure,
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            host,
        })
    }
}

/// Without what a query may hold.
impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", self.scheme(), self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_shown_without_its_query() {
        let url: HttpUrl = "https://[2606:4700::1]:8443/a/keys?v=1".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("2606:4700::1", 8443));
        assert_eq!(url.target, "/a/keys?v=1");
        assert_eq!(url.to_string(), "https://[2606:4700::1]:8443/a/keys");
        assert_eq!(url.origin(), "https://[2606:4700::1]:8443");
        let plain: HttpUrl = "https://issuer.example".parse().unwrap();
        assert_eq!((plain.port, plain.target.as_str()), (443, "/"));
    }

    #[test]
    fn what_is_not_of_the_public_internet_is_known_without_asking_for_names() {
        let is_private = |text: &str| text.parse::<HttpUrl>().unwrap().is_private();
        for private in ["http://127.0.0.1:9", "http://localhost", "https://[fd00::1]", "https://10.0.0.1/a"] {
            assert!(is_private(private), "{private}");
        }
        assert!(!is_private("https://ops.example") && !is_private("https://[2606:4700::1]"));
    }

    #[test]
    fn without_tls_only_this_machine_is_asked() {
        for local in ["http://localhost/k", "http://127.0.0.9:81/k", "http://[::1]/k"] {
            assert!(local.parse::<HttpUrl>().is_ok(), "{local}");
        }
        for plain in ["http://issuer.example/k", "http://10.0.0.1/k", "http://localhost.example/k"] {
            assert_eq!(plain.parse::<HttpUrl>(), Err(UrlError::Plain), "{plain}");
        }
    }

    #[test]
    fn anything_else_is_no_address() {
        let long = format!("https://issuer.example/{}", "k".repeat(URL_CHARS_MAX));
        for bad in
            ["ftp://x/k", "https://", "https:///k", "https://a:b@x/k", "https://x/k#f", "https://x y/", &long]
        {
            assert_eq!(bad.parse::<HttpUrl>(), Err(UrlError::Form), "{bad}");
        }
    }
}
