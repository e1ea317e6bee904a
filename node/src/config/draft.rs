//! A configuration in the making: each source in turn sets what it says.

use std::collections::BTreeMap;

use super::problem::Problem;
use super::schema::{keys, nearest, within};
use super::section_macro::{Entry, Section as _};
use super::value::{shown, typed};
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
        cross_key_rules::check(config, environment, &mut |keys, why| {
            let first = keys.first().copied().unwrap_or_default();
            match keys.iter().find(|key| origins.contains_key(**key)) {
                Some(set) if *set != first => broken(set, format!("with it, {}: {why}", not_default(first))),
                Some(_) | None => broken(first, why),
            }
        });
    }
}

/// That a key cannot stay as nobody set it.
fn not_default(name: &str) -> String {
    let default = keys().find(|key| key.name == name).map(|key| shown(&key.default)).unwrap_or_default();
    if default.is_empty() {
        format!("{name} cannot stay empty")
    } else {
        format!("{name} cannot stay at its default ({default})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(set: &[(&str, &str)]) -> Vec<String> {
        let mut draft = Draft::default();
        for (key, value) in set {
            draft.set(key, Given::Text(value), "flag".to_owned());
        }
        draft.check(&Environment::default());
        draft.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_does_not_go_with_a_default_is_told_of_the_key_that_was_set() {
        for (set, expected) in [
            (
                &[("raft.election_min", "700ms")][..],
                "flag: `raft.election_min`: with it, raft.election_max cannot stay at its default (650ms): longer than \
                 raft.election_min",
            ),
            (
                &[("raft.election_min", "700ms"), ("raft.election_max", "640ms")],
                "flag: `raft.election_max`: longer than raft.election_min",
            ),
            (
                &[("http.tls.cert", "cert.pem")],
                "flag: `http.tls.cert`: with it, http.tls.key cannot stay empty: certificate and key belong together",
            ),
            (
                &[("http.listen", "127.0.0.1:9400")],
                "flag: `http.listen`: with it, admin.listen cannot stay at its default (127.0.0.1:9400): http.listen has \
                 this address already",
            ),
        ] {
            let told = told(set);
            assert!(told.iter().any(|problem| problem == expected), "{told:?}");
        }
    }

    #[test]
    fn no_rule_between_keys_speaks_of_a_default() {
        for set in [
            ("cluster.listen", "10.0.0.1:7400"),
            ("cluster.join", "true"),
            ("raft.heartbeat", "1s"),
            ("http.body_bytes_max", "64MiB"),
            ("shares.client_percent", "90"),
            ("edition.name", "enterprise"),
            ("cluster.tls.cert", "cert.pem"),
        ] {
            let told = told(&[set]);
            assert!(told.iter().all(|problem| !problem.starts_with("default")), "{told:?}");
        }
    }
}
