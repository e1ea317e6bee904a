//! Which client a request comes from, as allowances count it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::leader_rules::{Group, Owner};

use super::network::Network;

/// How many forwarded hops are looked at; a longer chain is nobody's honest proxy.
const HOPS_MAX: usize = 32;

/// The address a request comes from.
///
/// That is the peer, unless the peer is a trusted proxy; then it is the nearest one for whom the request was handed on that
/// is not itself a trusted proxy. What lies beyond was written by the client and proves nothing.
/// `hops` are those for whom it was handed on, the nearest one first, and `None` where that is not told.
pub fn address(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer.to_canonical();
    if !is_trusted(nearest) {
        return nearest;
    }
    for hop in hops.take(HOPS_MAX) {
        // A hop that is no address ends what can be believed.
        let Some(address) = hop else { break };
        nearest = address;
        if !is_trusted(nearest) {
            break;
        }
    }
    nearest
}

/// The hops of `X-Forwarded-For`, the nearest one first, from its lines in the order of arrival.
pub fn forwarded_for<'a>(
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> impl Iterator<Item = Option<IpAddr>> {
    // Empty elements of a list mean nothing (RFC 9110, section 5.6.1.2).
    let hops = lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    hops.filter(|hop| !hop.is_empty()).map(|text| hop(std::str::from_utf8(text).ok()?))
}

/// Proxies write an address, or an address and a port, which may have a name (RFC 7239, section 6.2).
pub fn hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.rsplit_once(":_").map_or(hop, |(address, _)| address);
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    bare.parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        .map(|address| address.to_canonical())
}

/// The key under which the address is counted. IPv6 is counted by /64: that is what one customer is given.
pub fn key(address: IpAddr) -> Key {
    match address.to_canonical() {
        IpAddr::V4(address) => Key::derive(Domain::Client, &[&address.octets()]),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
            Key::derive(Domain::Client, &[&network.octets()])
        }
    }
}

/// On whose account a request stores: its subject's where it showed a credential, else its address's. An address of IPv6
/// counts for its /48 as well, which is what a provider gives to one customer who asks.
pub fn owner(address: IpAddr, subject: Option<Key>) -> Owner {
    match (subject, address.to_canonical()) {
        (Some(client), _) => Owner { client, group: None },
        (None, IpAddr::V4(_)) => Owner { client: key(address), group: None },
        (None, IpAddr::V6(v6)) => {
            let network = Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80);
            let network = Key::derive(Domain::Client, &[b"network", &network.octets()]);
            Owner { client: key(address), group: Some(Group::Network(network)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let hops = forwarded_for(forwarded.iter().map(|line| line.as_bytes()));
        address(peer.parse().unwrap(), hops, &trusted).to_string()
    }

    #[test]
    fn a_stranger_may_claim_what_it_likes() {
        assert_eq!(seen("203.0.113.7", &["198.51.100.1"], &["10.0.0.0/8"]), "203.0.113.7");
        assert_eq!(seen("203.0.113.7", &["198.51.100.1"], &[]), "203.0.113.7");
    }

    #[test]
    fn the_rightmost_untrusted_hop_counts() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 203.0.113.7, 10.0.0.2"], &trusted), "203.0.113.7");
        assert_eq!(seen("10.0.0.1", &["1.1.1.1", "203.0.113.7"], &trusted), "203.0.113.7");
        assert_eq!(seen("10.0.0.1", &["203.0.113.7:4711"], &trusted), "203.0.113.7");
        assert_eq!(seen("10.0.0.1", &["[2001:db8::9]:4711"], &trusted), "2001:db8::9");
    }

    #[test]
    fn garbage_ends_the_chain() {
        assert_eq!(seen("10.0.0.1", &["203.0.113.7, unknown, 10.0.0.2"], &["10.0.0.0/8"]), "10.0.0.2");
        assert_eq!(seen("10.0.0.1", &[""], &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn an_empty_element_is_no_hop() {
        for line in ["203.0.113.7,", "203.0.113.7, ,", ",203.0.113.7 ,\t"] {
            assert_eq!(seen("10.0.0.1", &[line], &["10.0.0.0/8"]), "203.0.113.7", "{line}");
        }
        assert_eq!(seen("10.0.0.1", &["203.0.113.7", ""], &["10.0.0.0/8"]), "203.0.113.7");
        assert_eq!(seen("10.0.0.1", &[","], &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn what_a_client_writes_does_not_hide_what_the_proxy_appends() {
        let hops = forwarded_for([&b"\xff\xfe, 203.0.113.7"[..]].into_iter());
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(address("10.0.0.1".parse().unwrap(), hops, &trusted).to_string(), "203.0.113.7");
    }

    #[test]
    fn neighbours_in_one_ipv6_network_are_one_client() {
        let of = |address: &str| key(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }

    #[test]
    fn a_subject_owns_what_it_stores_and_an_ipv6_address_is_of_a_network() {
        let of = |address: &str| owner(address.parse().unwrap(), None);
        let (one, other, stranger) = (of("2001:db8:0:1::1"), of("2001:db8:0:2::1"), of("2001:db8:1:1::1"));
        assert_ne!(one.client, other.client);
        assert_eq!(one.group, other.group);
        assert_ne!(one.group, stranger.group);
        assert_eq!(of("192.0.2.1"), Owner { client: key("192.0.2.1".parse().unwrap()), group: None });
        let subject = Key::derive(Domain::Client, &[b"subject", b"ada"]);
        let shown = owner("2001:db8::1".parse().unwrap(), Some(subject));
        assert_eq!(shown, Owner { client: subject, group: None });
    }
}
