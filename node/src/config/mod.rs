//! Configuration: flags over environment over one TOML file over defaults, merged once, validated once, then passed
//! along explicitly.
//!
//! [`load`] takes [`Sources`] and gives an [`Effective`] configuration, which also knows where each value came from.
//! It reads the files that the sources name and nothing else: no process environment, no clock.

mod address;
mod defaults;
mod environment;
mod file;
mod keys;
mod print;
mod problem;
mod schema;
mod section;
mod setting;
pub mod unit;
mod validate;

use std::path::PathBuf;

use figment::Figment;
use figment::providers::Serialized;

pub use environment::Environment;
pub use keys::{KEYS, SECTIONS};
pub use print::commented;
pub use problem::{Problem, Problems};
pub use section::{
    Admin, Admission, Allowance, Auth, Cluster, Config, Edition, Http, Ice, Limits, Log, LogFormat, Node,
    PeerTls, PublicTls, Raft, Rule, Shares, Shutdown, Socket, Storage, Telemetry, Tiers, Ttl,
};
pub use validate::{Member, members};

use schema::Schema;
use setting::Setting;

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
    figment: Figment,
}

impl Effective {
    /// Where the value of `key` came from, such as `environment variable CONCLAVE_HTTP__LISTEN`.
    pub fn origin(&self, key: &str) -> String {
        origin(&self.figment, key)
    }
}

/// What an untouched value's origin is called.
pub const DEFAULT: &str = "default";

fn origin(figment: &Figment, key: &str) -> String {
    match figment.find_metadata(key) {
        Some(metadata) if metadata.name != "Default" && metadata.source.is_none() => {
            metadata.name.to_string()
        }
        Some(_) | None => DEFAULT.to_owned(),
    }
}

/// Merges and validates, or says everything that is wrong at once.
pub fn load(sources: &Sources) -> Result<Effective, Problems> {
    let schema = Schema::of_defaults();
    let mut settings = Vec::new();
    let mut problems = Vec::new();
    if let Some(path) = &sources.file {
        file::read(path, &schema, &mut settings, &mut problems);
    }
    sources.environment.read(&schema, &mut settings, &mut problems);
    for (flag, key, text) in &sources.flags {
        match Setting::typed(&schema, key, text, format!("flag {flag}")) {
            Ok(setting) => settings.push(setting),
            Err(problem) => problems.push(problem),
        }
    }
    // Each value is tried by itself first, so that one run shows every mistake and not only the first.
    let defaults = Figment::from(Serialized::defaults(Config::default()));
    let mut figment = defaults.clone();
    for setting in settings {
        match defaults.clone().merge(setting.clone()).extract::<Config>() {
            Ok(_) => figment = figment.merge(setting),
            Err(error) => problems.push(setting.refused(error)),
        }
    }
    let config: Config = figment.extract().expect("every value was tried by itself");
    validate::check(&config, &sources.environment, |key| origin(&figment, key), &mut problems);
    if problems.is_empty() { Ok(Effective { config, figment }) } else { Err(Problems(problems)) }
}

#[cfg(test)]
mod tests;
