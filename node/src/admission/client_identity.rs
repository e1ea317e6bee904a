//! Who is counted as one client: an address, or the network that one customer is given.

use std::net::IpAddr;

use conclave_cluster::state::id::{Domain, Key};

/// A client. IPv6 is counted by /64, as allowances do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// An IPv4 address.
    V4(u32),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
    /// One of them within an organisation: the start of a hash of both, and of the organisation's key.
    Within(u64, u64),
}

/// The first 48 bits of an IPv6 address: what one site is given, with 65,536 networks in it. Or an organisation.
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
            Self::Within(_, tenant) => Some(Site(tenant)),
        }
    }

    /// This client, as one of an organisation's: what those may take together is bounded as a site's is.
    pub fn of_tenant(self, tenant: &Key) -> Self {
        let own = match self {
            Self::V4(address) => u64::from(address),
            Self::V6(network) | Self::Within(network, _) => network,
        };
        let start =
            |key: &Key| u64::from_be_bytes(*key.as_bytes().first_chunk().expect("a key has 32 bytes"));
        let both = Key::derive(Domain::Client, &[b"sharer", tenant.as_bytes(), &own.to_be_bytes()]);
        Self::Within(start(&both), start(tenant))
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

    #[test]
    fn clients_of_an_organisation_are_one_site() {
        let tenant = |name: &str| Key::derive(Domain::Client, &[name.as_bytes()]);
        let within = |address: &str, name: &str| of(address).of_tenant(&tenant(name));
        assert_ne!(within("192.0.2.1", "acme"), within("192.0.2.2", "acme"));
        assert_eq!(within("192.0.2.1", "acme").site(), within("2001:db8::1", "acme").site());
        assert_ne!(within("192.0.2.1", "acme").site(), within("192.0.2.1", "other").site());
    }
}
