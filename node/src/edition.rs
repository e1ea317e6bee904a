//! The two editions of the server.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which set of features a node offers. Chosen once, at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edition {
    /// Relay and signaling for anybody.
    #[default]
    Consumer,
    /// Adds what an organisation needs: a device registry and what belongs to it.
    Enterprise,
}

/// The text names no edition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the edition is either \"consumer\" or \"enterprise\"")]
pub struct UnknownEdition;

impl Edition {
    /// The edition's name, as clients read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Enterprise => "enterprise",
        }
    }

    /// Whether enterprise routes are open.
    pub fn is_enterprise(self) -> bool {
        match self {
            Self::Consumer => false,
            Self::Enterprise => true,
        }
    }

    /// What the edition offers, by the names that clients look for. What is not there is not named.
    pub fn features(self) -> &'static [&'static str] {
        const ALL: [&str; 9] = [
            "relay",
            "ephemeralChunks",
            "webrtcSignaling",
            "deviceRegistry",
            "deviceApproval",
            "deviceRevocation",
            "auditLogging",
            "policyEnforcement",
            "organizationNamespace",
        ];
        match self {
            Self::Consumer => &ALL[..3],
            Self::Enterprise => &ALL,
        }
    }
}

impl FromStr for Edition {
    type Err = UnknownEdition;

    /// Reads the name, whatever its case and the space around it.
    fn from_str(text: &str) -> Result<Self, UnknownEdition> {
        let text = text.trim();
        [Self::Consumer, Self::Enterprise]
            .into_iter()
            .find(|edition| edition.as_str().eq_ignore_ascii_case(text))
            .ok_or(UnknownEdition)
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whatever_their_case() {
        assert_eq!(" Enterprise ".parse(), Ok(Edition::Enterprise));
        assert_eq!("consumer".parse(), Ok(Edition::Consumer));
        assert_eq!("premium".parse::<Edition>(), Err(UnknownEdition));
    }

    #[test]
    fn consumers_get_the_first_three_features() {
        assert_eq!(Edition::Consumer.features(), ["relay", "ephemeralChunks", "webrtcSignaling"]);
        assert_eq!(Edition::Enterprise.features().last(), Some(&"organizationNamespace"));
    }
}
