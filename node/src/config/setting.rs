//! One value with its key and its origin: the smallest layer there is.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::problem::Problem;
use super::schema::{Kind, Schema};

/// A value for a key.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    key: String,
    value: Value,
    origin: String,
}

impl Setting {
    /// A value as a file has it.
    pub(super) fn new(schema: &Schema, key: &str, value: Value, origin: String) -> Result<Self, Problem> {
        known(schema, key, &origin)?;
        Ok(Self { key: key.to_owned(), value, origin })
    }

    /// A value as a variable or a flag has it: text, read as the kind of value that the key takes.
    pub(super) fn typed(schema: &Schema, key: &str, text: &str, origin: String) -> Result<Self, Problem> {
        let value = match known(schema, key, &origin)? {
            Kind::Text => Ok(Value::from(unquoted(text))),
            Kind::Number => number(text),
            Kind::Switch => switch(text).map(Value::from),
            Kind::List => list(text),
        };
        match value {
            Ok(value) => Ok(Self { key: key.to_owned(), value, origin }),
            Err(why) => Err(Problem::Value { key: key.to_owned(), origin, why }),
        }
    }
}

impl Setting {
    /// The problem that reading this value came to.
    pub(super) fn refused(self, error: figment::Error) -> Problem {
        Problem::Value { key: self.key, origin: self.origin, why: error.kind.to_string() }
    }
}

/// The kind of `key`, or what is wrong with it.
fn known(schema: &Schema, key: &str, origin: &str) -> Result<Kind, Problem> {
    if let Some(kind) = schema.kind(key) {
        return Ok(kind);
    }
    let (key, origin) = (key.to_owned(), origin.to_owned());
    match schema.inside(&key) {
        Some(example) => Err(Problem::Section { example: example.to_owned(), key, origin }),
        None => Err(Problem::Unknown { nearest: schema.nearest(&key).to_owned(), key, origin }),
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

fn number(text: &str) -> Result<Value, String> {
    let digits = text.trim().replace('_', "");
    digits.parse::<u64>().map(Value::from).map_err(|_| format!("`{text}` is not a whole number"))
}

/// Reads a switch in any of the usual spellings.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// Reads a list: `a, b` or, as in TOML, `["a", "b"]`.
fn list(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let items: Vec<String> = if text.starts_with('[') {
        let table: toml::Table =
            format!("list = {text}").parse().map_err(|_| format!("`{text}` is not a list of strings"))?;
        let strings = |item: &toml::Value| item.as_str().map(str::to_owned);
        table
            .get("list")
            .and_then(toml::Value::as_array)
            .and_then(|items| items.iter().map(strings).collect())
            .ok_or_else(|| format!("`{text}` is not a list of strings"))?
    } else {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    Ok(Value::from(items))
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut value = self.value.clone();
        for name in self.key.rsplit('.') {
            value = Value::from(Dict::from([(name.to_owned(), value)]));
        }
        match value {
            Value::Dict(_, dict) => Ok(Profile::Default.collect(dict)),
            other => Err(figment::Error::from(figment::error::Kind::InvalidType(
                other.to_actual(),
                "a table".into(),
            ))),
        }
    }
}
