//! Environment variables: `CONCLAVE_SECTION__KEY`, the same with `_FILE` at the end for a file that holds the value,
//! and the names that the original QSafeVault server uses.

use std::collections::BTreeMap;
use std::path::Path;

use super::draft::{Draft, Given};
use super::problem::Problem;
use super::{file, schema};

const PREFIX: &str = "CONCLAVE_";

/// Variables of the command line. They are no keys, although some of them look like `admin.url` and `admin.token_file`:
/// whoever sets them for a whole shell or container can still start a node there.
const COMMAND_LINE: &[&str] =
    &["CONCLAVE_CONFIG", "CONCLAVE_ADMIN_URL", "CONCLAVE_ADMIN_TOKEN", "CONCLAVE_ADMIN_TOKEN_FILE"];

/// A name of the original server, the keys that it sets, and its value as ours is written.
type Original = (&'static str, &'static [&'static str], fn(&str) -> String);

/// They are weaker than our own.
pub(super) const ORIGINALS: &[Original] = &[
    // As the original, which listens on every address.
    ("PORT", &["http.listen"], |port| format!("0.0.0.0:{port}")),
    ("ALLOWED_ORIGINS", &["http.allowed_origins"], str::to_owned),
    ("CHUNK_TTL_MS", &["ttl.chunk"], |ms| format!("{ms}ms")),
    ("SIGNAL_TTL_MS", &["ttl.signal", "ttl.register"], |ms| format!("{ms}ms")),
    ("QSAFEVAULT_EDITION", &["edition.name"], |name| name.trim().to_ascii_lowercase()),
    ("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", &["edition.acknowledged"], str::to_owned),
    ("QSAFEVAULT_ENTERPRISE_ALLOW_MANAGED", &["edition.allow_managed"], str::to_owned),
];

/// Variables that a managed platform sets, and its name.
const PLATFORMS: &[(&str, &str)] = &[
    ("VERCEL", "Vercel"),
    ("NETLIFY", "Netlify"),
    ("HEROKU", "Heroku"),
    ("DYNO", "Heroku"),
    ("AWS_LAMBDA_FUNCTION_NAME", "AWS Lambda"),
    ("GOOGLE_CLOUD_PROJECT", "Google Cloud Functions"),
    ("K_SERVICE", "Google Cloud Run"),
    ("AZURE_FUNCTIONS_ENVIRONMENT", "Azure Functions"),
];

/// The variables of a process.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl Environment {
    /// This process's own. What is not UTF-8 cannot be ours and is left out.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of `name`, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The managed platforms that this environment looks like.
    pub fn platforms(&self) -> Vec<&'static str> {
        let found = PLATFORMS.iter().filter(|(variable, _)| self.get(variable).is_some());
        let mut names: Vec<_> = found.map(|(_, name)| *name).collect();
        names.dedup();
        names
    }

    pub(super) fn read(&self, draft: &mut Draft) {
        for (variable, keys, ours) in ORIGINALS {
            let Some(value) = self.get(variable) else { continue };
            for key in *keys {
                draft.set(key, Given::Text(&ours(value)), origin(variable));
            }
        }
        for (name, value) in &self.0 {
            match name.strip_prefix(PREFIX).filter(|_| !COMMAND_LINE.contains(&name.as_str())) {
                Some(rest) if rest.contains("__") => self.own(name, rest, value, draft),
                Some(rest) => draft.problems.extend(one_underscore(name, rest)),
                None => {}
            }
        }
    }

    fn own(&self, name: &str, rest: &str, value: &str, draft: &mut Draft) {
        let key = rest.to_ascii_lowercase().replace("__", ".");
        let is_key = schema::keys().any(|known| known.name == key);
        let Some(held) = key.strip_suffix("_file").filter(|_| !is_key) else {
            return draft.set(&key, Given::Text(value), origin(name));
        };
        let twin = name.strip_suffix("_FILE").unwrap_or(name);
        if self.0.contains_key(twin) {
            return draft.problems.push(Problem::Twice { variable: twin.to_owned() });
        }
        match file::contents(Path::new(value)) {
            // Editors and `echo` leave a line's end that is no part of the value.
            Ok(text) => draft.set(held, Given::Text(text.trim_end_matches(['\r', '\n'])), origin(name)),
            Err(error) => {
                let origin = Some(origin(name));
                draft.problems.push(Problem::Unreadable { path: value.into(), origin, error });
            }
        }
    }
}

fn origin(variable: &str) -> String {
    format!("environment variable {variable}")
}

/// The variable that sets `key`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// `CONCLAVE_HTTP_LISTEN` is meant to be `CONCLAVE_HTTP__LISTEN`. Other names that merely begin like ours are not
/// ours: Kubernetes makes `CONCLAVE_SERVICE_HOST` and the like for a service of that name.
fn one_underscore(name: &str, rest: &str) -> Option<Problem> {
    let flat = rest.to_ascii_lowercase();
    let key = schema::keys().find(|key| key.name.replace('.', "_") == flat)?;
    Some(Problem::Unknown { key: flat, origin: origin(name), nearest: variable(&key.name) })
}
