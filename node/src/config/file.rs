//! The one TOML file: every value becomes a setting that knows its line.

use std::path::Path;

use figment::value::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::schema::{Schema, leaves};
use super::setting::Setting;

/// A longer file is a mistake, such as a path to something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn read(path: &Path, schema: &Schema, settings: &mut Vec<Setting>, problems: &mut Vec<Problem>) {
    match contents(path) {
        Ok(text) => parse(path, &text, schema, settings, problems),
        Err(error) => problems.push(Problem::Unreadable { path: path.to_owned(), origin: None, error }),
    }
}

/// The text of a file of bounded size.
pub(super) fn contents(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    Ok(text)
}

fn parse(path: &Path, text: &str, schema: &Schema, settings: &mut Vec<Setting>, problems: &mut Vec<Problem>) {
    let syntax = |error: toml::de::Error| Problem::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line(text, span.start)),
        why: error.message().to_owned(),
    };
    // Parsed twice: once for the places, once for the values.
    let (places, table) = match (DeTable::parse(text), text.parse::<toml::Table>()) {
        (Ok(places), Ok(table)) => (places, table),
        (Err(error), _) | (_, Err(error)) => return problems.push(syntax(error)),
    };
    let mut starts = Vec::new();
    collect(places.get_ref(), "", &mut starts);
    for (key, value) in leaves(&table) {
        let start = starts.iter().find(|(name, _)| *name == key).map_or(0, |(_, start)| *start);
        let origin = format!("{}, line {}", path.display(), line(text, start));
        let value = Value::serialize(value).map_err(|error| error.to_string());
        let setting = match value {
            Ok(value) => Setting::new(schema, &key, value, origin),
            Err(why) => Err(Problem::Value { key, origin, why }),
        };
        match setting {
            Ok(setting) => settings.push(setting),
            Err(problem) => problems.push(problem),
        }
    }
}

/// Where each key stands, sections included.
fn collect(table: &DeTable<'_>, prefix: &str, found: &mut Vec<(String, usize)>) {
    for (name, value) in table {
        let key = format!("{prefix}{}", Spanned::get_ref(name));
        found.push((key.clone(), name.span().start));
        if let DeValue::Table(inner) = value.get_ref() {
            collect(inner, &format!("{key}."), found);
        }
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
