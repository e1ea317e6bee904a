//! Where requests go.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::header::HeaderValue;

/// One node's base URL, `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    authority: String,
    pub(super) host: HeaderValue,
}

/// Why something is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// It doesn't parse.
    #[error("not a URL")]
    NotAUrl,
    /// Something other than `http://`.
    #[error("only http:// is spoken")]
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

    /// Splits a URL with a path into its target and path.
    pub fn with_path(url: &str) -> Result<(Self, Uri), BadTarget> {
        let uri: Uri = url.parse().map_err(|_| BadTarget::NotAUrl)?;
        if uri.scheme_str() != Some("http") {
            return Err(BadTarget::Scheme);
        }
        let host = uri.host().ok_or(BadTarget::NotAUrl)?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let header = HeaderValue::from_str(&authority).map_err(|_| BadTarget::NotAUrl)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse().map_err(|_| BadTarget::NotAUrl)?;
        Ok((Self { authority, host: header }, path))
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
        write!(f, "http://{}", self.authority)
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
    fn anything_else_is_none() {
        assert_eq!("https://a".parse::<Target>(), Err(BadTarget::Scheme));
        assert_eq!("http://a/b".parse::<Target>(), Err(BadTarget::Path));
        assert_eq!("".parse::<Target>(), Err(BadTarget::NotAUrl));
    }
}
