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
    /// An IPv4 address that asks in an organisation without a credential: as the address it is elsewhere, and as one of the
    /// organisation's.
    GuestV4(u32, u64),
    /// The same of IPv6.
    GuestV6(u64, u64),
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
            Self::V4(_) | Self::GuestV4(..) => None,
            Self::V6(network) | Self::GuestV6(network, _) => Some(Site(network >> 16)),
            Self::Within(_, tenant) => Some(Site(tenant)),
        }
    }

    /// The site, and the organisation that a guest asks in: what those may take together is bounded as a site's is.
    pub fn sites(self) -> impl Iterator<Item = Site> {
        let tenant = match self {
            Self::GuestV4(_, tenant) | Self::GuestV6(_, tenant) => Some(Site(tenant)),
            Self::V4(_) | Self::V6(_) | Self::Within(..) => None,
        };
        self.site().into_iter().chain(tenant)
    }

    /// Who is counted: a guest as its address, in whichever organisation it asks.
    pub fn counted(self) -> Self {
        match self {
            Self::GuestV4(address, _) => Self::V4(address),
            Self::GuestV6(network, _) => Self::V6(network),
            Self::V4(_) | Self::V6(_) | Self::Within(..) => self,
        }
    }

    /// This client, as one of an organisation's.
    pub fn of_tenant(self, tenant: &Key) -> Self {
        let own = match self.counted() {
            Self::V4(address) | Self::GuestV4(address, _) => u64::from(address),
            Self::V6(network) | Self::GuestV6(network, _) | Self::Within(network, _) => network,
        };
        let both = Key::derive(Domain::Client, &[b"sharer", tenant.as_bytes(), &own.to_be_bytes()]);
        Self::Within(start(&both), start(tenant))
    }

    /// This client, as a guest of an organisation.
    pub fn guest_of(self, tenant: &Key) -> Self {
        match self {
            Self::V4(address) | Self::GuestV4(address, _) => Self::GuestV4(address, start(tenant)),
            Self::V6(network) | Self::GuestV6(network, _) => Self::GuestV6(network, start(tenant)),
            Self::Within(..) => self,
        }
    }
}

fn start(key: &Key) -> u64 {
    u64::from_be_bytes(*key.as_bytes().first_chunk().expect("a key has 32 bytes"))
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

    #[test]
    fn a_guest_is_the_same_client_in_each_organisation_and_one_of_that() {
        let tenant = |name: &str| Key::derive(Domain::Client, &[name.as_bytes()]);
        let (acme, other) = (tenant("acme"), tenant("other"));
        let sites = |client: Client| client.sites().collect::<Vec<_>>();
        for address in ["192.0.2.1", "2001:db8::1"] {
            let client = of(address);
            let [here, there] = [&acme, &other].map(|tenant| client.guest_of(tenant));
            assert_eq!((here.counted(), there.counted()), (client, client));
            assert_eq!(here.site(), client.site());
            assert_ne!(sites(here), sites(there));
            assert!(sites(here).contains(&client.of_tenant(&acme).site().unwrap()));
        }
    }
}
