//! A configuration in the making: each source in turn sets what it says.

use std::collections::BTreeMap;

use super::problem::Problem;
use super::schema::{nearest, within};
use super::section_macro::{Entry, Section as _};
use super::value::typed;
use super::{Config, Environment, cross_key_rules};

/// A value as a source has it.
pub(super) enum Given<'a> {
    /// As a file has it.
    Toml(toml::Value),
    /// As a variable or a flag has it.
    Text(&'a str),
}

/// What was set so far, by whom, and what was wrong with it.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) origins: BTreeMap<String, String>,
    pub(super) problems: Vec<Problem>,
}

impl Draft {
    /// Sets one key. A mistake is remembered, so that one run shows every one and not only the first.
    pub(super) fn set(&mut self, key: &str, given: Given<'_>, origin: String) {
        let (mut given, mut outcome) = (Some(given), None);
        self.config.walk("", &mut |entry| match entry {
            Entry::Key { name, value, .. } if name == key => {
                outcome = given.take().map(|given| match given {
                    Given::Toml(given) => value.read(given),
                    Given::Text(text) => typed(&value.write(), text).and_then(|given| value.read(given)),
                });
            }
            Entry::Key { .. } | Entry::Section { .. } => {}
        });
        let key = key.to_owned();
        self.problems.push(match (outcome, within(&key)) {
            (Some(Ok(())), _) => return drop(self.origins.insert(key, origin)),
            (Some(Err(why)), _) => Problem::Value { key, origin, why },
            (None, Some(example)) => Problem::Section { key, origin, example: example.to_owned() },
            (None, None) => Problem::Unknown { nearest: nearest(&key).to_owned(), key, origin },
        });
    }

    /// Adds what is wrong with the values in force: each by itself, then with one another.
    pub(super) fn check(&mut self, environment: &Environment) {
        let Self { config, origins, problems } = self;
        let mut broken = |key: &str, why: String| {
            let origin = super::origin(origins, key);
            problems.push(Problem::Value { key: key.to_owned(), origin, why });
        };
        config.walk("", &mut |entry| match entry {
            Entry::Key { name, verdict, .. } => verdict.wrong.into_iter().for_each(|why| broken(&name, why)),
            Entry::Section { .. } => {}
        });
        cross_key_rules::check(config, environment, &mut broken);
    }
}
