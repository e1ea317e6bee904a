//! Which keys there are and what kind of value each takes, read off the defaults.

use std::collections::BTreeMap;

use super::Config;

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
    List,
}

/// All keys.
#[derive(Debug)]
pub(super) struct Schema(BTreeMap<String, Kind>);

impl Schema {
    /// The schema of [`Config`]. Every field has a default that is written out, so none is missed.
    pub(super) fn of_defaults() -> Self {
        let mut keys = BTreeMap::new();
        for (key, value) in leaves(&defaults()) {
            let kind = match value {
                toml::Value::Boolean(_) => Kind::Switch,
                toml::Value::Integer(_) | toml::Value::Float(_) => Kind::Number,
                toml::Value::Array(_) => Kind::List,
                toml::Value::String(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => Kind::Text,
            };
            keys.insert(key, kind);
        }
        Self(keys)
    }

    pub(super) fn kind(&self, key: &str) -> Option<Kind> {
        self.0.get(key).copied()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A key inside the section `name`, if that is a section.
    pub(super) fn inside(&self, name: &str) -> Option<&str> {
        self.keys().find(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The known key nearest to `wrong`: by the whole path, or by its last word in the same or another section.
    pub(super) fn nearest(&self, wrong: &str) -> &str {
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let distance = |key: &&str| {
            let whole = strsim::damerau_levenshtein(wrong, key);
            // The right word in the wrong section is nearer than any word of equal length in the right one.
            let word = strsim::damerau_levenshtein(&last(wrong), &last(key)) * 2 + 2;
            (whole.min(word), whole)
        };
        self.keys().min_by_key(distance).expect("there are keys")
    }
}

/// The defaults as a table.
pub(super) fn defaults() -> toml::Table {
    toml::Table::try_from(Config::default()).expect("the defaults are plain values")
}

/// All values of a table that are not tables, with their dotted keys. An empty table counts as a value, so that an
/// unknown empty section is noticed.
pub(super) fn leaves(table: &toml::Table) -> Vec<(String, toml::Value)> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => {
                found.extend(leaves(inner).into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            other => found.push((name.clone(), other.clone())),
        }
    }
    found
}
