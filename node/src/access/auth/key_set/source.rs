//! Where a key set is found.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hyper::Uri;

/// Longer addresses are of no use.
const URL_CHARS_MAX: usize = 2048;
/// What is appended to an issuer (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Where a key set is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetSource {
    /// In a file of this machine.
    File(PathBuf),
    /// Where this address answers.
    Url(KeyUrl),
    /// Where the configuration of this issuer says.
    Issuer(Issuer),
}

/// An address that a node asks for keys: `https`, or `http` of this very machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUrl {
    pub(super) secure: bool,
    /// A name or an address, that of IPv6 without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as they were written.
    pub(super) authority: String,
    /// Path and query.
    pub(super) target: String,
}

/// An issuer that says by OpenID Connect Discovery where its keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The `iss` of its tokens, letter by letter.
    pub name: String,
    pub(super) configuration: KeyUrl,
}

/// The text is no such address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not an address.
    #[error(
        "not a URL such as \"https://issuer.example/keys.json\": no user, no fragment, at most {URL_CHARS_MAX} characters"
    )]
    Form,
    /// Without TLS.
    #[error("keys are asked for by https; by http of this machine alone (localhost, 127.0.0.1, [::1])")]
    Plain,
    /// An issuer with a query.
    #[error("an issuer has no query")]
    Query,
}

impl KeySetSource {
    pub(in crate::access::auth) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Url(_) | Self::Issuer(_) => None,
        }
    }
}

impl FromStr for KeySetSource {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains("://") { text.parse().map(Self::Url) } else { Ok(Self::File(text.into())) }
    }
}

impl FromStr for KeyUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        // The reader drops a fragment.
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

impl FromStr for Issuer {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains('?') {
            return Err(UrlError::Query);
        }
        text.parse::<KeyUrl>()?;
        let configuration = format!("{}{DISCOVERY}", text.strip_suffix('/').unwrap_or(text)).parse()?;
        Ok(Self { name: text.to_owned(), configuration })
    }
}

/// Without what a query may hold.
impl fmt::Display for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_file_or_an_address() {
        assert_eq!("/etc/keys.json".parse(), Ok(KeySetSource::File("/etc/keys.json".into())));
        let Ok(KeySetSource::Url(url)) = "https://[2606:4700::1]:8443/a/keys?v=1".parse() else {
            panic!("a URL")
        };
        assert_eq!((url.host.as_str(), url.port), ("2606:4700::1", 8443));
        assert_eq!(url.target, "/a/keys?v=1");
        assert_eq!(url.to_string(), "https://[2606:4700::1]:8443/a/keys");
        let plain: KeyUrl = "https://issuer.example".parse().unwrap();
        assert_eq!((plain.port, plain.target.as_str()), (443, "/"));
    }

    #[test]
    fn without_tls_only_this_machine_is_asked() {
        for local in ["http://localhost/k", "http://127.0.0.9:81/k", "http://[::1]/k"] {
            assert!(local.parse::<KeyUrl>().is_ok(), "{local}");
        }
        for plain in ["http://issuer.example/k", "http://10.0.0.1/k", "http://localhost.example/k"] {
            assert_eq!(plain.parse::<KeyUrl>(), Err(UrlError::Plain), "{plain}");
        }
    }

    #[test]
    fn anything_else_is_no_address() {
        let long = format!("https://issuer.example/{}", "k".repeat(URL_CHARS_MAX));
        for bad in
            ["ftp://x/k", "https://", "https:///k", "https://a:b@x/k", "https://x/k#f", "https://x y/", &long]
        {
            assert_eq!(bad.parse::<KeyUrl>(), Err(UrlError::Form), "{bad}");
        }
    }

    #[test]
    fn an_issuer_says_where_its_configuration_is() {
        for (text, target) in [
            ("https://issuer.example", "/.well-known/openid-configuration"),
            ("https://issuer.example/", "/.well-known/openid-configuration"),
            ("https://issuer.example/realms/one", "/realms/one/.well-known/openid-configuration"),
        ] {
            let issuer: Issuer = text.parse().unwrap();
            assert_eq!((issuer.name.as_str(), issuer.configuration.target.as_str()), (text, target));
        }
        assert_eq!("https://issuer.example/?a=b".parse::<Issuer>(), Err(UrlError::Query));
        assert_eq!("http://issuer.example".parse::<Issuer>(), Err(UrlError::Plain));
    }
}
