//! Where a key set is found.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::access::outbound::{HttpUrl, UrlError};

/// What is appended to an issuer (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Where a key set is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetSource {
    /// In a file of this machine.
    File(PathBuf),
    /// Where this address answers.
    Url(HttpUrl),
    /// Where the configuration of this issuer says.
    Issuer(Issuer),
}

/// An issuer that says by OpenID Connect Discovery where its keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The `iss` of its tokens, letter by letter.
    pub name: String,
    pub(super) configuration: HttpUrl,
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

impl FromStr for Issuer {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains('?') {
            return Err(UrlError::Query);
        }
        text.parse::<HttpUrl>()?;
        let configuration = format!("{}{DISCOVERY}", text.strip_suffix('/').unwrap_or(text)).parse()?;
        Ok(Self { name: text.to_owned(), configuration })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_file_or_an_address() {
        assert_eq!("/etc/keys.json".parse(), Ok(KeySetSource::File("/etc/keys.json".into())));
        assert!(matches!("https://issuer.example/keys".parse(), Ok(KeySetSource::Url(_))));
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
