//! Configuration: flags over environment over one TOML file over defaults, merged once, validated once, then passed
//! along explicitly.
//!
//! [`load`] takes [`Sources`] and gives an [`Effective`] configuration, which also knows where each value came from.
//! It reads the files that the sources name and nothing else: no process environment, no clock.

mod address;
mod cross_key_rules;
mod draft;
mod environment;
mod file;
mod members;
mod problem;
mod schema;
mod section_macro;
mod sections;
mod template_and_reference;
pub mod unit;
mod value;
mod value_checks;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use environment::Environment;
pub use members::members;
pub use problem::{Problem, Problems};
pub use sections::*;
pub use template_and_reference::{reference, template};
pub use value_checks::log_level as log_level_problem;

use draft::{Draft, Given};
use section_macro::{Entry, Section as _};

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The one file, if there is one.
    pub file: Option<PathBuf>,
    /// The variables of the process.
    pub environment: Environment,
    /// What the command line says, in its order: `(flag, key, value)`.
    pub flags: Vec<(String, String, String)>,
}

/// A configuration that passed validation.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The values.
    pub config: Config,
    origins: BTreeMap<String, String>,
}

impl Effective {
    /// Where the value of `key` came from, such as `environment variable CONCLAVE_HTTP__LISTEN`.
    pub fn origin(&self, key: &str) -> String {
        origin(&self.origins, key)
    }

    /// Every key with its value and its origin, for `conclave check-config`.
    pub fn rows(&self) -> Vec<(String, toml::Value, String)> {
        let mut rows = Vec::new();
        self.config.clone().walk("", &mut |entry| {
            if let Entry::Key { name, value, .. } = entry {
                let origin = self.origin(&name);
                rows.push((name, value.write(), origin));
            }
        });
        rows
    }

    /// The values as TOML has them, section in section.
    pub fn table(&self) -> toml::Table {
        let text: String = self.rows().iter().map(|(key, value, _)| format!("{key} = {value}\n")).collect();
        text.parse().expect("it was written by the same library")
    }
}

/// What an untouched value's origin is called.
pub const DEFAULT: &str = "default";

fn origin(origins: &BTreeMap<String, String>, key: &str) -> String {
    origins.get(key).map_or(DEFAULT, String::as_str).to_owned()
}

/// Merges and validates, or says everything that is wrong at once.
pub fn load(sources: &Sources) -> Result<Effective, Problems> {
    let mut draft = Draft::default();
    if let Some(path) = &sources.file {
        file::read(path, &mut draft);
    }
    sources.environment.read(&mut draft);
    for (flag, key, text) in &sources.flags {
        draft.set(key, Given::Text(text), format!("flag {flag}"));
    }
    draft.check(&sources.environment);
    let Draft { config, origins, problems } = draft;
    if problems.is_empty() { Ok(Effective { config, origins }) } else { Err(Problems(problems)) }
}

#[cfg(test)]
mod tests;
