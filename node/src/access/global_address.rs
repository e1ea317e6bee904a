//! Addresses of the public internet, told from those that mean something only here.
//!
//! What a node asks at an address that others may choose must not be a service of this machine or of its network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Network;

/// Networks that are not of the public internet (IANA's special-purpose registry of IPv4, RFC 6890), and those that are no
/// host's.
const V4: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
];

/// Within 2000::/3, beyond which nothing is assigned, networks that are not of the public internet: Teredo and the other
/// protocols' own, documentation.
const V6: &[&str] = &["2001::/23", "2001:db8::/32", "3fff::/20"];

/// Whether this is a host's address of the public internet. One of IPv6 that carries one of IPv4 is what it carries.
pub(crate) fn is_global(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !within(IpAddr::V4(address), V4),
        IpAddr::V6(address) => match carried(address) {
            Some(address) => is_global(IpAddr::V4(address)),
            None => {
                let unicast = address.segments()[0] >> 13 == 1;
                unicast && !within(IpAddr::V6(address), V6)
            }
        },
    }
}

/// What a translator makes of it: NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => v4(g, h),
        (0x2002, _) => v4(b, c),
        _ => None,
    }
}

fn within(address: IpAddr, networks: &[&str]) -> bool {
    let network = |text: &&str| text.parse::<Network>().expect("the list holds networks");
    networks.iter().any(|text| network(text).contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(text: &str) -> bool {
        is_global(text.parse().unwrap())
    }

    #[test]
    fn hosts_of_the_internet_are_global() {
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
            "2002:101:101::1",
        ] {
            assert!(global(text), "{text}");
        }
    }

    #[test]
    fn what_means_something_only_here_is_not() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
        ] {
            assert!(!global(text), "{text}");
        }
    }
}
