//! Who is counted as one client: an address, or the network that one customer is given.

use std::net::IpAddr;

/// A client. IPv6 is counted by /64, as allowances do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// An IPv4 address.
    V4(u32),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

/// The first 48 bits of an IPv6 address: what one site is given, with 65,536 networks in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Site(u64);

impl Client {
    /// The client at an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }

    /// The site that a client of IPv6 belongs to.
    pub fn site(self) -> Option<Site> {
        match self {
            Self::V4(_) => None,
            Self::V6(network) => Some(Site(network >> 16)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Client {
        Client::of(address.parse().unwrap())
    }

    #[test]
    fn neighbours_in_one_network_are_one_client_and_networks_of_one_site_are_one_site() {
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("2001:db8::1").site(), of("2001:db8:0:ffff::1").site());
        assert_ne!(of("2001:db8::1").site(), of("2001:db8:1::1").site());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(of("192.0.2.1").site(), None);
    }
}
