//! The flags that every command with a configuration has.

use std::path::PathBuf;

use crate::config::{self, Effective, Environment, Problem, Problems};

/// Where the configuration comes from, beside the environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Sources {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", env = "CONCLAVE_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Set one key, as often as needed; stronger than the environment and the file
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub(super) set: Vec<String>,
}

impl Sources {
    /// Loads the configuration. `flags` are `(flag, key, value)` and stronger than `--set`.
    pub(super) fn load(
        &self,
        environment: Environment,
        flags: Vec<(String, String, String)>,
    ) -> Result<Effective, Problems> {
        let mut all = Vec::new();
        for text in &self.set {
            match text.split_once('=') {
                Some((key, value)) => {
                    all.push(("--set".to_owned(), key.trim().to_owned(), value.trim().to_owned()))
                }
                None => return Err(Problems(vec![Problem::Unassigned { text: text.clone() }])),
            }
        }
        all.extend(flags);
        // A variable that is set to nothing names no file.
        let file = self.config.clone().filter(|file| !file.as_os_str().is_empty());
        config::load(&config::Sources { file, environment, flags: all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(set: &[&str]) -> Sources {
        Sources { config: None, set: set.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn named_flags_are_stronger_than_set() {
        let flags = vec![("--http".to_owned(), "http.listen".to_owned(), "127.0.0.1:2".to_owned())];
        let effective = sources(&["http.listen=127.0.0.1:1", "ttl.chunk = 5s"])
            .load(Environment::default(), flags)
            .unwrap();
        assert_eq!(effective.config.http.listen.port(), 2);
        assert_eq!(effective.origin("http.listen"), "flag --http");
        assert_eq!(effective.config.ttl.chunk.as_secs(), 5);
    }

    #[test]
    fn set_wants_an_equals_sign() {
        let problems = sources(&["ttl.chunk"]).load(Environment::default(), Vec::new()).unwrap_err();
        assert!(problems.to_string().contains("section.key=value"), "{problems}");
    }
}
