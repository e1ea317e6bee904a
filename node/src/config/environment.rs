//! Environment variables: `CONCLAVE_SECTION__KEY`, the same with `_FILE` at the end for a file that holds the value,
//! and the names that the original QSafeVault server uses.

use std::collections::BTreeMap;
use std::path::Path;

use super::file;
use super::problem::Problem;
use super::schema::Schema;
use super::setting::Setting;

const PREFIX: &str = "CONCLAVE_";

/// Variables of the command line. They are no keys, although one of them looks like `admin.url`: whoever sets them for a
/// whole shell or container can still start a node there.
const COMMAND_LINE: &[&str] = &["CONCLAVE_CONFIG", "CONCLAVE_ADMIN_URL"];

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
        let mut names: Vec<_> = PLATFORMS
            .iter()
            .filter(|(variable, _)| self.get(variable).is_some())
            .map(|(_, name)| *name)
            .collect();
        names.dedup();
        names
    }

    pub(super) fn read(&self, schema: &Schema, settings: &mut Vec<Setting>, problems: &mut Vec<Problem>) {
        for found in self.originals(schema).into_iter().chain(self.own(schema)) {
            match found {
                Ok(setting) => settings.push(setting),
                Err(problem) => problems.push(problem),
            }
        }
    }

    /// The original server's names, weaker than our own.
    fn originals(&self, schema: &Schema) -> Vec<Result<Setting, Problem>> {
        let mut found = Vec::new();
        let mut set = |variable: &str, key: &str, text: String| {
            found.push(Setting::typed(schema, key, &text, format!("environment variable {variable}")));
        };
        if let Some(port) = self.get("PORT") {
            // As the original, which listens on every address.
            set("PORT", "http.listen", format!("0.0.0.0:{port}"));
        }
        if let Some(origins) = self.get("ALLOWED_ORIGINS") {
            set("ALLOWED_ORIGINS", "http.allowed_origins", origins.to_owned());
        }
        for (variable, keys) in
            [("CHUNK_TTL_MS", &["ttl.chunk"][..]), ("SIGNAL_TTL_MS", &["ttl.signal", "ttl.register"][..])]
        {
            for key in keys {
                if let Some(ms) = self.get(variable) {
                    set(variable, key, format!("{ms}ms"));
                }
            }
        }
        if let Some(name) = self.get("QSAFEVAULT_EDITION") {
            set("QSAFEVAULT_EDITION", "edition.name", name.trim().to_ascii_lowercase());
        }
        for (variable, key) in [
            ("QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED", "edition.acknowledged"),
            ("QSAFEVAULT_ENTERPRISE_ALLOW_MANAGED", "edition.allow_managed"),
        ] {
            if let Some(text) = self.get(variable) {
                set(variable, key, text.to_owned());
            }
        }
        found
    }

    fn own(&self, schema: &Schema) -> Vec<Result<Setting, Problem>> {
        let ours = self.0.iter().filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)));
        ours.filter_map(|(name, rest, value)| {
            if COMMAND_LINE.contains(&name.as_str()) {
                return None;
            }
            if !rest.contains("__") {
                return one_underscore(schema, name, rest).map(Err);
            }
            let key = rest.to_ascii_lowercase().replace("__", ".");
            let origin = format!("environment variable {name}");
            Some(match key.strip_suffix("_file").filter(|_| schema.kind(&key).is_none()) {
                Some(key) => self.held_by_file(schema, name, key, value, origin),
                None => Setting::typed(schema, &key, value, origin),
            })
        })
        .collect()
    }

    fn held_by_file(
        &self,
        schema: &Schema,
        name: &str,
        key: &str,
        path: &str,
        origin: String,
    ) -> Result<Setting, Problem> {
        let twin = name.strip_suffix("_FILE").unwrap_or(name);
        if self.0.contains_key(twin) {
            return Err(Problem::Twice { variable: twin.to_owned() });
        }
        match file::contents(Path::new(path)) {
            // Editors and `echo` leave a line's end that is no part of the value.
            Ok(text) => Setting::typed(schema, key, text.trim_end_matches(['\r', '\n']), origin),
            Err(error) => Err(Problem::Unreadable { path: path.into(), origin: Some(origin), error }),
        }
    }

    /// Whether the edition may start here; else which rules it breaks, as `(key, why)`.
    pub(super) fn edition_rules(&self, edition: &super::Edition) -> Vec<(&'static str, String)> {
        let mut broken = Vec::new();
        if edition.name.is_enterprise() {
            if !edition.acknowledged {
                broken.push((
                    "edition.acknowledged",
                    "enterprise starts only when it is acknowledged: set QSAFEVAULT_ENTERPRISE_ACKNOWLEDGED=true"
                        .to_owned(),
                ));
            }
            let platforms = self.platforms();
            if !platforms.is_empty() && !edition.allow_managed {
                broken.push((
                    "edition.allow_managed",
                    format!(
                        "enterprise is for machines of your own, and this looks like {}: \
                         QSAFEVAULT_ENTERPRISE_ALLOW_MANAGED=true overrides (not recommended)",
                        platforms.join(" and ")
                    ),
                ));
            }
        }
        broken
    }
}

/// `CONCLAVE_HTTP_LISTEN` is meant to be `CONCLAVE_HTTP__LISTEN`. Other names that merely begin like ours are not
/// ours: Kubernetes makes `CONCLAVE_SERVICE_HOST` and the like for a service of that name.
fn one_underscore(schema: &Schema, name: &str, rest: &str) -> Option<Problem> {
    let flat = rest.to_ascii_lowercase();
    let key = schema.keys().find(|key| key.replace('.', "_") == flat)?;
    Some(Problem::Unknown {
        key: flat,
        origin: format!("environment variable {name}"),
        nearest: format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__")),
    })
}
