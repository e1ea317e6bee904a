//! Web origins as they are configured, made what browsers send (RFC 6454, section 6.2).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Ports that browsers leave out, by the scheme that they are the default of.
const DEFAULT_PORTS: [(&str, u16); 4] = [("http", 80), ("https", 443), ("ws", 80), ("wss", 443)];

/// An origin: scheme, host, and the port unless it is the scheme's default; in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

/// Why a text is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Something is missing, or is there that an origin does not have.
    #[error("not an origin such as https://app.example: scheme and host, no user, no path, no blanks")]
    Form,
    /// The host is not as browsers send it.
    #[error("write the host as browsers send it, in ASCII: xn--… for a name with other letters")]
    Host,
    /// The port is no number of a port.
    #[error("the port is a number from 1 to 65535")]
    Port,
}

impl Origin {
    /// Whether this is what a request's `Origin` says.
    pub fn is(&self, sent: &str) -> bool {
        self.0.eq_ignore_ascii_case(sent)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::Form)?;
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
            return Err(OriginError::Form);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(|letter: char| "/?#@".contains(letter) || letter.is_whitespace()) {
            return Err(OriginError::Form);
        }
        // A colon within brackets is the address's own.
        let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match authority[end..].find(':') {
            Some(colon) => (&authority[..end + colon], Some(&authority[end + colon + 1..])),
            None => (authority, None),
        };
        let host = host_as_sent(host)?;
        let default = DEFAULT_PORTS.iter().find(|(known, _)| *known == scheme).map(|(_, port)| *port);
        let port = port.map(number).transpose()?.filter(|port| Some(*port) != default);
        Ok(Self(match port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }
}

/// A name in lower case, or an address as it is written canonically.
fn host_as_sent(host: &str) -> Result<String, OriginError> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| OriginError::Form)?;
        return Ok(format!("[{address}]"));
    }
    if !host.is_ascii() {
        return Err(OriginError::Host);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(OriginError::Form);
    }
    // What ends in a number is an address, and nothing else (URL Standard, host parsing).
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let numeric = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err(OriginError::Form);
    }
    Ok(host.to_ascii_lowercase())
}

fn number(port: &str) -> Result<u16, OriginError> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|port| digits && *port > 0).ok_or(OriginError::Port)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_made_what_browsers_send() {
        for (written, sent) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://B.example:443", "https://b.example"),
            ("http://c.example:80/", "http://c.example"),
            ("https://acme.example:8443/", "https://acme.example:8443"),
            ("http://c.example:443", "http://c.example:443"),
            ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
            ("http://[0:0::1]:3000", "http://[::1]:3000"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            let origin: Origin = written.parse().unwrap();
            assert_eq!(origin.to_string(), sent, "{written}");
            assert!(origin.is(sent) && !origin.is("null") && !origin.is(&format!("{sent}.evil.test")));
        }
    }

    #[test]
    fn what_no_browser_sends_is_refused_and_told_why() {
        for (wrong, why) in [
            ("app.example", OriginError::Form),
            ("", OriginError::Form),
            ("null", OriginError::Form),
            ("https://", OriginError::Form),
            ("://a.example", OriginError::Form),
            ("https://a.example/path", OriginError::Form),
            ("https://a.example:8443/path", OriginError::Form),
            ("https://a.example//", OriginError::Form),
            ("https://a.example?x", OriginError::Form),
            ("https://ann:pw@a.example", OriginError::Form),
            ("https://*.example", OriginError::Form),
            (" https://a.example", OriginError::Form),
            ("https://a .example", OriginError::Form),
            ("https://[::1", OriginError::Form),
            ("https://[a]", OriginError::Form),
            ("https://[::1]x", OriginError::Form),
            ("http://10.1:3000", OriginError::Form),
            ("https://münchen.example", OriginError::Host),
            ("https://a.example:", OriginError::Port),
            ("https://a.example:0", OriginError::Port),
            ("https://a.example:+80", OriginError::Port),
            ("https://a.example:99999", OriginError::Port),
        ] {
            assert_eq!(wrong.parse::<Origin>(), Err(why), "{wrong}");
        }
    }
}
