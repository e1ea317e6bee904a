//! What organisations may have, as it is configured.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::is_name;
use crate::access::origin::{Origin, OriginError};

/// A week: nothing lives longer, whatever a policy says.
const TTL_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;

/// What an organisation may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How much of everything that is stored, in percent.
    pub storage_percent: u8,
    /// How much each of its clients may ask, in percent of what others may.
    pub allowance_percent: u32,
    /// The origins that its pages may come from; none: those of everybody.
    pub origins: Vec<Origin>,
    /// Whether its devices have to be let in.
    pub requires_approved_device: bool,
    /// For how many seconds what it stores lives at the least and at the most; `None`: as everybody's.
    pub ttl_seconds: Option<RangeInclusive<u32>>,
}

/// A configured policy: `acme: storage_percent=30 allowance_percent=200 ttl_seconds=60..600 origin=https://acme.example
/// require_approved_device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub(super) name: String,
    pub(super) storage_percent: Option<u8>,
    pub(super) allowance_percent: Option<u32>,
    pub(super) origins: Vec<Origin>,
    pub(super) requires_approved_device: bool,
    pub(super) ttl_seconds: Option<RangeInclusive<u32>>,
}

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No name in front.
    #[error("it begins with the organisation's name (lowercase letters, digits and hyphens) and a colon")]
    Name,
    /// Something else than what can be set.
    #[error(
        "`{0}` is none of storage_percent=1..100, allowance_percent=1..10000, ttl_seconds=FROM..TO (1 to 604800), \
         origin=https://HOST and require_approved_device"
    )]
    Setting(String),
    /// An origin that browsers do not send.
    #[error("origin={origin}: {error}")]
    Origin {
        /// What stands behind the sign.
        origin: String,
        /// What is wrong with it.
        error: OriginError,
    },
}

impl FromStr for Named {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (name, settings) = text.split_once(':').ok_or(PolicyError::Name)?;
        let name = name.trim();
        if !is_name(name) {
            return Err(PolicyError::Name);
        }
        let mut named = Self {
            name: name.to_owned(),
            storage_percent: None,
            allowance_percent: None,
            origins: Vec::new(),
            requires_approved_device: false,
            ttl_seconds: None,
        };
        for setting in settings.split_ascii_whitespace() {
            let wrong = || PolicyError::Setting(setting.to_owned());
            match setting.split_once('=') {
                Some(("storage_percent", value)) => {
                    let percent = value.parse().ok().filter(|percent| (1..=100).contains(percent));
                    named.storage_percent = Some(percent.ok_or_else(wrong)?);
                }
                Some(("allowance_percent", value)) => {
                    let percent = value.parse().ok().filter(|percent| (1..=10_000).contains(percent));
                    named.allowance_percent = Some(percent.ok_or_else(wrong)?);
                }
                Some(("ttl_seconds", range)) => named.ttl_seconds = Some(seconds(range).ok_or_else(wrong)?),
                Some(("origin", text)) => {
                    let wrong = |error| PolicyError::Origin { origin: text.to_owned(), error };
                    named.origins.push(text.parse().map_err(wrong)?);
                }
                None if setting == "require_approved_device" => named.requires_approved_device = true,
                Some(_) | None => return Err(wrong()),
            }
        }
        Ok(named)
    }
}

/// A range of seconds: `60..600`, both ends included.
fn seconds(text: &str) -> Option<RangeInclusive<u32>> {
    let (from, to) = text.split_once("..")?;
    let second = |text: &str| text.parse().ok().filter(|second| (1..=TTL_SECONDS_MAX).contains(second));
    let (from, to) = (second(from)?, second(to)?);
    (from <= to).then_some(from..=to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_policy_is_refused() {
        for wrong in ["acme", "Acme: storage_percent=3", "a: storage_percent=0", "a: origin=x", "a: b=c"] {
            assert!(wrong.parse::<Named>().is_err(), "{wrong}");
        }
        for wrong in ["60", "0..9", "9..8", "1..604801", "a..b", "1..2..3"] {
            assert!(format!("a: ttl_seconds={wrong}").parse::<Named>().is_err(), "{wrong}");
        }
    }
}
