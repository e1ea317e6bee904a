//! Where requests go.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;
use hyper::header::HeaderValue;
use rustls::pki_types::ServerName;

use super::trust::{self, Trust};

/// One node's base URL, `http://host:port` or `https://host:port`; `ws` and `wss` mean the same two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    authority: String,
    /// Whom a certificate must name, under TLS.
    pub(super) name: Option<ServerName<'static>>,
    pub(super) host: HeaderValue,
    /// Where connections come from, if that is said.
    pub(super) source: Option<IpAddr>,
    trust: Option<Trust>,
}

/// Why something is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// It doesn't parse.
    #[error("not a URL")]
    NotAUrl,
    /// Something other than HTTP.
    #[error("only http, https, ws and wss are spoken")]
    Scheme,
    /// More than a base URL.
    #[error("a target has neither path nor query")]
    Path,
}

impl Target {
    /// `host:port`, for connecting.
    pub fn address(&self) -> &str {
        &self.authority
    }

    /// The same for a client with this address.
    pub fn seen_from(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// The same where these authorities are believed, and not the process's.
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust: Some(trust), ..self }
    }

    pub(super) fn trust(&self) -> Trust {
        self.trust.clone().unwrap_or_else(trust::current)
    }

    /// Whether TLS is spoken.
    pub fn is_secure(&self) -> bool {
        self.name.is_some()
    }

    /// Splits a URL with a path into its target and path.
    pub fn with_path(url: &str) -> Result<(Self, Uri), BadTarget> {
        let uri: Uri = url.parse().map_err(|_| BadTarget::NotAUrl)?;
        let is_secure = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            Some(_) | None => return Err(BadTarget::Scheme),
        };
        let host = uri.host().ok_or(BadTarget::NotAUrl)?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 }));
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            is_secure.then(|| ServerName::try_from(bare).map_err(|_| BadTarget::NotAUrl)).transpose()?;
        let header = HeaderValue::from_str(&authority).map_err(|_| BadTarget::NotAUrl)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse().map_err(|_| BadTarget::NotAUrl)?;
        Ok((Self { authority, name, host: header, source: None, trust: None }, path))
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(url: &str) -> Result<Self, BadTarget> {
        let (target, path) = Self::with_path(url)?;
        if path.path() == "/" && path.query().is_none() { Ok(target) } else { Err(BadTarget::Path) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_target() {
        let target: Target = "http://127.0.0.1:3000/".parse().unwrap();
        assert_eq!(target.address(), "127.0.0.1:3000");
        assert_eq!(target.to_string(), "http://127.0.0.1:3000");
        assert_eq!("http://[::1]".parse::<Target>().unwrap().address(), "[::1]:80");
    }

    #[test]
    fn a_secure_one_has_a_port_and_a_name_of_its_own() {
        for url in ["https://node.example", "wss://node.example"] {
            let target: Target = url.parse().unwrap();
            assert_eq!(target.address(), "node.example:443");
            assert_eq!(target.to_string(), "https://node.example:443");
            assert_eq!(target.name, ServerName::try_from("node.example").ok());
        }
        let target: Target = "https://[::1]:3000".parse().unwrap();
        assert_eq!(target.address(), "[::1]:3000");
        assert_eq!(target.name, ServerName::try_from("::1").ok());
        assert_eq!("ws://a:1".parse::<Target>(), "http://a:1".parse());
    }

    #[test]
    fn anything_else_is_none() {
        assert_eq!("ftp://a".parse::<Target>(), Err(BadTarget::Scheme));
        assert_eq!("https://-".parse::<Target>(), Err(BadTarget::NotAUrl));
        assert_eq!("http://a/b".parse::<Target>(), Err(BadTarget::Path));
        assert_eq!("".parse::<Target>(), Err(BadTarget::NotAUrl));
    }
}
