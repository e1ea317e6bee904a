//! Networks in CIDR notation (RFC 4632, section 3.1).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// An address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// What stands before the slash is no IP address.
    #[error("not an IP address")]
    Address,
    /// What stands after the slash is no number of bits of such an address.
    #[error("not a prefix length of this kind of address")]
    Prefix,
}

impl Network {
    /// Whether `address` lies in this network. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let shift = 32 - u32::from(self.prefix);
                let bits = ours.to_bits() ^ theirs.to_bits();
                bits.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let shift = 128 - u32::from(self.prefix);
                let bits = ours.to_bits() ^ theirs.to_bits();
                bits.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = ParseError;

    /// Reads `10.0.0.0/8`, `fd00::/8`, or one address alone.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| ParseError::Address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.trim().parse().map_err(|_| ParseError::Prefix)?,
            None => most,
        };
        if prefix > most {
            return Err(ParseError::Prefix);
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn the_prefix_decides() {
        assert!(contains("10.0.0.0/8", "10.255.1.2"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("192.168.1.128/25", "192.168.1.200"));
        assert!(!contains("192.168.1.128/25", "192.168.1.100"));
        assert!(contains("fd00::/8", "fdab::1"));
        assert!(!contains("fd00::/8", "fe80::1"));
    }

    #[test]
    fn an_address_alone_is_only_itself() {
        assert!(contains("::1", "::1"));
        assert!(!contains("::1", "::2"));
        assert!(!contains("127.0.0.1", "127.0.0.2"));
    }

    #[test]
    fn no_bits_is_everything_of_its_kind() {
        assert!(contains("0.0.0.0/0", "203.0.113.9"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
    }

    #[test]
    fn mapped_addresses_count_as_what_they_map() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!("10.0.0.0/33".parse::<Network>(), Err(ParseError::Prefix));
        assert_eq!("10.0.0.0/x".parse::<Network>(), Err(ParseError::Prefix));
        assert_eq!("example.org/8".parse::<Network>(), Err(ParseError::Address));
    }
}
