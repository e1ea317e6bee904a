//! A configuration as a file with comments.

use std::fmt::Write;

use super::keys::{KEYS, SECTIONS};
use super::schema::leaves;
use super::{Config, Effective};

/// All keys with what they mean, as TOML that reads back to the same configuration.
pub fn commented(config: &Config) -> String {
    let mut out = String::from(
        "# Conclave. Every key with its default; keep what you change.\n\
         # Stronger than this file: CONCLAVE_SECTION__KEY in the environment (CONCLAVE_SECTION__KEY_FILE names a file\n\
         # that holds the value), and --set section.key=value on the command line.\n",
    );
    let table = toml::Table::try_from(config).expect("a configuration is plain values");
    let values = leaves(&table);
    let mut section = "";
    for (key, meaning) in KEYS {
        let (parent, name) = key.rsplit_once('.').expect("every key is in a section");
        if parent != section {
            section = parent;
            // A section without keys of its own, such as `allowance.tiers`, needs no header.
            let about = SECTIONS.iter().find(|(name, _)| *name == section).map_or("", |(_, about)| about);
            let _ = write!(out, "\n# {about}\n[{section}]\n");
        }
        if let Some((_, value)) = values.iter().find(|(found, _)| found == key) {
            let _ = write!(out, "# {meaning}\n{name} = {value}\n");
        }
    }
    out
}

impl Effective {
    /// What is set and where it was set, for `conclave check-config`: `(key, value, origin)`.
    pub fn rows(&self) -> Vec<(&'static str, toml::Value, String)> {
        let table = toml::Table::try_from(&self.config).expect("a configuration is plain values");
        let mut values: std::collections::BTreeMap<_, _> = leaves(&table).into_iter().collect();
        KEYS.iter().filter_map(|(key, _)| Some((*key, values.remove(*key)?, self.origin(key)))).collect()
    }
}
