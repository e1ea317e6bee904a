//! Which names the admin listener answers to.
//!
//! After DNS rebinding, a page has the same origin as what it reads here, so that `Origin` does not tell it from a tool. `Host`
//! does: it is still the page's name.

use std::net::IpAddr;

/// Whether this `Host` names loopback: `localhost` or an address of loopback, with any port, since tunnels use others.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        Some(_) | None => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match bare.unwrap_or(name).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() && (bare.is_some() || address.is_ipv4()),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_loopback_is_meant_by_names_of_loopback_alone() {
        for own in
            ["localhost", "LOCALHOST:9464", "127.0.0.1", "127.0.0.1:1", "127.8.9.1:80", "[::1]", "[::1]:9464"]
        {
            assert!(is_loopback(own), "{own}");
        }
        for foreign in [
            "evil.test",
            "evil.test:9464",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "192.0.2.1:9464",
            "0.0.0.0",
            "[::]:1",
            "::1",
            "localhost.",
            "",
            ":80",
        ] {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }
}
